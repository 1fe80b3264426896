"""How long tasks stay on a CPU, or off it, as a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.tools._histogram import Histogram
from ebpf.tools._options import Options, option
from ebpf.tools.runqlat import TaskHistogram

if TYPE_CHECKING:
    from collections.abc import Iterator


class CpuDistribution(TaskHistogram):
    name = "cpudist"
    about = "Shows how long tasks stay on a CPU each time they get one, as a histogram; or how long they stay away."
    examples = (
        ("", "one histogram, at Ctrl-C"),
        ("-O 1 10", "off the CPU, each second, ten times"),
        ("-P -m", "for each process, in milliseconds"),
    )
    options = (
        option("-O", "--offcpu", kind=bool, help="time off the CPU"),
        *TaskHistogram.options,
    )

    def settings(self, options: Options) -> dict[str, Any]:
        return {**super().settings(options), "off_cpu": options.offcpu}


TOOL = CpuDistribution()


def reports(**options: Any) -> Iterator[Histogram]:
    """The histograms of each ``interval`` seconds (one of the whole ``duration`` without it)."""
    return TOOL.run(options)
