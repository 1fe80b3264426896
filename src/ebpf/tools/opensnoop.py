"""Files that are opened, or could not be: ``open``, ``openat`` and ``openat2`` of every process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, number_or_dash, text_column
from ebpf.tools._options import Options, option
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FLAGS = {"O_WRONLY": 1, "O_RDWR": 2, "O_CREAT": 0o100, "O_EXCL": 0o200, "O_NOCTTY": 0o400, "O_TRUNC": 0o1000,
          "O_APPEND": 0o2000, "O_NONBLOCK": 0o4000, "O_TMPFILE": 0o20200000, "O_SYNC": 0o4010000, "O_DSYNC": 0o10000,
          "O_DIRECT": 0o40000, "O_LARGEFILE": 0o100000, "O_DIRECTORY": 0o200000, "O_NOFOLLOW": 0o400000,
          "O_NOATIME": 0o1000000, "O_CLOEXEC": 0o2000000, "O_PATH": 0o10000000}


class Open(NamedTuple):
    """A file that was opened: ``fd``, or ``error`` (``"ENOENT"``) where that failed; ``path`` as it was given."""

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    fd: int | None
    error: str
    flags: str
    mode: int
    path: str


class OpenSnoop(EventTool):
    name = "opensnoop"
    about = "Shows each file that a process opens, as the call returns: the descriptor, or the error."
    examples = (
        ("", "every file that is opened"),
        ("-p 181", "by process 181"),
        ("-x -n nginx", "what processes called nginx fail to open"),
        ("-w -d /etc", "paths that hold /etc, with the flags"),
        ("--json -- make", "by make and all it starts, as an ordinary user"),
    )
    options = (
        option("-x", "--failed", kind=bool, help="only what could not be opened"),
        option("-w", "--flags", kind=bool, help="show the flags"),
        option("-U", "--show-uid", kind=bool, help="show the user"),
        option("-d", "--path", metavar="TEXT", help="only paths that hold this text"),
    )
    columns = (
        Column("UID", "uid", 6, option="show_uid"), Column("PID", "pid", 7), text_column("COMM", "comm", 16),
        Column("FD", "fd", 4, number_or_dash), text_column("ERROR", "error", 9),
        text_column("FLAGS", "flags", 24, option="flags"), text_column("PATH", "path"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        return {"failed_only": options.failed}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Open | None:
        path = _values.text(record.path)
        if options.path is not None and options.path not in path:
            return None
        who, result = record.who, record.result
        return Open(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm),
                    result if result >= 0 else None, _values.error_name(result),
                    _values.flags(record.flags & 0xffffffff, _FLAGS, none="O_RDONLY"), record.mode, path)


TOOL = OpenSnoop()


def events(*, command: Sequence[str] = (), **options: Any) -> Iterator[Open]:
    """Files as they are opened; options as on the command line (``pid=``, ``comm=``, ``failed=True``, …).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
