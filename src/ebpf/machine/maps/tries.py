"""``lpm_trie``: the longest prefix that matches (kernel/bpf/lpm_trie.c).

A key is a prefix length in bits (u32) and the address, most significant bit first. One dictionary per length, tried
from the longest: at most 33 for IPv4 and 129 for IPv6, and only those lengths that are in use.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT, ENOSPC
from typing import TYPE_CHECKING

from ebpf.machine.maps.base import MachineMap, MapShape, Windows, check_flags
from ebpf.machine.memory import SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.machine.environment import Environment


class LpmTrie(MachineMap):
    """See the module's text."""

    can_iterate = True

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.bits = (shape.key_size - 4) * 8
        self._lengths: dict[int, dict[int, tuple[int, bytearray, bytes]]] = {}  # length → prefix → window, value, key
        self._count = 0
        self._windows = Windows(self)

    def _split(self, key: bytes) -> tuple[int, int]:
        """Prefix length, and the address as a number."""
        return int.from_bytes(key[:4], "little"), int.from_bytes(key[4:], "big")

    def _find(self, key: bytes) -> tuple[int, bytearray, bytes] | None:
        length, address = self._split(key)
        if length > self.bits:
            return None
        for candidate in sorted(self._lengths, reverse=True):
            if candidate <= length:
                found = self._lengths[candidate].get(address >> (self.bits - candidate))
                if found is not None:
                    return found
        return None

    def lookup_elem(self, key: bytes) -> int:
        found = self._find(key)
        return found[0] << SHIFT if found is not None else 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        length, address = self._split(key)
        if flags > 2 or length > self.bits:
            return -EINVAL
        prefixes = self._lengths.setdefault(length, {})
        prefix = address >> (self.bits - length)
        old = prefixes.get(prefix)
        error = check_flags(old is not None, flags)
        if not error and old is None and self._count >= self.max_entries:
            error = -ENOSPC
        if error:
            if not prefixes:
                del self._lengths[length]
            return error
        if old is not None:
            self._windows.give_back(old[0])
        else:
            self._count += 1
        window, buffer = self._windows.take(), bytearray(value)
        self.space.show(window, buffer, readable=self.readable, writable=self.writable)
        prefixes[prefix] = window, buffer, key
        return 0

    def delete_elem(self, key: bytes) -> int:
        length, address = self._split(key)
        if length > self.bits:
            return -EINVAL
        old = self._lengths.get(length, {}).pop(address >> (self.bits - length), None)
        if old is None:
            return -ENOENT
        if not self._lengths[length]:
            del self._lengths[length]
        self._count -= 1
        self._windows.give_back(old[0])
        return 0

    def elements(self) -> Iterator[tuple[bytes, int]]:
        for length in sorted(self._lengths, reverse=True):
            for window, _, key in list(self._lengths[length].values()):
                yield key, window << SHIFT

    def user_lookup(self, key: bytes) -> bytes | int:
        found = self._find(key)
        return bytes(found[1]) if found is not None else -ENOENT

    def user_next_key(self, key: bytes | None) -> bytes | int:
        """More specific prefixes come first, as in the kernel."""
        keys = [k for k, _ in self.elements()]
        at = keys.index(key) + 1 if key in keys else 0
        return keys[at] if at < len(keys) else -ENOENT

    def keys(self) -> Iterator[bytes]:
        return iter([key for key, _ in self.elements()])
