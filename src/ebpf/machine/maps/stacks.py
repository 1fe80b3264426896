"""``stack_trace``: stacks by id, each once (kernel/bpf/stackmap.c)."""

from __future__ import annotations

from errno import EEXIST, EFAULT, EINVAL, ENOENT
from struct import pack
from typing import TYPE_CHECKING
from zlib import crc32

from ebpf.machine.maps.base import MachineMap, MapShape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.machine.environment import Environment

SKIP_FIELD_MASK = 0xFF
USER_STACK, FAST_STACK_CMP, REUSE_STACKID = 1 << 8, 1 << 9, 1 << 10


class StackTraces(MachineMap):
    """A value holds ``value_size / 8`` return addresses, innermost first, zero behind the last."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self._buckets = 1 << max(shape.max_entries - 1, 0).bit_length()
        self.stacks: dict[int, bytes] = {}

    def stack_id(self, stack: Sequence[int], flags: int) -> int:
        """The id of ``stack`` (which is kept), or a negative error number."""
        if flags & ~(SKIP_FIELD_MASK | USER_STACK | FAST_STACK_CMP | REUSE_STACKID):
            return -EINVAL
        kept = stack[flags & SKIP_FIELD_MASK:][:self.value_size // 8]
        if not kept:
            return -EFAULT
        data = pack(f"<{len(kept)}Q", *kept)
        bucket = crc32(data) & (self._buckets - 1)
        old = self.stacks.get(bucket)
        if old is not None and old != data and not flags & REUSE_STACKID:
            return -EEXIST
        self.stacks[bucket] = data
        return bucket

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -EINVAL

    def user_lookup(self, key: bytes) -> bytes | int:
        found = self.stacks.get(int.from_bytes(key, "little"))
        return -ENOENT if found is None else found.ljust(self.value_size, b"\0")

    def delete_elem(self, key: bytes) -> int:
        index = int.from_bytes(key, "little")
        if index >= self._buckets:
            from errno import E2BIG

            return -E2BIG
        return -ENOENT if self.stacks.pop(index, None) is None else 0

    def user_take(self, key: bytes) -> bytes | int:
        found = self.user_lookup(key)
        self.delete_elem(key)
        return found

    def user_next_key(self, key: bytes | None) -> bytes | int:
        after = -1 if key is None else int.from_bytes(key, "little")
        if after not in self.stacks:
            after = -1
        following = [n for n in self.stacks if n > after]
        return min(following).to_bytes(4, "little") if following else -ENOENT
