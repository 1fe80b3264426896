"""What happens to the examples in a machine: events, packets and the time between them, the same for Python and C."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import ebpf
from ebpf.testing import Rig, load
from tests.examples.traffic import traffic

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "functions"

Fields = dict[str, Any]


class Event(NamedTuple):
    """One event at one program: its context's fields, or a packet; before it, time passes and a task comes in.

    A field may be a function that is given the rig: what it places in memory.
    """

    program: str
    fields: Fields | bytes
    after_ns: int = 1500
    task: Fields | None = None


def E(program: str, after_ns: int = 1500, task: Fields | None = None, **fields: Any) -> Event:
    return Event(program, fields, after_ns, task)


SHELL, CAT = {"pid": 70, "tid": 70, "comm": "sh", "uid": 1000}, {"pid": 71, "tid": 72, "comm": "cat", "uid": 0}
ENDS = {"skc_family": 2, "skc_rcv_saddr": 0x0100007F, "skc_daddr": 0x0801A8C0, "skc_dport": 0x5000, "skc_num": 40000}
SOCKET = {"sk_protocol": 6, "__sk_common": ENDS}


def words(*texts: str) -> Callable[[Rig], int]:
    """The arguments of a command, as execve is given them."""
    def place(rig: Rig) -> int:
        addresses = [*(rig.memory.user(t) for t in texts), 0]
        return rig.memory.user(b"".join(a.to_bytes(8, "little") for a in addresses))
    return place


def socket(name: str, **fields: Any) -> Callable[[Rig], int]:
    """A socket that stays where it is from one event to the next."""
    def place(rig: Rig) -> int:
        from ebpf.btf import codec

        known = _SOCKETS.setdefault(rig, {})
        if name not in known:
            machine = rig.session.machine
            btf = machine.kernel_types()
            id = btf.find("sock")
            known[name] = machine.environment.space.add(bytearray(codec(btf, id).encode({**SOCKET, **fields})), name,
                                                        writable=False)
        return known[name]
    return place


_SOCKETS: WeakKeyDictionary[Rig, dict[str, int]] = WeakKeyDictionary()


def states(name: str, *numbers: int, **fields: Any) -> list[Event]:
    """A socket's way through the states of TCP."""
    return [Event("set_state", {"args": (socket(name, **fields), old, new)}, 1_000_000)
            for old, new in zip(numbers, numbers[1:])]


_PACKET = bytes(12) + b"\x08\x00" + bytes(46)

EVENTS: dict[str, list[Event]] = {
    "hello": [E("hello", task=SHELL), E("hello", task=CAT)],
    "hello_autoattach": [E("clone", task=SHELL), E("clone")],
    "null_check": [E("checked", task=SHELL), E("checked")],  # `prepare` makes the entry
    "syscall_counter": [E("count", id=n) for n in (1, 0, 1, 257, 1)],
    "getdents": [E("getdents", task=SHELL), E("getdents", task=CAT)],
    "counter": [Event("count", _PACKET)] * 3,
    "firewall": [Event("firewall", data) for data in traffic()],
    "balancer": [Event("balance", data) for data in traffic()],
    "echo": [Event(name, _PACKET) for name in ("parser", "verdict")],
    "xdp_counter": [Event("count", _PACKET)] * 3,
    "open": [E("open", task=SHELL, filename="/etc/passwd"), E("open", filename="/" + "x" * 100), E("open", filename="")],
    "opensnoop": [
        E("enter_openat", task=SHELL, filename="/etc/passwd", flags=0o2000000),
        E("enter_openat", task=CAT, filename="/" + "y" * 300, flags=1),
        E("exit_openat", ret=-2), E("exit_openat", task=SHELL, ret=3), E("exit_openat", ret=4),
    ],
    "killsnoop": [
        E("enter_kill", task=SHELL, pid=99, sig=9), E("enter_kill", task=CAT, pid=-1, sig=0),
        E("exit_kill", ret=-3), E("exit_kill", task=SHELL, ret=0), E("exit_kill", ret=0),
    ],
    "exitsnoop": [E("process_exit", task=SHELL), E("process_exit", task=CAT)],
    "syscount": [
        E("sys_enter", task=SHELL, id=0), E("sys_exit", id=0, ret=0), E("sys_enter", id=1), E("sys_exit", id=1, ret=0),
        E("sys_exit", task=CAT, id=1, ret=0), E("sys_enter", id=2), E("sys_exit", 9_000_000, id=2, ret=-1),
    ],
    "execve": [
        E("execve", task=SHELL, filename="/bin/ls", argv=words("ls", "-l", "/" + "d" * 80)),
        E("execve", argv=words()), E("execve", argv=words(*"abcdefghijklmnopqrst")), E("execve", argv=0),
    ],
    "execsnoop": [
        E("execve", task=SHELL, filename="/bin/ls", argv=words("ls", "-l")), E("execve", filename="x", argv=words("x")),
        E("execve", task=CAT, filename="/" + "z" * 200, argv=words("z", "q" * 100)),
    ],
    "biolatency": [
        E("block_rq_issue", args=(4096,)), E("block_rq_issue", args=(8192,)), E("block_rq_complete", args=(4096,)),
        E("block_rq_complete", 700, args=(4096,)), E("block_rq_complete", 9_000_000, args=(8192,)),
        E("block_rq_issue", args=(4096,)), E("block_rq_complete", 10, args=(4096,)),
    ],
    "runqlat": [
        E("sched_wakeup", p={"pid": 5}), E("sched_wakeup", p={"pid": 0}), E("sched_wakeup_new", p={"pid": 6}),
        E("sched_switch", preempt=0, prev={"pid": 1}, next={"pid": 5}),
        E("sched_switch", 70_000, preempt=1, prev={"pid": 5}, next={"pid": 6}),
        E("sched_switch", 900, preempt=0, prev={"pid": 6}, next={"pid": 5}),
        E("sched_switch", preempt=0, prev={"pid": 5}, next={"pid": 0}),
    ],
    "tcpconnect": [
        E("tcp_v4_connect", task=SHELL, sk=socket("a")), E("tcp_v4_connected", ret=0),
        E("tcp_v4_connect", task=CAT, sk=socket("b")), E("tcp_v4_connected", ret=-111), E("tcp_v4_connected", ret=0),
    ],
    "tcplife": [
        Event("set_state", {"args": (socket("a"), 7, 2)}, task=SHELL), *states("a", 2, 1, 4, 5, 7),
        *states("u", 7, 2, 7, sk_protocol=17), *states("six", 7, 2, 7, __sk_common={**ENDS, "skc_family": 10}),
        Event("set_state", {"args": (socket("p"), 3, 1)}, task=CAT), *states("p", 1, 7), *states("x", 1, 7),
    ],
    "vfsstat": [E(name) for name in ("vfs_read", "vfs_read", "vfs_write", "vfs_fsync", "vfs_open", "vfs_create")],
}


class Seen(NamedTuple):
    """What programs left behind."""

    results: list[Any]
    maps: dict[str, Any]
    records: list[Any]
    printed: list[str]


class Cost(NamedTuple):
    """What was executed: instructions, and calls of helpers among them."""

    instructions: int
    calls: int


@contextmanager
def module(name: str) -> Iterator[ModuleType]:
    """The example of that name, imported anew."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        sys.modules.pop(name, None)
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))
        sys.modules.pop(name, None)


@cache
def in_c(name: str) -> ebpf.Object:
    return ebpf.compile(HERE / f"{name}.c")


def happen(rig: Rig, events: list[Event]) -> tuple[Seen, dict[str, Cost]]:
    """Have the events happen, one instruction after another; what came of it, and what it cost by program."""
    results: list[Any] = []
    costs: dict[str, Cost] = {}
    for event in events:
        rig.advance(ns=event.after_ns)
        if event.task is not None:
            rig.task.set(**event.task)
        packet, fields = (event.fields, None) if isinstance(event.fields, bytes) else (None, placed(rig, event.fields))
        stepper = rig.session.machine.step(event.program, packet, ctx=fields)
        calls = 0
        while not stepper.finished:
            calls += stepper.text.startswith("call bpf_")
            stepper.step()
        results.append(stepper.result)
        before = costs.get(event.program, Cost(0, 0))
        costs[event.program] = Cost(before.instructions + stepper.steps, before.calls + calls)
    return Seen(results, *left(rig)), costs


def placed(rig: Rig, value: Any) -> Any:
    """The fields of an event with addresses in place of what is to be in memory."""
    if isinstance(value, dict):
        return {k: placed(rig, v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(placed(rig, v) for v in value)
    return value(rig) if callable(value) else value


def left(rig: Rig) -> tuple[dict[str, Any], list[Any], list[str]]:
    maps: dict[str, Any] = {}
    records: list[Any] = []
    for name, m in rig.maps.items():
        if m.type.name == "RINGBUF":
            records += [plain(r) for r in rig.events(name)]
        elif not name.startswith("."):
            maps[name] = sorted((plain(k), plain(v)) for k, v in m.items())
    maps["variables"] = {name: rig.variables[name] for name in rig.variables}
    return maps, records, rig.printed


def plain(value: Any) -> Any:
    """A record as a tuple of what C's would hold, whatever the names of types and their byte order."""
    if isinstance(value, ebpf.Struct):
        return tuple(swapped(f.type, v) for f, v in zip(type(value).fields.values(), value, strict=True))
    return tuple(plain(v) for v in value) if isinstance(value, (tuple, list)) else value


def swapped(type: Any, value: Any) -> Any:
    return int.from_bytes(value.to_bytes(type.size, "big"), "little") if getattr(type, "big", False) else plain(value)


def both(name: str, prepare: Callable[[Rig], None] | None = None, **options: Any) -> list[tuple[Seen, dict[str, Cost]]]:
    """The example in Python and in C, each in a machine of its own, after the same events."""
    out = []
    with module(name) as example:
        for source in (list(example.PROGRAMS), in_c(name)):
            with load(source, **options) as rig:
                if prepare is not None:
                    prepare(rig)
                out.append(happen(rig, EVENTS[name]))
    return out
