"""``prog_array``: programs to go on with by tail calls. A value is a program's id (the kernel's: a descriptor)."""

from __future__ import annotations

from errno import E2BIG, EINVAL, ENOENT
from typing import TYPE_CHECKING

from ebpf.machine.maps.arrays import index_after
from ebpf.machine.maps.base import MachineMap, MapShape

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment


class ProgramArray(MachineMap):
    """See the module's text."""

    full_by_index = True

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.programs: dict[int, int] = {}

    def program_id(self, index: int) -> int | None:
        """The program at ``index``; ``None``: none."""
        return self.programs.get(index)

    def user_lookup(self, key: bytes) -> bytes | int:
        found = self.programs.get(int.from_bytes(key, "little"))
        return -ENOENT if found is None else found.to_bytes(4, "little")

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        index, program = int.from_bytes(key, "little"), int.from_bytes(value, "little")
        if flags:
            return -EINVAL
        if index >= self.max_entries:
            return -E2BIG
        if program not in self.environment.programs:
            return -EINVAL
        self.programs[index] = program
        return 0

    def user_delete(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index >= self.max_entries:
            return -E2BIG
        return -ENOENT if self.programs.pop(index, None) is None else 0

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return index_after(key, self.max_entries)
