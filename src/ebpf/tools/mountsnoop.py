"""File systems that are mounted and unmounted: ``mount``, ``umount2`` and ``move_mount``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, number_or_dash, text_column
from ebpf.tools._options import Options
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOUNT_FLAGS = {
    "MS_RDONLY": 1, "MS_NOSUID": 2, "MS_NODEV": 4, "MS_NOEXEC": 8, "MS_SYNCHRONOUS": 16, "MS_REMOUNT": 32,
    "MS_MANDLOCK": 64, "MS_DIRSYNC": 128, "MS_NOSYMFOLLOW": 256, "MS_NOATIME": 1024, "MS_NODIRATIME": 2048,
    "MS_BIND": 4096, "MS_MOVE": 8192, "MS_REC": 16384, "MS_SILENT": 32768, "MS_POSIXACL": 1 << 16,
    "MS_UNBINDABLE": 1 << 17, "MS_PRIVATE": 1 << 18, "MS_SLAVE": 1 << 19, "MS_SHARED": 1 << 20,
    "MS_RELATIME": 1 << 21, "MS_STRICTATIME": 1 << 24, "MS_LAZYTIME": 1 << 25,
}
_UMOUNT_FLAGS = {"MNT_FORCE": 1, "MNT_DETACH": 2, "MNT_EXPIRE": 4, "UMOUNT_NOFOLLOW": 8}
_MOVE_FLAGS = {"MOVE_MOUNT_F_SYMLINKS": 1, "MOVE_MOUNT_F_AUTOMOUNTS": 2, "MOVE_MOUNT_F_EMPTY_PATH": 4,
               "MOVE_MOUNT_T_SYMLINKS": 0x10, "MOVE_MOUNT_T_AUTOMOUNTS": 0x20, "MOVE_MOUNT_T_EMPTY_PATH": 0x40,
               "MOVE_MOUNT_SET_GROUP": 0x100, "MOVE_MOUNT_BENEATH": 0x200}


class Mount(NamedTuple):
    """One call: ``operation`` is ``"mount"``, ``"umount"`` or ``"move_mount"``; ``error`` (``"EBUSY"``) or ``""``.

    ``mount_namespace``: its number; ``None`` where a command is traced, whose kernel does not say.
    """

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    mount_namespace: int | None
    operation: str
    type: str
    source: str
    target: str
    data: str
    flags: str
    latency_us: float
    error: str

    @property
    def call(self) -> str:
        """As C would write it, with its result."""
        said = [f'"{self.source}"'] if self.operation != "umount" else []
        said.append(f'"{self.target}"')
        said += [f'"{self.type}"'] if self.operation == "mount" else []
        said.append(self.flags)
        said += [f'"{self.data}"'] if self.operation == "mount" else []
        return f"{self.operation}({', '.join(said)}) = {'-' + self.error if self.error else 0}"


class MountSnoop(EventTool):
    name = "mountsnoop"
    about = "Shows each mount, umount and move_mount, with its arguments and result."
    examples = (
        ("", "all of them"),
        ("--json", "as JSON, with the time that each took"),
        ("-- unshare -rm mount -t tmpfs none /mnt", "those of a command, as an ordinary user"),
    )
    columns = (
        text_column("COMM", "comm", 16), Column("PID", "pid", 7), Column("TID", "tid", 7),
        Column("MNT_NS", "mount_namespace", 10, number_or_dash), text_column("CALL", "call"),
    )

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Mount:
        who = record.who
        operation = ("mount", "umount", "move_mount")[int(record.operation)]
        names = {"mount": _MOUNT_FLAGS, "umount": _UMOUNT_FLAGS, "move_mount": _MOVE_FLAGS}[operation]
        flags = record.flags & ~0xffff0000 if operation == "mount" and record.flags >> 16 == 0xc0ed else record.flags
        return Mount(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm),
                     record.namespace or None, operation, _values.text(record.type), _values.text(record.source),
                     _values.text(record.target), _values.text(record.data), _values.flags(flags, names),
                     record.latency_ns / 1000, _values.error_name(record.result))


TOOL = MountSnoop()


def events(*, command: Sequence[str] = (), **options: Any) -> Iterator[Mount]:
    """The calls as they return; options as on the command line (``pid=``, ``comm=``, …).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
