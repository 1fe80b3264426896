"""The tracing language on real events: cost of a probe, lines drained, tools from their start until they are attached.

Needs tracefs and attaches system-wide: a guest is the place for it (``python -m bench --guest 6.1 trace_events``). The
peer is bpftrace. Emulation slows everything down there by ten to twenty: ratios are what to read.
"""

from __future__ import annotations

import os
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import PYTHON, Report, Row
from bench.trace import BPFTRACE, LARGE, OURS, TOOL_TARGETS, TOOLS, starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.kernel.programs import ProgramInfo

CALLS = 30_000
_PATIENCE_S = 120.0
# Behind its argument a word: how many calls, as fast as an interpreter can.
_CALLER = "import os, sys\nfor _ in range(int(sys.argv[1])): os.getppid()"
_PROBE = "tracepoint:syscalls:sys_enter_getppid"
_COSTS = (("count()", "@ = count();"), ("count() by process", "@[pid] = count();"), ("hist()", "@ = hist(nsecs);"),
          ("printf", 'printf("%d\\n", pid);'), ("printf of three", 'printf("%d %s %d\\n", pid, comm, nsecs);'))


def run(report: Report) -> None:
    if BPFTRACE is None or os.geteuid():
        report.skip("probes beside bpftrace's", "bpftrace is not installed" if BPFTRACE is None else "needs root")
        return
    if not os.path.exists("/sys/kernel/tracing/events/syscalls"):
        report.skip("events drained, cost of a probe", "no tracefs with system calls here: --guest 6.1")
        return
    _cost(report)
    _drained(report)
    _attached(report)


# ---- cost of a probe ----

def _cost(report: Report) -> None:
    """Nanoseconds a run by the kernel's own statistics: both watch the same calls at the same time."""
    switch = Path("/proc/sys/kernel/bpf_stats_enabled")
    old = switch.read_text()
    switch.write_text("1")
    try:
        for what, action in _COSTS:
            costs = _costs(f"{_PROBE} {{ {action} }}", max(1, report.rounds // 2))
            if costs is None:
                report.skip(f"cost of a probe with {what}", "a tracer did not attach")
                continue
            ours, peer = costs
            report.add(Row(f"cost of a probe with {what}", f"{ours:.0f} ns", f"{peer:.0f} ns", ours / peer, 1.1))
    finally:
        switch.write_text(old)


def _costs(script: str, rounds: int) -> tuple[float, float] | None:
    """(ours, theirs): the medians of some rounds; None if one of them does not count the calls."""
    with ExitStack() as stack:
        programs = []
        for command in (OURS, (str(BPFTRACE),)):
            before = {program.id for program in _programs()}
            tracer = subprocess.Popen([*command, "-e", script], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(tracer.wait)
            stack.callback(tracer.terminate)
            found = _counting(tracer, before)
            if found is None:
                return None
            programs.append(found)
        spent: list[list[float]] = [[], []]
        for _ in range(rounds):
            then = {program.id: program for program in _programs()}
            subprocess.run([PYTHON, "-c", _CALLER, str(CALLS)], check=True)
            now = {program.id: program for program in _programs()}
            for id, costs in zip(programs, spent, strict=True):
                runs = now[id].run_count - then[id].run_count
                costs.append((now[id].run_time_ns - then[id].run_time_ns) / runs)
        return statistics.median(spent[0]), statistics.median(spent[1])


def _counting(tracer: subprocess.Popen[bytes], before: set[int]) -> int | None:
    """The tracer's program, once it is attached: the one that calls make count."""
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until and tracer.poll() is None:
        then = {program.id: program.run_count for program in _programs() if program.id not in before}
        for _ in range(200):
            os.getppid()
        for program in _programs():
            if program.id in then and program.run_count - then[program.id] >= 200:
                return program.id
        time.sleep(0.2)
    return None


def _programs() -> list[ProgramInfo]:
    from ebpf.kernel.programs import iter_programs

    return list(iter_programs())


# ---- lines ----

def _drained(report: Report) -> None:
    """Lines that arrive a second, from the first event until the last line can be read: what is lost does not count."""
    script = f'{_PROBE} /pid == cpid/ {{ printf("%d %s %d\\n", pid, comm, nsecs); }}'
    found: dict[str, list[tuple[float, int]]] = {"ours": [], "peer": []}
    for _ in range(max(1, report.rounds // 2)):
        for name, command in (("ours", OURS), ("peer", (str(BPFTRACE),))):
            found[name].append(_rate(command, script))
    for name, results in found.items():
        least = min(lines for _, lines in results)
        if least < CALLS:
            print(f"  {name}: of {CALLS:,} lines {least:,} arrived", file=sys.stderr)
    ours, peer = (statistics.median(speed for speed, _ in found[name]) for name in ("ours", "peer"))
    report.add(Row("lines printed a second", f"{ours:,.0f} /s", f"{peer:,.0f} /s", ours / peer if peer else None, 1.0,
                   at_least=True))


def _rate(command: Sequence[str], script: str) -> tuple[float, int]:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as caller:  # bpftrace 0.17 knows no quotes in a command
        caller.write(_CALLER)
        caller.flush()
        with subprocess.Popen([*command, "-e", script, "-c", f"{PYTHON} {caller.name} {CALLS}"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as tracer:
            assert tracer.stdout is not None
            said, last = bytearray(), 0.0
            while select.select([tracer.stdout], [], [], _PATIENCE_S)[0]:
                data = os.read(tracer.stdout.fileno(), 1 << 20)
                if not data:
                    break
                said += data
                if re.search(rb"^\d+ \S+ \d+$", data, re.M):
                    last = time.clock_gettime(time.CLOCK_MONOTONIC)
        stamps = [int(line.split()[2]) for line in said.splitlines() if line[:1].isdigit()]
        return (len(stamps) / (last - min(stamps) / 1e9) if stamps else 0.0), len(stamps)


# ---- tools ----

def _attached(report: Report) -> None:
    """Whole processes, which end as soon as everything is attached."""
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as folder:
        for tool in LARGE:
            if not (TOOLS / tool).exists():
                report.skip(tool, "bpftrace's tools are not installed")
                continue
            path = Path(folder, tool)
            path.write_text((TOOLS / tool).read_text() + "\ninterval:ms:1 { exit(); }\n")
            try:
                starts(report, f"{tool}, to its end once attached", [str(path)], [str(path)], TOOL_TARGETS)
            except RuntimeError as error:  # a function that this kernel lacks
                report.skip(tool, str(error).strip().splitlines()[-1])
