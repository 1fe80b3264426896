"""Each request to a disk: who wanted it, what it was, how long it took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import Column, decimals, text_column
from ebpf.tools._disks import NEEDS_KERNEL, Disks, device_number, operation
from ebpf.tools._options import Options, option, positive
from ebpf.tools._tool import EventTool, attach_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ebpf


class Request(NamedTuple):
    """A request that a disk has answered. ``kind``: letters as the kernel's tracepoints have them (``"WS"``)."""

    time: float
    pid: int
    comm: str
    disk: str
    kind: str
    sector: int
    length: int
    queued_ms: float
    latency_ms: float
    error: str


class BioSnoop(EventTool):
    name = "biosnoop"
    about = "Shows each request to a disk as it is answered: the process that wanted it, the place, the time it took."
    examples = (
        ("", "every request"),
        ("-Q -d sda", "of the disk sda, with the time in the queue"),
        ("--min 10", "those that took ten milliseconds or more"),
    )
    options = (
        option("-Q", "--queue", kind=bool, help="show the time in the queue"),
        option("-d", "--disk", kind=device_number, metavar="DISK", help="this disk alone"),
        option("--min", kind=positive, metavar="MS", help="those that took at least so many milliseconds"),
    )
    columns = (
        text_column("COMM", "comm", 16), Column("PID", "pid", 7), text_column("DISK", "disk", 8),
        text_column("T", "kind", 4), Column("SECTOR", "sector", 11), Column("BYTES", "length", 8),
        Column("QUE(ms)", "queued_ms", 8, decimals(3), option="queue"), Column("LAT(ms)", "latency_ms", 8, decimals(3)),
    )
    kernel_only = NEEDS_KERNEL
    _disks = Disks()

    def settings(self, options: Options) -> dict[str, Any]:
        return {"only_device": options.disk or 0, "at_least_ns": int((options.min or 0) * 1e6), "own_pid": 0}

    def attach(self, session: ebpf.Session, options: Options) -> None:
        # Before 6.5 there is a function in its place, unless it is inlined: then whoever sends a request counts.
        attach_first(session, "io_start", "account_io_start", needed=False)
        attach_first(session, "issue_behind_queue", "issue")
        session.attach("complete")

    def item(self, record: Any, options: Options, clock: _values.Clock) -> Request:
        who = record.who
        return Request(clock.seconds(who.time_ns), who.pid, _values.text(who.comm), self._disks.name(record.device),
                       operation(record.flags), record.sector, record.length, record.queued_ns / 1e6,
                       record.latency_ns / 1e6, "error" if record.error else "")


TOOL = BioSnoop()


def events(**options: Any) -> Iterator[Request]:
    """Requests as they are answered; options as on the command line (``pid=``, ``disk=``, …)."""
    return TOOL.run(options)
