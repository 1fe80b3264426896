"""Scripts compiled against facts that are given, run in the userspace machine, and read back as plain Python values."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from ebpf.compiler.trace import ScriptOptions
from ebpf.compiler.trace.compiler import compile_script
from ebpf.compiler.trace.plan import EVENTS, Plan, Type
from ebpf.machine import Machine
from ebpf.machine.environment import Clock, Task
from ebpf.object.reader import read_object
from tests.compiler.c.check_support import kernel

TASK = Task(pid=1234, tid=1235, uid=1000, gid=100, comm=b"worker", cgroup_id=77)
OPENAT = """name: sys_enter_openat
ID: 699
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;
\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;
\tfield:int flags;\toffset:32;\tsize:8;\tsigned:0;
\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;
"""
SAMPLE = """name: sample
ID: 1
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:int number;\toffset:8;\tsize:4;\tsigned:1;
\tfield:unsigned char small;\toffset:12;\tsize:1;\tsigned:0;
\tfield:short minus;\toffset:14;\tsize:2;\tsigned:1;
\tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:32;\tsize:4;\tsigned:0;
\tfield:unsigned char saddr[4];\toffset:36;\tsize:4;\tsigned:0;
"""
FORMATS = {
    ("syscalls", "sys_enter_openat"): OPENAT,
    ("syscalls", "sys_enter_open"): OPENAT.replace("openat", "open").replace(
        "\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;\n", ""
    ),
    ("test", "sample"): SAMPLE,
}
FUNCTIONS = ("vfs_read", "vfs_write", "vfs_open", "__x64_sys_open", "do_sys_openat2", "tcp_connect")


class FakeFacts:
    """Facts of a made-up kernel."""

    arch = "x86"
    kernel_id = "test"
    cpus_online = 2
    cpus_possible = 2
    page_size = 4096

    def __init__(self, btf: Any = False, kernel_version: int = 0x60C00) -> None:
        self._btf = kernel() if btf is False else btf
        self.kernel_version = kernel_version

    def btf(self) -> Any:
        return self._btf

    def module_btfs(self) -> tuple[Any, ...]:
        return ()

    def tracepoint_format(self, category: str, name: str) -> str | None:
        return FORMATS.get((category, name))

    def prepare(self) -> None:
        """All is at hand."""

    def kconfig(self, name: str) -> str | None:
        return None

    def syscall_prefix(self) -> str:
        return "__x64_sys_"

    def read_include(self, path: str) -> str | None:
        return None

    def functions(self, pattern: str) -> tuple[str, ...] | None:
        from fnmatch import fnmatchcase

        return tuple(f for f in FUNCTIONS if fnmatchcase(f, pattern))

    def tracepoints(self, pattern: str) -> tuple[str, ...] | None:
        from fnmatch import fnmatchcase

        return tuple(f"{c}:{n}" for c, n in FORMATS if fnmatchcase(f"{c}:{n}", pattern))

    def inode(self, path: str) -> int | None:
        return 4711 if path == "/sys/fs/cgroup/mine" else None

    def user_symbol(self, path: str, name: str) -> int | None:
        return {"main": 0x1000, "f": 0x4800, "variable": 0xB800}.get(name)

    def user_file(self, path: str) -> str | None:
        return None

    def user_types(self, path: str, name: str, near: str) -> bytes | None:
        return _program_types(name) if path == "/bin/x" else None


def _program_types(name: str) -> bytes:
    """``int take(int count, struct node *node)`` of a made-up program, as its DWARF would have it."""
    from ebpf.btf.types import Member, Struct
    from ebpf.btf.writer import Builder

    builder = Builder()
    number, text = builder.add_int("int", 4, signed=True), builder.add_int("char", 1, signed=True)
    if name == "take()":
        node = builder.add_ptr(builder.add_fwd("node"))
        builder.add_func("take", builder.add_func_proto(number, [("count", number), ("node", node)]))
    elif name == "struct node":
        own = builder.reserve()
        name_type = builder.add_array(text, 4, builder.add_int("index", 4))
        members = [("name", name_type, 0), ("next", builder.add_ptr(own), 64), ("size", number, 128)]
        builder.define(own, Struct(0, "node", 24, tuple(Member(n, t, at) for n, t, at in members)))
    else:
        return b""
    return builder.emit()


TEXT, ARGV, LONG_TEXT = 0x12000, 0x13000, 0x14000


class Memory:
    """The traced process's memory: a text, an array of pointers into it, a long text."""

    def __init__(self) -> None:
        argv = struct.pack("<QQQQ", TEXT, TEXT + 4, TEXT + 6, 0)
        parts = {TEXT: b"/tmp/file", ARGV: argv, LONG_TEXT: b"x" * 299}
        self.pages = {start: data.ljust(4096, b"\0") for start, data in parts.items()}

    def read(self, address: int, size: int) -> bytes:
        page, at = self.pages.get(address & ~4095, b""), address & 4095
        if at + size > len(page):
            raise OSError(14, "nothing is there")
        return page[at : at + size]

    def write(self, address: int, data: bytes) -> None:
        raise OSError(14, "nothing is there")


def kernel_memory(machine: Machine) -> tuple[int, int]:
    """A struct sock and a struct task_struct, its own parent; their addresses."""
    sock = bytearray(struct.pack("<IHHHxxxxxxQQ", 0x0100007F, 0x5000, 1234, 2, 0, 0xFFFFFFFFFFFFFFFE).ljust(64, b"\0"))
    task = bytearray(64)
    address = machine.environment.space.add(task, "the task")
    task[:48] = struct.pack("<iI16sQQQ", 4242, 3 | 5 << 3, b"parent", address, 99, address)
    return machine.environment.space.add(sock, "a socket"), address


SAMPLE_CONTEXT = struct.pack("<QiBxh16sI4B", 0, -9, 200, -3, b"shown", 40 | 5 << 16, 127, 0, 0, 1) + b"tail\0\0\0\0"
OPENAT_CONTEXT = struct.pack("<QqQQQQ", 0, 257, 3, TEXT, 0o102, 0o644)


class StoppedClock(Clock):
    def monotonic_ns(self) -> int:
        return 5_000_000_000

    def boot_ns(self) -> int:
        return 7_000_000_000


class Outcome(NamedTuple):
    """What a script left: its maps by name (a scalar's value, or a dict), and its records as (kind, text or map, values)."""

    maps: dict[str, Any]
    events: list[tuple[Any, ...]]
    plan: Plan
    machine: Machine


def run(
    script: str,
    *,
    params: tuple[str, ...] = (),
    facts: FakeFacts | None = None,
    task: Task = TASK,
    config: dict[str, str] | None = None,
) -> Outcome:
    """Compile ``script`` and run each of its probes once, in order."""
    compiled = compile_script(script, filename="test.bt", facts=facts or FakeFacts(),
                              options=ScriptOptions(params, tuple((config or {}).items())))
    obj = read_object(compiled.elf)
    machine = Machine(obj, task=task, clock=StoppedClock(), cpus=2, memory=Memory(), ksyms={"symbol": 0x1000})
    sock, address = kernel_memory(machine)
    machine.environment.task = task._replace(address=address)
    contexts = {
        "kprobe": {"parm1": sock, "parm2": TEXT, "parm3": 7, "ip": 0x1001},
        "kretprobe": {"rc": 42},
        "uprobe": {"parm1": TEXT, "ip": 0x5000},
    }
    for probe in compiled.plan.probes:
        machine.run(probe.program, ctx=context_of(probe) or contexts.get(probe.kind))
    return Outcome(read_maps(compiled.plan, machine), read_events(compiled.plan, machine), compiled.plan, machine)


def context_of(probe: Any) -> Any:
    if probe.kind == "tracepoint":
        return SAMPLE_CONTEXT if probe.details["event"] == "sample" else OPENAT_CONTEXT
    return None


def read_maps(plan: Plan, machine: Machine) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for m in plan.maps:
        found = machine.maps[m.map]
        kernel_key = found.next_key(None)
        entries: dict[Any, Any] = {}
        while kernel_key is not None:
            raw = found.lookup(kernel_key)
            cells = raw if isinstance(raw, (list, tuple)) else _split(bytes(raw), m.per_cpu)
            value = _aggregate(m.value, [bytes(c) for c in cells])
            if m.value.kind in ("hist", "lhist", "tseries"):
                bucket = struct.unpack("<Q", bytes(kernel_key)[-8:])[0]
                key = decode(m.key, bytes(kernel_key)) if m.key is not None else None
                entries.setdefault(key, {})[bucket] = value
            else:
                entries[decode(m.key, bytes(kernel_key)) if m.key is not None else None] = value
            kernel_key = found.next_key(kernel_key)
        out[m.name] = entries.get(None) if m.key is None else entries
    return out


def _split(raw: bytes, per_cpu: bool) -> list[bytes]:
    if not per_cpu:
        return [raw]
    size = len(raw) // 2
    return [raw[:size], raw[size:]]


def _aggregate(t: Type, cells: list[bytes]) -> Any:
    pairs = [struct.unpack("<qq", c[:16]) if len(c) >= 16 else (*struct.unpack("<q", c[:8]), 0) for c in cells]
    if t.kind in ("count", "sum", "hist", "lhist"):
        return sum(p[0] for p in pairs)
    if t.kind in ("avg", "stats"):
        return sum(p[0] for p in pairs), sum(p[1] for p in pairs)
    if t.kind in ("min", "max"):
        values = [p[0] for p in pairs if p[1]]
        return min(values) if t.kind == "min" else max(values)
    if t.kind == "tseries":
        return sum(p[0] for p in pairs)
    return decode(t, cells[0])


def decode(t: Type, raw: bytes) -> Any:
    """A value by the plan's description."""
    if t.kind in (
        "int",
        "bool",
        "pointer",
        "enum",
        "ksym",
        "username",
        "cgroup_path",
        "strerror",
        "timestamp",
        "kstack",
    ):
        return int.from_bytes(raw[: t.size], "little", signed=t.signed)
    if t.kind == "str":
        return raw[: t.size].split(b"\0")[0].decode()
    if t.kind == "buf":
        size = int.from_bytes(raw[:4], "little")
        return raw[4 : 4 + size]
    if t.kind in ("tuple", "record"):
        parts = [(n, decode(x, raw[at : at + x.size])) for n, at, x in t.args]
        return tuple(v for _, v in parts) if t.kind == "tuple" else dict(parts)
    if t.kind == "array":
        count, x = t.args
        return [decode(x, raw[i * x.size : (i + 1) * x.size]) for i in range(count)]
    if t.kind == "inet":
        family = int.from_bytes(raw[:8], "little")
        return family, raw[8 : 12 if family == 2 else 24]
    if t.kind in ("usym", "ustack"):
        return struct.unpack("<QI", raw[:12])
    if t.kind == "probe":
        return struct.unpack("<II", raw[:8])
    return raw[: t.size]


def read_events(plan: Plan, machine: Machine) -> list[tuple[Any, ...]]:
    out: list[tuple[Any, ...]] = []

    def take(*record: Any) -> None:
        raw = bytes(next(r for r in record if isinstance(r, (bytes, bytearray, memoryview))))
        number, extra = struct.unpack("<II", raw[:8])
        event = plan.events[number]
        if event.kind == "join":
            out.append(("join", event.text, *raw[8 : 8 + extra].split(b"\0")[:-1]))
            return
        assert len(raw) == event.size and not extra
        out.append((event.kind, event.text or event.map, *(decode(t, raw[at : at + t.size]) for at, t in event.args)))

    if EVENTS in machine.maps:
        machine.maps[EVENTS].consume(take)
    return out
