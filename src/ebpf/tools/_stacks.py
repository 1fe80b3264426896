"""Stacks with names, counted: what `profile` and `offcputime` share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools import _values
from ebpf.tools._columns import json_line
from ebpf.tools._options import Option, Options, option
from ebpf.tools._tool import ReportTool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ebpf.tools._tool import Report

_LOST = -17  # two stacks of one hash: EEXIST


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


def frames(stacks: ebpf.Map, number: int) -> list[int]:
    """The addresses of a stack, innermost first."""
    if number < 0:
        return []
    raw = stacks.raw.lookup(number.to_bytes(4, "little"))
    if raw is None:
        return []
    found = memoryview(bytes(raw)).cast("Q")
    return [address for address in found if address]


class StackTool(ReportTool):
    """A tool whose program counts in the map ``counts`` by ``struct stack_key``."""

    unit = "samples"
    _names: Names
    options: tuple[Option, ...] = (
        option("-U", "--user-only", kind=bool, help="stacks of programs alone"),
        option("-K", "--kernel-only", kind=bool, help="stacks of the kernel alone"),
        option("-f", "--folded", kind=bool, help="a line for each stack, as flame graph tools take them"),
        option("--flame", metavar="FILE.html", help="draw a flame graph: one page that needs nothing else"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        if options.user_only and options.kernel_only:
            raise ebpf.UsageError("--user-only and --kernel-only leave nothing")
        return {"user_stacks": not options.kernel_only, "kernel_stacks": not options.user_only}

    def attach(self, session: ebpf.Session, options: Options) -> None:
        self._names = Names(session)
        super().attach(session, options)

    def look(self, session: ebpf.Session) -> None:
        # Processes of a traced command end before the report: their functions are named while they live.
        for key, _ in session.maps["counts"].items():
            for address in frames(session.maps["stacks"], key.user):
                self._names.user(key.pid, address)

    def count(self, value: int) -> int:
        """What is counted, in `unit`."""
        return value

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[Stack]:
        names, stacks = self._names, session.maps["stacks"]
        counted: dict[tuple[int, str, tuple[str, ...], tuple[str, ...]], int] = {}
        for key, value in session.maps["counts"].take():
            user = tuple(names.user(key.pid, address) for address in reversed(frames(stacks, key.user)))
            kernel = tuple(names.kernel(address) for address in reversed(frames(stacks, key.kernel)))
            if key.user == _LOST:
                user = ("[lost stack]",)
            if key.kernel == _LOST:
                kernel = ("[lost stack]",)
            where = (key.pid, _values.text(key.comm), user, kernel)
            counted[where] = counted.get(where, 0) + value
        stacks.clear()
        found = [Stack(*where, self.count(value)) for where, value in counted.items()]
        return sorted((stack for stack in found if stack.count), key=lambda stack: stack.count)

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
