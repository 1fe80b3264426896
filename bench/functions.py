"""Programs that are Python functions: from the decorator to attached, the first time and with our cache.

And what tests of programs cost: the example firewall's suite of 200, a whole pytest from its start to its end.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from bench.harness import PYTHON, Report, Row, ms, run_process

SCRIPT = str(Path(__file__).parent / "programs" / "function_attach.py")
FIREWALL = Path(__file__).parents[1] / "examples" / "firewall"
FIRST_S, CACHED_S, SUITE_S = 0.250, 0.080, 3.0


def run(report: Report) -> None:
    first, cached = [], []
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as warm:
        for round_ in range(report.rounds + 1):
            with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as empty:
                # Not the first start on the machine: the kernel's types are indexed once, whatever is compiled.
                indexed = "import ebpf; ebpf.compile('struct task_struct t;')"
                run_process([PYTHON, "-c", indexed], {"EBPF_CACHE_DIR": empty})
                a = _seconds(empty)
            b = _seconds(warm)
            if round_:
                first.append(a)
                cached.append(b)
    for name, times, target in (("the first time", first, FIRST_S), ("cached", cached, CACHED_S)):
        seconds = min(times)  # the target is a time, not a ratio: what else the machine does only adds to it
        report.add(Row(f"decorator to attached, {name} (of {target * 1000:.0f} ms)", ms(seconds), "-",
                       seconds / target, 1.0))
    _suite(report)


def _seconds(cache: str) -> float:
    return float(run_process([PYTHON, SCRIPT], {"EBPF_CACHE_DIR": cache}).output.split()[0])


def _suite(report: Report) -> None:
    """The firewall's tests, first of all compiling it, then as at every other start."""
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(FIREWALL),
               str(FIREWALL)]
    times = []
    for round_ in range(report.rounds + 1):
        done = run_process(command, {"EBPF_BACKEND": "machine", "PYTEST_ADDOPTS": ""})
        if "200 passed" not in done.output:
            raise RuntimeError(f"the firewall's test-suite is not as it was: {done.output[-200:]}")
        if round_:
            times.append(done.seconds)
    seconds = min(times)
    report.add(Row(f"firewall test-suite of 200 tests (of {SUITE_S:.0f} s)", ms(seconds), "-", seconds / SUITE_S, 1.0))
