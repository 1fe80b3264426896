"""Tracing a command that makes 100,000 system calls: all of them probed, beside strace -f; none probed, beside nothing.

The program counts calls by process in a hash map. ``waits``: one that reads the task's memory, for which every call
stands still until the program has run.
"""

from __future__ import annotations

import os
import shutil
import statistics
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.harness import Report, Row, ms

if TYPE_CHECKING:
    from ebpf.object import Object

CALLS = 100_000
WAITING_CALLS = 20_000
_COMMAND = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int main(int argc, char **argv) { for (long n = atol(argv[1]); n; n--) syscall(SYS_getppid); return 0; }
"""
_COUNT = """
BPF_HASH(calls, u32, u64);
TRACEPOINT_PROBE(raw_syscalls, sys_enter) {
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    calls.increment(pid);
    return 0;
}
TRACEPOINT_PROBE(syscalls, sys_enter_chdir) { return 0; }
int reads(struct pt_regs *ctx) {
    u32 pid = 0;
    bpf_probe_read_user(&pid, sizeof pid, (void *)PT_REGS_SP(ctx));
    calls.increment(pid);
    return 0;
}
"""


def run(report: Report) -> None:
    if shutil.which("gcc") is None:
        report.skip("tracing a command", "gcc is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "calls.c")
        source.write_text(_COMMAND)
        command = str(source.with_suffix(""))
        subprocess.run(["gcc", "-O2", str(source), "-o", command], check=True)
        _all_probed(report, command)
        _none_probed(report, command)


def _all_probed(report: Report, command: str) -> None:
    import ebpf

    obj = ebpf.compile(_COUNT, dialect="bcc")
    strace = shutil.which("strace")
    if strace is None:
        report.skip("tracing beside strace", "strace is not installed")
    for name, calls, kind, program, target in (
            (f"{CALLS:,} system calls, all probed", CALLS, "tracepoint", "tracepoint__raw_syscalls__sys_enter",
             "raw_syscalls:sys_enter"),
            (f"{WAITING_CALLS:,} that wait for a program", WAITING_CALLS, "kprobe", "reads", "sys_getppid")):
        ours, theirs = [], []
        for _ in range(max(1, report.rounds // 2)):
            ours.append(_traced(obj, command, calls, kind, program, target))
            if strace is not None:
                start = time.perf_counter()
                subprocess.run([strace, "-f", "-o", os.devnull, command, str(calls)], check=True)
                theirs.append(time.perf_counter() - start)
        mine = statistics.median(ours)
        other = statistics.median(theirs) if theirs else None
        # Waiting takes two more switches between processes than strace does, cheap or dear as it pleases the scheduler.
        report.add(Row(name, ms(mine), ms(other) if other else "-", mine / other if other else None,
                       1.0 if kind == "tracepoint" else None))


def _none_probed(report: Report, command: str) -> None:
    import ebpf

    obj = ebpf.compile(_COUNT, dialect="bcc")
    ours, theirs = [], []
    for _ in range(report.rounds * 3):
        ours.append(_traced(obj, command, CALLS, "tracepoint", "tracepoint__syscalls__sys_enter_chdir",
                            "syscalls:sys_enter_chdir"))
        start = time.perf_counter()
        os.waitpid(os.posix_spawn(command, [command, str(CALLS)], os.environ), 0)
        theirs.append(time.perf_counter() - start)
    mine, other = statistics.median(ours), statistics.median(theirs)
    report.add(Row(f"{CALLS:,} system calls, none probed", ms(mine), ms(other), mine / other, 1.5))


def _traced(obj: Object, command: str, calls: int, kind: str, program: str, target: str) -> float:
    """Seconds from the command's release to its end."""
    from ebpf.machine import Machine
    from ebpf.machine.hooks import Hooks
    from ebpf.machine.tracing import Tracer

    machine = Machine(obj)
    with Tracer([command, str(calls)]) as tracer:
        Hooks(machine, tracer).attach(kind, program, target)
        start = time.perf_counter()
        tracer.release()
        while not tracer.ended:
            tracer.dispatch(1)
        seconds = time.perf_counter() - start
    counted = struct.iter_unpack("=Q", machine.maps["calls"].read_all().values)
    assert tracer.exit_status == 0 and (program.endswith("chdir") or sum(n for n, in counted) >= calls)
    return seconds
