"""Stacks with names, counted: what `profile` and `offcputime` share."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools import _values
from ebpf.tools._columns import json_line
from ebpf.tools._options import Option, Options, number, option
from ebpf.tools._tool import ReportTool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ebpf.tools._tool import Report

_NO_ADDRESS, _KERNEL = 1 << 56, 0xff << 56  # where the widest user space ends, and a kernel's may begin
_ROOM = 32768  # stacks; the map of the program is as large


class Stack(NamedTuple):
    """A stack, outermost function first, and what was counted there.

    What is of the kernel stands in ``kernel``; ``user`` is empty for a kernel thread, and names that are not known are
    addresses.
    """

    pid: int
    comm: str
    user: tuple[str, ...]
    kernel: tuple[str, ...]
    count: int  # type: ignore[assignment]  # nobody calls tuple.count here


class Names:
    """Addresses → names, each looked up once; in a kernel also those of processes that end before somebody asks."""

    def __init__(self, session: ebpf.Session) -> None:
        self._symbols = ebpf.host.user_symbols()
        if session.backend == "kernel":
            self._symbols.follow()
        self._kernel: dict[int, str] = {}
        self._user: dict[tuple[int, int], str] = {}

    def kernel(self, address: int) -> str:
        name = self._kernel.get(address)
        if name is None:
            found = ebpf.host.kernel_symbol(address)
            name = self._kernel[address] = found[0] if found is not None else hex(address)
        return name

    def user(self, pid: int, address: int) -> str:
        name = self._user.get((pid, address))
        if name is None:
            _, function, _, file = self._symbols.resolve(pid, address)
            if not function and not file:
                return hex(address)
            name = function or f"[{os.path.basename(file)}]"
            self._user[pid, address] = name
        return name


class Stacks:
    """The addresses of stacks by the keys that programs gave them (the map ``stacks`` of stacks.h)."""

    NONE, LOST = 0, 1  # NO_STACK, LOST_STACK

    def __init__(self, session: ebpf.Session) -> None:
        self._map = session.maps["stacks"].raw
        self._now: dict[int, bytes] = {}
        self._before: dict[int, bytes] = {}

    def take(self) -> None:
        """What was kept since the last time; the map is empty then.

        To be called when what refers to them was taken. A program may have met a stack in the map just before it was
        taken away, and count it in the next interval: then it is still known from here.
        """
        bulk = self._map.take_all()
        size, values = self._map.value_size, bulk.values
        keys = memoryview(bytes(bulk.keys)).cast("Q")
        self._before = self._now
        self._now = {key: bytes(values[at * size:(at + 1) * size]) for at, key in enumerate(keys)}

    def frames(self, key: int) -> list[int]:
        """A stack's addresses, innermost first."""
        if key in (self.NONE, self.LOST):
            return []
        raw = self._now.get(key) or self._before.get(key) or self._map.lookup(key.to_bytes(8, sys.byteorder))
        # Code without frame pointers leaves whatever lay where one would be: that can be no address at all.
        return [] if raw is None else [address for address in memoryview(bytes(raw)).cast("Q")
                                       if address and not _NO_ADDRESS <= address < _KERNEL]


class StackTool(ReportTool):
    """A tool whose program counts in the map ``counts`` by ``struct stack_key``."""

    unit = "samples"
    _names: Names
    _stacks: Stacks
    options: tuple[Option, ...] = (
        option("-U", "--user-only", kind=bool, help="stacks of programs alone"),
        option("-K", "--kernel-only", kind=bool, help="stacks of the kernel alone"),
        option("-f", "--folded", kind=bool, help="a line for each stack, as flame graph tools take them"),
        option("--flame", metavar="FILE.html", help="draw a flame graph: one page that needs nothing else"),
        option("--stack-storage-size", kind=number, default=_ROOM, metavar="N",
               help="how many different stacks there is room for in an interval"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        if options.user_only and options.kernel_only:
            raise ebpf.UsageError("--user-only and --kernel-only leave nothing")
        return {"user_stacks": not options.kernel_only, "kernel_stacks": not options.user_only}

    def max_entries(self, options: Options) -> dict[str, int]:
        size = max(options.stack_storage_size, 1)
        return {} if size == _ROOM else {"stacks": size, "counts": 2 * size}

    def prepare(self, session: ebpf.Session) -> None:
        """What `collect` needs, before anything is counted."""
        self._names, self._stacks = Names(session), Stacks(session)
        self._looked: set[tuple[int, int]] = set()

    def attach(self, session: ebpf.Session, options: Options) -> None:
        self.prepare(session)
        super().attach(session, options)

    def lost_words(self, count: int) -> str:
        return f"{count} times there was no room for one more stack: see --stack-storage-size"

    def look(self, session: ebpf.Session) -> None:
        # Processes of a traced command end before the report: their functions are named while they live.
        for key, _ in session.maps["counts"].items():
            if (key.pid, key.user) not in self._looked:
                self._looked.add((key.pid, key.user))
                for address in self._stacks.frames(key.user):
                    self._names.user(key.pid, address)

    def count(self, value: int) -> int:
        """What is counted, in `unit`."""
        return value

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[Stack]:
        counted: dict[tuple[int, str, tuple[str, ...], tuple[str, ...]], int] = {}
        taken = session.maps["counts"].take()
        self._stacks.take()
        for key, value in taken:
            where = (key.pid, _values.text(key.comm), self._named(key.user, partial(self._names.user, key.pid)),
                     self._named(key.kernel, self._names.kernel))
            counted[where] = counted.get(where, 0) + value
        found = [Stack(*where, self.count(value)) for where, value in counted.items()]
        return sorted((stack for stack in found if stack.count), key=lambda stack: stack.count)

    def _named(self, key: int, name: Callable[[int], str]) -> tuple[str, ...]:
        """A stack, outermost function first."""
        if key == Stacks.LOST:
            return ("[lost stack]",)
        return tuple(name(address) for address in reversed(self._stacks.frames(key)))

    def lines(self, report: Report, options: Options) -> Iterator[str]:
        if options.flame is not None:
            self._draw(report, options.flame)
            total = sum(stack.count for stack in report.items)
            yield f"{options.flame}: {total} {self.unit} in {len(report.items)} stacks"
            return
        if options.json:
            yield from map(json_line, report.items)
            return
        for stack in report.items:
            if options.folded:
                path = [stack.comm, *stack.user, *(f"{name}_[k]" for name in stack.kernel)]
                yield ";".join(part.replace(";", ":") for part in path) + f" {stack.count}"
                continue
            yield from (f"    {name}" for name in reversed(stack.kernel))
            if stack.kernel and stack.user:
                yield "    --"
            yield from (f"    {name}" for name in reversed(stack.user))
            yield f"    {'-':<16} {stack.comm} ({stack.pid})"
            yield f"        {stack.count}"
            yield ""

    def _draw(self, report: Report, path: str) -> None:
        graph = ebpf.FlameGraph(title=f"{self.name}, {report.seconds:.0f} s", unit=self.unit)
        for stack in report.items:
            graph.add((stack.comm, *stack.user, *(f"{name}_[k]" for name in stack.kernel)), stack.count)
        graph.to_html(path)
