"""Arrays: all elements are there from the beginning, zero, and never go (kernel/bpf/arraymap.c)."""

from __future__ import annotations

from errno import E2BIG, EEXIST, EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST
from ebpf.errors import MapError
from ebpf.machine.maps.base import Bulk, MachineMap, MapShape, check_size, put_value, round_up
from ebpf.machine.memory import SHIFT, WINDOW_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.machine.environment import Environment


def index_after(key: bytes | None, max_entries: int) -> bytes | int:
    """The index after ``key`` (the first, if that is none of this map), as arrays of all kinds are walked."""
    index = -1 if key is None else int.from_bytes(key, "little")
    if index >= max_entries:
        index = -1
    return (index + 1).to_bytes(4, "little") if index + 1 < max_entries else -ENOENT


class Array(MachineMap):
    """``array``: one run of memory, each element in a window of its own that appears with the first pointer to it."""

    full_by_index = True
    can_iterate = True
    copies = 1

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.stride = round_up(self.value_size)
        self.storage = self._allocate()
        self._step = 2 + self.value_size // WINDOW_BYTES
        names = [f"an element of map {shape.name}"] * self.copies
        self._first = [self.space.reserve(name, self.max_entries * self._step) for name in names]

    def _allocate(self) -> list[memoryview]:
        size = self.stride * self.max_entries
        check_size(self.name, size * self.copies)
        return [memoryview(bytearray(size)) for _ in range(self.copies)]

    def _address(self, index: int, copy: int = 0) -> int:
        window = self._first[copy] + index * self._step
        if window not in self.space.readable and window not in self.space.writable:
            start = index * self.stride
            self.space.show(window, self.storage[copy][start:start + self.value_size], readable=self.readable,
                            writable=self.writable)
        return window << SHIFT

    def lookup_elem(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        return self._address(index) if index < self.max_entries else 0

    def _check(self, index: int, flags: int) -> int:
        if flags & ~BPF_F_LOCK > BPF_EXIST or self.refuses_lock(flags):
            return -EINVAL
        if index >= self.max_entries:
            return -E2BIG
        return -EEXIST if flags & BPF_NOEXIST else 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        index = int.from_bytes(key, "little")
        error = self._check(index, flags)
        if not error:
            start = index * self.stride
            put_value(self.storage[0][start:start + self.value_size], value, self.shape.lock_offset)
        return error

    def delete_elem(self, key: bytes) -> int:
        return -EINVAL

    def elements(self) -> Iterator[tuple[bytes, int]]:
        for index in range(self.max_entries):
            key = index.to_bytes(4, "little")
            yield key, self.lookup_elem(key)

    def key_of(self, address: int) -> bytes | None:
        index = ((address >> SHIFT) - self._first[0]) // self._step
        return index.to_bytes(4, "little") if 0 <= index < self.max_entries else None

    def user_lookup(self, key: bytes) -> bytes | int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return -ENOENT
        return bytes(self.storage[0][index * self.stride:index * self.stride + self.value_size])

    def delete(self, key: bytes) -> bool:
        self._checked(key, self.key_size, "key")
        raise MapError(
            f"entries of array {self.name!r} cannot be deleted", map_name=self.name, helps=("write zeros instead",)
        )

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return index_after(key, self.max_entries)

    def read_all(self) -> Bulk:
        from array import array

        keys = array("I", range(self.max_entries)).tobytes()
        return Bulk(memoryview(keys), memoryview(self._values()), self.max_entries)

    def _values(self) -> bytes | bytearray:
        """The user's values of all elements, one behind the other."""
        return b"".join(row for n in range(self.max_entries)
                        if isinstance(row := self.user_lookup(n.to_bytes(4, "little")), bytes))

    def take_all(self) -> None:  # type: ignore[override]
        raise MapError(f"entries of array {self.name!r} cannot be deleted", map_name=self.name)

    def clear(self) -> int:
        for copy in self.storage:
            copy[:] = bytes(len(copy))
        return self.max_entries

    # Global variables live in arrays of one element.

    @property
    def value_address(self) -> int:
        """The first element's address: what a direct load of a map's value (``.data`` and its like) gives."""
        return self._address(0)


class PerCpuArray(Array):
    """``percpu_array``: an array for each CPU. The user reads and writes all copies at once."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        self.copies = environment.cpus
        super().__init__(environment, shape)
        self.value_stride = self.stride * environment.cpus

    def lookup_elem(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        return self._address(index, self.environment.cpu) if index < self.max_entries else 0

    def lookup_percpu_elem(self, key: bytes, cpu: int) -> int:
        index = int.from_bytes(key, "little")
        return self._address(index, cpu) if index < self.max_entries and cpu < self.copies else 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        index = int.from_bytes(key, "little")
        error = self._check(index, flags)
        if not error:
            start = index * self.stride
            self.storage[self.environment.cpu][start:start + self.value_size] = value
        return error

    def user_lookup(self, key: bytes) -> bytes | int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return -ENOENT
        start = index * self.stride
        return b"".join(bytes(copy[start:start + self.stride]) for copy in self.storage)

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        index = int.from_bytes(key, "little")
        error = self._check(index, flags)
        if not error:
            start = index * self.stride
            for cpu, copy in enumerate(self.storage):
                copy[start:start + self.value_size] = value[cpu * self.stride:cpu * self.stride + self.value_size]
        return error
