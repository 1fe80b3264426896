"""Files that are read and written most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ebpf
from ebpf.tools import _values
from ebpf.tools._columns import Column, text_column
from ebpf.tools._options import Options, number, option
from ebpf.tools._tool import ReportTool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ORDERS = {"all": lambda use: use.read_bytes + use.written_bytes, "reads": lambda use: use.reads,
           "writes": lambda use: use.writes, "rbytes": lambda use: use.read_bytes,
           "wbytes": lambda use: use.written_bytes}


class FileUse(NamedTuple):
    """What one process asked of one file: calls, and bytes asked for. ``kind``: R regular, S socket, O other."""

    pid: int
    comm: str
    reads: int
    writes: int
    read_bytes: int
    written_bytes: int
    kind: str
    file: str


def _kib(value: int) -> str:
    return f"{value / 1024:.0f}"


class FileTop(ReportTool):
    name = "filetop"
    about = "Shows each second which files are read and written most, and by whom (the name alone, not the path)."
    examples = (
        ("", "each second, the twenty busiest"),
        ("-r 5 -s wbytes 10", "the five most written to, every ten seconds"),
        ("-a -p 181", "sockets and pipes of process 181, too"),
    )
    interval = 1.0
    options = (
        option("-a", "--all-files", kind=bool, help="sockets, pipes and devices, too"),
        option("-r", "--rows", kind=number, default=20, metavar="N", help="lines at most"),
        option("-s", "--sort", default="all", choices=tuple(_ORDERS), metavar="ORDER",
               help="by all (bytes), reads, writes, rbytes or wbytes"),
    )
    columns = (
        Column("PID", "pid", 7), text_column("COMM", "comm", 16), Column("READS", "reads", 6),
        Column("WRITES", "writes", 6), Column("R_Kb", "read_bytes", 8, _kib), Column("W_Kb", "written_bytes", 8, _kib),
        text_column("T", "kind", 1), text_column("FILE", "file"),
    )
    kernel_only = ("files are read and written inside the kernel; "
                   "`ebpf tools syscount -- COMMAND` counts a command's calls")

    def settings(self, options: Options) -> dict[str, Any]:
        return {"every_kind": options.all_files}

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[FileUse]:
        found = [FileUse(key.pid, _values.text(total.comm), total.reads, total.writes, total.read_bytes,
                         total.written_bytes, chr(total.kind), _values.text(total.name))
                 for key, total in session.maps["totals"].take()]
        return sorted(found, key=_ORDERS[options.sort], reverse=True)[:options.rows]


TOOL = FileTop()


def reports(**options: Any) -> Iterator[FileUse]:
    """The busiest files of each ``interval`` seconds (one by default)."""
    return TOOL.run(options)
