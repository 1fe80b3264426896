"""What CPUs do: stacks, sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.tools._options import Options, number, option
from ebpf.tools._stacks import Stack, StackTool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Profile(StackTool):
    name = "profile"
    about = "Shows what the CPUs do: the stacks of what runs are taken many times a second, and counted."
    examples = (
        ("--duration 10", "of ten seconds"),
        ("-F 99 --flame cpu.html --duration 30", "a flame graph of half a minute"),
        ("-p 181 -U", "of process 181, without the kernel"),
        ("--flame make.html -- make", "of a command, as an ordinary user"),
    )
    options = (
        *StackTool.options,
        option("-F", "--frequency", kind=number, default=49, metavar="HZ", help="samples a second, on each CPU"),
        option("-I", "--idle", kind=bool, help="idle CPUs, too"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        return {**super().settings(options), "idle_too": options.idle}

    def attach(self, session: ebpf.Session, options: Options) -> None:
        if not options.frequency:
            raise ebpf.UsageError("at a frequency of 0 nothing is ever sampled")
        self.prepare(session)
        session.programs["sample"].attach_perf_event("cpu-clock", frequency=options.frequency)


TOOL = Profile()


def reports(*, command: Sequence[str] = (), **options: Any) -> Iterator[Stack]:
    """The stacks of each ``interval`` seconds (of the whole ``duration`` without it), counted in samples."""
    return TOOL.run(options, command)
