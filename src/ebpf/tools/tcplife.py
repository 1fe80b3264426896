"""TCP connections that end: whose they were, how long they lived, what went through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, decimals, text_column
from ebpf.tools._options import Options, number, option
from ebpf.tools._sockets import NEEDS_KERNEL, ends_of
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterator


class Life(NamedTuple):
    """A connection that has ended; the process is who connected, or who closed it where it came from outside."""

    time: float
    pid: int
    tid: int
    uid: int
    comm: str
    ip: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    sent_bytes: int
    received_bytes: int
    age_ms: float


def _kib(value: int) -> str:
    return f"{value / 1024:.0f}"


class TcpLife(EventTool):
    name = "tcplife"
    about = "Shows each TCP connection as it ends: its process, both ends, bytes acknowledged and received, its life."
    examples = (
        ("", "every connection, those begun since alone"),
        ("-D 443", "to remote port 443"),
        ("-L 80 --json", "to local port 80, as JSON"),
    )
    options = (
        option("-L", "--local-port", kind=number, metavar="PORT", help="this local port alone"),
        option("-D", "--remote-port", kind=number, metavar="PORT", help="this remote port alone"),
    )
    columns = (
        Column("PID", "pid", 7), text_column("COMM", "comm", 16), Column("IP", "ip", 2),
        text_column("LADDR", "local_address", 15), Column("LPORT", "local_port", 5),
        text_column("RADDR", "remote_address", 15), Column("RPORT", "remote_port", 5),
        Column("TX_KB", "sent_bytes", 7, _kib), Column("RX_KB", "received_bytes", 7, _kib),
        Column("MS", "age_ms", 9, decimals(2)),
    )
    kernel_only = NEEDS_KERNEL

    def settings(self, options: Options) -> dict[str, Any]:
        return {"only_local_port": options.local_port or 0, "only_remote_port": options.remote_port or 0}

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Life:
        who, ends = record.who, ends_of(record)
        return Life(clock.seconds(who.time_ns), who.pid, who.tid, who.uid, _values.text(who.comm), ends.ip,
                    ends.local_address, ends.local_port, ends.remote_address, ends.remote_port,
                    record.sent_bytes, record.received_bytes, record.age_ns / 1e6)


TOOL = TcpLife()


def events(**options: Any) -> Iterator[Life]:
    """Connections as they end; options as on the command line (``pid=``, ``local_port=``, …)."""
    return TOOL.run(options)
