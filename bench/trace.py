"""The tracing language: starts, big scripts, memory. What its probes cost and deliver: `bench.trace_events`.

The peer is bpftrace. Starts run whole processes (`BEGIN`, a map, printf, exit); of the large tools only compiling is
timed, so that no probe is needed that this kernel lacks.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import PYTHON, Report, Row, Run, mb, ms, run_process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BPFTRACE = shutil.which("bpftrace", path="/usr/bin:/usr/local/bin:/usr/sbin")
TOOLS = Path("/usr/sbin")
OURS = (PYTHON, "-m", "ebpf.cli", "trace")
HELLO = 'BEGIN { @x[1] = 2; printf("hello\\n"); exit(); }'
LARGE = ("tcplife.bt", "ssllatency.bt", "biosnoop.bt")
# ours, theirs: at most (start: first, cached)
_START, TOOL_TARGETS, _MEMORY = (1.0, 0.4), (1.2, 0.5), 0.6
_LINES_SECONDS = 2.0


def run(report: Report) -> None:
    if BPFTRACE is None:
        report.skip("the tracing language beside bpftrace", "bpftrace is not installed")
        return
    if os.geteuid():
        report.skip("the tracing language beside bpftrace", "bpftrace needs root")
        return
    starts(report, "one-line script, whole process", ["-e", HELLO], ["-e", HELLO], _START, with_memory=True)
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as folder:
        for tool in LARGE:
            path = TOOLS / tool
            if path.exists():
                starts(report, f"{tool}, to its object", ["--emit-elf", f"{folder}/ours", str(path)],
                        ["--emit-elf", f"{folder}/theirs", str(path)], TOOL_TARGETS)
            else:
                report.skip(tool, "bpftrace's tools are not installed")
    _map_lines(report)


def starts(report: Report, what: str, ours: Sequence[str], theirs: Sequence[str], targets: tuple[float, float], *,
           with_memory: bool = False) -> None:
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as warm:
        assert BPFTRACE is not None
        jobs: dict[str, Callable[[], Run]] = {
            "first": lambda: _fresh([*OURS, *ours]),
            "cached": lambda: run_process([*OURS, *ours], {"EBPF_CACHE_DIR": warm}),
            "peer": lambda: run_process([BPFTRACE, *theirs]),
        }
        results: dict[str, list[Run]] = {name: [] for name in jobs}
        for round_ in range(report.rounds + 1):
            for name, job in jobs.items():
                result = job()
                if round_:
                    results[name].append(result)
    median = {name: statistics.median(r.seconds for r in runs) for name, runs in results.items()}
    memory = {name: statistics.median(r.memory_mb for r in runs) for name, runs in results.items()}
    for name, target in zip(("first", "cached"), targets):
        report.add(Row(f"{what}, {name}", ms(median[name]), ms(median["peer"]), median[name] / median["peer"], target))
    if with_memory:
        report.add(Row("  peak memory of it, cached", mb(memory["cached"]), mb(memory["peer"]),
                       memory["cached"] / memory["peer"], _MEMORY))


def _fresh(command: Sequence[str]) -> Run:
    """With nothing compiled yet: an empty cache."""
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as empty:
        return run_process(command, {"EBPF_CACHE_DIR": empty})


def _map_lines(report: Report) -> None:
    """1000 lines; and whether the time grows with their number only."""
    assert BPFTRACE is not None

    def script(lines: int) -> str:
        return "BEGIN { " + " ".join(f"@m[{n}] = {n};" for n in range(lines)) + " exit(); }"

    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as folder:
        took = {}
        for lines in (500, 1000):
            path = Path(folder, f"{lines}.bt")
            path.write_text(script(lines))
            took[lines] = _fresh([*OURS, "--emit-elf", f"{folder}/ours", str(path)]).seconds
        theirs = run_process([BPFTRACE, "--emit-elf", f"{folder}/theirs", f"{folder}/1000.bt"]).seconds
    report.add(Row("1000 lines that write to a map", ms(took[1000]), ms(theirs), None, None))
    report.add(Row("  beside what is allowed", ms(took[1000]), ms(_LINES_SECONDS), took[1000] / _LINES_SECONDS, 1.0))
    twice = 2 * took[500]
    report.add(Row("  beside twice the time of 500", ms(took[1000]), ms(twice), took[1000] / twice, 1.1))
