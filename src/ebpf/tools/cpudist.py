"""How long tasks stay on a CPU, or off it, as a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.tools._histogram import Histogram, HistogramTool
from ebpf.tools._options import Options, option
from ebpf.tools.runqlat import NEEDS_KERNEL

if TYPE_CHECKING:
    from collections.abc import Iterator


class CpuDistribution(HistogramTool):
    name = "cpudist"
    about = "Shows how long tasks stay on a CPU each time they get one, as a histogram; or how long they stay away."
    examples = (
        ("", "one histogram, at Ctrl-C"),
        ("-O 1 10", "off the CPU, each second, ten times"),
        ("-P -m", "for each process, in milliseconds"),
    )
    options = (
        option("-O", "--offcpu", kind=bool, help="time off the CPU"),
        option("-m", "--milliseconds", kind=bool, help="in milliseconds"),
        option("-P", "--processes", kind=bool, help="a histogram for each process"),
        option("-L", "--threads", kind=bool, help="a histogram for each thread"),
    )
    filters = ("pid", "tid", "uid", "comm")
    kernel_only = NEEDS_KERNEL

    def settings(self, options: Options) -> dict[str, Any]:
        return {**super().settings(options), "by_process": options.processes, "by_thread": options.threads,
                "off_cpu": options.offcpu}

    def label(self, key: Any, comm: str, options: Options) -> str:
        if not options.processes and not options.threads:
            return ""
        return f"{'tid' if options.threads else 'pid'} = {key} {comm}"


TOOL = CpuDistribution()


def reports(**options: Any) -> Iterator[Histogram]:
    """The histograms of each ``interval`` seconds (one of the whole ``duration`` without it)."""
    return TOOL.run(options)
