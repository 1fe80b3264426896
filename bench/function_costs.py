"""What an event costs in the kernel: each example that is Python functions beside the same program in C.

Both have the same events, in turns. Packets are the kernel's own test runs, many at once. Programs of other hooks run
as raw tracepoints, whose test runs the kernel makes on the caller's memory; it counts their time itself. What needs its
hook (pointers of the kernel, printing) is measured where it is attached, in a guest:
``python -m bench function_costs --guest 6.1``.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ebpf
from bench.harness import Report, Row

ROOT = Path(__file__).parents[1]
MOST = 1.1
PACKETS, EVENTS, TURNS = 200_000, 50, 10
VIRTUAL = 0xCB007101
UDP = bytes.fromhex("02000000000a 02000000000b 0800 45000030 00070000 40110000 c6336401 cb007101"
                    "0fa00035 00200000") + bytes(16)

_TEXT = ctypes.create_string_buffer(b"/usr/bin/some-command-of-ours")
_WORDS = (ctypes.c_uint64 * 4)(*[ctypes.addressof(_TEXT)] * 3, 0)
PATH, ARGV = ctypes.addressof(_TEXT), ctypes.addressof(_WORDS)

# An example's events: its programs in turn, each with the words of its context.
AS_TRACEPOINTS: dict[str, list[tuple[str, list[int]]]] = {
    "null_check": [("checked", [])],
    "syscall_counter": [("count", [0, 1])],
    "getdents": [("getdents", [0, 217])],
    "execve": [("execve", [0, 59, PATH, ARGV])],
    "open": [("open", [0, 2, PATH])],
    "opensnoop": [("enter_openat", [0, 257, 0, PATH]), ("exit_openat", [0, 257, 3])],
    "execsnoop": [("execve", [0, 59, PATH, ARGV])],
    "exitsnoop": [("process_exit", [])],
    "killsnoop": [("enter_kill", [0, 62, 1, 9]), ("exit_kill", [0, 62, 0])],
    "syscount": [("sys_enter", [0, 1]), ("sys_exit", [0, 1, 0])],
    "biolatency": [("block_rq_issue", [4096]), ("block_rq_complete", [4096])],
    "vfsstat": [("vfs_read", [])],
}
# Names of examples that are attached, in a guest.
ATTACHED = ("hello", "hello_autoattach", "runqlat", "tcpconnect", "tcplife")


def run(report: Report) -> None:
    sys.path[:0] = [str(ROOT), str(ROOT / "examples" / "functions")]
    try:
        with ebpf.load(ebpf.compile('char LICENSE[] SEC("license") = "GPL";'), backend="kernel"):
            pass
    except ebpf.EbpfError as error:
        report.skip("what events cost", str(error).partition("\n")[0])
        return
    for name in ("xdp_counter", "counter", "firewall", "balancer"):
        _packets(report, name)
    try:
        statistics = ebpf.inventory.statistics()
    except ebpf.EbpfError as error:
        report.skip("what events cost, by the kernel's count", str(error).partition("\n")[0])
        return
    with statistics:
        for name, events in AS_TRACEPOINTS.items():
            _events(report, name, events)
        if Path("/sys/kernel/tracing/events/syscalls").exists():
            for name in ATTACHED:
                _attached(report, name)
        else:
            report.skip(f"what events cost: {', '.join(ATTACHED)}", "need their hooks: --guest 6.1")


@contextlib.contextmanager
def _both(name: str, **options: Any) -> Iterator[tuple[ModuleType, ebpf.Session, ebpf.Session]]:
    example = importlib.import_module(name)
    obj = ebpf.compile(ROOT / "tests" / "examples" / f"{name}.c")
    with ebpf.load(list(example.PROGRAMS), backend="kernel", **options) as ours, \
            ebpf.load(obj, backend="kernel", **options) as theirs:
        yield example, ours, theirs


def _packets(report: Report, name: str) -> None:
    options = {"variables": {"virtual": VIRTUAL}} if name == "balancer" else {}
    with _both(name, **options) as (_, ours, theirs):
        times: tuple[list[float], list[float]] = ([], [])
        for session in (ours, theirs):
            if name == "balancer":  # to the address that it came to: the next run has what this one leaves
                there = VIRTUAL if session is ours else int.from_bytes(VIRTUAL.to_bytes(4, "big"), "little")
                session.maps["backends"][0] = {"address": there, "mac": [2, 0, 0, 0, 0, 1]}
                session.variables["count"] = 1
            if name == "firewall":
                for network in ("10.0.0.0/8", "192.0.2.128/25"):
                    session.maps["networks"][network] = 0
                session.maps["ports"][25] = 1
        for _ in range(report.rounds + 1):
            for session, mine in zip((ours, theirs), times, strict=True):
                (program,) = session.programs.values()
                mine.append(program.test_run(UDP, repeat=PACKETS).duration_ns)
    _add(report, f"{name}, a packet", *(min(t[1:] or t) for t in times))


def _events(report: Report, name: str, events: list[tuple[str, list[int]]]) -> None:
    types = {program.name: ebpf.ProgType.RAW_TRACEPOINT for program in importlib.import_module(name).PROGRAMS}
    contexts = [(program, b"".join(word.to_bytes(8, "little") for word in (words + [0] * 12)[:12]))
                for program, words in events]
    with _both(name, types=types) as (_, ours, theirs):
        times: tuple[list[float], list[float]] = ([], [])
        if name == "null_check":
            for session in (ours, theirs):
                session.maps["syscalls"][56] = {"calls": 0}
        for _ in range(TURNS * report.rounds):  # short turns: what disturbs one of them is seen, and left out
            for session, mine in zip((ours, theirs), times, strict=True):
                _drain(session)
                before = _spent(session)
                for _ in range(EVENTS):
                    for program, context in contexts:
                        session.programs[program].test_run(context=context)
                spent, runs = (b - a for a, b in zip(before, _spent(session), strict=True))
                mine.append(spent / runs * len(contexts))
    _add(report, f"{name}, an event", *(min(t) for t in times))


def _attached(report: Report, name: str) -> None:
    from tests.examples.live import LIVE

    work = LIVE["hello" if name == "hello_autoattach" else name].work
    with _both(name) as (_, ours, theirs):
        ours.attach()
        theirs.attach()
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(report.rounds + 1):
            before = _spent(ours), _spent(theirs)
            for _ in range(5):
                work()
            for session, then, mine in zip((ours, theirs), before, times, strict=True):
                spent, runs = (b - a for a, b in zip(then, _spent(session), strict=True))
                if runs:
                    mine.append(spent / runs)
                _drain(session)
    _add(report, f"{name}, an event", *(min(t[1:] or t) for t in times))


def _spent(session: ebpf.Session) -> tuple[int, int]:
    """Nanoseconds of the session's programs, and how often they ran."""
    infos = [program.info for program in session.programs.values()]
    return sum(info.run_time_ns for info in infos), sum(info.run_count for info in infos)


def _drain(session: ebpf.Session) -> None:
    """Make room in the ring buffers, so that each event goes the whole way."""
    for m in session.maps.values():
        if m.type.name == "RINGBUF":
            with m.events(timeout=0) as stream:
                for _ in stream:
                    pass


def _add(report: Report, name: str, ours: float, theirs: float) -> None:
    report.add(Row(f"{name}: Python and C (in the kernel)", f"{ours:.0f} ns", f"{theirs:.0f} ns", ours / theirs, MOST))
