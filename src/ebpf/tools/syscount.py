"""System calls, counted."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools import _values
from ebpf.tools._columns import Column, decimals, text_column
from ebpf.tools._options import Options, number, option
from ebpf.tools._tool import ReportTool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


def _call_number(text: str) -> int:
    names = {name: number for number, name in ebpf.host.syscalls().items()}
    if text not in names:
        from difflib import get_close_matches

        close = get_close_matches(text, names, n=3)
        raise ebpf.UsageError(f"there is no system call {text!r}",
                              helps=(f"similar: {', '.join(close)}",) if close else ())
    return names[text]


def _error_number(text: str) -> int:
    found = {name: number for number, name in errno.errorcode.items()}.get(text.upper())
    if found is None and not text.isdecimal():
        raise ebpf.UsageError(f"there is no error {text!r}", helps=("ENOENT, or 2",))
    return int(text) if found is None else found


class CallCount(NamedTuple):
    """How often a system call was made (or, by process, how many a process made), and the time in it.

    ``name`` is the call's, or the process's.
    """

    pid: int
    name: str
    count: int  # type: ignore[assignment]  # nobody calls tuple.count here
    time_us: float


class SysCount(ReportTool):
    name = "syscount"
    about = "Counts system calls as they return, by call or by process."
    examples = (
        ("", "the ten most frequent, at Ctrl-C"),
        ("-L 1", "with the time spent in them, each second"),
        ("-P", "by process"),
        ("-e ENOENT", "those that fail with ENOENT"),
        ("-L -- make", "those of make and all it starts, as an ordinary user"),
    )
    options = (
        option("-P", "--processes", kind=bool, help="by process"),
        option("-L", "--latency", kind=bool, help="show the time spent, and sort by it"),
        option("-x", "--failed", kind=bool, help="only calls that fail"),
        option("-e", "--error", kind=_error_number, metavar="ERROR", help="only calls that fail with this error"),
        option("--syscall", kind=_call_number, metavar="NAME", help="this call alone"),
        option("--top", kind=number, default=10, metavar="N", help="lines at most"),
    )
    columns = (
        Column("PID", "pid", 7, option="processes"), text_column("NAME", "name", 22), Column("COUNT", "count", 9),
        Column("TIME(us)", "time_us", 14, decimals(3), option="latency"),
    )

    def settings(self, options: Options) -> dict[str, Any]:
        return {"by_process": options.processes, "failed_only": options.failed, "only_error": options.error or 0,
                "only_call": -1 if options.syscall is None else options.syscall}

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[CallCount]:
        names = ebpf.host.syscalls()
        found = [CallCount(key.pid, _values.text(total.comm) or names.get(key.call, str(key.call)), total.count,
                           total.time_ns / 1000) for key, total in session.maps["totals"].take()]
        order = (lambda one: (-one.time_us, one.name)) if options.latency else (lambda one: (-one.count, one.name))
        return sorted(found, key=order)[:options.top]


TOOL = SysCount()


def reports(*, command: Sequence[str] = (), **options: Any) -> Iterator[CallCount]:
    """The counts of each ``interval`` seconds (of the whole ``duration`` without it).

    ``command``: trace that, in the userspace machine, in place of the whole system.
    """
    return TOOL.run(options, command)
