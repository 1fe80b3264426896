"""Processes that end: how old they were, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, decimals, text_column
from ebpf.tools._options import Options, option
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Exit(NamedTuple):
    """A process (or thread) that ended after ``age_s`` seconds, with ``status`` or by ``signal`` (``""``: none)."""

    time: float
    pid: int
    tid: int
    ppid: int
    uid: int
    comm: str
    age_s: float
    status: int
    signal: str
    core_dumped: bool

    @property
    def reason(self) -> str:
        """In words: ``"0"``, ``"status 3"``, ``"SIGKILL"``."""
        if self.signal:
            return self.signal + (" (core dumped)" if self.core_dumped else "")
        return f"status {self.status}" if self.status else "0"


class ExitSnoop(EventTool):
    name = "exitsnoop"
    about = "Shows each process that ends: how long it ran, and its exit status or the signal that ended it."
    examples = (
        ("", "every process that ends"),
        ("-x", "those that failed or were killed"),
        ("-p 181 --threads", "threads of process 181"),
        ("-- make", "what make starts, as an ordinary user"),
    )
    options = (
        option("-x", "--failed", kind=bool, help="only those with another status than 0, or ended by a signal"),
        option("--threads", kind=bool, help="threads, too"),
    )
    columns = (
        text_column("COMM", "comm", 16), Column("PID", "pid", 7), Column("PPID", "ppid", 7), Column("TID", "tid", 7),
        Column("AGE(s)", "age_s", 8, decimals(2)), text_column("EXIT", "reason"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        return {"failed_only": options.failed, "threads_too": options.threads}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Exit:
        who, code = record.who, record.exit_code
        return Exit(clock.seconds(who.time_ns), who.pid, who.tid, record.ppid, who.uid, _values.text(who.comm),
                    round(record.age_ns / 1e9, 6), code >> 8 & 0xff,
                    _values.signal_name(code & 0x7f) if code & 0x7f else "", bool(code & 0x80))


TOOL = ExitSnoop()


def events(*, command: Sequence[str] = (), **options: Any) -> Iterator[Exit]:
    """Processes as they end; options as on the command line (``pid=``, ``failed=True``, …).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
