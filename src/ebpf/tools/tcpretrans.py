"""TCP packets that are sent once more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, option
from ebpf.tools._sockets import NEEDS_KERNEL, ends_of
from ebpf.tools._tool import EventTool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_STATES = ("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
           "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV")


class Retransmit(NamedTuple):
    """A packet sent once more (``kind`` ``"R"``), or a tail loss probe (``"L"``); ``pid`` was on the CPU: 0 in timers.
    """

    time: float
    pid: int
    comm: str
    ip: int
    local_address: str
    local_port: int
    kind: str
    remote_address: str
    remote_port: int
    state: str

    @property
    def local(self) -> str:
        """Address and port."""
        return f"{self.local_address}:{self.local_port}"

    @property
    def remote(self) -> str:
        """Address and port."""
        return f"{self.remote_address}:{self.remote_port}"

    @property
    def arrow(self) -> str:
        """``"R>"`` or ``"L>"``."""
        return f"{self.kind}>"


class TcpRetrans(EventTool):
    name = "tcpretrans"
    about = "Shows each TCP packet that is sent once more since nobody acknowledged it: a sign of loss or of no answer."
    examples = (
        ("", "every packet"),
        ("-T -l", "with the time; tail loss probes, too"),
    )
    options = (option("-l", "--loss-probes", kind=bool, help="tail loss probes, too"),)
    filters = ()
    columns = (
        Column("PID", "pid", 7), Column("IP", "ip", 2), text_column("LADDR:LPORT", "local", 21),
        text_column("T>", "arrow", 2), text_column("RADDR:RPORT", "remote", 21), text_column("STATE", "state"),
    )
    kernel_only = NEEDS_KERNEL

    def programs(self, options: Options) -> Iterable[str] | None:
        return None if options.loss_probes else ("retransmit",)

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Retransmit:
        who, ends = record.who, ends_of(record)
        state = _STATES[record.state] if record.state < len(_STATES) else str(record.state)
        return Retransmit(clock.seconds(who.time_ns), who.pid, _values.text(who.comm), ends.ip, ends.local_address,
                          ends.local_port, "L" if record.probe else "R", ends.remote_address, ends.remote_port, state)


TOOL = TcpRetrans()


def events(**options: Any) -> Iterator[Retransmit]:
    """Packets as they are sent again; options as on the command line (``loss_probes=True``)."""
    return TOOL.run(options)
