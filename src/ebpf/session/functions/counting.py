"""Histograms that programs fill: `Log2Histogram`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType
from ebpf.compiler.py.types import Struct, StructType, u32, u64
from ebpf.errors import KeyMissing
from ebpf.session.functions.containers import DeclaredMap, only_in_programs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ClassVar

    from ebpf.session.histograms import Histogram

_SLOTS = 64


class Log2Histogram(DeclaredMap):
    """Values counted by power of two: ``sizes = ebpf.Log2Histogram()``, and in a program ``sizes.increment(n)``.

    With a type of ``key`` there is a histogram for each key: ``latency = ebpf.Log2Histogram(u32)``,
    ``latency.increment(ns, key=ebpf.pid())``, and outside ``latency[pid]``, ``latency.items()``. Each CPU counts for
    itself. `read` gives a `Histogram`, and so do printing and showing it in a notebook.
    """

    __slots__ = ()
    TYPE: ClassVar[MapType] = MapType.PERCPU_ARRAY
    histogram: ClassVar[bool] = True  # the compiler's programs may call `increment`

    def __init__(self, key: Any = None, max_entries: int = 10_240, *, name: str = "", pinning: str = "") -> None:
        if key is None:
            super().__init__(u32, u64, _SLOTS, name=name, pinning=pinning)
            return
        slot: Any = StructType("histogram_key", (Struct,), {"__annotations__": {"key": key, "slot": u32}})
        super().__init__(slot, u64, max_entries, name=name, pinning=pinning)
        self.type = MapType.PERCPU_HASH

    @property
    def keyed(self) -> bool:
        """Whether there is a histogram for each key."""
        return self.type == MapType.PERCPU_HASH

    def increment(self, value: int, key: Any = None, by: int = 1) -> None:
        """In a program: count ``value`` (``by`` times), for ``key`` where there are keys."""
        only_in_programs("increment")

    def read(self, key: Any = None) -> Histogram:
        """What was counted; with keys: for ``key``, or for all of them together."""
        if not self.keyed or key is None:
            return _histogram(_slots(self) if not self.keyed else _merged(_by_key(self).values()))
        counted = _by_key(self).get(key)
        if counted is None:
            raise KeyMissing(f"map {self.live.name!r} has counted nothing for {key!r}", map_name=self.live.name)
        return _histogram(counted)

    def items(self) -> list[tuple[Any, Histogram]]:
        """Each key with its histogram."""
        return [(key, _histogram(counts)) for key, counts in _by_key(self).items()]

    def keys(self) -> list[Any]:
        """Each key that something was counted for."""
        return list(_by_key(self))

    def __getitem__(self, key: Any) -> Histogram:
        return self.read(key)

    def __contains__(self, key: object) -> bool:
        return key in _by_key(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys() if self.keyed else self.read())

    def __len__(self) -> int:
        return len(self.keys() if self.keyed else self.read())

    def clear(self) -> None:
        """Count from zero."""
        self.live.clear()

    def __str__(self) -> str:
        if self.in_session() is None:
            return repr(self)
        if not self.keyed:
            return str(self.read())
        return "\n".join(f"{key!r}\n{histogram}" for key, histogram in self.items())

    def _repr_html_(self) -> str:
        if self.in_session() is None:
            return super()._repr_html_()
        if not self.keyed:
            return self.read()._repr_html_()
        from html import escape

        return "".join(f"<h4>{escape(str(key))}</h4>{histogram._repr_html_()}" for key, histogram in self.items())


def _slots(declared: Log2Histogram) -> dict[int, int]:
    return {slot: sum(values) for slot, values in declared.live.items()}


def _by_key(declared: Log2Histogram) -> dict[Any, dict[int, int]]:
    found: dict[Any, dict[int, int]] = {}
    for entry, values in declared.live.items():
        key = entry.key
        if isinstance(key, list):
            key = tuple(key)
        found.setdefault(_hashable(key), {})[entry.slot] = sum(values)
    return found


def _hashable(key: Any) -> Any:
    """Structs are values that may change, and no keys of a dict; their bytes' tuple of members is."""
    return tuple(key) if isinstance(key, Struct) else key


def _merged(counted: Any) -> dict[int, int]:
    total: dict[int, int] = {}
    for counts in counted:
        for slot, count in counts.items():
            total[slot] = total.get(slot, 0) + count
    return total


def _histogram(counts: dict[int, int]) -> Histogram:
    from ebpf.session.histograms import Histogram

    return Histogram.powers(counts)
