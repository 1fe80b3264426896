"""TCP connections that processes here begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, number, option
from ebpf.tools._sockets import NEEDS_KERNEL, ends_of
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator


class Connect(NamedTuple):
    """A connection that a process begins; whether anybody answers is not known yet."""

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    ip: int
    source: str
    destination: str
    port: int


class TcpConnect(EventTool):
    name = "tcpconnect"
    about = "Shows each TCP connection that a process here begins (connect), answered or not."
    examples = (
        ("", "every connection"),
        ("-P 443", "to port 443"),
        ("-U -u www-data", "of one user's processes"),
        ("--container web", "in the container web"),
    )
    options = (
        option("-P", "--port", kind=number, metavar="PORT", help="to this port alone"),
        option("-U", "--show-uid", kind=bool, help="show the user"),
    )
    columns = (
        Column("UID", "uid", 6, option="show_uid"), Column("PID", "pid", 7), text_column("COMM", "comm", 16),
        Column("IP", "ip", 2), text_column("SADDR", "source", 16), text_column("DADDR", "destination", 16),
        Column("DPORT", "port", 5),
    )
    kernel_only = NEEDS_KERNEL

    def settings(self, options: Options) -> dict[str, Any]:
        return {"only_port": options.port or 0}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Connect:
        who, ends = record.who, ends_of(record)
        return Connect(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm), ends.ip,
                       ends.local_address, ends.remote_address, ends.remote_port)


TOOL = TcpConnect()


def events(**options: Any) -> Iterator[Connect]:
    """Connections as they begin; options as on the command line (``pid=``, ``port=``, …)."""
    return TOOL.run(options)
