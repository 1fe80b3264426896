"""Maps as a Python program declares them: ``opens = ebpf.Hash(u32, u64)``, one class for each type of map.

A declaration is what the compiler takes. While a session is open that was made from a program which uses it, it is
that session's map, with the manners of the Python container that it resembles: reading and writing are `Map`'s, in
batches where many are read. Before that, and after the session's end, using it is a `UsageError`: what is to outlive
the session is copied out (``dict(opens)``, `to_numpy`, `to_arrow`).
"""

from __future__ import annotations

from collections.abc import ItemsView, KeysView, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType
from ebpf.compiler.py.declarations import MapDecl
from ebpf.errors import EbpfError, KeyMissing, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ClassVar, NoReturn, TypeVar

    import numpy as np
    import pandas
    import polars
    import pyarrow

    from ebpf.session.maps import Map
    from ebpf.session.session import Session

    K = TypeVar("K")
    V = TypeVar("V")

    class _Mapping(MutableMapping[K, V]):
        pass

else:
    class Subscripted:
        """`Hash[int, int]` in an annotation that runs."""

        __slots__ = ()

        def __class_getitem__(cls, _: Any) -> Any:
            return cls

    class _Mapping(Subscripted, MutableMapping):
        __slots__ = ()

    K = V = None


class DeclaredMap(MapDecl):
    """What all declared maps have. `live` is the open session's map."""

    __slots__ = ("_bound",)

    TYPE: ClassVar[MapType]

    def __init__(self, key: Any, value: Any, max_entries: int, *, flags: int = 0, name: str = "", pinning: str = "",
                 map_extra: int = 0, inner: MapDecl | None = None) -> None:
        if not isinstance(max_entries, int) or isinstance(max_entries, bool) or not 0 <= max_entries < 1 << 32:
            raise UsageError(f"max_entries is a number of entries, not {max_entries!r}")
        for what, type in (("key", key), ("value", value)):
            _check_type(self, what, type)
        super().__init__(self.TYPE, key, value, max_entries=max_entries, flags=flags, name=name, pinning=pinning,
                         map_extra=map_extra, inner=inner)
        self._bound: list[tuple[Session, Map]] = []

    def _bind(self, session: Session, map: Map) -> None:
        self._bound = [pair for pair in self._bound if not pair[0].closed] + [(session, map)]

    def in_session(self) -> tuple[Session, Map] | None:
        """The session that was opened last, if it is open still, and its map."""
        return next((pair for pair in reversed(self._bound) if not pair[0].closed), None)

    @property
    def live(self) -> Map:
        """The map in the session that was opened last; `UsageError` where none is open."""
        found = self.in_session()
        if found is not None:
            return found[1]
        name = f"map {(self._bound[-1][1].name if self._bound else self.name or type(self).__name__)!r}"
        if self._bound:
            raise UsageError(f"{name}: its session is closed, and the map with it",
                             helps=("read it inside `with ebpf.attach(…):`, or copy there what is wanted later",))
        raise UsageError(f"{name} is declared, but in no session yet",
                         helps=("`ebpf.attach(program)` makes the maps that the program uses",))

    def __repr__(self) -> str:
        kinds = ", ".join(repr(t) if not isinstance(t, type) else t.__name__ for t in (self.key, self.value) if t)
        state = "" if self.in_session() else ", in no open session"
        return f"<{type(self).__name__}{f' {self.name}' * bool(self.name)}: {kinds}; {self.max_entries}{state}>"

    def __bool__(self) -> bool:
        return True

    __hash__ = object.__hash__

    def fileno(self) -> int:
        """The map's descriptor."""
        return self.live.fileno()

    def pin(self, path: str) -> None:
        """Keep the map under ``path`` on a BPF file system, beyond the end of this process."""
        self.live.pin(path)

    def to_numpy(self, *, take: bool = False) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Every key and every value as two arrays; see `Map.to_numpy`. ``take`` removes what it reads."""
        return self.live.to_numpy(take=take)

    def to_arrow(self, *, take: bool = False) -> pyarrow.Table:
        """Every entry as an Arrow table; see `Map.to_arrow`."""
        return self.live.to_arrow(take=take)

    def to_pandas(self, *, take: bool = False) -> pandas.DataFrame:
        """The same as a pandas data frame."""
        return self.live.to_pandas(take=take)

    def to_polars(self, *, take: bool = False) -> polars.DataFrame:
        """The same as a polars data frame."""
        return self.live.to_polars(take=take)

    def _repr_html_(self) -> str:
        if self.in_session():
            return self.live._repr_html_()
        from html import escape

        return f"<code>{escape(repr(self))}</code>"


def _check_type(map: DeclaredMap, what: str, type: Any) -> None:
    from ebpf.compiler.py.types import KernelType, size_of

    if type is not None and size_of(type) is None and not isinstance(type, KernelType):
        raise UsageError(f"{map.__class__.__name__}: {type!r} is no type for a {what}",
                         helps=("u32, i64, bool, chars[16], u64[4], or a class derived from ebpf.Struct",))


# ---- mappings ----


class _Keys(KeysView[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.live.keys())  # type: ignore[attr-defined]


class _Values(ValuesView[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.live.values())  # type: ignore[attr-defined]

    def __contains__(self, value: object) -> bool:
        return value in self._mapping.live.values()  # type: ignore[attr-defined]


class _Items(ItemsView[Any, Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.live.items())  # type: ignore[attr-defined]


class Hash(DeclaredMap, _Mapping[K, V]):
    """A ``dict`` that programs share: ``opens = ebpf.Hash(u32, u64, max_entries=10_240)``.

    ``keys``, ``values`` and ``items`` are views: each iteration reads the map anew, in one batch. A key that is not
    there is a `KeyMissing` (a ``KeyError``), one too many a `MapFull`.
    """

    __slots__ = ()
    TYPE = MapType.HASH

    def __init__(self, key: type[K], value: type[V], max_entries: int = 10_240, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        super().__init__(key, value, max_entries, flags=flags, name=name, pinning=pinning)

    def __getitem__(self, key: K) -> V:
        found: V = self.live[key]
        return found

    def __setitem__(self, key: K, value: V) -> None:
        self.live[key] = value

    def __delitem__(self, key: K) -> None:
        del self.live[key]

    def __contains__(self, key: object) -> bool:
        return key in self.live

    def __iter__(self) -> Iterator[K]:
        return iter(self.live.keys())

    def __len__(self) -> int:
        return len(self.live)

    def __bool__(self) -> bool:
        return self.live.raw.next_key() is not None

    def __eq__(self, other: object) -> bool:
        if isinstance(other, DeclaredMap):
            return self is other
        return dict(self.items()) == other if isinstance(other, Mapping) else NotImplemented

    __hash__ = object.__hash__

    def keys(self) -> KeysView[K]:
        """A view of the keys."""
        return _Keys(self)

    def values(self) -> ValuesView[V]:
        """A view of the values, in the order of `keys` if nothing changes meanwhile."""
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        """A view of the entries."""
        return _Items(self)

    def update(self, other: Any = (), /, **named: Any) -> None:
        """Write many entries, in as few system calls as the kernel allows."""
        self.live.update({**dict(other), **named} if named else other)

    def delete(self, key: K) -> bool:
        """Remove ``key``; whether it was there."""
        return self.live.delete(key)

    def insert(self, key: K, value: V) -> bool:
        """Add ``key`` if it is not there; whether it was added."""
        live = self.live
        try:
            live.update([(key, value)], live.NOEXIST)
        except EbpfError:
            if key in live:
                return False
            raise
        return True

    def clear(self) -> None:
        """Delete every entry."""
        self.live.clear()

    def popitem(self) -> tuple[K, V]:
        """Remove some entry and return it; `KeyMissing` from an empty map."""
        live = self.live
        for key in live.keys():
            value = live.pop(key, None)
            if value is not None:
                return key, value
        raise KeyMissing(f"map {live.name!r} is empty", map_name=live.name)

    def take(self) -> dict[K, V]:
        """Every entry, removed as it is read: what programs count meanwhile is in the next `take`."""
        return dict(self.live.take())

    def from_numpy(self, keys: Any, values: Any) -> int:
        """Write many entries from two arrays; see `Map.from_numpy`."""
        return self.live.from_numpy(keys, values)


class LruHash(Hash[K, V]):
    """A `Hash` that makes room by dropping entries that nobody used lately."""

    __slots__ = ()
    TYPE = MapType.LRU_HASH


class ResizableHash(Hash[K, V]):
    """A `Hash` whose memory grows with its entries (Linux 7.2)."""

    __slots__ = ()
    TYPE = MapType.RHASH


class PerCpuHash(Hash[K, V]):
    """A `Hash` with a value for each CPU, so that programs count without waiting for each other.

    Values are tuples, one element for each possible CPU; a single value written is written for all of them.
    """

    __slots__ = ()
    TYPE = MapType.PERCPU_HASH

    def totals(self) -> dict[K, Any]:
        """Each key with the sum over all CPUs (values that are numbers)."""
        return {key: sum(values) for key, values in self.live.items()}


class LruPerCpuHash(PerCpuHash[K, V]):
    """A `PerCpuHash` that makes room by dropping entries that nobody used lately."""

    __slots__ = ()
    TYPE = MapType.LRU_PERCPU_HASH


class LpmTrie(Hash[K, V]):
    """Longest prefix first: networks and what belongs to them.

    Keys are structs whose first member is the prefix's length in bits (u32) and whose rest is the address, first byte
    first. From Python a key may be an `ipaddress` network or address, or text such as ``"10.0.0.0/8"``; a look-up
    finds the longest prefix that holds the address. `networks` gives the entries with such keys.
    """

    __slots__ = ()
    TYPE = MapType.LPM_TRIE

    def __init__(self, key: type[K], value: type[V], max_entries: int = 10_240, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        super().__init__(key, value, max_entries, flags=flags, name=name, pinning=pinning)

    def __getitem__(self, key: Any) -> V:
        found: V = self.live[key]
        return found

    def __setitem__(self, key: Any, value: V) -> None:
        self.live[key] = value

    def __delitem__(self, key: Any) -> None:
        del self.live[key]

    def networks(self) -> dict[Any, V]:
        """Every entry, its key as an ``ipaddress`` network; see `Map.networks`."""
        return self.live.networks()


class HashOfMaps(Hash[K, Any]):
    """A `Hash` whose values are maps like ``inner``: ``outer[7] = other_map``."""

    __slots__ = ()
    TYPE = MapType.HASH_OF_MAPS

    def __init__(self, key: type[K], inner: MapDecl, max_entries: int = 1024, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        DeclaredMap.__init__(self, key, u32_type(), max_entries, flags=flags, name=name, pinning=pinning, inner=inner)


class DevMapHash(Hash[int, int]):
    """Network devices to send packets to, under any number: ``return ports.redirect(key)`` (Linux 5.4)."""

    __slots__ = ()
    TYPE = MapType.DEVMAP_HASH

    def __init__(self, max_entries: int = 64, *, flags: int = 0, name: str = "", pinning: str = "") -> None:
        DeclaredMap.__init__(self, u32_type(), u32_type(), max_entries, flags=flags, name=name, pinning=pinning)

    def redirect(self, key: int, flags: int = 0) -> int:
        """In a program: the verdict that sends the packet there."""
        only_in_programs("redirect")


class SockHash(Hash[K, Any]):
    """Sockets under keys of a type: ``peers[key] = sock`` (Linux 4.18)."""

    __slots__ = ()
    TYPE = MapType.SOCKHASH

    def __init__(self, key: type[K], max_entries: int = 1024, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        DeclaredMap.__init__(self, key, u32_type(), max_entries, flags=flags, name=name, pinning=pinning)

    def __setitem__(self, key: K, value: Any) -> None:
        self.live[key] = value.fileno() if hasattr(value, "fileno") else value

    def redirect(self, key: Any, flags: int = 0) -> int:
        """In a program: the verdict that hands the message or packet to that socket."""
        only_in_programs("redirect")


def only_in_programs(call: str) -> NoReturn:
    """What a method says that the compiler knows and Python does not."""
    raise UsageError(f"`{call}` works inside programs only",
                     helps=("call it in a function with a decorator of a hook, such as `@ebpf.tracepoint(…)`",))


def u32_type() -> Any:
    from ebpf.compiler.py.types import u32

    return u32


def i32_type() -> Any:
    from ebpf.compiler.py.types import i32

    return i32
