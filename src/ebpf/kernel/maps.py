"""Maps of the kernel: create, read, write, in bulk where the kernel can.

Keys and values are bytes here; types and Python values are the session's business. A value of a per-CPU map is
one value for each possible CPU, each rounded up to 8 bytes (`KernelMap.value_stride` bytes in all).

Reading while others write: a bulk read of a hash map goes bucket by bucket in the kernel (5.6 and newer), so it ends,
and every entry that is there from beginning to end is returned exactly once; one that comes or goes meanwhile may
or may not be. Where the kernel cannot read in batches we walk key by key: when the current key vanishes the kernel
starts again from the first, so keys that were seen are passed over, and the walk goes on until one pass ends in order.
"""

from __future__ import annotations

import ctypes
import errno as _errno
import mmap as _mmap
import os
import struct
from typing import TYPE_CHECKING, Any, Final

from ebpf.abi.maps import (
    BPF_ANY,
    BPF_F_MMAPABLE,
    BPF_F_NUMA_NODE,
    MAP_TYPES,
    MapInfo,
    MapType,
)
from ebpf.errors import EbpfError, KernelError, MapError, UsageError
from ebpf.kernel import features, sys
from ebpf.kernel.cpus import per_cpu_slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.kernel.arena import Arena
    from ebpf.kernel.counters import Counters
    from ebpf.kernel.perfbuf import PerfBuffer
    from ebpf.kernel.ringbuf import RingBuffer
    from ebpf.kernel.user_ringbuf import UserRingBuffer

_T = MapType
PER_CPU: Final = frozenset(int(row.type) for row in MAP_TYPES.values() if row.percpu)
ARRAYS: Final = frozenset({int(_T.ARRAY), int(_T.PERCPU_ARRAY)})
# Their values are file descriptors to the user and something else to programs.
FD_VALUES: Final = frozenset(int(t) for t in (_T.PROG_ARRAY, _T.PERF_EVENT_ARRAY, _T.CGROUP_ARRAY, _T.ARRAY_OF_MAPS,
                                              _T.HASH_OF_MAPS))

_NO_BATCH: Final = frozenset({_errno.EINVAL, _errno.EOPNOTSUPP, sys.ENOTSUPP, _errno.ENOSYS})
_ELEMENT = struct.Struct("@iQQQ")  # signed: a closed map is -1, which the kernel answers
_ATTR_SIZE: Final = _ELEMENT.size
_BATCH = struct.Struct("@QQQQIiQQ")
_LOOKUP, _UPDATE, _DELETE, _NEXT_KEY, _LOOKUP_AND_DELETE = (
    sys.COMMANDS[f"MAP_{n}"].number
    for n in ("LOOKUP_ELEM", "UPDATE_ELEM", "DELETE_ELEM", "GET_NEXT_KEY", "LOOKUP_AND_DELETE_ELEM"))
_FIRST_CHUNK: Final = 16384  # entries that the first bulk read has room for, whatever they are; doubled when full
_SPARE: Final = 256  # a batch stops before a bucket that might not fit
_ROOM_BYTES: Final = 1 << 28  # room for all entries at once up to here: what is not written to costs no memory
_MAPPED_BYTES: Final = 1 << 20  # from here on room comes from mmap: `bytearray` writes zeros all over it first


class Bulk:
    """`count` entries, read at once: `keys` and `values` are contiguous, in the same order, ready for NumPy.

    ``len(keys) == count * key_size`` and ``len(values) == count * value_stride``. `restarts` counts how often a walk
    key by key began anew because its key vanished (0 for batches).
    """

    __slots__ = ("count", "keys", "restarts", "values")

    def __init__(self, keys: memoryview, values: memoryview, count: int, restarts: int = 0) -> None:
        self.keys = keys
        self.values = values
        self.count = count
        self.restarts = restarts

    def __repr__(self) -> str:
        return f"<Bulk of {self.count} entries>"


_MAP_INFO = struct.Struct("@IIIIII16sIIQQIIIIQ")


def _room(size: int, before: bytearray | _mmap.mmap | None = None) -> bytearray | _mmap.mmap:
    """So many zero bytes, with what was ``before`` at their beginning."""
    made: bytearray | _mmap.mmap = bytearray(size) if size < _MAPPED_BYTES else _mmap.mmap(-1, size)
    if before is not None:
        made[:len(before)] = before[:]
    return made


class KernelMap(sys.OwnedFd):
    """A map in the kernel, open by file descriptor; closed with the object. The kernel keeps it while something uses
    it.
    """

    __slots__ = ("_arena", "_memory", "_no_batch", "flags", "key_size", "max_entries", "name", "type", "value_size",
                 "value_stride")

    def __init__(self, fd: int, *, name: str, type: int, key_size: int, value_size: int, max_entries: int,
                 flags: int = 0) -> None:
        self._memory: sys.Mapping | None = None
        self._arena: Arena | None = None
        super().__init__(fd)
        self.name = name
        self.type = type
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        #: bytes that one element's value takes between kernel and user
        self.value_stride = (-(-value_size // 8) * 8 * per_cpu_slots() if type in PER_CPU
                             else 4 if type in FD_VALUES else value_size)
        self._no_batch: set[str] = set()  # batch commands that the kernel has refused

    def __repr__(self) -> str:
        return f"<KernelMap {self.name} type={self.type} fd={self._fd}>"

    def __enter__(self) -> KernelMap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- one element ----

    def duplicate(self) -> KernelMap:
        """The same map by a descriptor of its own: each lives as long as it is wanted."""
        import fcntl

        return KernelMap(fcntl.fcntl(self._fd, fcntl.F_DUPFD_CLOEXEC, 3), name=self.name, type=self.type,
                         key_size=self.key_size, value_size=self.value_size, max_entries=self.max_entries,
                         flags=self.flags)

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value under `key`, None if there is none."""
        value = self._element(_LOOKUP, key, None, flags)
        if isinstance(value, bytes):
            return value
        self._absent(value, "look up")
        return None

    def lookup_and_delete(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value under `key`, which is removed at once (queues and stacks 4.20, hashes 5.14); None if there is
        none.
        """
        value = self._element(_LOOKUP_AND_DELETE, key, None, flags)
        if isinstance(value, bytes):
            return value
        self._absent(value, "take")
        return None

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
        """Set the value under `key`. `flags`: ANY, NOEXIST (only a new key), EXIST (only one that is there)."""
        result = self._element(_UPDATE, key, value, flags)
        if result != 0:
            raise self._update_failure(result, flags)

    def delete(self, key: bytes) -> bool:
        """Remove `key`; whether it was there."""
        result = self._element(_DELETE, key, None, 0)
        if result == 0:
            return True
        self._absent(result, "delete")
        return False

    def next_key(self, key: bytes | None = None) -> bytes | None:
        """The key after `key` (the first one for None, or when `key` is not there any more); None after the last."""
        size = self.key_size
        buffer: Any = (ctypes.c_char * (_ATTR_SIZE + 2 * size))()
        base = ctypes.addressof(buffer) + _ATTR_SIZE
        if key is not None:
            buffer[_ATTR_SIZE:_ATTR_SIZE + size] = self._checked(key, size, "key")
        _ELEMENT.pack_into(buffer, 0, self._fd, base if key is not None else 0, base + size, 0)
        result = sys.bpf(_NEXT_KEY, buffer, _ATTR_SIZE)
        if result == 0:
            following: bytes = buffer[_ATTR_SIZE + size:]
            return following
        self._absent(result, "walk through")
        return None

    def _element(self, command: int, key: bytes, value: bytes | None, flags: int) -> Any:
        """Attributes, key and value in one buffer: one allocation per call, and safe with several threads.

        The value's bytes after a look-up; else 0 or ``-errno``.
        """
        key_size, value_size = self.key_size, self.value_stride
        if len(key) != key_size:
            self._checked(key, key_size, "key")
        buffer: Any = (ctypes.c_char * (_ATTR_SIZE + key_size + value_size))()
        base = ctypes.addressof(buffer) + _ATTR_SIZE
        start = _ATTR_SIZE + key_size
        buffer[_ATTR_SIZE:start] = key
        if value is not None:
            buffer[start:] = self._checked(value, value_size, "value")
        has_value = command in (_LOOKUP, _UPDATE, _LOOKUP_AND_DELETE)
        _ELEMENT.pack_into(buffer, 0, self._fd, base if key_size else 0, base + key_size if has_value else 0, flags)
        result = sys.bpf(command, buffer, _ATTR_SIZE)
        return buffer[start:] if result == 0 and has_value and value is None else result

    def _checked(self, data: bytes, size: int, what: str) -> bytes:
        if len(data) != size:
            raise UsageError(f"map {self.name!r}: a {what} has {size} bytes, not {len(data)}")
        return data

    def _absent(self, result: int, doing: str) -> None:
        if result not in (-_errno.ENOENT, -_errno.E2BIG):  # E2BIG: an index past the end of an array
            raise self._failure(result, doing)

    def _failure(self, result: int, doing: str) -> EbpfError:
        from ebpf.kernel.map_refusals import element

        return element(self, -result, doing)

    def _update_failure(self, result: int, flags: int) -> EbpfError:
        from ebpf.kernel.map_refusals import update

        return update(self, -result, flags)

    # ---- many elements ----

    def keys(self) -> Iterator[bytes]:
        """All keys, one system call each; for many entries `read_all` is a hundred times faster."""
        if self.type in ARRAYS:
            for index in range(self.max_entries):
                yield index.to_bytes(4, _ENDIAN)
            return
        yield from _Walk(self)

    def read_all(self) -> Bulk:
        """Every entry, in as few system calls as the kernel allows."""
        if self.type in ARRAYS and self.max_entries == 1:
            value = self.lookup(bytes(4))
            return Bulk(memoryview(bytes(4)), memoryview(value or b""), 1)
        found = self._read_batches("MAP_LOOKUP_BATCH")
        if found is not None:
            return found
        return self._read_one_by_one()

    def chunks(self, size: int = 1 << 16) -> Iterator[Bulk]:
        """Every entry, about `size` at a time."""
        from ebpf.kernel.map_chunks import iter_chunks

        return iter_chunks(self, size)

    def take_all(self) -> Bulk:
        """Every entry, removed as it is read; nothing written meanwhile is lost. Needs 5.6 for atomicity per bucket.

        Where the kernel has no such batch, entries are read and deleted one by one: what a program adds to an entry
        in between is lost. `NotSupported` is not raised for that; arrays raise `MapError`.
        """
        if self.type in ARRAYS:
            raise MapError(f"entries of array {self.name!r} cannot be deleted", map_name=self.name)
        found = self._read_batches("MAP_LOOKUP_AND_DELETE_BATCH")
        if found is not None:
            return found
        bulk = self.read_all()
        size = self.key_size
        for index in range(bulk.count):
            self.delete(bytes(bulk.keys[index * size:index * size + size]))
        return bulk

    def _read_batches(self, name: str) -> Bulk | None:
        """Batches until the end; None where the kernel or the map type has none."""
        if name in self._no_batch:
            return None
        number = sys.COMMANDS[name].number
        key_size, stride = self.key_size, self.value_stride
        room = min(self.max_entries + _SPARE, max(_FIRST_CHUNK, _ROOM_BYTES // (key_size + stride)))
        keys, values = _room(room * key_size), _room(room * stride)
        token = (ctypes.c_char * max(key_size, 8))()  # the position: a bucket number or a key, as the type likes
        position = ctypes.addressof(token)
        attr = (ctypes.c_char * _BATCH.size)()
        count, first = 0, True
        while True:
            free = room - count
            _BATCH.pack_into(attr, 0, 0 if first else position, position,
                             sys.address_of(keys) + count * key_size, sys.address_of(values) + count * stride,
                             free, self._fd, 0, 0)
            result = sys.bpf(number, attr, _BATCH.size)
            got = _BATCH.unpack_from(attr)[4]
            if result == -_errno.EINTR:
                got = 0
            elif result == -_errno.EFAULT or (result < 0 and result not in (-_errno.ENOENT, -_errno.ENOSPC)):
                if first and -result in _NO_BATCH:
                    self._no_batch.add(name)
                    return None
                raise self._failure(result, "read")
            elif result == -_errno.ENOSPC:
                got = 0  # the next bucket does not fit: nothing was copied, more room is wanted
            count += got
            if result == -_errno.ENOENT:
                break
            if result == 0:
                first = False
            if room - count < _SPARE or result == -_errno.ENOSPC:
                room *= 2
                keys, values = _room(room * key_size, keys), _room(room * stride, values)
        return Bulk(memoryview(keys)[:count * key_size], memoryview(values)[:count * stride], count)

    def _read_one_by_one(self) -> Bulk:
        keys, values = bytearray(), bytearray()
        count = 0
        walk = range(self.max_entries) if self.type in ARRAYS else _Walk(self)
        for item in walk:
            key = item.to_bytes(4, _ENDIAN) if isinstance(item, int) else item
            value = self.lookup(key)
            if value is not None:
                keys += key
                values += value
                count += 1
        restarts = walk.restarts if isinstance(walk, _Walk) else 0
        return Bulk(memoryview(keys), memoryview(values), count, restarts)

    def update_batch(self, keys: bytes | bytearray | memoryview, values: bytes | bytearray | memoryview,
                     flags: int = BPF_ANY) -> int:
        """Write many entries from contiguous keys and values; how many. One system call on 5.6 and newer."""
        count = self._count(keys, "keys", self.key_size)
        if self._count(values, "values", self.value_stride) != count:
            raise UsageError(f"map {self.name!r}: {count} keys but {len(values) // self.value_stride} values")
        if count and "MAP_UPDATE_BATCH" not in self._no_batch:
            # The kernel reads; a copy serves read-only buffers of any kind.
            done, result = self._write_batch("MAP_UPDATE_BATCH", bytearray(keys), bytearray(values), count, flags)
            if result == 0:
                return count
            if done or -result not in _NO_BATCH:
                raise self._update_failure(result, flags)
            self._no_batch.add("MAP_UPDATE_BATCH")
        stride, size = self.value_stride, self.key_size
        for index in range(count):
            self.update(bytes(keys[index * size:index * size + size]),
                        bytes(values[index * stride:index * stride + stride]), flags)
        return count

    def delete_batch(self, keys: bytes | bytearray | memoryview) -> int:
        """Delete many keys (contiguous); how many were there."""
        count = self._count(keys, "keys", self.key_size)
        size, index, deleted = self.key_size, 0, 0
        while index < count and "MAP_DELETE_BATCH" not in self._no_batch:
            rest = bytearray(keys[index * size:])
            done, result = self._write_batch("MAP_DELETE_BATCH", rest, bytearray(0), count - index, 0)
            if result < 0 and not done and -result in _NO_BATCH:
                self._no_batch.add("MAP_DELETE_BATCH")
                break
            deleted += done
            index += done
            if result == 0:
                return deleted
            if result != -_errno.ENOENT:
                raise self._failure(result, "delete")
            index += 1  # that key was not there; go on behind it
        return deleted + sum(self.delete(bytes(keys[i * size:i * size + size])) for i in range(index, count))

    def _write_batch(self, name: str, keys: bytearray, values: bytearray, count: int, flags: int) -> tuple[int, int]:
        attr = (ctypes.c_char * _BATCH.size)()
        _BATCH.pack_into(attr, 0, 0, 0, sys.address_of(keys), sys.address_of(values), count, self._fd, flags, 0)
        result = sys.bpf(sys.COMMANDS[name].number, attr, _BATCH.size)
        done = _BATCH.unpack_from(attr)[4]
        if result in (-_errno.EINVAL, -sys.ENOTSUPP, -_errno.EOPNOTSUPP, -_errno.EFAULT, -_errno.EPERM,
                      -_errno.EBADF, -_errno.ENOSYS) and done == count:
            done = 0  # refused before `count` was written back
        return done, result

    def _count(self, data: bytes | bytearray | memoryview, what: str, size: int) -> int:
        if not size or len(data) % size:
            raise UsageError(f"map {self.name!r}: {what} take {size} bytes each; {len(data)} is not a multiple")
        return len(data) // size

    def clear(self) -> int:
        """Delete everything (arrays: write zeros); how many entries there were."""
        if self.type in ARRAYS:
            keys = struct.pack(f"@{self.max_entries}I", *range(self.max_entries))
            return self.update_batch(keys, bytes(self.max_entries * self.value_stride))
        if self.type in FD_VALUES and self.type != _T.HASH_OF_MAPS:
            return sum(self.delete(i.to_bytes(4, _ENDIAN)) for i in range(self.max_entries)
                       if self.type == _T.PERF_EVENT_ARRAY or self.lookup(i.to_bytes(4, _ENDIAN)) is not None)
        return self.take_all().count

    # ---- the map as a whole ----

    #: whether nothing more will be sent through it: in a kernel that is never known
    ended: Final = False

    @property
    def per_cpu_slots(self) -> int:
        """Values in one element of a per-CPU map."""
        return per_cpu_slots()

    def split_cpus(self, value: bytes | memoryview) -> list[bytes]:
        """A per-CPU value as one value for each possible CPU."""
        step = -(-self.value_size // 8) * 8
        return [bytes(value[i:i + self.value_size]) for i in range(0, len(value), step)]

    def join_cpus(self, values: list[bytes]) -> bytes:
        """The other way round; exactly one value for each possible CPU."""
        if len(values) != per_cpu_slots():
            raise UsageError(f"map {self.name!r}: {per_cpu_slots()} possible CPUs, {len(values)} values")
        step = -(-self.value_size // 8) * 8
        return b"".join(self._checked(v, self.value_size, "value").ljust(step, b"\0") for v in values)

    def info(self) -> MapInfo:
        """What the kernel knows of the map."""
        return map_info(self._fd)

    @property
    def frozen(self) -> bool:
        """Whether only programs may write to it any more."""
        with open(f"/proc/self/fdinfo/{self._fd}") as file:
            return any(line.split() == ["frozen:", "1"] for line in file)

    def freeze(self) -> None:
        """From now on only programs write to it (Linux 5.2)."""
        sys.call("MAP_FREEZE", map_fd=self._fd)

    def map_memory(self, *, writable: bool = True) -> sys.Mapping:
        """The values of an array created with BPF_F_MMAPABLE as shared memory (Linux 5.5), rows 8-byte aligned."""
        if not self.flags & BPF_F_MMAPABLE:
            raise UsageError(f"map {self.name!r} was not created with BPF_F_MMAPABLE, so it cannot be mapped")
        length = -(-self.value_size // 8) * 8 * self.max_entries
        return sys.Mapping(self._fd, -(-length // sys.PAGE_SIZE) * sys.PAGE_SIZE, writable=writable)

    def write_part(self, offset: int, data: bytes) -> None:
        """Overwrite a part of the first value, that part alone where the memory is shared (BPF_F_MMAPABLE); else the
        whole value is read and written.
        """
        if not self.flags & BPF_F_MMAPABLE:
            value = bytearray(self.lookup(bytes(self.key_size)) or b"")
            value[offset:offset + len(data)] = data
            self.update(bytes(self.key_size), bytes(value))
            return
        if self._memory is None:
            self._memory = self.map_memory()
        self._memory.view[offset:offset + len(data)] = data

    def pin(self, path: str) -> None:
        """Keep the map under `path` on a BPF file system, beyond the end of this process."""
        pin(self._fd, path)

    def close(self) -> None:
        """Close it; doing so again is harmless. The kernel keeps the map while something uses it."""
        memory, self._memory = self._memory, None
        arena, self._arena = self._arena, None
        if arena is not None:
            arena.close()
        if memory is not None:
            memory.close()
        super().close()

    def may_contain(self, value: bytes) -> bool:
        """Whether `value` was perhaps pushed into this Bloom filter; False is certain (Linux 5.16)."""
        size = self.value_size
        buffer: Any = (ctypes.c_char * (_ATTR_SIZE + size))()
        buffer[_ATTR_SIZE:] = self._checked(value, size, "value")
        _ELEMENT.pack_into(buffer, 0, self._fd, 0, ctypes.addressof(buffer) + _ATTR_SIZE, 0)
        result = sys.bpf(_LOOKUP, buffer, _ATTR_SIZE)
        if result:
            self._absent(result, "look for")
        return result == 0

    # ---- what programs send through it, or get through it ----

    def user_ring_buffer(self) -> UserRingBuffer:
        """The producer of a user ring buffer."""
        from ebpf.kernel.user_ringbuf import UserRingBuffer

        return UserRingBuffer(self)

    def arena(self) -> Arena:
        """The memory of an arena, mapped when it is first asked for (the loader does, before programs are loaded)."""
        from ebpf.kernel.arena import Arena

        if self.type != _T.ARENA:
            raise UsageError(f"map {self.name!r} is no arena")
        if self._arena is None:
            self._arena = Arena(self, self.info().map_extra)
        return self._arena

    def ring_buffer(self) -> RingBuffer:
        """The reader of a ring buffer."""
        from ebpf.kernel.ringbuf import RingBuffer

        return RingBuffer(self)

    def perf_buffer(self, callback: Callable[[int, bytes], Any], *, on_lost: Callable[[int, int], Any] | None = None,
                    pages: int = 8, wakeup_events: int = 1) -> PerfBuffer:
        """The reader of a perf event array."""
        from ebpf.kernel.perfbuf import PerfBuffer

        return PerfBuffer(self, callback, on_lost=on_lost, pages=pages, wakeup_events=wakeup_events)

    def open_counters(self, type: int, config: int, first: int = 0) -> Counters:
        """Open a perf counter on each online CPU and put it into this perf event array, that of CPU 0 at ``first``."""
        from ebpf.kernel.counters import Counters

        return Counters(self, type, config, first)


_ENDIAN: Final = "little" if struct.pack("@H", 1)[0] else "big"


class _Walk:
    """Keys by BPF_MAP_GET_NEXT_KEY: each once, an end for certain, no early end because the current key vanished."""

    def __init__(self, map: KernelMap) -> None:
        self._map = map
        self.restarts = 0

    def __iter__(self) -> Iterator[bytes]:
        map = self._map
        seen: set[bytes] = set()
        key = map.next_key()
        # A program that deletes and inserts without rest could keep us here; so much patience and no more.
        patience = 2 * map.max_entries + 1024
        stale = 0
        while key is not None:
            if key not in seen:
                seen.add(key)
                stale = 0
                yield key
            else:
                stale += 1
                if stale == 1:
                    self.restarts += 1
                if stale > patience:
                    raise MapError(f"map {map.name!r} changes faster than it can be walked", map_name=map.name,
                                   helps=("read it with a batch (Linux 5.6), or stop the program first",))
            key = map.next_key(key)


def create_map(*, name: str, type: int, key_size: int, value_size: int, max_entries: int, flags: int = 0,
               btf_fd: int = 0, key_type_id: int = 0, value_type_id: int = 0, inner_fd: int = 0,
               numa_node: int | None = None, map_extra: int = 0, value_type_vmlinux_id: int = 0,
               value_type_btf_fd: int = 0) -> KernelMap:
    """Create a map. What the kernel may refuse for its age or taste (name, BTF) is left out on a second try."""
    short = _kernel_name(name)
    if numa_node is not None and numa_node >= 0:
        flags |= BPF_F_NUMA_NODE
    wanted: dict[str, int | bytes] = {
        "map_type": type, "key_size": key_size, "value_size": value_size, "max_entries": max_entries,
        "map_flags": flags, "inner_map_fd": inner_fd, "numa_node": max(numa_node or 0, 0), "map_extra": map_extra,
        "btf_vmlinux_value_type_id": value_type_vmlinux_id, "map_name": short}
    if btf_fd and value_type_vmlinux_id:  # the kernel's type; that the object has types of its own is a formality
        wanted.update(btf_fd=btf_fd, value_type_btf_obj_fd=value_type_btf_fd)
    elif btf_fd and _takes_btf(type) and (key_type_id or value_type_id):
        wanted.update(btf_fd=btf_fd, btf_key_type_id=key_type_id, btf_value_type_id=value_type_id)
    result, _ = sys.attempt("MAP_CREATE", **wanted)
    # "Could not tell" counts: with the limit used up, the probe itself may fail by it.
    if result == -_errno.EPERM and features.have("memcg_accounting") is not True and _raise_memlock():
        result, _ = sys.attempt("MAP_CREATE", **wanted)
    own_types = wanted.get("btf_fd") and not value_type_vmlinux_id
    if result < 0 and own_types and result not in (-_errno.EPERM, -_errno.ENOMEM):
        wanted.update(btf_fd=0, btf_key_type_id=0, btf_value_type_id=0)
        result, _ = sys.attempt("MAP_CREATE", **wanted)
    if result in (-_errno.EINVAL, -_errno.E2BIG) and short and features.have("map_name") is False:
        wanted["map_name"] = b""
        result, _ = sys.attempt("MAP_CREATE", **wanted)
    if result < 0:
        from ebpf.kernel.map_refusals import creation

        raise creation(name, type, key_size, value_size, max_entries, flags, -result)
    return KernelMap(result, name=name, type=type, key_size=key_size, value_size=value_size, max_entries=max_entries,
                     flags=flags)


def _takes_btf(type: int) -> bool:
    row = MAP_TYPES.get(type)
    return row is None or row.btf_types


def _raise_memlock() -> bool:
    from ebpf.kernel.privileges import raise_memlock

    return raise_memlock()


def open_pinned(path: str) -> KernelMap:
    """The map that is pinned under `path`."""
    name = os.fsencode(path) + b"\0"
    result, _ = sys.attempt("OBJ_GET", pathname=sys.address_of(name))
    if result < 0:
        raise sys.failure(f"opening the pinned map {path}", -result)
    try:
        return _from_fd(result)
    except BaseException:
        os.close(result)
        raise


def open_by_id(id: int) -> KernelMap:
    """The map with that id (needs CAP_SYS_ADMIN)."""
    return _from_fd(sys.call("MAP_GET_FD_BY_ID", id=id))


def iter_maps() -> Iterator[MapInfo]:
    """Every map in the kernel (needs CAP_SYS_ADMIN)."""
    for id in iter_ids("MAP"):
        try:
            yield map_info_of(id)
        except KernelError as error:
            if error.errno != _errno.ENOENT:  # gone in the meantime
                raise


def map_info_of(id: int) -> MapInfo:
    """What the kernel tells about the map with that id."""
    with_fd = sys.OwnedFd(sys.call("MAP_GET_FD_BY_ID", id=id))
    return map_info(with_fd.fileno())


def iter_ids(kind: str) -> Iterator[int]:
    """Ids of all "PROG", "MAP", "BTF" or "LINK" objects in the kernel, ascending."""
    last = 0
    while True:
        result, attr = sys.attempt(f"{kind}_GET_NEXT_ID", id=last)
        if result == -_errno.ENOENT:
            return
        if result < 0:
            raise sys.failure(f"bpf(BPF_{kind}_GET_NEXT_ID)", -result, command=f"{kind}_GET_NEXT_ID")
        last = sys.member(f"{kind}_GET_NEXT_ID", attr, "next_id")
        yield last


def object_info(fd: int, size: int, prepared: bytes = b"") -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: `size` bytes of info, zeros where the kernel knows less. `prepared` goes in first."""
    buffer = ctypes.create_string_buffer(prepared.ljust(size, b"\0"), size)
    sys.call("OBJ_GET_INFO_BY_FD", bpf_fd=fd, info_len=size, info=ctypes.addressof(buffer))
    return buffer.raw


def map_info(fd: int) -> MapInfo:
    """What the kernel tells about the map behind `fd`."""
    data = _MAP_INFO.unpack(object_info(fd, _MAP_INFO.size))
    type, id, key, value, entries, flags, name = data[:7]
    # ifindex, btf_vmlinux_value_type_id, netns dev and inode, btf_id, key type, value type, _, map_extra
    btf_id, key_type, value_type, _, extra = data[11:16]
    return MapInfo(id, type, key, value, entries, flags, name.split(b"\0")[0].decode(errors="replace"), btf_id,
                   key_type, value_type, extra)


def _from_fd(fd: int) -> KernelMap:
    info = map_info(fd)
    return KernelMap(fd, name=info.name or f"#{info.id}", type=info.type, key_size=info.key_size,
                     value_size=info.value_size, max_entries=info.max_entries, flags=info.flags)


def pin(fd: int, path: str) -> None:
    """Pin a map, program or link under `path`; its directory must be on a BPF file system."""
    name = os.fsencode(path) + b"\0"
    result, _ = sys.attempt("OBJ_PIN", pathname=sys.address_of(name), bpf_fd=fd)
    if result == -_errno.EEXIST:
        from ebpf.kernel.pins import describe

        raise KernelError("bpf(BPF_OBJ_PIN)", _errno.EEXIST, message=f"{path} exists already", notes=describe(path),
                          helps=("remove it first, or open what is pinned there",))
    if result in (-_errno.EPERM, -_errno.ENOENT, -_errno.EINVAL):
        folder = os.path.dirname(path) or "."
        hint = (f"{folder} does not exist" if not os.path.isdir(folder) else
                f"is {folder} on a BPF file system? mount -t bpf bpf /sys/fs/bpf")
        raise KernelError("bpf(BPF_OBJ_PIN)", -result, message=f"cannot pin to {path}: {os.strerror(-result)}",
                          helps=(hint,))
    if result < 0:
        raise sys.failure(f"pinning to {path}", -result, command="OBJ_PIN")


def _kernel_name(name: str) -> bytes:
    """At most 15 of the characters that the kernel allows in names."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.") else "_" for c in name)[:15].encode()
