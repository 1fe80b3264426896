"""Storage that belongs to tasks, sockets, inodes and control groups (kernel/bpf/bpf_local_storage.c, local_storage.c).

Programs name an owner by the kernel's pointer to it. There are no kernel structures here: `Environment.owner` gives
each owner an address at which nothing can be read. The user names it by a number instead of the kernel's descriptor: a
task by its thread id, a control group by its id, an inode by its number, a socket by its cookie.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_EXIST, BPF_F_LOCK, MapType
from ebpf.machine.maps.base import ENOTSUPP, MachineMap, MapShape, Windows, check_flags, round_up
from ebpf.machine.memory import SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.machine.environment import Environment

GET_F_CREATE = 1
OWNERS = {MapType.TASK_STORAGE: "task", MapType.SK_STORAGE: "sk", MapType.INODE_STORAGE: "inode",
          MapType.CGRP_STORAGE: "cgroup"}


class LocalStorage(MachineMap):
    """``task_storage``, ``sk_storage``, ``inode_storage``, ``cgrp_storage``: a value for each owner."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.kind = OWNERS[shape.type]
        self.entries: dict[int, tuple[int, bytearray]] = {}  # owner's address → window, value
        self._windows = Windows(self)

    def storage_get(self, owner: int, value: bytes | None, flags: int) -> int:
        """The address of the owner's value, made (zero, or from ``value``) if ``flags`` say so; 0: none."""
        if not owner or flags & ~GET_F_CREATE:
            return 0
        if owner not in self.entries and flags & GET_F_CREATE:
            self._put(owner, value or bytes(self.value_size))
        entry = self.entries.get(owner)
        return entry[0] << SHIFT if entry is not None else 0

    def storage_delete(self, owner: int) -> int:
        if not owner:
            return -EINVAL
        entry = self.entries.pop(owner, None)
        if entry is None:
            return -ENOENT
        self._windows.give_back(entry[0])
        return 0

    def _put(self, owner: int, value: bytes) -> None:
        window, buffer = self._windows.take(), bytearray(value)
        self.space.show(window, buffer)
        self.entries[owner] = window, buffer

    def _owner(self, key: bytes) -> int:
        return self.environment.owner(self.kind, int.from_bytes(key, "little"))

    def user_lookup(self, key: bytes) -> bytes | int:
        entry = self.entries.get(self._owner(key))
        return bytes(entry[1]) if entry is not None else -ENOENT

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        owner = self._owner(key)
        error = check_flags(owner in self.entries, flags)
        if not error and owner in self.entries:
            self.entries[owner][1][:] = value
        elif not error:
            self._put(owner, value)
        return error

    def user_delete(self, key: bytes) -> int:
        return self.storage_delete(self._owner(key))

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return -ENOTSUPP  # the kernel cannot list owners


class CgroupStorage(MachineMap):
    """``cgroup_storage``, ``percpu_cgroup_storage``: a value for each control group that a program is attached to.

    It is there, zero, when a program asks for it first (in a kernel: from when it is attached).
    """

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.stride = round_up(self.value_size)
        self.copies = environment.cpus if shape.type == MapType.PERCPU_CGROUP_STORAGE else 1
        if self.copies > 1 or shape.type == MapType.PERCPU_CGROUP_STORAGE:
            self.value_stride = self.stride * self.copies
        self.entries: dict[bytes, list[tuple[int, bytearray]]] = {}
        self._windows = Windows(self)

    def local_storage(self) -> int:
        """The address of the value of the task's control group, on this CPU."""
        key = self.environment.task.cgroup_id.to_bytes(8, "little").ljust(self.key_size, b"\0")
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = []
            for _ in range(self.copies):
                window, buffer = self._windows.take(), bytearray(self.value_size)
                self.space.show(window, buffer)
                entry.append((window, buffer))
        return entry[self.environment.cpu % self.copies][0] << SHIFT

    def user_lookup(self, key: bytes) -> bytes | int:
        entry = self.entries.get(key)
        if entry is None:
            return -ENOENT
        if self.value_stride == self.value_size:
            return bytes(entry[0][1])
        return b"".join(bytes(value).ljust(self.stride, b"\0") for _, value in entry)

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        if flags & ~(BPF_F_LOCK | BPF_EXIST) or (flags & BPF_F_LOCK and self.shape.lock_offset < 0):
            return -EINVAL
        entry = self.entries.get(key)
        if entry is None:
            return -ENOENT
        for copy, (_, buffer) in enumerate(entry):
            buffer[:] = value[copy * self.stride:copy * self.stride + self.value_size]
        return 0

    def user_delete(self, key: bytes) -> int:
        return -EINVAL

    def user_next_key(self, key: bytes | None) -> bytes | int:
        keys = list(self.entries)
        at = keys.index(key) + 1 if key in self.entries else 0
        return keys[at] if at < len(keys) else -ENOENT

    def keys(self) -> Iterator[bytes]:
        """All keys that there are now."""
        return iter(list(self.entries))


