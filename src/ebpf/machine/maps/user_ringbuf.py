"""``user_ringbuf``: records from the user to programs (kernel/bpf/ringbuf.c), in the order in which they were sent."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ebpf.errors import MapFull, UsageError
from ebpf.machine.maps.base import ENOTSUPP, MachineMap, MapShape, round_up

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

HEADER_BYTES = 8
MAX_SAMPLES = 128 * 1024  # BPF_MAX_USER_RINGBUF_SAMPLES: as many are drained by one call


class UserRingBuffer(MachineMap):
    """`send` is the user's side; ``bpf_user_ringbuf_drain`` takes records out."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.size = shape.max_entries
        self.samples: deque[bytes] = deque()
        self.used = 0
        self.busy = False  # a program drains it
        #: how often programs asked for it to be told that records were taken out
        self.wakeups = 0

    def send(self, data: bytes, timeout: float = 0) -> None:
        """A record for programs. `MapFull` if there is no room (nobody makes any while we would wait)."""
        total = round_up(len(data) + HEADER_BYTES)
        if total > self.size:
            raise UsageError(f"map {self.name!r}: a record of {len(data)} bytes never fits into {self.size}")
        if self.used + total > self.size:
            raise MapFull(f"map {self.name!r} has no room for a record of {len(data)} bytes: {self.used} of "
                          f"{self.size} are in use", map_name=self.name, helps=("run the program that drains it",))
        self.used += total
        self.samples.append(bytes(data))

    def take(self) -> bytes | None:
        """The oldest record, taken out; None if there is none."""
        if not self.samples:
            return None
        sample = self.samples.popleft()
        self.used -= round_up(len(sample) + HEADER_BYTES)
        return sample

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -ENOTSUPP

    def delete_elem(self, key: bytes) -> int:
        return -ENOTSUPP

    def user_lookup(self, key: bytes) -> bytes | int:
        return -ENOTSUPP
