"""Arrays, hashes and tries in native memory: `ebpf.machine.runtime` does the work, for compiled programs too.

A program that is interpreted sees values through windows, one for each, which appear with the first pointer to a value
and stay: as with a kernel's preallocated maps, a pointer to a deleted element leads to memory that is used again. Where
the address space is native (compiled programs), addresses are those of the memory itself.
"""

from __future__ import annotations

import os
from errno import ENOENT
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_ANY, BPF_F_ZERO_SEED, MapType
from ebpf.machine.maps.arrays import Array, PerCpuArray
from ebpf.machine.maps.base import Bulk, MachineMap, MapShape, round_up
from ebpf.machine.memory import SHIFT, WINDOW_BYTES
from ebpf.machine.runtime.memory import Block, address_of, buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.machine.environment import Environment
    from ebpf.machine.runtime.memory import Room

    Bytes = bytes | bytearray | memoryview

_KINDS = {
    MapType.ARRAY: "array",
    MapType.PERCPU_ARRAY: "percpu_array",
    MapType.HASH: "hash",
    MapType.PERCPU_HASH: "percpu_hash",
    MapType.LRU_HASH: "lru_hash",
    MapType.LRU_PERCPU_HASH: "lru_percpu_hash",
    MapType.LPM_TRIE: "lpm_trie",
    MapType.QUEUE: "queue",
    MapType.STACK: "stack",
    MapType.BLOOM_FILTER: "bloom",
    MapType.RINGBUF: "ringbuf",
}
_ROOM = 1 << 16  # entries that are read at a time


class NativeMap(MachineMap):
    """A map whose memory is a `Block`; ``native`` is its address."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        self.native_kind = _KINDS[shape.type]
        self.runtime = environment.runtime()
        # Not from the environment's random numbers: programs draw from those, whatever maps there are.
        seed = 0 if shape.flags & BPF_F_ZERO_SEED else int.from_bytes(os.urandom(8), "little")
        self.block = Block(self.runtime, shape, cpus=environment.cpus, seed=seed, hashes=shape.map_extra & 15)
        super().__init__(environment, shape)
        self.native = self.block.address
        if self.space.native:
            self.space.own(self.native, self.block.header.bytes, self._holds)

    def _holds(self, offset: int, size: int) -> bool:
        """Whether ``size`` bytes at an offset in the block are of one value, which programs may point to."""
        header = self.block.header
        at = offset + self.native - header.values
        if at < 0 or not header.stride:
            return False
        # Copies for each CPU lie in an element of a hash, but in arrays of their own in an array.
        if header.cpu_stride > header.stride:
            at %= header.cpu_stride
        within = at % header.stride
        if header.cpu_stride and header.cpu_stride < header.stride:
            within %= header.cpu_stride
        return bool(within + size <= self.value_size)

    def _function(self, what: str) -> Callable[..., int]:
        return getattr(self.runtime, f"{self.native_kind}_{what}")  # type: ignore[no-any-return]

    @property
    def count(self) -> int:
        """How many entries there are."""
        return int(self.block.header.count)


class NativeArray(NativeMap, Array):
    """``array``: what `Array` does, over native memory."""

    def element_of(self, address: int) -> tuple[bytes, int] | None:
        if not self.space.native:
            return super().element_of(address)
        header = self.block.header
        index = (address - header.values) // self.stride
        if not 0 <= index < self.max_entries:
            return None
        return index.to_bytes(4, "little"), int(header.values + index * self.stride)

    def _allocate(self) -> list[memoryview]:
        header = self.block.header
        return [self.block.part(header.values + copy * header.cpu_stride, self.stride * self.max_entries)
                for copy in range(self.copies)]

    def _values(self) -> bytearray:
        values = bytearray(self.value_stride * self.max_entries)
        at, _keep = address_of(values)
        self.runtime.array_read(self.native, at)
        return values

    def _address(self, index: int, copy: int = 0) -> int:
        if self.space.native:
            header = self.block.header
            return int(header.values + copy * header.cpu_stride + index * self.stride)
        return super()._address(index, copy)

    def key_of(self, address: int) -> bytes | None:
        if not self.space.native:
            return super().key_of(address)
        index = (address - self.block.header.values) // self.stride
        return index.to_bytes(4, "little") if 0 <= index < self.max_entries else None

    def update_batch(self, keys: Bytes, values: Bytes, flags: int = BPF_ANY) -> int:
        return _update_batch(self, keys, values, flags)


class NativePerCpuArray(PerCpuArray, NativeArray):
    """``percpu_array``: what `PerCpuArray` does, over native memory."""


class _Keyed(NativeMap):
    """What hashes and tries share: elements in slots."""

    can_iterate = True

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        header = self.block.header
        self._values, self._stride, self._cpu_stride = header.values, header.stride, header.cpu_stride
        self._copies = environment.cpus if header.cpu_stride else 1
        self._step = 2 + self.value_size // WINDOW_BYTES
        self._first = self.space.reserve(f"a value of map {shape.name}", header.slots * self._copies * self._step)
        self._lookup: Callable[..., int] = self._function("lookup")
        self._update = self._function("update")
        self._delete = self._function("delete")
        self._rooms: list[Room] = []

    def _shown(self, address: int) -> int:
        """The address, as programs see it, of a value in native memory."""
        if not address or self.space.native:
            return address
        slot, rest = divmod(address - self._values, self._stride)
        copy: int = rest // self._cpu_stride if self._cpu_stride else 0
        window: int = self._first + (slot * self._copies + copy) * self._step
        if window not in self.space.readable and window not in self.space.writable:
            self.space.show(window, self.block.part(address, self.value_size), readable=self.readable,
                            writable=self.writable)
        return window << SHIFT

    def _slot_of(self, address: int) -> int:
        """The slot whose value is at the address that programs see; -1: none."""
        if self.space.native:
            slot = (address - self._values) // self._stride
        else:
            slot = ((address >> SHIFT) - self._first) // (self._step * self._copies)
        return slot if 0 <= slot < int(self.block.header.slots) else -1

    def element_of(self, address: int) -> tuple[bytes, int] | None:
        slot = self._slot_of(address)
        room = buffer(self.key_size)
        if slot < 0 or self._key_at(slot, room):
            return None
        return room.raw, self._shown(self._values + slot * self._stride)

    def _key_at(self, slot: int, room: object) -> int:
        """The key of the element in a slot; an error number if there is none."""
        raise NotImplementedError

    def lookup_elem(self, key: bytes) -> int:
        return self._shown(self._lookup(self.native, key, self.environment.cpu))

    def lookup_percpu_elem(self, key: bytes, cpu: int) -> int:
        return self._shown(self._lookup(self.native, key, cpu)) if self._cpu_stride else 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        gone = self._special_value(key)
        return self._forget(gone, self._update(self.native, key, value, flags, self.environment.cpu))

    def delete_elem(self, key: bytes) -> int:
        gone = self._special_value(key)
        return self._forget(gone, self._delete(self.native, key))

    def _special_value(self, key: bytes) -> int:
        """Where a value is that holds timers; 0: none does."""
        return self._shown(self._find(self.native, key)) if self.special else 0

    def _forget(self, value: int, result: int) -> int:
        """The element whose value was there has gone (unless ``result`` is an error): its timers are cancelled."""
        if value and not result:
            timers = self.environment.timers
            for address in [a for a in timers if value <= a < value + self.value_size]:
                del timers[address]
        return result

    def elements(self) -> Iterator[tuple[bytes, int]]:
        for key in list(self.keys()):
            address = self._lookup(self.native, key, self.environment.cpu)
            if address:
                yield key, self._shown(address)

    def _get(self, function: Callable[..., int], key: bytes) -> bytes | int:
        rooms = self._rooms
        # Making room costs more than a look-up: it is kept, one for each thread that was here at once.
        try:
            room = rooms.pop()
        except IndexError:
            room = buffer(self.value_stride)
        result = function(self.native, key, room)
        value = room.raw
        rooms.append(room)
        return result or value

    def user_next_key(self, key: bytes | None) -> bytes | int:
        room = buffer(self.key_size)
        return self._next_key(self.native, key, room) or room.raw

    _next_key: Callable[..., int]
    _find: Callable[..., int]  # an element's value by its key, which is no use of it

    def update_batch(self, keys: Bytes, values: Bytes, flags: int = BPF_ANY) -> int:
        return _update_batch(self, keys, values, flags)


class NativeHash(_Keyed):
    """``hash``, ``percpu_hash``, ``lru_hash``, ``lru_percpu_hash``."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        if self._cpu_stride:
            self.value_stride = round_up(self.value_size) * environment.cpus
        self._next_key = self.runtime.hash_next_key
        self._find = self.runtime.hash_find

    def user_lookup(self, key: bytes) -> bytes | int:
        return self._get(self.runtime.hash_get, key)

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        gone = self._special_value(key)
        return self._forget(gone, self.runtime.hash_set_cpus(self.native, key, value, flags))

    def user_take(self, key: bytes) -> bytes | int:
        gone = self._special_value(key)
        taken = self._get(self.runtime.hash_take, key)
        self._forget(gone, 0 if isinstance(taken, bytes) else taken)
        return taken

    def elements(self) -> Iterator[tuple[bytes, int]]:
        # Seeing an element is no use of it: an LRU hash is not to forget what programs really looked up.
        keys = self.read_all().keys
        for n in range(0, len(keys), self.key_size):
            key = bytes(keys[n:n + self.key_size])
            address = self.runtime.hash_find(self.native, key)
            if address:
                yield key, self._shown(address + self.environment.cpu * self._cpu_stride)

    def _key_at(self, slot: int, room: object) -> int:
        return self.runtime.hash_key_at(self.native, slot, room)

    def read_all(self) -> Bulk:
        return self._read(take=0)

    def take_all(self) -> Bulk:
        return self._read(take=1)

    def clear(self) -> int:
        cursor, count = bytearray(4), 0
        at, _keep = address_of(cursor)
        while int.from_bytes(cursor, "little") <= self.block.header.mask:
            count += self.runtime.hash_read(self.native, None, None, 1 << 30, at, 1)
        return count

    def keys(self) -> Iterator[bytes]:
        """All keys that there are now."""
        keys = self.read_all().keys
        return iter([bytes(keys[n:n + self.key_size]) for n in range(0, len(keys), self.key_size)])

    def _read(self, take: int) -> Bulk:
        cursor, count, room = bytearray(4), 0, max(self.count, 16)
        keys, values = bytearray(room * self.key_size), bytearray(room * self.value_stride)
        position, _keep = address_of(cursor)
        while True:
            key_at, key_keep = address_of(keys)
            value_at, value_keep = address_of(values)
            count += self.runtime.hash_read(self.native, key_at + count * self.key_size,
                                            value_at + count * self.value_stride, room - count, position, take)
            del key_keep, value_keep  # a bytearray that is exported cannot grow
            if int.from_bytes(cursor, "little") > self.block.header.mask:
                break
            more = max(room // 4, 1024)  # entries came while we read
            keys.extend(bytes(more * self.key_size))
            values.extend(bytes(more * self.value_stride))
            room += more
        return Bulk(memoryview(keys)[:count * self.key_size], memoryview(values)[:count * self.value_stride], count)


class NativeLpmTrie(_Keyed):
    """``lpm_trie``."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self._next_key = self.runtime.lpm_trie_next_key

    def _find(self, map: int, key: bytes) -> int:
        return self._lookup(map, key, 0)

    def _key_at(self, slot: int, room: object) -> int:
        return -ENOENT  # the kernel allows no timers in tries, so nobody asks

    def user_lookup(self, key: bytes) -> bytes | int:
        return self._get(self.runtime.lpm_trie_get, key)

    def keys(self) -> Iterator[bytes]:
        """All keys that there are now, longer prefixes before those that contain them."""
        keys = self.read_all().keys
        return iter([bytes(keys[n:n + self.key_size]) for n in range(0, len(keys), self.key_size)])

    def read_all(self) -> Bulk:
        room = self.max_entries if self.max_entries < _ROOM else max(self.count * 2, 1024)
        while True:
            keys, values = bytearray(room * self.key_size), bytearray(room * self.value_stride)
            key_at, key_keep = address_of(keys)
            value_at, value_keep = address_of(values)
            count = self.runtime.lpm_trie_read(self.native, key_at, value_at, room)
            del key_keep, value_keep
            if count < room or room >= self.max_entries:
                break
            room *= 2
        return Bulk(memoryview(keys)[:count * self.key_size], memoryview(values)[:count * self.value_stride], count)


def _update_batch(map: NativeMap, keys: Bytes, values: Bytes, flags: int) -> int:
    """Many entries in one call of C."""
    count = map.batch_count(keys, values)
    map.refuse_if_frozen()
    error = bytearray(8)
    at, _keep = address_of(error)
    done: int = map.runtime.map_update_many(map.native, bytes(keys), bytes(values), count, flags, at)
    if done < count:
        raise map._update_failure(int.from_bytes(error, "little", signed=True), flags)
    return count


