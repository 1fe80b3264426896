"""Queue, stack and Bloom filter: maps without keys (kernel/bpf/queue_stack_maps.c, bloom_filter.c)."""

from __future__ import annotations

from collections import deque
from errno import E2BIG, EINVAL, ENOENT, EOPNOTSUPP
from typing import TYPE_CHECKING
from zlib import crc32

from ebpf.abi.maps import BPF_ANY, BPF_EXIST, BPF_NOEXIST
from ebpf.machine.maps.base import MachineMap, MapShape

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment


class Queue(MachineMap):
    """``queue``: first in, first out. BPF_EXIST pushes the oldest out of a full one."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.values: deque[bytes] = deque()

    def push_elem(self, value: bytes, flags: int) -> int:
        if flags & BPF_NOEXIST or flags > BPF_EXIST:
            return -EINVAL
        if len(self.values) >= self.max_entries:
            if not flags & BPF_EXIST:
                return -E2BIG
            self.values.popleft()
        self.values.append(bytes(value))
        return 0

    def _next(self) -> int:
        return 0

    def peek_elem(self, value: bytes) -> bytes | int:
        return self.values[self._next()] if self.values else -ENOENT

    def pop_elem(self) -> bytes | int:
        if not self.values:
            return -ENOENT
        return self.values.popleft() if self._next() == 0 else self.values.pop()

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -EINVAL

    def delete_elem(self, key: bytes) -> int:
        return -EINVAL

    def user_lookup(self, key: bytes) -> bytes | int:
        return self.peek_elem(b"")

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        return self.push_elem(value, flags)

    def user_take(self, key: bytes) -> bytes | int:
        return self.pop_elem()

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return -EINVAL


class Stack(Queue):
    """``stack``: last in, first out. BPF_EXIST pushes the oldest out of a full one."""

    def _next(self) -> int:
        return -1


class BloomFilter(MachineMap):
    """``bloom_filter``: tells for certain that a value was never pushed. ``map_extra``: hash functions (5)."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self._hashes = shape.map_extra & 15 or 5
        # The kernel's size: n * k / ln 2 bits, rounded up to a power of two.
        bits = max(64, shape.max_entries * self._hashes * 7 // 5)
        self._mask = (1 << (bits - 1).bit_length()) - 1
        self._bits = bytearray() if self.native_kind else bytearray((self._mask + 1) // 8)

    def _places(self, value: bytes) -> list[int]:
        return [
            crc32(value, 0x9E3779B9 * (n + 1) & 0xFFFFFFFF) * 0x9E3779B1 >> 7 & self._mask for n in range(self._hashes)
        ]

    def push_elem(self, value: bytes, flags: int) -> int:
        if flags != BPF_ANY:
            return -EINVAL
        for place in self._places(value):
            self._bits[place >> 3] |= 1 << (place & 7)
        return 0

    def peek_elem(self, value: bytes) -> bytes | int:
        found = all(self._bits[place >> 3] >> (place & 7) & 1 for place in self._places(value))
        return value if found else -ENOENT

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -EINVAL

    def delete_elem(self, key: bytes) -> int:
        return -EOPNOTSUPP

    def user_lookup(self, key: bytes) -> bytes | int:
        return self.peek_elem(bytes(self.value_size))  # the kernel looks for the value that it is given: zeros

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        return self.push_elem(value, flags)

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return -EOPNOTSUPP

    def contains(self, value: bytes) -> bool:
        """Whether ``value`` was pushed, perhaps; False is certain."""
        return isinstance(self.peek_elem(self._checked(value, self.value_size, "value")), bytes)
