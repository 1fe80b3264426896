"""The tracing language on real events: tools from their start until they are attached, lines drained, cost of a probe.

Needs tracefs and attaches system-wide: a guest is the place for it (``./dev bench --guest 6.1 trace_events``). The peer
is bpftrace. Emulation slows everything down there by ten to twenty: ratios are what to read.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import PYTHON, Report, Row, rate
from bench.trace import BPFTRACE, LARGE, OURS, TOOL_TARGETS, TOOLS, starts

if TYPE_CHECKING:
    from collections.abc import Sequence

CALLS = 100_000


def run(report: Report) -> None:
    if BPFTRACE is None or os.geteuid():
        report.skip("probes beside bpftrace's", "bpftrace is not installed" if BPFTRACE is None else "needs root")
        return
    if not os.path.exists("/sys/kernel/tracing/events/syscalls"):
        report.skip("events drained, cost of a probe", "no tracefs with system calls here: --guest 6.1")
        return
    _attached(report)
    _events(report)
    _cost(report)


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
