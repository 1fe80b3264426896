"""How long a function takes, as a histogram."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.tools._histogram import UNITS, Histogram, HistogramTool
from ebpf.tools._options import Options, option

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_MOST = 1000


def _binary_of(function: str) -> tuple[str, str]:
    """``"c:malloc"`` → a file and a name; a function of the kernel has no file."""
    binary, _, name = function.rpartition(":")
    return binary, name


class FunctionLatency(HistogramTool):
    name = "funclatency"
    about = ("Shows how long calls of a function take, as a histogram: a function of the kernel (vfs_read), of a\n"
             "library (c:malloc) or program (/usr/bin/bash:readline); a * stands for any letters.")
    examples = (
        ("vfs_read", "the kernel's vfs_read, at Ctrl-C"),
        ("-u 'tcp_send*' 1 10", "several, in µs, each second, ten times"),
        ("-p 181 c:malloc", "malloc of the C library, in process 181"),
        ("c:getaddrinfo -- curl -s example.com", "of a command"),
    )
    options = (
        option("function", metavar="FUNCTION", help="FUNCTION of the kernel, or FILE:FUNCTION, or LIBRARY:FUNCTION"),
        option("-u", "--microseconds", kind=bool, help="in microseconds"),
        option("-m", "--milliseconds", kind=bool, help="in milliseconds"),
        option("-F", "--processes", kind=bool, help="a histogram for each process"),
        option("-r", "--regexp", kind=bool, help="FUNCTION is a regular expression"),
    )
    filters = ("pid", "tid", "comm", "cgroup", "container")

    def unit(self, options: Options) -> str:
        return "ms" if options.milliseconds else "us" if options.microseconds else "ns"

    def settings(self, options: Options) -> dict[str, Any]:
        if not options.function:
            raise ebpf.UsageError("which function?", helps=("ebpf tools funclatency vfs_read",))
        return {"unit_ns": UNITS[self.unit(options)], "by_process": options.processes}

    def programs(self, options: Options) -> Iterable[str] | None:
        side = "user" if _binary_of(options.function)[0] else "kernel"
        return (f"enter_{side}", f"leave_{side}")

    def attach(self, session: ebpf.Session, options: Options) -> None:
        binary, name = _binary_of(options.function)
        names = _matching(binary, name, options.regexp)
        if not binary:
            # Returns first: an entry that is counted must have its end counted.
            for function in names:
                session.programs["leave_kernel"].attach_kretprobe(function)
            for function in names:
                session.programs["enter_kernel"].attach_kprobe(function)
            return
        for function in names:
            session.programs["leave_user"].attach_uretprobe(binary, function, pid=options.pid)
            session.programs["enter_user"].attach_uprobe(binary, function, pid=options.pid)

    def label(self, key: Any, comm: str, options: Options) -> str:
        return f"pid = {key} {comm}" if options.processes else ""


def _matching(binary: str, name: str, regexp: bool) -> Sequence[str]:
    """The functions of that name or pattern."""
    if not regexp and "*" not in name:
        return (name,)
    pattern = name if regexp else ".*".join(map(re.escape, name.split("*")))
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ebpf.UsageError(f"{name!r} is no regular expression: {error}") from None
    found = [one for one in ebpf.host.user_functions(binary) if expression.fullmatch(one)] if binary else \
        ebpf.host.functions(pattern)
    if not found:
        raise ebpf.TargetNotFound(f"no function matches {name!r}", name=name)
    if len(found) > _MOST:
        raise ebpf.UsageError(f"{len(found)} functions match {name!r}; more than {_MOST} would slow everything down",
                              helps=("say more of the name",))
    return found


TOOL = FunctionLatency()


def reports(function: str, *, command: Sequence[str] = (), **options: Any) -> Iterator[Histogram]:
    """The histograms of each ``interval`` seconds (one of the whole ``duration`` without it)."""
    return TOOL.run({"function": function, **options}, command)
