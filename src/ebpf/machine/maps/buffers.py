"""Where events go: ring buffer (kernel/bpf/ringbuf.c) and perf event array (kernel/events/core.c)."""

from __future__ import annotations

from collections import deque
from errno import E2BIG, EAGAIN, EINVAL, ENOENT, ENOSPC
from typing import TYPE_CHECKING, NamedTuple

from ebpf.errors import MachineFault
from ebpf.machine.maps.arrays import index_after
from ebpf.machine.maps.base import ENOTSUPP, MachineMap, MapShape, Windows, round_up
from ebpf.machine.memory import SHIFT

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.machine.environment import Environment

HEADER_BYTES = 8
_NO_WAKEUP, _FORCE_WAKEUP = 1, 2
_BUSY, _READY, _DISCARDED = range(3)


class _Record:
    __slots__ = ("buffer", "end", "state", "window")

    def __init__(self, window: int, buffer: bytearray, end: int) -> None:
        self.window = window
        self.buffer = buffer
        self.end = end  # the producer's position behind it
        self.state = _BUSY


class RingBuffer(MachineMap):
    """``ringbuf``: records in the order in which they were reserved; a busy one holds back those behind it.

    Positions count bytes as the kernel does: 8 for the header, then the record rounded up to 8. It is full when a
    record would reach past ``max_entries`` bytes. Records are zero when they are reserved (the kernel leaves old bytes
    there).
    """

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self.size = shape.max_entries
        self.producer = self.consumer = 0
        self._records: deque[_Record] = deque()
        self._by_window: dict[int, _Record] = {}
        self._windows = Windows(self, "a record")
        self._refused = 0

    @property
    def refused(self) -> int:
        """How often a program got no room."""
        return self._refused

    def reserve(self, size: int, flags: int) -> int:
        """The address of ``size`` bytes to be submitted or discarded; 0 if there is no room."""
        total = round_up(size + HEADER_BYTES)
        if flags or total > self.size or self.producer + total - self.consumer > self.size - 1:
            self._refused += not flags
            return 0
        window, buffer = self._windows.take(), bytearray(size)
        self.producer += total
        record = _Record(window, buffer, self.producer)
        self._records.append(record)
        self._by_window[window] = record
        return self.space.show(window, buffer)

    def _finish(self, address: int, state: int) -> None:
        record = self._by_window.pop(address >> SHIFT, None)
        if record is None or address & ((1 << SHIFT) - 1):
            raise MachineFault(
                f"{address:#x} is no record that was reserved in {self.name!r} and is still open", address=address
            )
        record.state = state
        self._windows.give_back(record.window)

    def submit(self, address: int, flags: int = 0) -> None:
        """Hand a reserved record over."""
        self._finish(address, _READY)

    def discard(self, address: int, flags: int = 0) -> None:
        """Give a reserved record up: nobody will see it."""
        self._finish(address, _DISCARDED)

    def owns(self, address: int) -> bool:
        """Whether an open record lies at ``address``."""
        return address >> SHIFT in self._by_window

    def output(self, data: bytes, flags: int) -> int:
        """Reserve, copy, submit."""
        if flags & ~(_NO_WAKEUP | _FORCE_WAKEUP):
            return -EINVAL
        address = self.reserve(len(data), 0)
        if not address:
            return -EAGAIN
        self._records[-1].buffer[:] = data
        self.submit(address)
        return 0

    def query(self, what: int) -> int:
        """BPF_RB_AVAIL_DATA, RING_SIZE, CONS_POS, PROD_POS: bytes."""
        values = (self.producer - self.consumer, self.size, self.consumer, self.producer)
        return values[what] if what < 4 else 0

    # ---- the user ----

    @property
    def pending_bytes(self) -> int:
        """Bytes that are not consumed yet, headers and open records included."""
        return self.producer - self.consumer

    def consume(self, callback: Callable[[bytes], object]) -> int:
        """Call ``callback(record)`` for every record up to the first open one; how many there were."""
        count = 0
        while self._records and self._records[0].state != _BUSY:
            record = self._records.popleft()
            self.consumer = record.end
            if record.state == _READY:
                count += 1
                callback(bytes(record.buffer))
        return count

    def drain(self) -> list[bytes]:
        """The records up to the first open one, taken out."""
        records: list[bytes] = []
        self.consume(records.append)
        return records

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        return -ENOTSUPP

    def delete_elem(self, key: bytes) -> int:
        return -ENOTSUPP

    def user_lookup(self, key: bytes) -> bytes | int:
        return -ENOTSUPP


class Sample(NamedTuple):
    """A record of a perf buffer: which CPU, the bytes (8-byte padding as in the kernel is left out)."""

    cpu: int
    data: bytes


class PerfEventArray(MachineMap):
    """``perf_event_array``: a buffer for each CPU, open from the beginning; what does not fit is counted in `lost`."""

    full_by_index = True

    def __init__(self, environment: Environment, shape: MapShape, *, capacity_bytes: int = 64 * 4096) -> None:
        super().__init__(environment, shape)
        self.capacity_bytes = capacity_bytes
        self._samples: deque[Sample] = deque()
        self._used = [0] * environment.cpus
        #: samples for which there was no room, by CPU
        self.lost_by_cpu = [0] * environment.cpus

    @property
    def lost(self) -> int:
        return sum(self.lost_by_cpu)

    def output(self, flags: int, data: bytes) -> int:
        """One sample; ``flags`` name the CPU, or BPF_F_CURRENT_CPU."""
        index = flags & 0xFFFFFFFF
        if index == 0xFFFFFFFF:
            index = self.environment.cpu
        if index >= self.max_entries:
            return -E2BIG
        if index >= self.environment.cpus:
            return -ENOENT
        if index != self.environment.cpu:
            from errno import EOPNOTSUPP

            return -EOPNOTSUPP
        size = round_up(len(data) + 4) + 8
        if self._used[index] + size > self.capacity_bytes:
            self.lost_by_cpu[index] += 1
            return -ENOSPC
        self._used[index] += size
        self._samples.append(Sample(index, data))
        return 0

    @property
    def pending(self) -> bool:
        """Whether samples wait to be read."""
        return bool(self._samples)

    def consume(self, callback: Callable[[Sample], object]) -> int:
        """Call ``callback(sample)`` for every sample, in the order in which they were sent; how many there were."""
        count = 0
        while self._samples:
            sample = self._samples.popleft()
            self._used[sample.cpu] -= round_up(len(sample.data) + 4) + 8
            count += 1
            callback(sample)
        return count

    def drain(self) -> list[Sample]:
        """All samples, taken out."""
        samples: list[Sample] = []
        self.consume(samples.append)
        return samples

    def delete_elem(self, key: bytes) -> int:
        return -EINVAL

    def user_delete(self, key: bytes) -> int:
        # No event was ever put there: the buffers are open by themselves.
        return -E2BIG if int.from_bytes(key, "little") >= self.max_entries else -ENOENT

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return index_after(key, self.max_entries)

    def user_lookup(self, key: bytes) -> bytes | int:
        return -ENOTSUPP
