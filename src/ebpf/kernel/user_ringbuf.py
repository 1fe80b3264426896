"""Writing into a user ring buffer (BPF_MAP_TYPE_USER_RINGBUF, Linux 6.1): records from here to programs.

The ring buffer the other way round: we own the producer's position, the kernel the consumer's. A record is 8 bytes of
header (its length) and the data, padded to 8 bytes; the data area is mapped twice in a row, so that no record wraps.
Programs take records with ``bpf_user_ringbuf_drain``, and wake us when they do (kernel/bpf/ringbuf.c).
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

from ebpf.errors import MapFull, UsageError
from ebpf.kernel.sys import PAGE_SIZE, Mapping, memory_barrier

if TYPE_CHECKING:
    from ebpf.kernel.maps import KernelMap

_HEADER: Final = 8


class UserRingBuffer:
    """The producer's side of a user ring buffer. One producer at a time: there is one position."""

    __slots__ = ("_consumer", "_consumer_map", "_data", "_data_map", "_headers", "_mask", "_producer", "map", "records",
                 "size")

    def __init__(self, map: KernelMap) -> None:
        self.map = map
        self.size = map.max_entries
        self._mask = self.size - 1
        self._consumer_map = Mapping(map.fileno(), PAGE_SIZE)
        self._data_map = Mapping(map.fileno(), PAGE_SIZE + 2 * self.size, offset=PAGE_SIZE, writable=True)
        self._consumer = self._consumer_map.words()
        self._producer = self._data_map.words()
        self._data = self._data_map.view[PAGE_SIZE:]
        self._headers = self._data.cast("Q")
        #: how many were sent
        self.records = 0

    def fileno(self) -> int:
        """For epoll: writable after programs have taken records out."""
        return self.map.fileno()

    @property
    def fill(self) -> int:
        """Bytes that no program has taken out yet, of `size`."""
        return int(self._producer[0] - self._consumer[0]) if self._consumer else 0

    def send(self, data: bytes, timeout: float = 0) -> None:
        """A record for programs. `MapFull` if within ``timeout`` seconds there is no room for it."""
        length = len(data)
        total = (length + _HEADER + 7) & ~7
        if total > self.size:
            raise UsageError(f"map {self.map.name!r}: a record of {length} bytes never fits into {self.size}")
        if not self._consumer:
            raise UsageError(f"map {self.map.name!r} is closed")
        while self.size - self.fill < total:
            if timeout <= 0 or not self._wait(timeout):
                raise MapFull(f"map {self.map.name!r} has no room for a record of {length} bytes: {self.fill} of "
                              f"{self.size} are in use", map_name=self.map.name,
                              helps=("run the program that drains it",))
        position = int(self._producer[0])
        at = position & self._mask
        self._data[at + _HEADER:at + _HEADER + length] = data
        self._headers[at // 8] = length  # neither busy nor discarded; the upper half is the kernel's
        memory_barrier()
        self._producer[0] = position + total
        self.records += 1

    def _wait(self, timeout: float) -> bool:
        poll = select.poll()
        poll.register(self.map.fileno(), select.POLLOUT)
        return bool(poll.poll(timeout * 1000))

    def close(self) -> None:
        """Unmap; the map itself stays open."""
        self._headers = self._data = self._producer = self._consumer = memoryview(b"")
        self._consumer_map.close()
        self._data_map.close()
