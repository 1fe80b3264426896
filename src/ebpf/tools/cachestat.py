"""How often file pages are found in the page cache."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools._columns import Column
from ebpf.tools._options import Options
from ebpf.tools._tool import ReportTool, attach_first

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import ebpf


class CacheUse(NamedTuple):
    """An interval: pages found, pages that had to be read, pages written to; sizes of buffers and cache in MiB."""

    time: float
    hits: int
    misses: int
    dirtied: int
    hit_percent: float
    buffers_mib: int
    cached_mib: int


class CacheStat(ReportTool):
    name = "cachestat"
    about = "Shows each second how often pages of files were found in the page cache, and how often not."
    examples = (
        ("", "each second"),
        ("5 3", "every five seconds, three times"),
        ("-T -p 181", "of process 181, with the time"),
    )
    interval = 1.0
    columns = (
        Column("HITS", "hits", 9), Column("MISSES", "misses", 9), Column("DIRTIES", "dirtied", 9),
        Column("HITRATIO", "hit_percent", 8, lambda value: f"{value:.2f}%"),
        Column("BUFFERS_MB", "buffers_mib", 11), Column("CACHED_MB", "cached_mib", 10),
    )
    kernel_only = "the page cache works inside the kernel, where only a program of its own sees it"

    def attach(self, session: ebpf.Session, options: Options) -> None:
        # The older name stays in newer kernels, as a wrapper of the newer one: one of the two counts, not both.
        for newer, older in (("access_folio", "access_page"), ("add_folio", "add_page"), ("dirty_folio", "dirty_page")):
            attach_first(session, newer, older)
        session.attach("dirty_buffer")

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[CacheUse]:
        variables = session.variables
        accessed, added, dirtied, buffers = (variables[name] for name in ("accessed", "added", "dirtied", "buffers"))
        for name in ("accessed", "added", "dirtied", "buffers"):
            variables[name] = 0
        # What is written to is accessed, and what is dirtied anew is added, without anybody having looked for it.
        total = max(accessed - buffers, 0)
        misses = min(max(added - dirtied, 0), total)
        hits = total - misses
        sizes = _memory()
        return [CacheUse(time.time(), hits, misses, buffers, round(100 * hits / total, 2) if total else 0.0,
                         sizes["Buffers"] // 1024, sizes["Cached"] // 1024)]


def _memory() -> dict[str, int]:
    """KiB by name."""
    with open("/proc/meminfo") as file:
        return {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in file)}


TOOL = CacheStat()


def reports(**options: Any) -> Iterator[CacheUse]:
    """The counts of each ``interval`` seconds (one by default)."""
    return TOOL.run(options)
