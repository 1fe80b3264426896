"""The tracing language: starts, big scripts, memory, events drained, and what a probe costs in the kernel.

The peer is bpftrace. Starts run whole processes (`BEGIN`, a map, printf, exit); of the large tools only compiling is
timed, so that no probe is needed that this kernel lacks. Events and costs attach to tracepoints of system calls: where
there is no tracefs those rows are left out.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import PYTHON, Report, Row, Run, mb, ms, rate, run_process

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BPFTRACE = shutil.which("bpftrace", path="/usr/bin:/usr/local/bin:/usr/sbin")
TOOLS = Path("/usr/sbin")
OURS = (PYTHON, "-m", "ebpf.cli", "trace")
HELLO = 'BEGIN { @x[1] = 2; printf("hello\\n"); exit(); }'
LARGE = ("tcplife.bt", "ssllatency.bt", "biosnoop.bt")
CALLS = 300_000
# ours, theirs: at most (start: first, cached)
_START, _TOOL, _MEMORY = (1.0, 0.4), (1.2, 0.5), 0.6
_LINES_SECONDS = 2.0


def run(report: Report) -> None:
    if BPFTRACE is None:
        report.skip("the tracing language beside bpftrace", "bpftrace is not installed")
        return
    if os.geteuid():
        report.skip("the tracing language beside bpftrace", "bpftrace needs root")
        return
    _starts(report, "one-line script, whole process", ["-e", HELLO], ["-e", HELLO], _START, with_memory=True)
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as folder:
        for tool in LARGE:
            path = TOOLS / tool
            if path.exists():
                _starts(report, f"{tool}, to its object", ["--emit-elf", f"{folder}/ours", str(path)],
                        ["--emit-elf", f"{folder}/theirs", str(path)], _TOOL)
            else:
                report.skip(tool, "bpftrace's tools are not installed")
    _map_lines(report)
    if os.path.exists("/sys/kernel/tracing/events/syscalls"):
        _events(report)
        _cost(report)
    else:
        report.skip("events drained, cost of a probe", "no tracefs with system calls here")


def _starts(report: Report, what: str, ours: Sequence[str], theirs: Sequence[str], targets: tuple[float, float], *,
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


_CALLER = f"import os\nfor _ in range({CALLS}): os.getppid()"
_PRINTS = 'tracepoint:syscalls:sys_enter_getppid { printf("%d %s %d\\n", pid, comm, nsecs); }'


def _events(report: Report) -> None:
    """Lines delivered a second while a process makes system calls as fast as it can: what is lost does not count."""
    rates: dict[str, list[float]] = {name: [] for name in ("ours", "peer")}
    for _ in range(max(1, report.rounds // 2)):
        for name, command in (("ours", OURS), ("peer", (str(BPFTRACE),))):
            with tempfile.TemporaryFile() as out, tempfile.NamedTemporaryFile("w", suffix=".py") as caller:
                caller.write(_CALLER)
                caller.flush()
                # bpftrace 0.17 knows no quotes in a command: hence the file
                subprocess.run([*command, "-e", _PRINTS, "-c", f"{PYTHON} {caller.name}"], stdout=out,
                               stderr=subprocess.DEVNULL, check=True)
                out.seek(0)
                stamps = [int(line.split()[2]) for line in out if line[:1].isdigit()]
                rates[name].append(len(stamps) / ((max(stamps) - min(stamps)) / 1e9) if len(stamps) > 1 else 0.0)
    ours, peer = (statistics.median(rates[name]) for name in ("ours", "peer"))
    report.add(Row("lines printed a second without loss", rate(ours), rate(peer), ours / peer if peer else None, 1.0,
                   at_least=True))


def _cost(report: Report) -> None:
    """Nanoseconds a run, by the kernel's own statistics."""
    for what, action in (("count()", "@ = count();"), ("hist()", "@ = hist(nsecs);"),
                         ("printf", 'printf("%d\\n", pid);')):
        script = f"tracepoint:syscalls:sys_enter_getppid {{ {action} }}"
        ours, peer = (_nanoseconds(command, script) for command in (OURS, (str(BPFTRACE),)))
        if ours and peer:
            report.add(Row(f"cost of a probe with {what}", f"{ours:.0f} ns", f"{peer:.0f} ns", ours / peer, 1.1))
        else:
            report.skip(f"cost of a probe with {what}", "the kernel gave no statistics")


def _nanoseconds(command: Sequence[str], script: str) -> float:
    import ebpf

    before = {program.id for program in ebpf.inventory.programs()}
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    old = switch.read_text()
    switch.write_text("1")
    process = subprocess.Popen([*command, "-q", "-e", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found: list[float] = []
        until = time.monotonic() + 60
        while not found and time.monotonic() < until:
            subprocess.run([PYTHON, "-c", _CALLER], check=True)
            found = [p.run_time_ns / p.run_count for p in ebpf.inventory.programs()
                     if p.id not in before and p.run_count > CALLS // 2]
        return max(found, default=0.0)
    finally:
        process.terminate()
        process.wait()
        switch.write_text(old)
