"""The values of a script's map, added up over CPUs: one function for each kind of value."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Literal

from ebpf.session.histograms import Histogram, TimeSeries
from ebpf.session.tracing.output import Stats
from ebpf.session.tracing.readers import reader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.compiler.trace.plan import Type
    from ebpf.session.tracing.names import Names

    Found = list[tuple[bytes, Any]]
    ReadValues = Callable[["Entries", Type, Names], Found]

BUCKETED: Final = frozenset(("hist", "lhist", "tseries"))  # their keys end in the number of a bucket
BUCKET_BYTES: Final = 8


class Entries:
    """Entries of a map as bytes: `keys`, and `values` of `stride` bytes each (all CPUs side by side)."""

    __slots__ = ("keys", "stride", "values")

    def __init__(self, keys: Sequence[bytes], values: bytes, stride: int) -> None:
        self.keys = keys
        self.values = values
        self.stride = stride

    def cells(self) -> list[bytes]:
        """Each entry's bytes."""
        return [self.values[at:at + self.stride] for at in range(0, len(self.keys) * self.stride, self.stride)]

    def sums(self, code: Literal["q", "Q"]) -> list[int]:
        """Each entry's 64-bit words, added up."""
        words = memoryview(self.values).cast(code)
        step = self.stride // 8
        return [sum(words[at:at + step]) for at in range(0, len(self.keys) * step, step)]


def read_values(entries: Entries, type: Type, names: Names) -> Found:
    """(key, value) of every entry; of bucketed kinds the keys lose their buckets."""
    return _READERS.get(type.kind, _plain)(entries, type, names)


def quotient(a: int, b: int) -> int:
    """Division as C does it, towards zero; 0 where ``b`` is 0."""
    if not b:
        return 0
    return a // b if (a >= 0) == (b > 0) else -(-a // b)


def _plain(entries: Entries, type: Type, names: Names) -> Found:
    read = reader(type, names)
    return [(key, read(entries.values, n * entries.stride)) for n, key in enumerate(entries.keys)]


def _sums(entries: Entries, type: Type, names: Names) -> Found:
    return list(zip(entries.keys, entries.sums("q" if type.signed else "Q")))


def _extremes(entries: Entries, type: Type, names: Names) -> Found:
    pair = struct.Struct("<qQ" if type.signed else "<QQ")
    choose: Callable[[list[int]], int] = min if type.kind == "min" else max
    found: Found = []
    for key, cell in zip(entries.keys, entries.cells()):
        seen = [value for value, is_set in pair.iter_unpack(cell) if is_set]
        found.append((key, choose(seen) if seen else 0))
    return found


def _totals(entries: Entries, type: Type, names: Names) -> Found:
    found: Found = []
    for key, cell in zip(entries.keys, entries.cells()):
        pairs = list(struct.iter_unpack("<qQ", cell))
        total, count = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
        average = quotient(total, count)
        found.append((key, average if type.kind == "avg" else Stats(count, average, total)))
    return found


def _grouped(keys: Sequence[bytes], values: Sequence[Any]) -> dict[bytes, dict[int, Any]]:
    """Values by key and bucket."""
    groups: dict[bytes, dict[int, Any]] = {}
    for key, value in zip(keys, values):
        groups.setdefault(key[:-BUCKET_BYTES], {})[int.from_bytes(key[-BUCKET_BYTES:], "little")] = value
    return groups


def _histograms(entries: Entries, type: Type, names: Names) -> Found:
    groups = _grouped(entries.keys, entries.sums("Q"))
    draw = Histogram.log2 if type.kind == "hist" else Histogram.linear
    return [(key, draw(counts, *type.args)) for key, counts in groups.items()]


def _series(entries: Entries, type: Type, names: Names) -> Found:
    interval_ns, length, kind = type.args
    # Of each CPU a number and a word: how many it is made of, whether it is set, or when it was.
    cells = [[(value, word) for value, word in struct.iter_unpack("<qQ", cell) if word] for cell in entries.cells()]
    values = [_IN_INTERVAL[kind](cell) if cell else None for cell in cells]
    found: Found = []
    for key, slots in _grouped(entries.keys, values).items():
        last = max(slots)
        first = max(min(slots), last - length + 1)
        points = [(names.seconds(slot * interval_ns), slots.get(slot)) for slot in range(first, last + 1)]
        found.append((key, TimeSeries(points, interval_ns)))
    return found


_IN_INTERVAL: Final[dict[str, Callable[[list[tuple[int, int]]], int]]] = {
    "last": lambda cell: max(cell, key=lambda pair: pair[1])[0],
    "min": lambda cell: min(cell)[0],
    "max": lambda cell: max(cell)[0],
    "sum": lambda cell: sum(pair[0] for pair in cell),
    "avg": lambda cell: quotient(sum(pair[0] for pair in cell), sum(pair[1] for pair in cell)),
}
_READERS: Final[dict[str, ReadValues]] = {
    "count": _sums, "sum": _sums, "min": _extremes, "max": _extremes, "avg": _totals, "stats": _totals,
    "hist": _histograms, "lhist": _histograms, "tseries": _series,
}
