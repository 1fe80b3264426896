"""Programs that are Python functions: from the decorator to attached, the first time and with our cache."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.harness import PYTHON, Report, Row, ms, run_process

SCRIPT = str(Path(__file__).parent / "programs" / "function_attach.py")
FIRST_S, CACHED_S = 0.250, 0.080


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


def _seconds(cache: str) -> float:
    return float(run_process([PYTHON, SCRIPT], {"EBPF_CACHE_DIR": cache}).output.split()[0])
