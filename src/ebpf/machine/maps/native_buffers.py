"""Queues, Bloom filters and ring buffers in native memory (see `native`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.maps.base import Windows
from ebpf.machine.maps.buffers import RingBuffer
from ebpf.machine.maps.native import NativeMap
from ebpf.machine.maps.queues import BloomFilter, Queue, Stack
from ebpf.machine.memory import SHIFT
from ebpf.machine.runtime.memory import address_of, buffer, copy_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.machine.environment import Environment
    from ebpf.machine.maps.base import MapShape

_BUSY, _DISCARD = 1 << 31, 1 << 30
_HEADER_BYTES = 8
_RECORDS_AT_ONCE = 4096

class NativeQueue(NativeMap, Queue):
    """``queue``."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self._push, self._pop, self._peek = (self._function(what) for what in ("push", "pop", "peek"))

    def push_elem(self, value: bytes, flags: int) -> int:
        return self._push(self.native, value, flags)

    def pop_elem(self) -> bytes | int:
        room = buffer(self.value_size)
        return self._pop(self.native, room) or room.raw

    def peek_elem(self, value: bytes) -> bytes | int:
        room = buffer(self.value_size)
        return self._peek(self.native, room) or room.raw

class NativeStack(NativeQueue, Stack):
    """``stack``."""

class NativeBloomFilter(NativeMap, BloomFilter):
    """``bloom_filter``."""

    def push_elem(self, value: bytes, flags: int) -> int:
        return self._function("push")(self.native, value, flags)

    def peek_elem(self, value: bytes) -> bytes | int:
        return self._function("peek")(self.native, value) or value

class NativeRingBuffer(NativeMap, RingBuffer):
    """``ringbuf``. Compiled programs reserve and submit without Python; records are read here."""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        super().__init__(environment, shape)
        self._shown: dict[int, int] = {}  # windows of open records → their addresses
        self._record_windows = Windows(self, "a record")
        self._data = int(self.block.header.buckets)

    def _holds(self, offset: int, size: int) -> bool:
        return offset >= self._data - self.native  # records: programs got their addresses from here

    @property
    def refused(self) -> int:
        """How often a program got no room."""
        return int(self.block.header.refused)

    @property
    def wakeups(self) -> int:
        """How often whoever waits for records was to be woken."""
        return int(self.block.header.wakeups)

    def reserve(self, size: int, flags: int) -> int:
        address: int = self.runtime.ringbuf_reserve(self.native, size, flags)
        if not address or self.space.native:
            return address
        window = self._record_windows.take()
        self._shown[window] = address
        return self.space.show(window, self.block.part(address, size))

    def _open(self, address: int) -> int:
        """The native address of an open record; 0 if there is none."""
        if not self.space.native:
            return self._shown.get(address >> SHIFT, 0) if not address & ((1 << SHIFT) - 1) else 0
        at = address - _HEADER_BYTES - self._data
        if at < 0 or at % 8 or at >= self.size:
            return 0
        return address if int.from_bytes(copy_from(address - 8, 4), "little") & _BUSY else 0

    def owns(self, address: int) -> bool:
        return bool(self._open(address))

    def _commit(self, address: int, flags: int, commit: Callable[..., object]) -> None:
        found = self._open(address)
        if not found:
            raise MachineFault(
                f"{address:#x} is no record that was reserved in {self.name!r} and is still open", address=address
            )
        commit(found, flags)
        if not self.space.native:
            window = address >> SHIFT
            del self._shown[window]
            self._record_windows.give_back(window)

    def submit(self, address: int, flags: int = 0) -> None:
        self._commit(address, flags, self.runtime.ringbuf_submit)

    def discard(self, address: int, flags: int = 0) -> None:
        self._commit(address, flags, self.runtime.ringbuf_discard)

    def output(self, data: bytes, flags: int) -> int:
        return self.runtime.ringbuf_output(self.native, data, len(data), flags)

    def query(self, what: int) -> int:
        return self.runtime.ringbuf_query(self.native, what)

    @property
    def pending_bytes(self) -> int:
        header = self.block.header
        return int(header.producer - header.consumer)

    def consume(self, callback: Callable[[bytes], object]) -> int:
        count, size = 0, bytearray(4)
        at, _keep = address_of(size)
        while address := self.runtime.ringbuf_next(self.native, at):
            record = copy_from(address, int.from_bytes(size, "little"))
            self.runtime.ringbuf_release(self.native)
            count += 1
            callback(record)
        return count

    def drain(self) -> list[bytes]:
        records: list[bytes] = []
        while True:
            data, sizes = self.take_segment()
            at = 0
            for size in sizes:
                records.append(bytes(data[at:at + size]))
                at += size + 7 & ~7
            if not sizes:
                return records

    def take_segment(self) -> tuple[memoryview, memoryview]:
        """Many records at once: their bytes, each record at a multiple of 8, and their sizes (u32 each)."""
        room = self.pending_bytes
        data, sizes, count = bytearray(max(room, 8)), bytearray(4 * _RECORDS_AT_ONCE), bytearray(4)
        data_at, _data = address_of(data)
        sizes_at, _sizes = address_of(sizes)
        count_at, _count = address_of(count)
        written = self.runtime.ringbuf_drain(self.native, data_at, room, sizes_at, _RECORDS_AT_ONCE, count_at)
        records = int.from_bytes(count, "little")
        return memoryview(data)[:written], memoryview(sizes)[:4 * records].cast("I")

