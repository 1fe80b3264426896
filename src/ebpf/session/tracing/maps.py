"""A script's maps: read whole from the kernel (or the machine), added up over CPUs, typed, and in the order of
printing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ebpf.errors import KeyMissing
from ebpf.session.histograms import Histogram
from ebpf.session.tracing.aggregates import Entries, quotient, read_values
from ebpf.session.tracing.output import MapView
from ebpf.session.tracing.readers import reader
from ebpf.session.tracing.values import Tuple, show_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from ebpf.compiler.trace.plan import Map as MapPlan, Type
    from ebpf.session.tracing.names import Names

_BY_VALUE: Final = frozenset(("int", "pointer", "count", "sum", "min", "max"))
_STATISTICS: Final = frozenset(("avg", "stats"))


class TraceMap(Mapping[Any, Any]):
    """A map of a running script, as a mapping of typed values: ``trace.maps["@bytes"]["bash"]``.

    A map without keys has one entry under ``None``, which `value` reads. Every read asks the kernel anew; iterate over
    `items`, which reads everything at once, where there is more than one to get. Values: integers and strings as they
    are, `Stats`, `Histogram`, `TimeSeries`.
    """

    def __init__(self, plan: MapPlan, raw: Any, names: Names) -> None:
        self.plan = plan
        self.name: str = plan.name
        self.kind: str = plan.value.kind
        self._raw = raw
        self._names = names
        self._read_key = reader(_signed(plan.key), names) if plan.key is not None else None

    def __repr__(self) -> str:
        return f"<TraceMap {self.name}: {self.kind}>"

    # ---- reading ----

    def entries(self) -> list[tuple[bytes, Any, Any]]:
        """(key's bytes, key, value) of everything that is there now, in no order."""
        return self._decode(self._raw.read_all())

    def _decode(self, bulk: Any) -> list[tuple[bytes, Any, Any]]:
        keys, size = bytes(bulk.keys), self._raw.key_size
        raw_keys = [keys[at:at + size] for at in range(0, bulk.count * size, size)]
        found = read_values(Entries(raw_keys, bytes(bulk.values), self._raw.value_stride), self.plan.value, self._names)
        if self._read_key is None:
            if not found and self.kind == "count":
                return [(b"", None, 0)]  # nothing counted is a count, too
            return [(key, None, value) for key, value in found]
        read = self._read_key
        return [(key, read(key, 0), value) for key, value in found]

    def items(self) -> Any:
        """(key, value) of every entry, in the order of printing."""
        return [(key, value) for _, key, value in self._sorted(self.entries())]

    def __iter__(self) -> Iterator[Any]:
        return iter([key for key, _ in self.items()])

    def __len__(self) -> int:
        return len(self.entries())

    def __getitem__(self, key: Any) -> Any:
        wanted = Tuple(key) if isinstance(key, (tuple, list)) and self._read_key is not None else key
        for _, found, value in self.entries():
            if found == wanted:
                return value
        raise KeyMissing(f"{self.name} has no entry under {key!r}", map_name=self.name)

    @property
    def value(self) -> Any:
        """The value of a map without keys; ``None`` as long as the script has not set it."""
        return next((value for _, _, value in self.entries()), None)

    def to_numpy(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Keys and values in the order of printing. Integers are ``int64``, all else objects; several keys are rows."""
        import numpy

        rows = self.items()
        keys, values = [key for key, _ in rows], [value for _, value in rows]
        return _array(numpy, keys), _array(numpy, values)

    def _repr_html_(self) -> str:
        from html import escape

        def cell(value: Any) -> str:
            own = getattr(value, "_repr_html_", None)
            return own() if own is not None else escape(str(value))

        rows = "".join(f"<tr><td>{escape(self.name if key is None else show_key(key))}</td><td>{cell(value)}</td></tr>"
                       for key, value in self.items())
        head = f"<tr><th>{escape(self.name)}</th><th>{self.kind}</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"

    # ---- printing ----

    def _sorted(self, entries: list[tuple[bytes, Any, Any]]) -> list[tuple[bytes, Any, Any]]:
        """Numbers by value, distributions by how much they hold, statistics by their average, all else by key."""
        by_key = self._key_order
        if self.kind in _BY_VALUE:
            return sorted(entries, key=lambda e: (e[2], by_key(e)))
        if self.kind in ("hist", "lhist"):
            return sorted(entries, key=lambda e: (e[2].total, by_key(e)))
        if self.kind == "stats":
            return sorted(entries, key=lambda e: (e[2].average, by_key(e)))
        return sorted(entries, key=by_key)

    def _key_order(self, entry: tuple[bytes, Any, Any]) -> Any:
        """Parts of a key from the first to the last: integers as unsigned, as bpftrace compares them."""
        key = entry[1]
        parts = key if type(key) is Tuple else (key,)
        return tuple([(0, part & 0xFFFFFFFFFFFFFFFF, "") if isinstance(part, int) else (1, 0, str(part))
                      for part in parts])

    def view(self, top: int = 0, div: int = 0, entries: list[tuple[bytes, Any, Any]] | None = None) -> MapView:
        """What ``print(@m, top, div)`` shows: the last ``top`` rows (0: all), values divided by ``div``."""
        rows = self._sorted(self.entries() if entries is None else entries)
        if self.kind in _STATISTICS:
            top = div = 0
        if top and len(rows) > top:
            rows = rows[-top:]
        return MapView(self.name, self.kind, self._read_key is not None,
                       [(key, _divided(value, div)) for _, key, value in rows])

    # ---- changing ----

    def clear(self) -> None:
        """Remove every entry."""
        self._raw.clear()

    def take(self) -> list[tuple[bytes, Any, Any]]:
        """`entries`, removed in the same step where the kernel can: nothing counted in between is lost."""
        return self._decode(self._raw.take_all())

    def zero(self) -> None:
        """Set every value to zero; the keys stay."""
        nothing = bytes(self._raw.value_stride)
        bulk = self._raw.read_all()
        size = self._raw.key_size
        keys = bytes(bulk.keys)
        for at in range(0, bulk.count * size, size):
            self._raw.update(keys[at:at + size], nothing)


def _signed(key: Type) -> Type:
    """A key's type as it is printed: 64 bits are signed in keys, whatever the expression was (as in bpftrace 0.17)."""
    if key.kind == "int" and key.size == 8:
        return key._replace(signed=True)
    if key.kind == "tuple":
        return key._replace(args=tuple([(name, offset, _signed(part)) for name, offset, part in key.args]))
    return key


def _array(numpy: Any, values: list[Any]) -> Any:
    if all(type(value) is int for value in values):
        try:
            return numpy.array(values, numpy.int64)
        except OverflowError:
            return numpy.array(values, numpy.uint64)
    made = numpy.empty(len(values), object)
    made[:] = values
    return made


def _divided(value: Any, div: int) -> Any:
    if div <= 1:
        return value
    if isinstance(value, Histogram):
        return value.scaled(div)
    return quotient(value, div) if type(value) is int else value

