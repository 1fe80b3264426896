"""Where XDP programs send packets: devmap, devmap_hash, cpumap, xskmap, as far as a program can see them.

The user's values are what the kernel takes (an interface's index, a queue size, a socket's descriptor); nobody checks
that there is such an interface. ``bpf_redirect_map`` notes the map and the value (`Run.redirect`); nothing is sent.
"""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_EXIST, BPF_NOEXIST
from ebpf.machine.maps.arrays import index_after
from ebpf.machine.maps.base import ENOTSUPP, MachineMap, MapShape, Windows
from ebpf.machine.maps.hashes import Hash
from ebpf.machine.memory import SHIFT

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

BROADCAST, EXCLUDE_INGRESS = 1 << 3, 1 << 4


class Targets(MachineMap):
    """``cpumap``: entries by index, absent until they are set."""

    full_by_index = True
    redirect_flags = 0  #: flags of bpf_redirect_map beyond the verdict for a missing entry

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.entries: dict[bytes, tuple[int, bytearray]] = {}
        self._windows = Windows(self)

    def lookup_elem(self, key: bytes) -> int:
        entry = self.entries.get(key)
        return entry[0] << SHIFT if entry is not None else 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -EINVAL  # the user alone changes them

    def delete_elem(self, key: bytes) -> int:
        return -EINVAL

    def user_lookup(self, key: bytes) -> bytes | int:
        entry = self.entries.get(key)
        return bytes(entry[1]) if entry is not None else -ENOENT

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        if flags > BPF_EXIST:
            return -EINVAL
        if int.from_bytes(key, "little") >= self.max_entries:
            return -E2BIG
        if flags == BPF_NOEXIST:
            from errno import EEXIST

            return -EEXIST
        self.user_delete(key)
        window, buffer = self._windows.take(), bytearray(value)
        self.space.show(window, buffer, writable=False)
        self.entries[key] = window, buffer
        return 0

    def user_delete(self, key: bytes) -> int:
        if int.from_bytes(key, "little") >= self.max_entries:
            return -EINVAL
        entry = self.entries.pop(key, None)
        if entry is not None:
            self._windows.give_back(entry[0])
        return 0

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return index_after(key, self.max_entries)


class XskMap(Targets):
    """``xskmap``: sockets, which the user cannot get back."""

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        self._checked(key, self.key_size, "key")
        raise self._failure(-ENOTSUPP, "look up")


class DevMap(Targets):
    """``devmap``: interfaces by index."""

    redirect_flags = BROADCAST | EXCLUDE_INGRESS


class DevMapHash(Hash):
    """``devmap_hash``: interfaces by any number."""

    can_iterate = False
    redirect_flags = BROADCAST | EXCLUDE_INGRESS

    def user_take(self, key: bytes) -> bytes | int:
        return -ENOTSUPP
