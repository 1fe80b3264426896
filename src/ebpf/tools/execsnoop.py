"""Programs that are run, with their arguments: ``execve`` and ``execveat`` of every process."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, number, option
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEAD = Struct("=QIII16s4xIiII")  # `struct executed` up to its arguments


class Exec(NamedTuple):
    """A program that a process became: ``arguments`` as given (its path in place of the first), cut where there are
    many.

    ``error`` (``"ENOENT"``) where that failed, else ``""``; ``more``: how many arguments are not shown.
    """

    time: float
    pid: int
    ppid: int
    uid: int
    comm: str
    error: str
    arguments: tuple[str, ...]
    more: int

    @property
    def line(self) -> str:
        """The command in one line, quoted as a shell would need it."""
        from shlex import quote

        return " ".join(map(quote, self.arguments)) + (f" ... ({self.more} more)" if self.more else "")


class ExecSnoop(EventTool):
    name = "execsnoop"
    about = "Shows each program that is run, with its arguments: short-lived processes that top never sees."
    examples = (
        ("", "every program that is run"),
        ("-x", "those that could not be, too"),
        ("-T -U", "with the time and the user"),
        ("-n sh", "programs that are called sh (the name after it was run)"),
        ("--container web", "in the container web"),
        ("-- make", "by make and all it starts, as an ordinary user"),
    )
    options = (
        option("-x", "--failed", kind=bool, help="show failures, too"),
        option("-U", "--show-uid", kind=bool, help="show the user"),
        option("--max-args", kind=number, default=20, metavar="N", help="arguments that are shown at most, up to 31"),
        option("-l", "--line", metavar="TEXT", help="only commands that hold this text"),
    )
    filters = ("uid", "comm", "cgroup", "container")
    columns = (
        Column("UID", "uid", 6, option="show_uid"), text_column("COMM", "comm", 16), Column("PID", "pid", 7),
        Column("PPID", "ppid", 7), text_column("ERROR", "error", 7), text_column("ARGS", "line"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        # The name changes with the call: it is looked at here, afterwards.
        return {"failed_too": options.failed, "words_shown": min(options.max_args, 31), "any_comm": True}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Exec | None:
        time_ns, pid, _, uid, comm, ppid, result, count, length = _HEAD.unpack_from(record)
        raw = bytes(record[_HEAD.size:_HEAD.size + length]).split(b"\0")[:-1]
        comm = comm.rstrip(b"\0")
        if options.comm is not None and comm != _values.cut_comm(options.comm):
            return None
        found = Exec(clock.seconds(time_ns), pid, ppid, uid, _values.text(comm), _values.error_name(result),
                     tuple(map(_values.text, raw)), max(count + 1 - len(raw), 0))
        return found if options.line is None or options.line in found.line else None


TOOL = ExecSnoop()


def events(*, command: Sequence[str] = (), **options: Any) -> Iterator[Exec]:
    """Programs as they are run; options as on the command line (``comm=``, ``failed=True``, …).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
