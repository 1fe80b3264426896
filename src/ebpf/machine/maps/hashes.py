"""Hash tables: plain, per CPU, and with eviction of what was not used for longest (kernel/bpf/hashtab.c).

An update of an existing key makes a new element, as in the kernel: a pointer from an earlier look-up goes on showing
the old value. (With BPF_F_LOCK, and in per-CPU tables, the element is written in place.)
"""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_F_LOCK
from ebpf.machine.maps.base import MachineMap, MapShape, Windows, check_flags, put_value, round_up
from ebpf.machine.memory import SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ebpf.machine.environment import Environment


class Keys:
    """The order in which keys are walked: a walk survives deletions, and continues behind the last key that it gave."""

    __slots__ = ("_order", "_place")

    def __init__(self) -> None:
        self._order: list[bytes] = []
        self._place: dict[bytes, int] = {}

    def add(self, key: bytes) -> None:
        """A key that was not there."""
        self._place[key] = len(self._order)
        self._order.append(key)

    def after(self, key: bytes | None, present: Mapping[bytes, object]) -> bytes | None:
        """The next key that is present; the first one if ``key`` is not there."""
        if len(self._order) > 2 * len(present) + 64:
            self._order = [k for n, k in enumerate(self._order) if k in present and self._place[k] == n]
            self._place = {k: n for n, k in enumerate(self._order)}
        at = self._place.get(key, -1) + 1 if key is not None and key in present else 0
        for index in range(at, len(self._order)):
            # A key that was deleted and came back stands at its newest place.
            candidate = self._order[index]
            if candidate in present and self._place[candidate] == index:
                return candidate
        return None


class _Keyed(MachineMap):
    """What hashes of both kinds share: taking an element, and walking the keys."""

    can_iterate = True
    entries: Mapping[bytes, object]

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self._windows = Windows(self)
        self._keys = Keys()

    def user_take(self, key: bytes) -> bytes | int:
        found = self.user_lookup(key)
        if isinstance(found, bytes):
            self.delete_elem(key)
        return found

    def user_next_key(self, key: bytes | None) -> bytes | int:
        found = self._keys.after(key, self.entries)
        return -ENOENT if found is None else found


class Hash(_Keyed):
    """``hash``: elements by key; full at ``max_entries``."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.entries: dict[bytes, tuple[int, bytearray]] = {}  # key → window, value

    def lookup_elem(self, key: bytes) -> int:
        entry = self.entries.get(key)
        return entry[0] << SHIFT if entry is not None else 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        entry = self.entries.get(key)
        error = -EINVAL if self.refuses_lock(flags) else check_flags(entry is not None, flags)
        if error:
            return error
        if entry is not None:
            if flags & BPF_F_LOCK:
                put_value(entry[1], value, self.shape.lock_offset)
                return 0
            self._windows.give_back(entry[0])
        else:
            if len(self.entries) >= self.max_entries and not self._make_room():
                return -E2BIG
            self._keys.add(key)
        window = self._windows.take()
        buffer = bytearray(self.value_size)
        put_value(buffer, value, self.shape.lock_offset)
        self.space.show(window, buffer, readable=self.readable, writable=self.writable)
        self.entries[key] = window, buffer
        return 0

    def _make_room(self) -> bool:
        return False

    def delete_elem(self, key: bytes) -> int:
        entry = self.entries.pop(key, None)
        if entry is None:
            return -ENOENT
        self._windows.give_back(entry[0])
        return 0

    def elements(self) -> Iterator[tuple[bytes, int]]:
        for key in list(self.entries):
            entry = self.entries.get(key)
            if entry is not None:
                yield key, entry[0] << SHIFT

    def user_lookup(self, key: bytes) -> bytes | int:
        entry = self.entries.get(key)
        return bytes(entry[1]) if entry is not None else -ENOENT


class LruHash(Hash):
    """``lru_hash``: when it is full, the element that was not used for longest makes room.

    The kernel's order is an approximation, per CPU and in batches: it may evict earlier than ours does. Only a
    program's look-ups and everybody's updates count as use, as in the kernel.
    """

    def lookup_elem(self, key: bytes) -> int:
        entry = self.entries.pop(key, None)
        if entry is None:
            return 0
        self.entries[key] = entry
        return entry[0] << SHIFT

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        error = super().update_elem(key, value, flags)
        if not error:
            self.entries[key] = self.entries.pop(key)
        return error

    def _make_room(self) -> bool:
        return not self.delete_elem(next(iter(self.entries)))


class PerCpuHash(_Keyed):
    """``percpu_hash``: a value for each CPU under every key; programs write their own CPU's (others: 0)."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.stride = round_up(self.value_size)
        self.value_stride = self.stride * environment.cpus
        self.entries: dict[bytes, list[tuple[int, bytearray]]] = {}

    def lookup_elem(self, key: bytes) -> int:
        return self.lookup_percpu_elem(key, self.environment.cpu)

    def lookup_percpu_elem(self, key: bytes, cpu: int) -> int:
        entry = self.entries.get(key)
        return entry[cpu][0] << SHIFT if entry is not None and cpu < len(entry) else 0

    def _entry(self, key: bytes, flags: int) -> list[tuple[int, bytearray]] | int:
        """The element to be written, made if it is new; or an error number."""
        entry = self.entries.get(key)
        error = -EINVAL if flags & BPF_F_LOCK else check_flags(entry is not None, flags)
        if error:
            return error
        if entry is None:
            if len(self.entries) >= self.max_entries and not self._make_room():
                return -E2BIG
            entry = []
            for _ in range(self.environment.cpus):
                window, buffer = self._windows.take(), bytearray(self.value_size)
                self.space.show(window, buffer, readable=self.readable, writable=self.writable)
                entry.append((window, buffer))
            self.entries[key] = entry
            self._keys.add(key)
        return entry

    def _make_room(self) -> bool:
        return False

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        entry = self._entry(key, flags)
        if isinstance(entry, int):
            return entry
        entry[self.environment.cpu][1][:] = value
        return 0

    def delete_elem(self, key: bytes) -> int:
        entry = self.entries.pop(key, None)
        if entry is None:
            return -ENOENT
        for window, _ in entry:
            self._windows.give_back(window)
        return 0

    def elements(self) -> Iterator[tuple[bytes, int]]:
        for key in list(self.entries):
            entry = self.entries.get(key)
            if entry is not None:
                yield key, entry[self.environment.cpu][0] << SHIFT

    def user_lookup(self, key: bytes) -> bytes | int:
        entry = self.entries.get(key)
        if entry is None:
            return -ENOENT
        return b"".join(bytes(value).ljust(self.stride, b"\0") for _, value in entry)

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        entry = self._entry(key, flags)
        if isinstance(entry, int):
            return entry
        for cpu, (_, buffer) in enumerate(entry):
            buffer[:] = value[cpu * self.stride:cpu * self.stride + self.value_size]
        return 0


class LruPerCpuHash(PerCpuHash):
    """``lru_percpu_hash``: see `LruHash`."""

    def lookup_percpu_elem(self, key: bytes, cpu: int) -> int:
        entry = self.entries.pop(key, None)
        if entry is None:
            return 0
        self.entries[key] = entry
        return entry[cpu][0] << SHIFT if cpu < len(entry) else 0

    def _entry(self, key: bytes, flags: int) -> list[tuple[int, bytearray]] | int:
        entry = super()._entry(key, flags)
        if not isinstance(entry, int):
            self.entries[key] = self.entries.pop(key)
        return entry

    def _make_room(self) -> bool:
        return not self.delete_elem(next(iter(self.entries)))
