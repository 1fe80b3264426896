"""Maps as Python sees them: typed keys and values, a mapping's manners, NumPy in bulk.

What keys and values are is read from the object's BTF: integers, tuples, `Record`\\ s of named fields, bytes for
``char[]`` (docs/architecture.md, "btf"). A map without types takes and gives ``bytes``, except array indexes, which are
integers always.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import BPF_ANY, BPF_EXIST, BPF_NOEXIST, MAP_TYPES, MapType
from ebpf.errors import KeyMissing, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import numpy as np
    import pandas
    import polars
    import pyarrow

    from ebpf.btf import Btf
    from ebpf.object import MapSpec
    from ebpf.session.backend import ArenaMemory, Bulk, Closable, PerfReader, RawMap, RecordSender, RingReader
    from ebpf.session.events import EventStream
    from ebpf.session.histograms import Histogram

ANY, NOEXIST, EXIST = BPF_ANY, BPF_NOEXIST, BPF_EXIST

_T = MapType
_INDEXED = frozenset({_T.ARRAY, _T.PERCPU_ARRAY, _T.PROG_ARRAY, _T.PERF_EVENT_ARRAY, _T.CGROUP_ARRAY, _T.ARRAY_OF_MAPS})
_KEYLESS = frozenset({_T.QUEUE, _T.STACK, _T.RINGBUF, _T.USER_RINGBUF, _T.BLOOM_FILTER})
_DESCRIPTORS = frozenset({_T.PROG_ARRAY, _T.PERF_EVENT_ARRAY, _T.CGROUP_ARRAY, _T.ARRAY_OF_MAPS, _T.HASH_OF_MAPS})
_PER_CPU = frozenset(row.type for row in MAP_TYPES.values() if row.percpu)
_EVENTS = frozenset({_T.RINGBUF, _T.PERF_EVENT_ARRAY})
_MISSING: Any = object()


class Map:
    """A map, in the kernel or the machine.

    It behaves like a ``dict`` (``m[key]``, ``key in m``, ``len``, iteration, `items`, `get`, `pop`, `update`, `clear`),
    with these differences: an array always holds every index, and other programs may change the map at any
    moment. Values of per-CPU maps are tuples, one value for each possible CPU. `to_numpy` reads a whole map more than
    ten times faster than a loop over keys.
    """

    __slots__ = ("_btf", "_decode_key", "_decode_value", "_encode_key", "_encode_value", "_event_type", "_key_codec",
                 "_lost_before", "_producer", "_value_codec", "event_codec", "key_type_id", "name", "per_cpu", "raw",
                 "spec", "stream", "type", "value_type_id")

    #: flags of `update` and `from_numpy`: write all, only new keys, only keys that are there
    ANY, NOEXIST, EXIST = ANY, NOEXIST, EXIST

    def __init__(self, raw: RawMap, *, spec: MapSpec | None = None, btf: Btf | None = None,
                 key_type_id: int = 0, value_type_id: int = 0, event_type: Callable[[], int] | None = None) -> None:
        #: the map beneath: bytes in, bytes out
        self.raw = raw
        self.spec = spec
        self.name: str = raw.name if spec is None else spec.name
        self.type = MapType(raw.type)
        self.per_cpu = self.type in _PER_CPU
        self._btf = btf
        self.key_type_id = key_type_id
        self.value_type_id = value_type_id
        self._event_type = event_type
        self._key_codec: Any = _MISSING
        self._value_codec: Any = _MISSING
        #: the codec of its events where a Python program declares it
        self.event_codec: Any = None
        self._decode_key: Callable[[Any], Any] = self._first_decode_key
        self._decode_value: Callable[[Any], Any] = self._first_decode_value
        self._encode_key: Callable[[Any], bytes] = self._first_encode_key
        self._encode_value: Callable[[Any], bytes] = self._first_encode_value
        #: the event stream that was opened last
        self.stream: EventStream | None = None
        self._producer: RecordSender | None = None
        self._lost_before = 0

    def __repr__(self) -> str:
        return f"<Map {self.name}: {self.type.name.lower()}, {self.max_entries} entries>"

    @property
    def btf(self) -> Btf | None:
        """The types that `key_type_id` and `value_type_id` belong to."""
        return self._btf

    @property
    def event_type_id(self) -> int:
        """The type of the records that programs send through this map; 0 if it is not known."""
        if self._event_type is not None:
            return self._event_type()
        return self.value_type_id if self.type == _T.RINGBUF else 0

    @property
    def key_size(self) -> int:
        """Bytes in a key."""
        return self.raw.key_size

    @property
    def value_size(self) -> int:
        """Bytes in a value (of one CPU)."""
        return self.raw.value_size

    @property
    def max_entries(self) -> int:
        """How many entries there may be; for a ring buffer its size in bytes."""
        return self.raw.max_entries

    def fileno(self) -> int:
        """The map's file descriptor."""
        return self.raw.fileno()

    # ---- one entry ----

    def __getitem__(self, key: Any) -> Any:
        value = self.raw.lookup(self._encode_key(key))
        if value is None:
            raise KeyMissing(f"map {self.name!r} has no entry under {key!r}", map_name=self.name)
        return self._decode_value(value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.raw.update(self._encode_key(key), self._encode_value(value))

    def __delitem__(self, key: Any) -> None:
        if not self.raw.delete(self._encode_key(key)):
            raise KeyMissing(f"map {self.name!r} has no entry under {key!r}", map_name=self.name)

    def __contains__(self, key: object) -> bool:
        if self.type == _T.BLOOM_FILTER:
            return self.raw.may_contain(self._encode_value(key))
        return self.raw.lookup(self._encode_key(key)) is not None

    def lookup(self, key: Any, default: Any = None) -> Any:
        """The value under ``key``, or ``default``."""
        value = self.raw.lookup(self._encode_key(key))
        return default if value is None else self._decode_value(value)

    get = lookup

    def delete(self, key: Any) -> bool:
        """Remove ``key``; whether it was there."""
        return self.raw.delete(self._encode_key(key))

    def pop(self, key: Any = _MISSING, default: Any = _MISSING) -> Any:
        """Remove ``key`` and return its value (one step where the kernel has it: 5.14).

        A queue or a stack takes no key: its next value.
        """
        from ebpf.errors import NotSupported

        raw = b"" if key is _MISSING else self._encode_key(key)
        try:
            value = self.raw.lookup_and_delete(raw)
        except NotSupported:
            value = self.raw.lookup(raw)
            if value is not None:
                self.raw.delete(raw)
        if value is None:
            if default is not _MISSING:
                return default
            what = "is empty" if key is _MISSING else f"has no entry under {key!r}"
            raise KeyMissing(f"map {self.name!r} {what}", map_name=self.name)
        return self._decode_value(value)

    def push(self, value: Any, *, replace_oldest: bool = False) -> None:
        """Add a value to a queue, stack or bloom filter; ``replace_oldest`` makes room in a full one."""
        self.raw.update(b"", self._encode_value(value), EXIST if replace_oldest else ANY)

    def peek(self) -> Any:
        """The next value of a queue or stack, which stays; `KeyMissing` if there is none."""
        value = self.raw.lookup(b"")
        if value is None:
            raise KeyMissing(f"map {self.name!r} is empty", map_name=self.name)
        return self._decode_value(value)

    def update(self, entries: Mapping[Any, Any] | Iterable[tuple[Any, Any]], flags: int = ANY) -> int:
        """Write many entries, in as few system calls as the kernel allows; how many.

        ``flags``: `Map.ANY`, `Map.NOEXIST` (only new keys), `Map.EXIST` (only keys that are there).
        """
        pairs = list(entries.items() if hasattr(entries, "items") else entries)
        if not pairs:
            return 0
        if len(pairs) == 1:
            self.raw.update(self._encode_key(pairs[0][0]), self._encode_value(pairs[0][1]), flags)
            return 1
        encode_key, encode_value = self._encode_key, self._encode_value
        return self.raw.update_batch(b"".join([encode_key(k) for k, _ in pairs]),
                                        b"".join([encode_value(v) for _, v in pairs]), flags)

    def networks(self) -> dict[Any, Any]:
        """Every entry of a longest-prefix trie, its key as an ``ipaddress`` network.

        Such networks, addresses and their text (``"10.0.0.0/8"``) are taken as keys everywhere. `UsageError` for other
        types of maps, and where keys are no IPv4 or IPv6 addresses after their length.
        """
        from ebpf.session.networks import decode_network

        if self.type != _T.LPM_TRIE:
            raise UsageError(f"map {self.name!r} is of type {self.type.name.lower()}: only tries hold networks")
        bulk, size = self._all(), self.key_size
        keys = [decode_network(bytes(bulk.keys[at:at + size])) for at in range(0, bulk.count * size, size)]
        return dict(zip(keys, self._values_of(bulk)))

    def clear(self) -> int:
        """Delete every entry (arrays: write zeros); how many there were."""
        return self.raw.clear()

    # ---- all entries ----

    def __len__(self) -> int:
        """How many entries there are now: counted, not known."""
        if self.type in _INDEXED:
            return self.max_entries
        return self._all().count

    def __bool__(self) -> bool:
        return True  # a map that is empty is still a map

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def keys(self) -> list[Any]:
        """Every key."""
        if self.type in _INDEXED:
            return list(range(self.max_entries))
        return self._keys_of(self._all())

    def values(self) -> list[Any]:
        """Every value, in the order of `keys` if nothing changed meanwhile."""
        return self._values_of(self._all())

    def items(self) -> list[tuple[Any, Any]]:
        """Every entry."""
        bulk = self._all()
        return list(zip(self._keys_of(bulk), self._values_of(bulk)))

    def take(self) -> list[tuple[Any, Any]]:
        """Every entry, removed as it is read: what programs count meanwhile is in the next `take` (Linux 5.6)."""
        bulk = self._all(take=True)
        return list(zip(self._keys_of(bulk), self._values_of(bulk)))

    def chunks(self, size: int = 1 << 16) -> Iterator[list[tuple[Any, Any]]]:
        """`items` in pieces of about ``size`` entries, for maps that are larger than one's memory or patience."""
        if self.type in _KEYLESS:
            raise UsageError(f"a {self.type.name.lower()} cannot be listed")
        for bulk in self.raw.chunks(size):
            yield list(zip(self._keys_of(bulk), self._values_of(bulk), strict=True))

    def freeze(self) -> None:
        """From now on only programs write to it (Linux 5.2)."""
        self.raw.freeze()

    def _all(self, *, take: bool = False) -> Bulk:
        if self.type in _KEYLESS:
            raise UsageError(f"a {self.type.name.lower()} cannot be read as a whole",
                             helps=("use events",) if self.type in _EVENTS else ("use push, pop and peek",))
        return self.raw.take_all() if take else self.raw.read_all()

    def _keys_of(self, bulk: Bulk) -> list[Any]:
        if self.key_codec is not None and self.key_size:
            found: list[Any] = self.key_codec.decode_many(bulk.keys)
            return found
        return _split(bulk.keys, self.key_size, bulk.count, self._decode_key)

    def _values_of(self, bulk: Bulk) -> list[Any]:
        if self.value_codec is not None and not self.per_cpu and self.type not in _DESCRIPTORS and self.value_size:
            found: list[Any] = self.value_codec.decode_many(bulk.values)
            return found
        return _split(bulk.values, self.raw.value_stride, bulk.count, self._decode_value)

    def to_numpy(self, *, take: bool = False) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Every key and every value, as two arrays of equal length whose dtypes come from the map's types.

        Structs become structured dtypes; maps without types give ``uint8`` of shape (n, size). Values of a per-CPU map
        have a second axis, one column for each possible CPU. ``take`` removes what it reads.
        """
        from ebpf.session import arrays

        bulk = self._all(take=take)
        return (arrays.keys_of(self.raw, bulk, self._dtype("key")),
                arrays.values_of(self.raw, bulk, self._dtype("value"), self.per_cpu))

    def to_arrow(self, *, take: bool = False) -> pyarrow.Table:
        """Every entry as an Arrow table: columns ``key`` and ``value``, or the members where these are structs.

        A per-CPU map has a row for each CPU of each entry, and a column ``cpu``. ``char[]`` becomes text. Needs
        pyarrow (``pip install 'ebpf[arrow]'``), which other libraries and databases read without a copy.
        """
        from ebpf.session import frames

        return frames.to_table(frames.map_columns(*self.to_numpy(take=take), self.per_cpu))

    def to_pandas(self, *, take: bool = False) -> pandas.DataFrame:
        """The same as a pandas data frame (``pip install 'ebpf[data]'``)."""
        from ebpf.session.extras import need

        need("pandas", "data frames")
        return self.to_arrow(take=take).to_pandas()

    def to_polars(self, *, take: bool = False) -> polars.DataFrame:
        """The same as a polars data frame (``pip install 'ebpf[data]'``)."""
        from ebpf.session.extras import need

        return need("polars", "polars data frames").from_arrow(self.to_arrow(take=take))

    def histogram(self, *, first: int = 0, low: int = 0, step: int = 0) -> Histogram:
        """Entries that programs count by slot, as a `Histogram`; the sum over all CPUs.

        Keys are slots: of powers of two (``ebpf.log2``; ``first=1`` for BCC's ``bpf_log2l``, which begins at 1), or
        with ``step`` of equal steps, slot 0 beginning at ``low``. `UsageError` where keys or values are no integers.
        """
        from ebpf.session.histograms import Bucket, Histogram

        counts: dict[int, int] = {}
        for slot, value in self.items():
            total = sum(value) if self.per_cpu else value
            if not isinstance(slot, int) or not isinstance(total, int):
                raise UsageError(f"map {self.name!r} is no histogram: slots and counts are integers")
            counts[slot - first] = counts.get(slot - first, 0) + total
        if not step:
            return Histogram.powers({slot: count for slot, count in counts.items() if slot >= 0})
        held = [slot for slot, count in counts.items() if count]
        return Histogram([Bucket(low + slot * step, low + (slot + 1) * step - 1, counts.get(slot, 0),
                                 f"[{low + slot * step}, {low + (slot + 1) * step})")
                          for slot in (range(min(held), max(held) + 1) if held else ())])

    def _repr_html_(self) -> str:
        from ebpf.session.notebook import map_page

        return map_page(self)

    def from_numpy(self, keys: Any, values: Any, flags: int = ANY) -> int:
        """Write many entries from two arrays shaped as `to_numpy` gives them (see there); how many.

        Integers of another width will do if they fit, structs need the map's members in their order. ``flags`` as for
        `update`. `UsageError` for arrays of another shape, length or dtype: nothing is written then.
        """
        from ebpf.session import arrays

        if self.type in _KEYLESS or self.type in _DESCRIPTORS:
            raise UsageError(f"a {self.type.name.lower()} cannot be filled from arrays")
        raw_keys, count = arrays.key_bytes(self.raw, keys, self._dtype("key"))
        raw_values = arrays.value_bytes(self.raw, values, self._dtype("value"), self.per_cpu, count)
        return self.raw.update_batch(raw_keys, raw_values, flags) if count else 0

    # ---- events ----

    def events(self, *, type: str | None = None, timeout: float | None = None, pages: int = 64,
               wakeup_events: int = 1) -> EventStream:
        """What programs send through this ring buffer or perf event array: iterate, ``async for``,
        `EventStream.batches`.

        ``type`` names the records' type in the object's BTF (``"struct event"``) where it is not known anyhow;
        without one records are ``bytes``. ``timeout`` (seconds) ends a quiet iteration. ``pages``: size of each CPU's
        perf buffer, a power of two. An open stream is part of the session and ends with it. A map has one reader:
        opening another closes the one before, whose unread events the new one hands out.
        """
        from ebpf.session.events import EventStream

        if self.type not in _EVENTS:
            raise UsageError(f"map {self.name!r} is of type {self.type.name.lower()}: only ring buffers and perf event "
                             "arrays carry events")
        stream = EventStream(self, type_name=type, timeout=timeout, pages=pages, wakeup_events=wakeup_events,
                             after=self.stream)
        if self.stream is not None:
            self._lost_before += self.stream.lost
        self.stream = stream
        return stream

    def perf_buffer(self, callback: Callable[[int, bytes], Any], *, on_lost: Callable[[int, int], Any] | None = None,
                    pages: int = 8, wakeup_events: int = 1) -> PerfReader:
        """The reader beneath `events`: ``callback(cpu, data)`` and ``on_lost(cpu, count)`` when its `consume` is
        called.
        """
        return self.raw.perf_buffer(callback, on_lost=on_lost, pages=pages, wakeup_events=wakeup_events)

    def ring_buffer(self) -> RingReader:
        """The reader beneath `events`."""
        return self.raw.ring_buffer()

    def send(self, value: Any, *, timeout: float = 0) -> None:
        """Send a record to programs through a user ring buffer (Linux 6.1), which they take out with
        ``bpf_user_ringbuf_drain``: typed where the map's definition has a value type, else ``bytes``.

        `MapFull` if there is no room for it within ``timeout`` seconds.
        """
        if self.type != _T.USER_RINGBUF:
            raise UsageError(f"map {self.name!r} is of type {self.type.name.lower()}: only user ring buffers send")
        if self._producer is None:
            self._producer = self.raw.user_ring_buffer()
        codec = self._record_codec()
        self._producer.send(self._encode_bytes(value) if codec is None else codec.encode(value), timeout)

    def _record_codec(self) -> Any:
        if self.event_codec is not None:
            return self.event_codec
        if not self.value_type_id or self._btf is None:
            return None
        from ebpf.btf import codec

        return codec(self._btf, self.value_type_id)

    @property
    def arena(self) -> ArenaMemory:
        """The memory of an arena (Linux 6.9), which programs and this process share: ``arena.read(pointer, size)``,
        ``arena.write``, ``arena.view``. `load_type` and `store_type` read and write it typed.
        """
        return self.raw.arena()

    def load_type(self, type: str, pointer: int) -> Any:
        """What a program's ``pointer`` into this arena leads to, as the object's type (``"struct node"``)."""
        from ebpf.session.types import codec_in

        codec = codec_in(self._btf, type)
        return codec.decode(self.arena.read(pointer, codec.size))

    def store_type(self, type: str, pointer: int, value: Any) -> None:
        """Write a typed value where a program's ``pointer`` into this arena leads."""
        from ebpf.session.types import codec_in

        self.arena.write(pointer, codec_in(self._btf, type).encode(value))

    def open_counters(self, type: int, config: int, first: int = 0) -> Closable:
        """Open a perf counter for each online CPU and put it into this perf event array, for programs to read.

        That of CPU 0 has the index ``first``.
        """
        return self.raw.open_counters(type, config, first)

    @property
    def lost(self) -> int:
        """Events that were lost because nobody read in time, as far as they were reported (perf event arrays)."""
        return self._lost_before + (0 if self.stream is None else self.stream.lost)

    def pin(self, path: str) -> None:
        """Keep the map under ``path`` on a BPF file system, beyond the end of this process."""
        self.raw.pin(path)

    def close(self) -> None:
        """Close its streams and the map."""
        if self.stream is not None:
            self.stream.close()
        self.raw.close()

    # ---- types ----

    def declare(self, key: Any, value: Any) -> None:
        """Take these codecs in the place of those that BTF gives (``None`` leaves one as it is)."""
        if key is not None:
            self._key_codec = key
            self._decode_key, self._encode_key = self._first_decode_key, self._first_encode_key
        if value is not None and self.type in _EVENTS:
            self.event_codec = value
        elif value is not None:
            self._value_codec = value
            self._decode_value, self._encode_value = self._first_decode_value, self._first_encode_value

    @property
    def key_codec(self) -> Any:
        """The `Codec` of keys, ``None`` where keys are plain bytes or indexes."""
        if self._key_codec is _MISSING:
            self._key_codec = self._codec(self.key_type_id, self.key_size)
        return self._key_codec

    @property
    def value_codec(self) -> Any:
        """The `Codec` of values (of one CPU), ``None`` where values are plain bytes."""
        if self._value_codec is _MISSING:
            self._value_codec = self._codec(self.value_type_id, self.value_size)
        return self._value_codec

    def _codec(self, type_id: int, size: int) -> Any:
        if not type_id or self._btf is None or (self.spec is not None and self.spec.is_data):
            return None  # a data section: `Session.variables` has its parts
        from ebpf.btf import codec

        found = codec(self._btf, type_id)
        return found if found.size == size else None

    def _dtype(self, what: str) -> Any:
        found = self.key_codec if what == "key" else self.value_codec
        if found is not None:
            return found.dtype
        plain = (self.type in _INDEXED) if what == "key" else (self.type in _DESCRIPTORS)
        return "<u4" if plain else None

    # Coding functions are chosen at the first use and then called directly.

    def _first_decode_key(self, data: Any) -> Any:
        chosen = self.key_codec
        self._decode_key = (_integer if chosen is None and self.type in _INDEXED else
                            bytes if chosen is None else chosen.decode)
        return self._decode_key(data)

    def _first_encode_key(self, key: Any) -> bytes:
        chosen = self.key_codec
        if self.type in _KEYLESS:
            raise UsageError(f"a {self.type.name.lower()} has no keys", helps=("use push, pop and peek",))
        self._encode_key = (self._encode_index if self.type in _INDEXED else
                            self._encode_network if self.type == _T.LPM_TRIE else
                            self._encode_bytes if chosen is None else chosen.encode)
        return self._encode_key(key)

    def _encode_network(self, key: Any) -> bytes:
        from ebpf.session.networks import encode_network

        found = encode_network(key, self.key_size, self.name)
        if found is None:
            chosen = self.key_codec
            found = self._encode_bytes(key) if chosen is None else chosen.encode(key)
        return found

    def _encode_index(self, key: Any) -> bytes:
        try:
            index = int(key)
        except (TypeError, ValueError):
            raise UsageError(f"map {self.name!r} is an array: its keys are integers, not {key!r}") from None
        if not 0 <= index < self.max_entries:
            raise KeyMissing(f"array {self.name!r} has entries 0 to {self.max_entries - 1}, not {index}",
                             map_name=self.name)
        return index.to_bytes(4, "little")

    def _encode_bytes(self, key: Any) -> bytes:
        if isinstance(key, (bytes, bytearray, memoryview)):
            return bytes(key)
        raise UsageError(f"map {self.name!r} has no types: give keys and values as bytes, not {key!r}",
                         helps=("compile the object with BTF (clang: -g) to use typed values",))

    def _first_decode_value(self, data: Any) -> Any:
        chosen = self.value_codec
        one = _integer if self.type in _DESCRIPTORS else bytes if chosen is None else chosen.decode
        if self.per_cpu:
            step, size = -(-self.value_size // 8) * 8, self.value_size

            def decode(data: Any) -> tuple[Any, ...]:
                return tuple([one(data[at:at + size]) for at in range(0, len(data), step)])

            self._decode_value = decode
        else:
            self._decode_value = one
        return self._decode_value(data)

    def _first_encode_value(self, value: Any) -> bytes:
        chosen = self.value_codec
        if self.type in _DESCRIPTORS:
            self._encode_value = self._encode_descriptor
        elif self.per_cpu:
            self._encode_value = self._encode_cpus
        else:
            self._encode_value = self._encode_bytes if chosen is None else chosen.encode
        return self._encode_value(value)

    def _encode_cpus(self, values: Any) -> bytes:
        one = self._encode_bytes if self.value_codec is None else self.value_codec.encode
        if isinstance(values, (list, tuple)):
            return self.raw.join_cpus([one(v) for v in values])
        return self.raw.join_cpus([one(values)] * self.raw.per_cpu_slots)

    def _encode_descriptor(self, value: Any) -> bytes:
        """A program, map, cgroup directory or anything else with a descriptor, or its number."""
        number = value if isinstance(value, int) else value.fileno() if hasattr(value, "fileno") else None
        if number is None or number < 0:
            raise UsageError(f"map {self.name!r} holds open programs, maps or files, not {value!r}")
        return int(number).to_bytes(4, "little")


def _integer(data: Any) -> int:
    return int.from_bytes(data, "little")


def _split(data: memoryview, size: int, count: int, decode: Callable[[Any], Any]) -> list[Any]:
    if not count:
        return []
    return [decode(data[at:at + size]) for at in range(0, count * size, size)]
