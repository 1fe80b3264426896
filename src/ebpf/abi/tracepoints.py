"""Layouts of the tracepoints that need no kernel to be known: those of system calls and processes.

The same on every 64-bit kernel since 4.17, so that a program can be compiled where tracefs may not be read, and run in
the userspace machine. Strings of variable length (``__data_loc``) stand behind the fixed part: a 32-bit word with the
offset from the record's start in its lower half and the length, the NUL included, in its upper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.syscalls import kernel_function_of, syscall_arguments, syscall_names

if TYPE_CHECKING:
    from collections.abc import Collection

#: the kernel's struct whose members tell which layout it has
FORK_STRUCT = "trace_event_raw_sched_process_fork"
HEADER_BYTES = 8  # common_type, common_flags, common_preempt_count, common_pid
ARGUMENTS_OFFSET = 16  # of a system call's first argument or result


class TracepointField(NamedTuple):
    """A field of a record; ``type`` is C with the brackets of an array behind it (``"char[16]"``)."""

    type: str
    name: str
    offset: int
    size: int
    signed: bool

    @property
    def is_string(self) -> bool:
        """Whether the text itself stands behind the fixed part."""
        return self.type.startswith("__data_loc")


_COMMON = (
    TracepointField("unsigned short", "common_type", 0, 2, False),
    TracepointField("unsigned char", "common_flags", 2, 1, False),
    TracepointField("unsigned char", "common_preempt_count", 3, 1, False),
    TracepointField("int", "common_pid", 4, 4, True),
)
# type:name:offset:size:signed
_ROWS = {
    # Older kernels (6.12 is one) have the names as arrays: `legacy` asks for that.
    "sched:sched_process_fork legacy": "char[16]:parent_comm:8:16:0|pid_t:parent_pid:24:4:1|"
                                       "char[16]:child_comm:28:16:0|pid_t:child_pid:44:4:1",
    "raw_syscalls:sys_enter": "long:id:8:8:1|unsigned long[6]:args:16:48:0",
    "raw_syscalls:sys_exit": "long:id:8:8:1|long:ret:16:8:1",
    "sched:sched_process_fork": "__data_loc char[]:parent_comm:8:4:0|pid_t:parent_pid:12:4:1|"
                                "__data_loc char[]:child_comm:16:4:0|pid_t:child_pid:20:4:1",
    "sched:sched_process_exec": "__data_loc char[]:filename:8:4:0|pid_t:pid:12:4:1|pid_t:old_pid:16:4:1",
    "sched:sched_process_exit": "char[16]:comm:8:16:0|pid_t:pid:24:4:1|int:prio:28:4:1|bool:group_dead:32:1:0",
    "task:task_newtask": "pid_t:pid:8:4:1|char[16]:comm:12:16:0|u64:clone_flags:32:8:0|short:oom_score_adj:40:2:1",
}


def tracepoint_fields(category: str, name: str, *, legacy: bool = False) -> tuple[TracepointField, ...] | None:
    """The fields of tracepoint ``category:name``, without the common ones; ``None`` if it is not one of these.

    ``legacy``: as older kernels have them, where that differs (`is_legacy` tells).
    """
    if category == "syscalls":
        return _syscall_fields(name)
    row = _ROWS.get(f"{category}:{name} legacy") if legacy else None
    row = row or _ROWS.get(f"{category}:{name}")
    if row is None:
        return None
    fields = []
    for text in row.split("|"):
        type, field, offset, size, signed = text.split(":")
        fields.append(TracepointField(type, field, int(offset), int(size), signed == "1"))
    return tuple(fields)


def _syscall_fields(name: str) -> tuple[TracepointField, ...] | None:
    enter = name.startswith("sys_enter_")
    if not enter and not name.startswith("sys_exit_"):
        return None
    function = name.partition("_")[2].partition("_")[2]
    arguments = syscall_arguments(function)
    if arguments is None or kernel_function_of(function) != function:
        return None
    number = TracepointField("int", "__syscall_nr", 8, 4, True)
    if not enter:
        return (number, TracepointField("long", "ret", ARGUMENTS_OFFSET, 8, True))
    return (number, *(TracepointField(type, name, ARGUMENTS_OFFSET + 8 * i, 8, False)
                      for i, (type, name) in enumerate(arguments)))


def tracepoint_format(category: str, name: str, *, legacy: bool = False) -> str | None:
    """The text that tracefs has in ``events/CATEGORY/NAME/format``, without the print format; ``None``: not known."""
    fields = tracepoint_fields(category, name, legacy=legacy)
    if fields is None:
        return None
    lines = [f"name: {name}", "ID: 0", "format:"]
    for group in (_COMMON, fields):
        for type, field, offset, size, signed in group:
            base, bracket, length = type.partition("[")
            if type.startswith("__data_loc"):
                base, bracket, length = type, "", ""
            lines.append(f"\tfield:{base} {field}{bracket}{length};\toffset:{offset};\tsize:{size};\t"
                         f"signed:{int(signed)};")
        lines.append("")
    return "\n".join(lines)


def tracepoints() -> list[str]:
    """All of them, as ``category:name``, sorted."""
    names = {f"syscalls:sys_{way}_{kernel_function_of(call)}" for call in syscall_names("x86_64").values()
             if syscall_arguments(call) is not None for way in ("enter", "exit")}
    return sorted({*(name for name in _ROWS if " " not in name), *names})


def is_legacy(fork_members: Collection[str] | None) -> bool:
    """Whether records have the older layout: by the members of the kernel's ``struct
    trace_event_raw_sched_process_fork``, ``None`` where its types are not known.
    """
    return fork_members is not None and "parent_comm" in fork_members
