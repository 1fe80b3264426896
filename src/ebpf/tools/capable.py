"""Capabilities that the kernel asks processes for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, option
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator

# Number → name, in order (include/uapi/linux/capability.h).
_NAMES = ("CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
          "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
          "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
          "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON "
          "BPF CHECKPOINT_RESTORE").split()


class Check(NamedTuple):
    """A capability that a process needed for what it did, and whether it has it; ``audited``: a refusal is logged."""

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    capability: int
    name: str
    audited: bool
    granted: bool

    @property
    def verdict(self) -> str:
        """``"granted"`` or ``"refused"``."""
        return "granted" if self.granted else "refused"


class Capable(EventTool):
    name = "capable"
    about = "Shows each capability that the kernel asks of a process, and whether it has it: what it really needs."
    examples = (
        ("", "every question that may end in the audit log"),
        ("-x -p 181", "what process 181 was refused"),
        ("-a", "silent questions, too"),
    )
    options = (
        option("-x", "--refused", kind=bool, help="only what was refused"),
        option("-a", "--all", kind=bool, help="questions that are never logged, too"),
    )
    columns = (
        Column("UID", "uid", 6), Column("PID", "pid", 7), text_column("COMM", "comm", 16),
        Column("CAP", "capability", 4), text_column("NAME", "name", 22), text_column("RESULT", "verdict"),
    )
    kernel_only = "the kernel asks for capabilities inside system calls, where only a program in the kernel sees it"

    def settings(self, options: Options) -> dict[str, Any]:
        return {"all_questions": options.all, "refused_only": options.refused}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Check:
        who, number = record.who, record.capability
        return Check(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm), number,
                     f"CAP_{_NAMES[number]}" if 0 <= number < len(_NAMES) else str(number),
                     not record.options & 2, record.result == 0)


TOOL = Capable()


def events(**options: Any) -> Iterator[Check]:
    """Questions as they are answered; options as on the command line (``pid=``, ``refused=True``, …)."""
    return TOOL.run(options)
