"""What a program finds in its context, made of a tracer's event: registers, tracepoint records, raw arguments."""

from __future__ import annotations

from struct import Struct, pack, pack_into, unpack
from typing import TYPE_CHECKING

from ebpf.abi.registers import REGISTERS
from ebpf.abi.syscalls import number_of
from ebpf.abi.tracepoints import HEADER_BYTES, TracepointField
from ebpf.errors import TargetNotFound
from ebpf.machine.tracing.events import Exec, Exit, Fork, Hook, SyscallEnter, SyscallExit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.machine.hooks.kernel_task import KernelTask
    from ebpf.machine.memory import AddressSpace
    from ebpf.machine.tracing.arch import Arch
    from ebpf.machine.tracing.events import Event

    Context = bytes | Sequence[int]
    #: a tracer's hook, how to make the context of its events
    Made = tuple[Hook, Callable[[Event], Context]]

M64 = 0xFFFFFFFFFFFFFFFF
_AT_FDCWD = -100 & 0xFFFFFFFF
_CREAT_FLAGS = 0o1101  # O_CREAT | O_WRONLY | O_TRUNC
_OPEN_HOW_BYTES = 24
_REGS_BYTES = 336  # aarch64's struct pt_regs; x86-64's has 168


class KernelRegisters:
    """The ``struct pt_regs`` that the kernel would keep of the task at its entry: readable, at one address."""

    def __init__(self, space: AddressSpace, arch: Arch) -> None:
        self._arch = arch
        self._buffer = bytearray(_REGS_BYTES)
        self.address = space.add(self._buffer, "the traced task's registers", writable=False)
        self._how = bytearray(_OPEN_HOW_BYTES)
        self.how_address = space.add(self._how, "the traced call's struct open_how", writable=False)
        self.words = 21 if arch.name == "x86_64" else 34

    def show(self, event: Event) -> None:
        """Put an event's registers there."""
        size = self.words * 8
        self._buffer[:size] = event.register_bytes[:size]
        if self._arch.name == "aarch64":  # orig_x0, syscallno
            pack_into("<QQ", self._buffer, size, event.registers[0], event.number & M64)

    def show_how(self, flags: int, mode: int, resolve: int = 0) -> int:
        """A struct open_how; its address."""
        pack_into("<QQQ", self._how, 0, flags & M64, mode & M64, resolve & M64)
        return self.how_address


def wrapper_context(regs: KernelRegisters, event: Event) -> bytes:
    """kprobe on ``__x64_sys_…``: the first argument points to the user's registers."""
    regs.show(event)
    context = bytearray(regs.words * 8)
    pack_into("<Q", context, event.arch.call_arguments[0] * 8, regs.address)
    return bytes(context)


def function_context(regs: KernelRegisters, rules: tuple[int | str, ...], event: Event) -> bytes:
    """kprobe on a function with arguments of its own, which are the call's or what the kernel makes of them."""
    context = bytearray(regs.words * 8)
    arguments = event.arguments
    for place, rule in zip(event.arch.call_arguments, rules, strict=False):
        value = arguments[rule] if isinstance(rule, int) else _MADE[rule](regs, event, arguments)
        pack_into("<Q", context, place * 8, value & M64)
    return bytes(context)


def _open_how(regs: KernelRegisters, flags: int, mode: int) -> int:
    # The mode counts only for a file that is made: O_CREAT, O_TMPFILE.
    return regs.show_how(flags & 0xFFFFFFFF, mode & 0o7777 if flags & 0o20000100 else 0)


def _openat2_how(regs: KernelRegisters, event: Event, arguments: tuple[int, ...]) -> int:
    try:
        return regs.show_how(*unpack("<QQQ", event.task.memory.read(arguments[2], _OPEN_HOW_BYTES)))
    except OSError:
        return 0


# The names among a function's rules (`targets`).
_MADE: dict[str, Callable[[KernelRegisters, Event, tuple[int, ...]], int]] = {
    "at_fdcwd": lambda regs, event, arguments: _AT_FDCWD,
    "creat_flags": lambda regs, event, arguments: _CREAT_FLAGS,
    "open_how": lambda regs, event, arguments: _open_how(regs, arguments[1], arguments[2]),
    "openat_how": lambda regs, event, arguments: _open_how(regs, arguments[2], arguments[3]),
    "creat_how": lambda regs, event, arguments: _open_how(regs, _CREAT_FLAGS, arguments[1]),
    "openat2_how": _openat2_how,
}


def return_context(regs: KernelRegisters, event: Event) -> bytes:
    """kretprobe: the result, and nothing else that a kernel would promise."""
    context = bytearray(regs.words * 8)
    pack_into("<Q", context, event.arch.result * 8, event.result & M64)
    return bytes(context)


def user_context(event: Event, size: int) -> bytes:
    """uprobe: the task's own registers."""
    return bytes(event.register_bytes[:size])


def perf_event_context(event: Event | None, size: int, period: int) -> bytes:
    """``struct bpf_perf_event_data``: registers, the period, no address."""
    registers = bytes(event.register_bytes[:size]) if event is not None and event.has_registers else bytes(size)
    return registers.ljust(size, b"\0") + pack("<QQ", period, 0)


def header(tid: int) -> bytes:
    """The first eight bytes of a tracepoint's record."""
    return pack("<HBBi", 0, 0, 0, tid)


def syscall_tracepoint(category: str, name: str, count: int, arch: str) -> Made:
    """``syscalls:…`` and ``raw_syscalls:…``: hook and record. ``count``: of the arguments."""
    leave = name.startswith("sys_exit")
    number = None if category == "raw_syscalls" else number_of(name.partition("_")[2].partition("_")[2], arch)
    if number is None and category == "syscalls":
        raise TargetNotFound(f"{arch} has no system call for the tracepoint {name}", name=name)
    if leave:
        exit_pack = Struct("<HBBiqq").pack
        return SyscallExit(number), lambda event: exit_pack(0, 0, 0, event.task.tid, event.number, event.result)
    count = 6 if number is None else count
    enter_pack = Struct(f"<HBBiq{count}Q").pack
    return SyscallEnter(number), lambda event: enter_pack(0, 0, 0, event.task.tid, event.number,
                                                          *event.arguments[:count])


def _fork_values(event: Event) -> dict[str, int | bytes]:
    comm = event.task.comm
    return {"parent_comm": comm, "parent_pid": event.task.tid, "child_comm": comm, "child_pid": event.child}


# Tracepoints of processes: the values of their fields.
PROCESS_RECORDS: dict[str, Callable[[Event], dict[str, int | bytes]]] = {
    "sched_process_fork": _fork_values,
    "sched_process_exec": lambda event: {"filename": event.file_name, "pid": event.task.tid, "old_pid": event.former},
    "sched_process_exit": lambda event: {"comm": event.task.comm, "pid": event.task.tid, "prio": 120,
                                         "group_dead": event.group_dead},
    "task_newtask": lambda event: {"pid": event.child, "comm": event.task.comm, "clone_flags": event.clone_flags},
}


def _shown(regs: KernelRegisters, event: Event) -> int:
    regs.show(event)
    return regs.address


def _current(tasks: KernelTask | None, event: Event) -> int:
    return tasks.show(event) if tasks is not None else 0


def _child(tasks: KernelTask | None, event: Event) -> int:
    return tasks.show_child(event) if tasks is not None else 0


# Raw tracepoints: hook, and the arguments as words. Where the kernel's types are not known, a task's address is 0; that
# of a struct linux_binprm always is.
RAW_TRACEPOINTS: dict[str, tuple[Hook, Callable[[KernelRegisters, Event, KernelTask | None], Context]]] = {
    "sys_enter": (SyscallEnter(), lambda regs, event, tasks: (_shown(regs, event), event.number)),
    "sys_exit": (SyscallExit(), lambda regs, event, tasks: (_shown(regs, event), event.result)),
    "sched_process_fork": (Fork(), lambda regs, event, tasks: (_current(tasks, event), _child(tasks, event))),
    "sched_process_exec": (Exec(), lambda regs, event, tasks: (_current(tasks, event), event.former, 0)),
    "sched_process_exit": (Exit(), lambda regs, event, tasks: (_current(tasks, event), event.group_dead)),
    "task_newtask": (Fork(), lambda regs, event, tasks: (_child(tasks, event), event.clone_flags)),
}


def record(fields: tuple[TracepointField, ...], values: dict[str, int | bytes], tid: int) -> bytes:
    """A tracepoint's record: ``values`` by field; strings of variable length go behind the rest."""
    end = max((field.offset + field.size for field in fields), default=HEADER_BYTES)
    data = bytearray(end)
    data[:HEADER_BYTES] = header(tid)
    for field in fields:
        value = values.get(field.name, 0)
        if field.is_string:
            assert isinstance(value, bytes)
            pack_into("<I", data, field.offset, (len(value) + 1) << 16 | len(data))
            data += value + b"\0"
        elif isinstance(value, bytes):
            data[field.offset:field.offset + field.size] = value[:field.size - 1].ljust(field.size, b"\0")
        else:
            data[field.offset:field.offset + field.size] = (value & (1 << 8 * field.size) - 1).to_bytes(
                field.size, "little")
    data += bytes(-len(data) % 8)
    return bytes(data)


def regs_bytes(arch: str) -> int:
    """The size of ``struct pt_regs`` as a program's context."""
    return 168 if arch == "x86_64" or arch not in REGISTERS else 336
