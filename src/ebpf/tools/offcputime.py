"""Where tasks wait: time off the CPU, by stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.tools._options import Options, number, option
from ebpf.tools._stacks import Stack, StackTool
from ebpf.tools.runqlat import NEEDS_KERNEL

if TYPE_CHECKING:
    from collections.abc import Iterator


class OffCpuTime(StackTool):
    name = "offcputime"
    about = "Shows where tasks wait: the time that they are off the CPU, added up by stack, in microseconds."
    examples = (
        ("10", "of ten seconds, again and again"),
        ("--duration 10 -p 181", "of process 181, for ten seconds"),
        ("--flame waits.html --duration 30", "a flame graph of half a minute"),
        ("-K -f", "stacks of the kernel, a line each"),
    )
    options = (
        *StackTool.options,
        option("--min", kind=number, default=1, metavar="US", help="waits of at least so many microseconds"),
        option("--max", kind=number, metavar="US", help="waits of at most so many microseconds"),
    )
    unit = "µs"
    kernel_only = NEEDS_KERNEL

    def settings(self, options: Options) -> dict[str, Any]:
        return {**super().settings(options), "at_least_ns": options.min * 1000,
                "at_most_ns": (1 << 64) - 1 if options.max is None else options.max * 1000}

    def count(self, value: int) -> int:
        return value // 1000


TOOL = OffCpuTime()


def reports(**options: Any) -> Iterator[Stack]:
    """The stacks of each ``interval`` seconds (of the whole ``duration`` without it), counted in microseconds."""
    return TOOL.run(options)
