"""Memory that was taken and not given back, by the stack that took it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools._columns import clock_time, json_line
from ebpf.tools._options import Options, number, option
from ebpf.tools._stacks import Names, Stacks
from ebpf.tools._tool import ReportTool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ebpf.tools._tool import Report

_FUNCTIONS = ("malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc")
_KERNEL = ("kmalloc", "kfree")


class Held(NamedTuple):
    """What one stack (innermost function first) took and nobody has given back yet."""

    pid: int
    held_bytes: int
    blocks: int
    stack: tuple[str, ...]


class MemLeak(ReportTool):
    name = "memleak"
    about = ("Shows memory that a process takes (malloc and its like) and does not give back, by the stack that took\n"
             "it; without a process or command, the kernel's own (kmalloc).")
    examples = (
        ("-p 181", "of process 181, every five seconds"),
        ("-p 181 --older 60000", "blocks older than a minute alone"),
        ("10 1", "the kernel's own, after ten seconds"),
        ("-- ./program", "of a command, when it has ended, as an ordinary user"),
    )
    interval = 5.0
    options = (
        option("--older", kind=number, default=500, metavar="MS", help="blocks that are older than that alone"),
        option("--min-size", kind=number, default=0, metavar="BYTES", help="blocks of at least that size"),
        option("--max-size", kind=number, metavar="BYTES", help="blocks of at most that size"),
        option("--every", kind=number, default=1, metavar="N", help="look at each Nth call alone: cheaper"),
        option("--top", kind=number, default=10, metavar="N", help="stacks that are shown"),
        option("--library", default="c", metavar="FILE", help="whose malloc, by path or short name"),
    )
    filters = ("pid", "uid", "comm", "cgroup", "container")
    _of_command = False
    _names: Names
    _stacks: Stacks

    def load(self, options: Options, command: Sequence[str] = ()) -> ebpf.Session:
        self._of_command = bool(command)
        if command and options.interval == self.interval:
            vars(options).update(interval=None, older=0)  # all that is left when it has ended
        return super().load(options, command)

    def look(self, session: ebpf.Session) -> None:
        for place, block in session.maps["blocks"].items():
            if (place.pid, block.stack) not in self._looked:
                self._looked.add((place.pid, block.stack))
                for address in self._stacks.frames(block.stack):
                    self._names.user(place.pid, address)

    def _watches_kernel(self, options: Options) -> bool:
        return not self._of_command and options.pid is None

    def settings(self, options: Options) -> dict[str, Any]:
        return {"at_least": options.min_size, "every": max(options.every, 1),
                "at_most": (1 << 64) - 1 if options.max_size is None else options.max_size}

    def programs(self, options: Options) -> Iterable[str] | None:
        if self._watches_kernel(options):
            return _KERNEL
        return (*(f"enter_{name}" for name in _FUNCTIONS), "leave_any", "enter_free")

    def attach(self, session: ebpf.Session, options: Options) -> None:
        self._names, self._stacks = Names(session), Stacks(session)
        self._looked: set[tuple[int, int]] = set()
        if self._watches_kernel(options):
            session.attach()
            return
        for function in _FUNCTIONS:
            session.programs["leave_any"].attach_uretprobe(options.library, function, pid=options.pid)
            session.programs[f"enter_{function}"].attach_uprobe(options.library, function, pid=options.pid)
        session.programs["enter_free"].attach_uprobe(options.library, "free", pid=options.pid)

    def lost_words(self, count: int) -> str:
        return f"{count} times there was no room for one more block or stack: --every and --min-size make fewer of them"

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[Held]:
        names, kernel = self._names, self._watches_kernel(options)
        before_ns = time.monotonic_ns() - options.older * 1_000_000
        held: dict[tuple[int, int], list[int]] = {}
        for place, block in session.maps["blocks"].items():
            if block.time_ns <= before_ns or not options.older:
                held.setdefault((place.pid, block.stack), []).append(block.size)
        largest = sorted(held.items(), key=lambda entry: -sum(entry[1]))[:options.top]
        return [Held(pid, sum(sizes), len(sizes), tuple(
            names.kernel(address) if kernel else names.user(pid, address)
            for address in self._stacks.frames(stack))) for (pid, stack), sizes in largest]

    def lines(self, report: Report, options: Options) -> Iterator[str]:
        if options.json:
            yield from map(json_line, report.items)
            return
        yield f"[{clock_time(time.time())}] the stacks that hold most:"
        for held in report.items:
            yield f"    {held.held_bytes} bytes in {held.blocks} block{'s' * (held.blocks != 1)} from" + (
                f" process {held.pid}" if held.pid else "")
            yield from (f"        {name}" for name in held.stack)
        yield ""


TOOL = MemLeak()


def reports(*, command: Sequence[str] = (), **options: Any) -> Iterator[Held]:
    """What is held at the end of each ``interval`` seconds (five by default; with ``command`` at its end)."""
    return TOOL.run(options, command)
