"""BCC's tables: maps whose keys and leaves are ctypes values.

`Table` picks the class for a map. Whole maps are read in bulk, and keys and leaves are views of (structs) or copies
from (integers) what was read: 100,000 entries of a hash take a few hundredths of a second.
"""

from __future__ import annotations

import ctypes as ct
import sys
from collections.abc import MutableMapping
from functools import reduce

from bcc import ctype, histogram
from bcc.utils import to_str

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from bcc.bpf import BPF
    from ebpf import Map

(BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_TYPE_PERF_EVENT_ARRAY,
BPF_MAP_TYPE_PERCPU_HASH,
 BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_STACK_TRACE, BPF_MAP_TYPE_CGROUP_ARRAY, BPF_MAP_TYPE_LRU_HASH,
 BPF_MAP_TYPE_LRU_PERCPU_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS,
 BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_SOCKMAP, BPF_MAP_TYPE_CPUMAP, BPF_MAP_TYPE_XSKMAP, BPF_MAP_TYPE_SOCKHASH,
 BPF_MAP_TYPE_CGROUP_STORAGE, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE, BPF_MAP_TYPE_QUEUE,
 BPF_MAP_TYPE_STACK, BPF_MAP_TYPE_SK_STORAGE, BPF_MAP_TYPE_DEVMAP_HASH, BPF_MAP_TYPE_STRUCT_OPS, BPF_MAP_TYPE_RINGBUF,
 BPF_MAP_TYPE_INODE_STORAGE, BPF_MAP_TYPE_TASK_STORAGE) = range(1, 30)

# Constants that scripts import from here.
stars_max, log2_index_max, linear_index_max = histogram.STARS_MAX, histogram.LOG2_INDEX_MAX, histogram.LINEAR_INDEX_MAX


def _of_size(value: Any, size: int) -> bytes:
    """The bytes of a key or leaf. Scripts give a ``c_int`` for a u64; BCC takes the other half from what is beside."""
    data = bytes(value)
    if len(data) < size and isinstance(value, ct._SimpleCData) and isinstance(value.value, int):
        return value.value.to_bytes(size, sys.byteorder, signed=value.value < 0)
    return data


class TableBase(MutableMapping):  # type: ignore[type-arg]
    """What all tables can do. ``Key`` and ``Leaf`` are the ctypes classes of keys and values."""

    def __init__(self, bpf: BPF, map: Map, keytype: Any, leaftype: Any, name: bytes | None = None) -> None:
        self.bpf = bpf
        self._map = map
        self._raw = map.raw
        self.map_id = 0
        self.map_fd = map.fileno()
        self.Key = keytype
        self.Leaf = leaftype
        self.ttype = int(map.type)
        self.flags = map.raw.flags
        self.max_entries = map.max_entries
        self._name = name if name is not None else map.name.encode()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {to_str(self._name)}>"

    def get_fd(self) -> int:
        """The map's file descriptor."""
        return self.map_fd

    # ---- between ctypes and bytes ----

    def _key_bytes(self, key: Any) -> bytes:
        if isinstance(key, (int, bytes)) and not isinstance(key, bool):
            if isinstance(key, bytes) and len(key) == self._raw.key_size:
                return key
            key = self.Key(key)
        return _of_size(key, self._raw.key_size)

    def _leaf_bytes(self, leaf: Any) -> bytes:
        if isinstance(leaf, (int, float)):
            leaf = self.Leaf(leaf)
        return _of_size(leaf, self._raw.value_size)

    def _leaf(self, data: bytes) -> Any:
        return self.Leaf.from_buffer_copy(data)

    def key_sprintf(self, key: Any) -> bytes:
        """A key as text: ``0x1`` for integers, ``{ 0x1 0x2 }`` for structs."""
        return _sprintf(key).encode()

    def leaf_sprintf(self, leaf: Any) -> bytes:
        """A leaf as text."""
        return _sprintf(leaf).encode()

    def key_scanf(self, key_str: bytes | str) -> Any:
        """The other way round, for integers."""
        return self.Key(int(to_str(key_str), 0))

    def leaf_scanf(self, leaf_str: bytes | str) -> Any:
        """The other way round, for integers."""
        return self.Leaf(int(to_str(leaf_str), 0))

    # ---- one entry ----

    def __getitem__(self, key: Any) -> Any:
        data = self._raw.lookup(self._key_bytes(key))
        if data is None:
            raise KeyError(key)
        return self._leaf(data)

    def __setitem__(self, key: Any, leaf: Any) -> None:
        self._raw.update(self._key_bytes(key), self._leaf_bytes(leaf))

    def __delitem__(self, key: Any) -> None:
        if not self._raw.delete(self._key_bytes(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self._raw.lookup(self._key_bytes(key)) is not None

    def __bool__(self) -> bool:
        return len(self) > 0

    # ---- all entries ----

    def _bulk(self, take: bool = False) -> tuple[list[Any], list[Any]]:
        import gc

        bulk = self._raw.take_all() if take else self._raw.read_all()
        # Hundreds of thousands of new objects, none of them garbage: looking for some takes half of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            return (_values(self.Key, bulk.keys, bulk.count, self._raw.key_size),
                    self._leaves(bulk.values, bulk.count))
        finally:
            if collecting:
                gc.enable()

    def _leaves(self, data: Any, count: int) -> list[Any]:
        return _values(self.Leaf, data, count, self._raw.value_stride)

    def items(self) -> list[tuple[Any, Any]]:  # type: ignore[override]
        """Every entry, as (Key, Leaf)."""
        return list(zip(*self._bulk()))

    def iteritems(self) -> Iterator[tuple[Any, Any]]:
        """The same, as an iterator."""
        return iter(self.items())

    def values(self) -> list[Any]:  # type: ignore[override]
        """Every leaf."""
        return self._bulk()[1]

    def itervalues(self) -> Iterator[Any]:
        """The same, as an iterator."""
        return iter(self.values())

    def keys(self) -> Iterator[Any]:  # type: ignore[override]
        """Every key there is now."""
        bulk = self._raw.read_all()
        return iter(_values(self.Key, bulk.keys, bulk.count, self._raw.key_size))

    def __iter__(self) -> Iterator[Any]:
        return self.keys()

    def iter(self) -> Iterator[Any]:
        """The same as iterating."""
        return iter(self)

    def next(self, key: Any = None) -> Any:
        """The key after ``key`` (the first for ``None``); StopIteration after the last."""
        found = self._raw.next_key(None if key is None else self._key_bytes(key))
        if found is None:
            raise StopIteration
        return self.Key.from_buffer_copy(found)

    def __len__(self) -> int:
        return int(self._raw.read_all().count)

    def clear(self) -> None:
        """Delete every entry (arrays: write zeros)."""
        self._raw.clear()

    def zero(self) -> None:
        """Write zeros under every key, which stays."""
        bulk = self._raw.read_all()
        if bulk.count:
            self._raw.update_batch(bytes(bulk.keys), bytes(len(bulk.values)))

    # ---- batches (Linux 5.6; key by key before) ----

    def items_lookup_batch(self) -> Iterator[tuple[Any, Any]]:
        """Every entry."""
        yield from zip(*self._bulk())

    def items_lookup_and_delete_batch(self) -> Iterator[tuple[Any, Any]]:
        """Every entry, removed as it is read."""
        yield from zip(*self._bulk(take=True))

    def items_delete_batch(self, ct_keys: Any = None) -> None:
        """Delete the keys in a ctypes array, or everything."""
        if ct_keys is None:
            self._raw.take_all()
        else:
            self._checked_batch(ct_keys)
            self._raw.delete_batch(bytes(ct_keys))

    def items_update_batch(self, ct_keys: Any, ct_values: Any) -> None:
        """Write many entries: two ctypes arrays of equal length."""
        self._checked_batch(ct_keys)
        self._checked_batch(ct_values)
        if len(ct_keys) != len(ct_values):
            raise ValueError("keys array length != values array length")
        self._raw.update_batch(bytes(ct_keys), bytes(ct_values))

    def _checked_batch(self, array: Any) -> None:
        if not isinstance(array, ct.Array):
            raise TypeError(f"a ctypes array is wanted, not {type(array).__name__}")
        if not 1 <= len(array) <= self.max_entries:
            raise ValueError("Array's length is wrong")

    # ---- histograms ----

    def _sections(self, bucket_fn: Callable[[Any], Any] | None, sort_fn: Callable[[list[Any]], list[Any]] | None,
                  size: int) -> list[tuple[Any, list[int]]]:
        """A histogram for each value of the key's first member; its slot is the second."""
        names = [f[0] for f in self.Key._fields_]
        first, slot = [n for n in names if not n.startswith("__pad_")][:2]
        found: dict[Any, list[int]] = {}
        for key, leaf in self.items():
            bucket = getattr(key, first)
            if bucket_fn:
                bucket = bucket_fn(bucket)
            elif isinstance(bucket, (ct.Structure, ct.Array)):
                bucket = bytes(bucket) if isinstance(bucket, ct.Array) else bucket
            found.setdefault(bucket, [0] * size)[getattr(key, slot)] = leaf.value
        buckets = list(found)
        if sort_fn:
            buckets = sort_fn(buckets)
        return [(bucket, found[bucket]) for bucket in buckets]

    def _counts(self, size: int) -> list[int]:
        counts = [0] * size
        for key, leaf in self.items():
            try:
                counts[key.value] = leaf.value
            except IndexError:
                raise IndexError(f"Index in print_linear_hist() of {key.value} exceeds max of {size}.") from None
        return counts

    def _print(self, printer: Callable[[list[int], str, bool | None], None], size: int, val_type: str,
               section_header: str, section_print_fn: Any, bucket_fn: Any, strip: bool | None, sort_fn: Any) -> None:
        if not issubclass(self.Key, ct.Structure):
            printer(self._counts(size), val_type, strip)
            return
        for bucket, counts in self._sections(bucket_fn, sort_fn, size):
            if section_print_fn:
                print(f"\n{section_header} = {section_print_fn(bucket)}")
            else:
                print(f"\n{section_header} = {bucket!r}")
            printer(counts, val_type, strip)

    def print_log2_hist(self, val_type: str = "value", section_header: str = "Bucket ptr", section_print_fn: Any = None,
                        bucket_fn: Any = None, strip_leading_zero: bool | None = None,
                        bucket_sort_fn: Any = None) -> None:
        """The table, whose keys are powers of two, as a histogram; one for each first member if keys are structs."""
        self._print(histogram.print_log2_hist, log2_index_max, val_type, section_header, section_print_fn, bucket_fn,
                    strip_leading_zero, bucket_sort_fn)

    def print_linear_hist(self, val_type: str = "value", section_header: str = "Bucket ptr",
                          section_print_fn: Any = None, bucket_fn: Any = None, strip_leading_zero: bool | None = None,
                          bucket_sort_fn: Any = None) -> None:
        """The table, whose keys are small integers, as a histogram."""
        self._print(histogram.print_linear_hist, linear_index_max, val_type, section_header, section_print_fn,
                    bucket_fn, strip_leading_zero, bucket_sort_fn)

    def print_json_hist(self, val_type: str = "value", section_header: str = "Bucket ptr", section_print_fn: Any = None,
                        bucket_fn: Any = None, bucket_sort_fn: Any = None) -> None:
        """The power-of-two histogram as a dictionary."""
        if not issubclass(self.Key, ct.Structure):
            histogram.print_json_hist(self._counts(log2_index_max), val_type)
            return
        for bucket, counts in self._sections(bucket_fn, bucket_sort_fn, log2_index_max):
            shown = section_print_fn(bucket) if section_print_fn else bucket
            histogram.print_json_hist(counts, val_type, (section_header, shown))


_NATIVE = frozenset("bBhHiIlLqQ?fd")  # codes that ctypes and memoryview share


def _values(cls: Any, data: Any, count: int, stride: int) -> list[Any]:
    """``count`` values of ``cls`` out of a buffer, ``stride`` bytes apart."""
    if not count:
        return []
    if ct.sizeof(cls) != stride:
        return [cls.from_buffer_copy(data[at:at + stride]) for at in range(0, count * stride, stride)]
    if issubclass(cls, ct._SimpleCData) and cls._type_ in _NATIVE:
        # Building from Python integers is six times faster than making a view for each.
        return list(map(cls, data.cast(cls._type_)))
    return list((cls * count).from_buffer(data) if not data.readonly else (cls * count).from_buffer_copy(data))


def _sprintf(value: Any) -> str:
    if isinstance(value, ct.Structure):
        return "{ " + " ".join(_sprintf(getattr(value, f[0])) for f in value._fields_) + " }"
    if isinstance(value, ct.Array):
        raw = getattr(value, "value", None)
        if isinstance(raw, bytes):
            return f'"{raw.decode(errors="replace")}"'
        return "[ " + " ".join(map(_sprintf, value)) + " ]"
    number = getattr(value, "value", value)
    return f'"{number.decode(errors="replace")}"' if isinstance(number, bytes) else f"{int(number):#x}"


class HashTable(TableBase):
    """BPF_HASH."""


class LruHash(HashTable):
    """BPF_TABLE("lru_hash")."""


class LpmTrie(TableBase):
    """BPF_LPM_TRIE: keys are structs of a prefix length and the bits."""


class ArrayBase(TableBase):
    """Tables whose keys are indexes: plain integers will do, negative ones count from the end."""

    def _index(self, key: Any) -> int:
        if isinstance(key, int):
            index = key + self.max_entries if key < 0 else key
        elif isinstance(key, ct._SimpleCData):
            index = key.value
        else:
            raise IndexError("Array index must be an integer type")
        if not 0 <= index < self.max_entries:
            raise IndexError("Array index out of range")
        return index

    def _key_bytes(self, key: Any) -> bytes:
        return self._index(key).to_bytes(4, "little")

    def __len__(self) -> int:
        return self.max_entries

    def keys(self) -> Iterator[Any]:  # type: ignore[override]
        return map(self.Key, range(self.max_entries))

    def __contains__(self, key: object) -> bool:
        try:
            self._index(key)
        except IndexError:
            return False
        return True

    def clearitem(self, key: Any) -> None:
        """Write zeros to one entry."""
        self._raw.update(self._key_bytes(key), bytes(self._raw.value_stride))


class Array(ArrayBase):
    """BPF_ARRAY; deleting an entry writes zeros."""

    def __delitem__(self, key: Any) -> None:
        self.clearitem(key)


class _Descriptors(ArrayBase):
    """Arrays of open things: only what was put in by us can be listed."""

    def _bulk(self, take: bool = False) -> tuple[list[Any], list[Any]]:
        found = [(i, data) for i in range(self.max_entries)
                 if (data := self._raw.lookup(i.to_bytes(4, "little"))) is not None]
        return [self.Key(i) for i, _ in found], [self._leaf(data) for _, data in found]

    def __delitem__(self, key: Any) -> None:
        self._raw.delete(self._key_bytes(key))


class ProgArray(_Descriptors):
    """BPF_PROG_ARRAY: the targets of tail calls; takes what `BPF.load_func` gives."""

    def __setitem__(self, key: Any, leaf: Any) -> None:
        super().__setitem__(key, getattr(leaf, "fd", leaf))


class CgroupArray(_Descriptors):
    """BPF_CGROUP_ARRAY: takes descriptors and paths of control groups."""

    def __setitem__(self, key: Any, leaf: Any) -> None:
        import os

        if isinstance(leaf, int):
            super().__setitem__(key, self.Leaf(leaf))
        elif isinstance(leaf, (str, bytes)):
            fd = os.open(leaf, os.O_RDONLY | os.O_CLOEXEC)
            try:
                super().__setitem__(key, self.Leaf(fd))
            finally:
                os.close(fd)
        else:
            raise Exception("Cgroup array key must be either FD or cgroup path")


class DevMap(ArrayBase):
    """BPF_DEVMAP: network devices to redirect to."""


class CpuMap(ArrayBase):
    """BPF_CPUMAP: CPUs to redirect to."""


class XskMap(_Descriptors):
    """BPF_XSKMAP: AF_XDP sockets to redirect to."""


class MapInMapArray(_Descriptors):
    """BPF_ARRAY_OF_MAPS; takes tables and descriptors."""

    def __setitem__(self, key: Any, leaf: Any) -> None:
        super().__setitem__(key, getattr(leaf, "map_fd", leaf))


class MapInMapHash(HashTable):
    """BPF_HASH_OF_MAPS; takes tables and descriptors."""

    def __setitem__(self, key: Any, leaf: Any) -> None:
        super().__setitem__(key, getattr(leaf, "map_fd", leaf))


class _PerCpu(TableBase):
    """Tables with a value for each possible CPU: a leaf is a ctypes array, or what ``reducer`` makes of it."""

    def __init__(self, *args: Any, reducer: Callable[[Any, Any], Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.reducer = reducer
        self.sLeaf = self.Leaf
        self.alignment = ct.sizeof(self.sLeaf) % 8
        self._step = (self._raw.value_size + 7) // 8 * 8
        self.total_cpu = self._raw.value_stride // self._step
        self.Leaf = self.sLeaf * self.total_cpu

    def _leaf(self, data: Any) -> Any:
        leaf = self._cpu_values(data)
        return reduce(self.reducer, leaf) if self.reducer else leaf

    def _cpu_values(self, data: Any) -> Any:
        """The kernel rounds each CPU's value up to 8 bytes."""
        if not self.alignment:
            return self.Leaf.from_buffer_copy(data)
        size = self._raw.value_size
        return self.Leaf.from_buffer_copy(b"".join([data[at:at + size] for at in range(0, len(data), self._step)]))

    def _leaf_bytes(self, leaf: Any) -> bytes:
        if isinstance(leaf, int):
            leaf = self.sLeaf(leaf)
        if isinstance(leaf, self.sLeaf) and not isinstance(leaf, self.Leaf):
            leaf = self.Leaf(*[leaf] * self.total_cpu)
        elif isinstance(leaf, (list, tuple)):
            leaf = self.Leaf(*leaf)
        data, size = bytes(leaf), self._raw.value_size
        if not self.alignment or len(data) == self._raw.value_stride:
            return data
        return b"".join([data[at:at + size].ljust(self._step, b"\0") for at in range(0, len(data), size)])

    def _leaves(self, data: Any, count: int) -> list[Any]:
        stride = self._raw.value_stride
        if not self.alignment and not self.reducer:
            return _values(self.Leaf, data, count, stride)
        return [self._leaf(bytes(data[at:at + stride])) for at in range(0, count * stride, stride)]

    def getvalue(self, key: Any) -> Any:
        """The values of all CPUs, as a ctypes array."""
        data = self._raw.lookup(self._key_bytes(key))
        if data is None:
            raise KeyError(key)
        return self._cpu_values(data)

    def _numbers(self, key: Any, what: str) -> list[int]:
        if not issubclass(self.sLeaf, ct._SimpleCData):
            raise IndexError(f"Leaf must be an integer type for default {what} functions")
        return list(self.getvalue(key))

    def sum(self, key: Any) -> Any:
        """The sum over all CPUs, as a leaf of one CPU."""
        return self.sLeaf(sum(self._numbers(key, "sum")))

    def max(self, key: Any) -> Any:
        """The largest over all CPUs."""
        return self.sLeaf(max(self._numbers(key, "max")))

    def average(self, key: Any) -> float:
        """The mean over all CPUs."""
        return float(self.sum(key).value) / self.total_cpu


class PerCpuHash(_PerCpu, HashTable):
    """BPF_PERCPU_HASH."""


class LruPerCpuHash(PerCpuHash):
    """BPF_TABLE("lru_percpu_hash")."""


class PerCpuArray(_PerCpu, ArrayBase):
    """BPF_PERCPU_ARRAY."""

    def __delitem__(self, key: Any) -> None:
        self.clearitem(key)


class StackTrace(TableBase):
    """BPF_STACK_TRACE: stack ids → addresses."""

    MAX_DEPTH = 127
    BPF_F_STACK_BUILD_ID = 1 << 5
    BPF_STACK_BUILD_ID_EMPTY, BPF_STACK_BUILD_ID_VALID, BPF_STACK_BUILD_ID_IP = 0, 1, 2

    class StackWalker:
        """The addresses of one stack, innermost first; through ``resolve`` if that is given."""

        def __init__(self, stack: Any, flags: int, resolve: Callable[[Any], Any] | None = None) -> None:
            self.stack = stack
            self.flags = flags
            self.resolve = resolve
            self.n = -1

        def __iter__(self) -> StackTrace.StackWalker:
            return self

        def __next__(self) -> Any:
            self.n += 1
            if self.flags & StackTrace.BPF_F_STACK_BUILD_ID:
                frames = self.stack.trace
                if self.n >= len(frames) or frames[self.n].status != StackTrace.BPF_STACK_BUILD_ID_VALID:
                    raise StopIteration
            else:
                frames = self.stack.ip
                if self.n >= len(frames) or not frames[self.n]:
                    raise StopIteration
            address = frames[self.n]
            return self.resolve(address) if self.resolve else address

        next = __next__

    def walk(self, stack_id: Any, resolve: Callable[[Any], Any] | None = None) -> StackTrace.StackWalker:
        """The addresses of the stack with that id; KeyError if it is not (or no longer) there."""
        number = stack_id if isinstance(stack_id, int) else stack_id.value
        if number < 0:
            raise KeyError(stack_id)
        return StackTrace.StackWalker(self[self.Key(number)], self.flags, resolve)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[Any]:
        return map(self.Key.from_buffer_copy, self._raw.keys())

    keys = __iter__

    def _bulk(self, take: bool = False) -> tuple[list[Any], list[Any]]:
        found = [(key, data) for key in self._raw.keys() if (data := self._raw.lookup(key)) is not None]
        return [self.Key.from_buffer_copy(k) for k, _ in found], [self._leaf(d) for _, d in found]

    def clear(self) -> None:
        """Forget all stacks."""
        for key in list(self._raw.keys()):
            self._raw.delete(key)


class QueueStack:
    """BPF_QUEUE and BPF_STACK."""

    BPF_EXIST = 2

    def __init__(self, bpf: BPF, map: Map, leaftype: Any) -> None:
        self.bpf = bpf
        self._raw = map.raw
        self.map_id = 0
        self.map_fd = map.fileno()
        self.Leaf = leaftype
        self.ttype = int(map.type)
        self.flags = map.raw.flags
        self.max_entries = map.max_entries

    def leaf_sprintf(self, leaf: Any) -> bytes:
        """A leaf as text."""
        return _sprintf(leaf).encode()

    def leaf_scanf(self, leaf_str: bytes | str) -> Any:
        """The other way round, for integers."""
        return self.Leaf(int(to_str(leaf_str), 0))

    def push(self, leaf: Any, flags: int = 0) -> None:
        """Add a leaf; with BPF_EXIST the oldest makes room."""
        self._raw.update(b"", bytes(self.Leaf(leaf) if isinstance(leaf, int) else leaf), flags)

    def pop(self) -> Any:
        """Take the next leaf; KeyError if there is none."""
        return self._found(self._raw.lookup_and_delete(b""), "pop")

    def peek(self) -> Any:
        """Look at the next leaf; KeyError if there is none."""
        return self._found(self._raw.lookup(b""), "peek")

    def _found(self, data: bytes | None, what: str) -> Any:
        if data is None:
            raise KeyError(f"Could not {what} from table")
        return self.Leaf.from_buffer_copy(data)

    def itervalues(self) -> Iterator[Any]:
        """Take every leaf, at most ``max_entries``."""
        for _ in range(self.max_entries):
            try:
                yield self.pop()
            except KeyError:
                return

    def values(self) -> list[Any]:
        """The same as a list."""
        return list(self.itervalues())


def table_class(ttype: int) -> Any:
    """The class for a map type; ``None`` if there is none."""
    from bcc.buffers import PerfEventArray, RingBuf

    if ttype == BPF_MAP_TYPE_PERF_EVENT_ARRAY:
        return PerfEventArray
    return RingBuf if ttype == BPF_MAP_TYPE_RINGBUF else _CLASSES.get(ttype)


_CLASSES: dict[int, Any] = {
    BPF_MAP_TYPE_HASH: HashTable, BPF_MAP_TYPE_ARRAY: Array, BPF_MAP_TYPE_PROG_ARRAY: ProgArray,
    BPF_MAP_TYPE_PERCPU_HASH: PerCpuHash, BPF_MAP_TYPE_PERCPU_ARRAY: PerCpuArray, BPF_MAP_TYPE_LPM_TRIE: LpmTrie,
    BPF_MAP_TYPE_STACK_TRACE: StackTrace, BPF_MAP_TYPE_LRU_HASH: LruHash, BPF_MAP_TYPE_LRU_PERCPU_HASH: LruPerCpuHash,
    BPF_MAP_TYPE_CGROUP_ARRAY: CgroupArray, BPF_MAP_TYPE_DEVMAP: DevMap, BPF_MAP_TYPE_DEVMAP_HASH: HashTable,
    BPF_MAP_TYPE_CPUMAP: CpuMap, BPF_MAP_TYPE_XSKMAP: XskMap, BPF_MAP_TYPE_ARRAY_OF_MAPS: MapInMapArray,
    BPF_MAP_TYPE_HASH_OF_MAPS: MapInMapHash, BPF_MAP_TYPE_SOCKMAP: _Descriptors, BPF_MAP_TYPE_SOCKHASH: HashTable,
    BPF_MAP_TYPE_SK_STORAGE: HashTable, BPF_MAP_TYPE_INODE_STORAGE: HashTable, BPF_MAP_TYPE_TASK_STORAGE: HashTable,
}


def Table(bpf: BPF, map: Map, keytype: Any = None, leaftype: Any = None, name: bytes | None = None,
          reducer: Callable[[Any, Any], Any] | None = None) -> Any:
    """The table for a map.

    ``keytype`` and ``leaftype`` are ctypes classes to use instead of those from the object's types.
    """
    if keytype is None:
        keytype = _class_for(bpf, map.key_type_id, map.raw.key_size, map)
    if leaftype is None:
        leaftype = _class_for(bpf, map.value_type_id, map.raw.value_size, map)
    ttype = int(map.type)
    if ttype in (BPF_MAP_TYPE_QUEUE, BPF_MAP_TYPE_STACK):
        return QueueStack(bpf, map, leaftype)
    cls = table_class(ttype)
    if cls is None:
        raise Exception(f"Unknown table type {ttype}")
    if reducer is not None and issubclass(cls, _PerCpu):
        return cls(bpf, map, keytype, leaftype, name, reducer=reducer)
    return cls(bpf, map, keytype, leaftype, name)


def _class_for(bpf: BPF, type_id: int, size: int, map: Map) -> Any:
    classes = bpf._ctypes(map)
    if type_id and classes is not None:
        found = classes.get(type_id)
        if ct.sizeof(found) == size:
            return found
    if map.type == BPF_MAP_TYPE_STACK_TRACE and size > 4:
        return type("bpf_stacktrace", (ct.Structure,), {"_fields_": [("ip", ct.c_ulong * (size // 8))]})
    if size == 4 and (map.type in (BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_PERCPU_ARRAY) or not type_id):
        return ct.c_int
    return ctype.unknown(size)


def __getattr__(name: str) -> Any:
    if name in ("PerfEventArray", "RingBuf"):  # as BCC has them; they import us
        from bcc import buffers

        return getattr(buffers, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
