"""Names of hosts that are looked up, and how long that takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools import _values
from ebpf.tools._columns import Column, decimals, text_column
from ebpf.tools._options import Options
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_FUNCTIONS = ("getaddrinfo", "gethostbyname", "gethostbyname2")


class LookUp(NamedTuple):
    """A name that a process looked up by the C library; whether there is such a host is not said."""

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    latency_ms: float
    host: str


class GetHostLatency(EventTool):
    name = "gethostlatency"
    about = "Shows each host name looked up by the C library (getaddrinfo, gethostbyname), and how long it takes."
    examples = (
        ("", "every name"),
        ("-p 181", "those of process 181"),
        ("-- curl -s example.com", "those of a command, as an ordinary user"),
    )
    columns = (
        Column("PID", "pid", 7), text_column("COMM", "comm", 16), Column("LAT(ms)", "latency_ms", 9, decimals(3)),
        text_column("HOST", "host"),
    )

    def attach(self, session: ebpf.Session, options: Options) -> None:
        for function in _FUNCTIONS:
            session.programs["leave"].attach_uretprobe("c", function, pid=options.pid)
            session.programs["enter"].attach_uprobe("c", function, pid=options.pid)

    def item(self, record: Any, options: Options, clock: _values.Clock) -> LookUp:
        who = record.who
        return LookUp(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm),
                      record.latency_ns / 1e6, _values.text(record.host))


TOOL = GetHostLatency()


def events(*, command: Sequence[str] = (), **options: Any) -> Iterator[LookUp]:
    """Names as their look-ups end; options as on the command line (``pid=``, …).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
