"""TCP connections that processes here accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, number, option
from ebpf.tools._sockets import NEEDS_KERNEL, ends_of
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator


class Accept(NamedTuple):
    """A connection that a process took over from its listening socket."""

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    ip: int
    remote_address: str
    remote_port: int
    local_address: str
    local_port: int


class TcpAccept(EventTool):
    name = "tcpaccept"
    about = "Shows each TCP connection that a process here accepts."
    examples = (
        ("", "every connection"),
        ("-P 22", "to port 22"),
        ("-p 181 -T", "accepted by process 181, with the time"),
    )
    options = (option("-P", "--port", kind=number, metavar="PORT", help="to this local port alone"),)
    columns = (
        Column("PID", "pid", 7), text_column("COMM", "comm", 16), Column("IP", "ip", 2),
        text_column("RADDR", "remote_address", 16), Column("RPORT", "remote_port", 5),
        text_column("LADDR", "local_address", 16), Column("LPORT", "local_port", 5),
    )
    kernel_only = NEEDS_KERNEL

    def settings(self, options: Options) -> dict[str, Any]:
        return {"only_port": options.port or 0}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Accept:
        who, ends = record.who, ends_of(record)
        return Accept(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm), ends.ip,
                      ends.remote_address, ends.remote_port, ends.local_address, ends.local_port)


TOOL = TcpAccept()


def events(**options: Any) -> Iterator[Accept]:
    """Connections as they are accepted; options as on the command line (``pid=``, ``port=``, …)."""
    return TOOL.run(options)
