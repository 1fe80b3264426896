"""How long disks take, as a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.tools._disks import NEEDS_KERNEL, Disks, device_number, operation_name
from ebpf.tools._histogram import Histogram, HistogramTool
from ebpf.tools._options import Options, option
from ebpf.tools._tool import attach_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    import ebpf


class BioLatency(HistogramTool):
    name = "biolatency"
    about = "Shows how long requests to disks take, as a histogram: from the driver to the answer, or from the queue."
    examples = (
        ("", "one histogram, at Ctrl-C"),
        ("1 10", "each second, ten times"),
        ("-D -F 5", "for each disk and operation, every five seconds"),
        ("-Q -d sda", "of the disk sda, time in the queue included"),
    )
    options = (
        option("-Q", "--queued", kind=bool, help="count the time in the queue, too"),
        option("-m", "--milliseconds", kind=bool, help="in milliseconds"),
        option("-D", "--disks", kind=bool, help="a histogram for each disk"),
        option("-F", "--operations", kind=bool, help="a histogram for each operation"),
        option("-d", "--disk", kind=device_number, metavar="DISK", help="this disk alone"),
    )
    filters = ()
    kernel_only = NEEDS_KERNEL
    _disks = Disks()

    def settings(self, options: Options) -> dict[str, Any]:
        return {**super().settings(options), "by_disk": options.disks, "by_operation": options.operations,
                "from_queue": options.queued, "only_device": options.disk or 0}

    def attach(self, session: ebpf.Session, options: Options) -> None:
        if options.queued:
            attach_first(session, "insert_behind_queue", "insert")
        attach_first(session, "issue_behind_queue", "issue")
        session.attach("complete")

    def label(self, key: Any, comm: str, options: Options) -> str:
        said = [f"disk = {self._disks.name(key.device)}"] if options.disks else []
        said += [f"operation = {operation_name(key.operation)}"] if options.operations else []
        return ", ".join(said)


TOOL = BioLatency()


def reports(**options: Any) -> Iterator[Histogram]:
    """The histograms of each ``interval`` seconds (one of the whole ``duration`` without it)."""
    return TOOL.run(options)


