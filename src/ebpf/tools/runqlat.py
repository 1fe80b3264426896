"""How long tasks wait for a CPU, as a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.tools._histogram import Histogram, HistogramTool
from ebpf.tools._options import Option, Options, option

if TYPE_CHECKING:
    from collections.abc import Iterator

NEEDS_KERNEL = "who runs when is decided inside the kernel, and nothing outside is told"


class TaskHistogram(HistogramTool):
    """A histogram of times within the scheduler: one, or one for each process or thread."""

    options: tuple[Option, ...] = (
        option("-m", "--milliseconds", kind=bool, help="in milliseconds"),
        option("-P", "--processes", kind=bool, help="a histogram for each process"),
        option("-L", "--threads", kind=bool, help="a histogram for each thread"),
    )
    kernel_only = NEEDS_KERNEL

    def settings(self, options: Options) -> dict[str, Any]:
        return {**super().settings(options), "by_process": options.processes, "by_thread": options.threads}

    def label(self, key: Any, comm: str, options: Options) -> str:
        if not options.processes and not options.threads:
            return ""
        return f"{'tid' if options.threads else 'pid'} = {key} {comm}"


class RunQueueLatency(TaskHistogram):
    name = "runqlat"
    about = "Shows how long tasks that could run wait for a CPU, as a histogram: whether CPUs are short."
    examples = (
        ("", "one histogram, at Ctrl-C"),
        ("1 10", "each second, ten times"),
        ("-P 5", "for each process, every five seconds"),
        ("-p 181", "of process 181"),
    )


TOOL = RunQueueLatency()


def reports(**options: Any) -> Iterator[Histogram]:
    """The histograms of each ``interval`` seconds (one of the whole ``duration`` without it)."""
    return TOOL.run(options)
