"""Process start to loaded program: the first time on a machine, and with our cache; and the peak memory of that
start.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bench import peer
from bench.harness import PYTHON, Report, Row, Run, mb, ms, run_process

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = Path(__file__).parent / "programs"

# script, what it is, time targets (first, cached), memory targets (first, cached)
CASES = (
    ("hello.py", "hello world", (0.7, 0.35), (0.4, 0.25)),
    ("sock_request.py", "struct sock and struct request", (0.25, 0.08), (0.4, 0.25)),
)


def run(report: Report) -> None:
    reason = peer.why_absent()
    for script, what, times, memories in CASES:
        path = str(PROGRAMS / script)
        with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as warm:
            jobs: dict[str, Callable[[], Run]] = {
                "first": lambda path=path: _first(path),
                "cached": lambda path=path, warm=warm: run_process([PYTHON, path], {"EBPF_CACHE_DIR": warm}),
            }
            if reason is None:
                jobs["peer"] = lambda path=path: run_process(peer.command(path))
            results: dict[str, list[Run]] = {name: [] for name in jobs}
            for round_ in range(report.rounds + 1):
                for name, job in jobs.items():
                    result = job()
                    if round_:
                        results[name].append(result)
        median = {name: statistics.median(r.seconds for r in runs) for name, runs in results.items()}
        memory = {name: statistics.median(r.memory_mb for r in runs) for name, runs in results.items()}
        for i, name in enumerate(("first", "cached")):
            if reason is None:
                report.add(Row(f"start to loaded, {what}, {name}", ms(median[name]), ms(median["peer"]),
                               median[name] / median["peer"], times[i]))
                whose = " (with its compiling child)" if name == "first" else ""
                report.add(Row(f"  peak memory of it{whose}", mb(memory[name]), mb(memory["peer"]),
                               memory[name] / memory["peer"], memories[i] if name == "cached" else None))
            else:
                report.add(Row(f"start to loaded, {what}, {name}", ms(median[name]), "-", None, None))
                report.add(Row("  peak memory of it", mb(memory[name]), "-", None, None))
        own, child = _own_memory(path)
        peer_mb = memory.get("peer")
        report.add(Row(f"  peak memory, {what}, first: our process alone", mb(own), mb(peer_mb) if peer_mb else "-",
                       own / peer_mb if peer_mb else None, memories[0]))
        report.add(Row("    and the compiling child", mb(child), "-", None, None))
    if reason:
        report.skip("start-up beside BCC", reason)


def _first(path: str) -> Run:
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as empty:
        return run_process([PYTHON, path], {"EBPF_CACHE_DIR": empty})


def _own_memory(path: str) -> tuple[float, float]:
    """Peak memory in MB of a first start: of the process itself, and of its largest child."""
    code = ("import resource as r, runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__'); "
            "print('PEAK', *(r.getrusage(who).ru_maxrss for who in (r.RUSAGE_SELF, r.RUSAGE_CHILDREN)))")
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as empty:
        output = run_process([PYTHON, "-c", code, path], {"EBPF_CACHE_DIR": empty}).output
    words = output.split("PEAK")[1].split()
    return int(words[0]) / 1024, int(words[1]) / 1024
