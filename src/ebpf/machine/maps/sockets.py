"""Maps of sockets and of control groups, as far as a program can see them: which are in it, and which it chose.

A socket is a number of the user's choice (the kernel's: a descriptor); what a program gets for it is an address at
which nothing can be read. ``bpf_sk_redirect_map`` and its sisters note the choice in `Run.redirect`; nothing is sent.
"""

from __future__ import annotations

from errno import E2BIG, EAGAIN, EEXIST, EINVAL, ENOENT, ENOSPC
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_EXIST, BPF_NOEXIST
from ebpf.machine.maps.arrays import index_after
from ebpf.machine.maps.base import ENOTSUPP, MachineMap, MapShape, check_flags

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment


class SockMap(MachineMap):
    """``sockmap``: sockets by index."""

    full_by_index = True

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.sockets: dict[bytes, int] = {}

    def socket(self, key: bytes) -> int | None:
        """The number of the socket under ``key``."""
        return self.sockets.get(key)

    def lookup_elem(self, key: bytes) -> int:
        found = self.sockets.get(key)
        return 0 if found is None else self.environment.owner("sk", found)

    def _error(self, key: bytes, flags: int) -> int:
        if flags > BPF_EXIST:
            return -EINVAL
        if int.from_bytes(key, "little") >= self.max_entries:
            return -E2BIG
        return check_flags(key in self.sockets, flags)

    def add_socket(self, key: bytes, number: int, flags: int) -> int:
        """Put a socket under ``key``: 0 or a negative error number."""
        error = self._error(key, flags)
        if not error:
            self.sockets[key] = number
        return error

    def delete_elem(self, key: bytes) -> int:
        return 0 if self.sockets.pop(key, None) is not None else -EINVAL

    def user_lookup(self, key: bytes) -> bytes | int:
        if self.value_size != 8:
            return -ENOSPC  # the kernel gives a cookie of 8 bytes
        found = self.sockets.get(key)
        return -ENOENT if found is None else found.to_bytes(8, "little")

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        return self.add_socket(key, int.from_bytes(value, "little"), flags)

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return index_after(key, self.max_entries)


class SockHash(SockMap):
    """``sockhash``: sockets by any key."""

    full_by_index = False

    def _error(self, key: bytes, flags: int) -> int:
        error = -EINVAL if flags > BPF_EXIST else check_flags(key in self.sockets, flags)
        if not error and key not in self.sockets and len(self.sockets) >= self.max_entries:
            return -E2BIG
        return error

    def delete_elem(self, key: bytes) -> int:
        return 0 if self.sockets.pop(key, None) is not None else -ENOENT

    def user_next_key(self, key: bytes | None) -> bytes | int:
        keys = list(self.sockets)
        at = keys.index(key) + 1 if key in self.sockets else 0
        return keys[at] if at < len(keys) else -ENOENT


class ReuseportArray(SockMap):
    """``reuseport_sockarray``: the sockets of a group among which a program chooses."""

    def _error(self, key: bytes, flags: int) -> int:
        if flags > BPF_EXIST:
            return -EINVAL
        if int.from_bytes(key, "little") >= self.max_entries:
            return -E2BIG
        if key in self.sockets and flags == BPF_NOEXIST:
            return -EEXIST
        return -ENOENT if key not in self.sockets and flags == BPF_EXIST else 0

    def delete_elem(self, key: bytes) -> int:
        if int.from_bytes(key, "little") >= self.max_entries:
            return -E2BIG
        return 0 if self.sockets.pop(key, None) is not None else -ENOENT


class CgroupArray(MachineMap):
    """``cgroup_array``: control groups by index. A value is a control group's id (the kernel's: a descriptor)."""

    full_by_index = True

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.groups: dict[int, int] = {}

    def holds_task(self, index: int) -> int:
        """1 if the task is in the control group at ``index`` or below it, 0 if not, or a negative error number."""
        if index >= self.max_entries:
            return -E2BIG
        group = self.groups.get(index)
        if group is None:
            return -EAGAIN
        return int(group in (1, self.environment.task.cgroup_id))  # 1 is the root

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -EINVAL

    def delete_elem(self, key: bytes) -> int:
        return -EINVAL

    def user_lookup(self, key: bytes) -> bytes | int:
        return -ENOTSUPP

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        index = int.from_bytes(key, "little")
        if flags:
            return -EINVAL
        if index >= self.max_entries:
            return -E2BIG
        self.groups[index] = int.from_bytes(value, "little")
        return 0

    def user_delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return -E2BIG
        return -ENOENT if self.groups.pop(index, None) is None else 0

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return index_after(key, self.max_entries)
