"""Histograms and time series: counts by bucket, as values that draw themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

_BAR = 52
_UNITS = ("", "K", "M", "G", "T", "P", "E")


class Bucket(NamedTuple):
    """Values from `low` to `high`, both included (``None``: without end), and how often they occurred."""

    low: int | None
    high: int | None
    count: int  # type: ignore[assignment]  # the word of the language; nobody calls tuple.count here
    label: str


class Histogram:
    """Counts of values by bucket: `buckets` from the first that holds something to the last that does.

    What ``hist()`` and ``lhist()`` of a trace give, a `Log2Histogram`, and `Map.histogram`. ``print(histogram)`` draws
    it, a notebook shows it as a table, `plot` as a chart; `counts`, `edges` and `percentile` are numbers.
    """

    __slots__ = ("buckets",)

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        self.buckets = tuple(buckets)

    @classmethod
    def log2(cls, counts: Mapping[int, int], k: int = 0) -> Histogram:
        """From counts by the bucket's number, each power of two being split into 2^k buckets."""
        return cls([_log2_bucket(index, counts.get(index, 0), k) for index in _span(counts)])

    @classmethod
    def linear(cls, counts: Mapping[int, int], low: int, high: int, step: int) -> Histogram:
        """The same for equal steps: bucket 0 is below ``low``, the last one at ``high`` and above."""
        return cls([_linear_bucket(index, counts.get(index, 0), low, high, step) for index in _span(counts)])

    @classmethod
    def powers(cls, counts: Mapping[int, int]) -> Histogram:
        """From counts by the number of a value's highest bit: 0 and 1 are in bucket 0, 2 and 3 in 1, 4 to 7 in 2."""
        return cls([Bucket(1 << i if i else 0, (2 << i) - 1, counts.get(i, 0),
                           "[0, 2)" if i == 0 else f"[{_short(1 << i)}, {_short(2 << i)})") for i in _span(counts)])

    @property
    def counts(self) -> tuple[int, ...]:
        """How many values each bucket has."""
        return tuple([bucket.count for bucket in self.buckets])

    @property
    def edges(self) -> tuple[float, ...]:
        """Where buckets begin, and where the last one ends: one more than there are counts, ``inf`` where there is no
        end.
        """
        if not self.buckets:
            return ()
        last = self.buckets[-1].high
        return (*(float("-inf") if bucket.low is None else bucket.low for bucket in self.buckets),
                float("inf") if last is None else last + 1)

    def percentile(self, share: float) -> float:
        """The value that ``share`` percent of all do not exceed, as if values lay evenly in their bucket.

        A bucket without an end gives the end that it has. `UsageError` where nothing was counted, or ``share`` is not
        between 0 and 100.
        """
        from ebpf.errors import UsageError

        if not 0 <= share <= 100:
            raise UsageError(f"a percentile is between 0 and 100, not {share!r}")
        if not self.total:
            raise UsageError("a histogram without values has no percentiles")
        wanted, before = share / 100 * self.total, 0
        for bucket in self.buckets:
            if bucket.count and before + bucket.count >= wanted:
                break
            before += bucket.count
        if bucket.low is None or bucket.high is None:
            return float(bucket.high if bucket.low is None and bucket.high is not None else bucket.low or 0)
        return bucket.low + (bucket.high + 1 - bucket.low) * (wanted - before) / bucket.count

    def plot(self, ax: Any = None, **style: Any) -> Any:
        """Draw it with matplotlib (``pip install 'ebpf[data]'``), into ``ax`` or a new figure; the ``Axes``.

        ``style`` goes to ``Axes.bar``.
        """
        from ebpf.session.extras import need

        pyplot = need("matplotlib.pyplot", "plots")
        if ax is None:
            _, ax = pyplot.subplots(figsize=(max(4, len(self.buckets) * 0.45), 3))
        ax.bar(range(len(self.buckets)), self.counts, width=0.95, **style)
        ax.set_xticks(range(len(self.buckets)), [bucket.label for bucket in self.buckets], rotation=45, ha="right")
        ax.set_ylabel("count")
        return ax

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(bucket.count for bucket in self.buckets)

    def __iter__(self) -> Any:
        return iter(self.buckets)

    def __len__(self) -> int:
        return len(self.buckets)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.buckets == other.buckets

    def __hash__(self) -> int:
        return hash(self.buckets)

    def scaled(self, div: int) -> Histogram:
        """Counts divided by ``div``, as ``print(@h, 0, div)`` shows them."""
        if div <= 1:
            return self
        return Histogram([bucket._replace(count=bucket.count // div) for bucket in self.buckets])

    def __str__(self) -> str:
        most = max((bucket.count for bucket in self.buckets), default=0)
        bars = ["@" * (bucket.count * _BAR // most if most else 0) for bucket in self.buckets]
        return "".join(f"{bucket.label:<16}{bucket.count:8d} |{bar:{_BAR}}|\n"
                       for bucket, bar in zip(self.buckets, bars))

    def __repr__(self) -> str:
        return f"<Histogram of {self.total} values>\n{self}"

    def _repr_html_(self) -> str:
        from html import escape

        most = max((bucket.count for bucket in self.buckets), default=0) or 1
        rows = "".join(
            f"<tr><td style='text-align:left'>{escape(bucket.label)}</td><td>{bucket.count}</td><td style='width:20em'>"
            f"<div style='background:#4a90d9;height:1em;width:{100 * bucket.count / most:.1f}%'></div></td></tr>"
            for bucket in self.buckets)
        return f"<table><thead><tr><th>values</th><th>count</th><th></th></tr></thead><tbody>{rows}</tbody></table>"

    def to_numpy(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(lower ends, counts), ``int64`` both; the bucket without a lower end has the smallest number there is."""
        import numpy

        lows = [-(1 << 63) if bucket.low is None else bucket.low for bucket in self.buckets]
        return numpy.array(lows, numpy.int64), numpy.array([bucket.count for bucket in self.buckets], numpy.int64)

    def jsonable(self) -> list[dict[str, int]]:
        """As it stands in JSON: objects with ``min`` and ``max`` (where they have an end) and ``count``."""
        return [{**({} if b.low is None else {"min": b.low}), **({} if b.high is None else {"max": b.high}),
                 "count": b.count} for b in self.buckets]


def _span(counts: Mapping[int, int]) -> range:
    held = [index for index, count in counts.items() if count]
    return range(min(held), max(held) + 1) if held else range(0)


def _log2_bucket(index: int, count: int, k: int) -> Bucket:
    if index == 0:
        return Bucket(None, -1, count, "(..., 0)")
    low, after = _log2_low(index, k), _log2_low(index + 1, k)
    if after == low + 1 and (k or low < 2):
        return Bucket(low, low, count, f"[{_short(low)}]")
    return Bucket(low, after - 1, count, f"[{_short(low)}, {_short(after)})")


def _log2_low(index: int, k: int) -> int:
    number = index - 1
    if number < 1 << k:
        return number
    return ((1 << k) + (number & (1 << k) - 1)) << (number >> k) - 1


def _linear_bucket(index: int, count: int, low: int, high: int, step: int) -> Bucket:
    last = (high - low + step - 1) // step + 1
    if index == 0:
        return Bucket(None, low - 1, count, f"(..., {_short_thousand(low)})")
    if index >= last:
        return Bucket(high, None, count, f"[{_short_thousand(high)}, ...)")
    start = low + (index - 1) * step
    return Bucket(start, start + step - 1, count, f"[{_short_thousand(start)}, {_short_thousand(start + step)})")


def _short(number: int) -> str:
    """1024 → 1K, wherever it comes out even."""
    for power in range(len(_UNITS) - 1, 0, -1):
        if number >= 1 << 10 * power and number % (1 << 10 * power) == 0:
            return f"{number >> 10 * power}{_UNITS[power]}"
    return str(number)


def _short_thousand(number: int) -> str:
    """The same as lhist writes it: K and M, negative numbers too."""
    for power in (2, 1):
        if number and number % (1 << 10 * power) == 0:
            return f"{number // (1 << 10 * power)}{_UNITS[power]}"
    return str(number)


class TimeSeries:
    """What ``tseries()`` gathered: `points`, pairs of (seconds since the epoch, value or None), oldest first."""

    __slots__ = ("interval_ns", "points")

    def __init__(self, points: Sequence[tuple[float, int | None]], interval_ns: int) -> None:
        self.points = tuple(points)
        self.interval_ns = interval_ns

    def __iter__(self) -> Any:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TimeSeries) and self.points == other.points

    def __hash__(self) -> int:
        return hash(self.points)

    def __str__(self) -> str:
        values = [value for _, value in self.points if value is not None]
        if not values:
            return ""
        low, high = min(values), max(values)
        last = _BAR  # columns are counted from the left edge to the right one, and both can hold a point

        def column(value: int) -> int:
            return (value - low) * last // (high - low) if high > low else 0

        margin = " " * len("hh:mm:ss.ms  ")
        ends = f"{margin}{str(low):<{last + 1 - len(str(high))}}{high}\n"
        lines = [ends, f"hh:mm:ss.ms  |{'_' * (last - 1)}|\n"]
        for seconds, value in self.points:
            row = ["|", *" " * (last - 1), "|"]
            if low < 0 < high:
                row[column(0)] = "."
            if value is not None:
                row[column(value)] = "*"
            lines.append(f"{_clock(seconds)} {''.join(row)} {'-' if value is None else value}\n")
        return "".join([*lines, f"{margin}v{'_' * (last - 1)}v\n", ends])

    def __repr__(self) -> str:
        return f"<TimeSeries of {len(self.points)} intervals>\n{self}"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{_clock(seconds)}</td><td>{'' if value is None else value}</td></tr>"
                       for seconds, value in self.points)
        return f"<table><thead><tr><th>time</th><th>value</th></tr></thead><tbody>{rows}</tbody></table>"

    def to_numpy(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(times as ``datetime64[ns]``, values as ``float64`` with NaN where nothing happened)."""
        import numpy

        times = numpy.array([int(seconds * 1e9) for seconds, _ in self.points], "datetime64[ns]")
        return times, numpy.array([numpy.nan if value is None else value for _, value in self.points], numpy.float64)

    def jsonable(self) -> list[dict[str, Any]]:
        """As it stands in JSON."""
        return [{"interval_start": _stamp(seconds), "value": value} for seconds, value in self.points]


def _clock(seconds: float) -> str:
    import time

    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}"


def _stamp(seconds: float) -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
