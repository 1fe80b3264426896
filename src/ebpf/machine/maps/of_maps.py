"""Maps of maps: a program's look-up gives a map. A value is an inner map's id (the kernel's: a descriptor)."""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.machine.maps.arrays import index_after
from ebpf.machine.maps.base import MachineMap, MapShape, check_flags

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment


class _OfMaps(MachineMap):
    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.value_stride = 4
        self.inner: dict[bytes, MachineMap] = {}

    def lookup_elem(self, key: bytes) -> int:
        found = self.inner.get(key)
        return found.address if found is not None else 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -EINVAL

    def delete_elem(self, key: bytes) -> int:
        return -EINVAL

    def _candidate(self, value: bytes) -> MachineMap | None:
        """The map that ``value`` names, if it is like the template."""
        found = self.environment.maps_by_id.get(int.from_bytes(value, "little"))
        template = self.shape.inner
        if found is None or (template is not None and (found.type, found.key_size, found.value_size) != (
                template.type, template.key_size, template.value_size)):
            return None
        return found

    def user_lookup(self, key: bytes) -> bytes | int:
        found = self.inner.get(key)
        return -ENOENT if found is None else found.id.to_bytes(4, "little")

    def user_delete(self, key: bytes) -> int:
        return -ENOENT if self.inner.pop(key, None) is None else 0


class ArrayOfMaps(_OfMaps):
    """``array_of_maps``."""

    full_by_index = True

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        candidate = self._candidate(value)
        if flags or candidate is None:
            return -EINVAL
        if int.from_bytes(key, "little") >= self.max_entries:
            return -E2BIG
        self.inner[key] = candidate
        return 0

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return index_after(key, self.max_entries)


class HashOfMaps(_OfMaps):
    """``hash_of_maps``."""

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        candidate = self._candidate(value)
        if candidate is None:
            return -EINVAL
        error = check_flags(key in self.inner, flags)
        if error:
            return error
        if key not in self.inner and len(self.inner) >= self.max_entries:
            return -E2BIG
        self.inner[key] = candidate
        return 0

    def user_next_key(self, key: bytes | None) -> bytes | int:
        keys = list(self.inner)
        at = keys.index(key) + 1 if key in self.inner else 0
        return keys[at] if at < len(keys) else -ENOENT
