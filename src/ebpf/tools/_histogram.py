"""Histograms by powers of two: read from a map, drawn with stars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.tools import _values
from ebpf.tools._columns import clock_time, json_line
from ebpf.tools._tool import ReportTool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import ebpf
    from ebpf.tools._options import Options
    from ebpf.tools._tool import Report

_STARS = 40
UNITS = {"ns": 1, "us": 1000, "ms": 1000000}


class Bucket(NamedTuple):
    """``count`` values from ``low`` to ``high``, both included."""

    low: int
    high: int
    count: int  # type: ignore[assignment]  # nobody calls tuple.count here


class Histogram(NamedTuple):
    """How often values were how large: ``buckets`` up to the last that is not empty; ``label`` tells several apart."""

    label: str
    unit: str
    buckets: tuple[Bucket, ...]

    @property
    def total(self) -> int:
        """How many values."""
        return sum(bucket.count for bucket in self.buckets)


def from_slots(label: str, unit: str, slots: Sequence[int]) -> Histogram:
    """Slot 0 counts 0 and 1, slot n what is from 2^n to 2^(n+1) - 1."""
    last = max((at for at, count in enumerate(slots) if count), default=-1)
    return Histogram(label, unit, tuple(
        Bucket(1 << at if at else 0, (1 << at + 1) - 1, slots[at]) for at in range(last + 1)))


def draw(histogram: Histogram) -> Iterator[str]:
    """Its lines."""
    most = max((bucket.count for bucket in histogram.buckets), default=0)
    width = max([10, *(len(str(bucket.high)) for bucket in histogram.buckets)])
    names = {"ns": "nsecs", "us": "usecs", "ms": "msecs"}
    yield f"{names.get(histogram.unit, histogram.unit):>{2 * width + 4}} : {'count':<8} distribution"
    for bucket in histogram.buckets:
        stars = bucket.count * _STARS // most
        yield f"{bucket.low:>{width}} -> {bucket.high:<{width}} : {bucket.count:<8} |{'*' * stars:<{_STARS}}|"


class HistogramTool(ReportTool):
    """A tool whose program counts in the map ``counts`` of ``struct histogram``."""

    def unit(self, options: Options) -> str:
        """``"ns"``, ``"us"`` or ``"ms"``."""
        return "ms" if options.milliseconds else "us"

    def label(self, key: Any, comm: str, options: Options) -> str:
        """What a key means; "" where there is one histogram alone."""
        return ""

    def settings(self, options: Options) -> dict[str, Any]:
        return {"unit_ns": UNITS[self.unit(options)]}

    def collect(self, session: ebpf.Session, options: Options, seconds: float) -> Iterable[Histogram]:
        unit = self.unit(options)
        return sorted(from_slots(self.label(key, _values.text(value.comm), options), unit, value.slots)
                      for key, value in session.maps["counts"].take())

    def lines(self, report: Report, options: Options) -> Iterator[str]:
        import time

        if options.json:
            yield from map(json_line, report.items)
            return
        if options.timestamp:
            yield clock_time(time.time())
        if not report.items:
            yield "nothing was counted"
        for item in report.items:
            if item.label:
                yield item.label
            yield from draw(item)
            yield ""
