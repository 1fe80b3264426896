"""Reading what programs of the machine send: ring buffers and perf event arrays, with the kernel's readers' faces.

A reader has a descriptor that is readable while something waits: `signal`, called after programs have run, sees to it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from ebpf.errors import UsageError
from ebpf.session import world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from ebpf.machine.maps.buffers import PerfEventArray, RingBuffer as MachineRing

# Where the characters of a bytes object begin, seen from id(): its header without the NUL that ends it.
_BYTES_HEADER = sys.getsizeof(b"") - 1
_PAGE_BYTES = 4096


class _Reader:
    """What both have: a queue of what was taken out of the map and not handed out yet."""

    def __init__(self, map: Any, fd: int) -> None:
        self.map = map
        self._fd = fd
        self._signalled = False
        self._queue: deque[Any] = deque()
        #: records handed out
        self.records = 0
        world.readers.add(self)
        self.signal()

    def fileno(self) -> int:
        """Readable while something waits to be read; -1 once closed."""
        return self._fd

    @property
    def pending(self) -> bool:
        """Whether something waits to be read."""
        return bool(self._queue) or self._waits()

    def _waits(self) -> bool:
        raise NotImplementedError

    def _take(self) -> list[Any]:
        raise NotImplementedError

    def signal(self) -> None:
        """Make the descriptor say whether something waits. Under the world's lock."""
        waits = self.pending
        if waits != self._signalled and self._fd >= 0 and hasattr(os, "eventfd"):
            self._signalled = waits
            if waits:
                os.eventfd_write(self._fd, 1)
            else:
                os.eventfd_read(self._fd)

    def _fill(self) -> bool:
        """Take what there is out of the map; whether there is anything."""
        world.touched()
        with world.lock:
            if self._fd < 0:
                return False
            self._queue.extend(self._take())
            if not self._queue:
                self.signal()
        return bool(self._queue)

    def _next(self) -> Any:
        """The next one, which counts as read from now on."""
        self.records += 1
        return self._queue.popleft()

    def _forget(self) -> None:
        world.readers.discard(self)
        with world.lock:
            self._fd = -1
            self._queue.clear()


class RingBuffer(_Reader):
    """Implements `ebpf.session.backend.RingReader`. The descriptor is the map's."""

    map: MachineRing

    def _waits(self) -> bool:
        return self.map.pending_bytes > 0

    def _take(self) -> list[bytes]:
        return self.map.drain()

    def consume(self, callback: Callable[[bytes], Any], limit: int = 0) -> int:
        """Call ``callback(data)`` for every record that is there, ``limit`` at most; how many."""
        return self._each(callback, limit)

    def consume_addresses(self, callback: Callable[[int, int], Any], limit: int = 0) -> int:
        """Call ``callback(address, size)``: the address is valid during the call only."""

        def one(data: bytes) -> None:
            callback(id(data) + _BYTES_HEADER, len(data))

        return self._each(one, limit)

    def _each(self, callback: Callable[[bytes], Any], limit: int) -> int:
        total = 0
        while (not limit or total < limit) and (self._queue or self._fill()):
            total += 1
            callback(self._next())
        return total

    def __iter__(self) -> Iterator[bytes]:
        while self._queue or self._fill():
            yield self._next()

    def read_arrays(self, dtype: np.dtype[Any] | None = None, limit: int = 0) -> list[np.ndarray[Any, Any]]:
        """All waiting records as arrays, one for each run of equal length; copies."""
        import numpy

        if not self._queue:
            self._fill()
        out: list[np.ndarray[Any, Any]] = []
        left = limit or len(self._queue)
        while self._queue and left:
            length = len(self._queue[0])
            count = next((n for n, data in enumerate(self._queue) if len(data) != length), len(self._queue))
            run = [self._next() for _ in islice(range(left), count)]
            left -= len(run)
            if dtype is None:
                out.append(numpy.frombuffer(b"".join(run), numpy.uint8).reshape(len(run), length).copy())
                continue
            if length < dtype.itemsize:
                raise UsageError(f"ring buffer {self.map.name!r}: a record has {length} bytes, its type "
                                 f"{dtype.itemsize}")
            out.append(numpy.frombuffer(b"".join([data[:dtype.itemsize] for data in run]), dtype).copy())
        return out

    def close(self) -> None:
        """Stop reading; the map itself stays open."""
        self._forget()


class PerfBuffer(_Reader):
    """Implements `ebpf.session.backend.PerfReader`, and the one `PerfRing` of it: samples tell their CPU."""

    map: PerfEventArray

    def __init__(self, map: Any, callback: Callable[[int, bytes], Any], *,
                 on_lost: Callable[[int, int], Any] | None = None, pages: int = 8) -> None:
        if pages < 1 or pages & (pages - 1):
            raise UsageError(f"a perf buffer has a power of two pages for each CPU, not {pages}")
        self.callback = callback
        self.on_lost = on_lost
        map.capacity_bytes = pages * _PAGE_BYTES
        self._lost_before = dict(enumerate(map.lost_by_cpu))
        self._reported = dict(self._lost_before)
        super().__init__(map, os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))

    def _waits(self) -> bool:
        return self.map.pending

    def _take(self) -> list[Any]:
        return self.map.drain()

    @property
    def rings(self) -> dict[int, Any]:
        """One for all CPUs."""
        return {0: self} if self._fd >= 0 else {}

    def refresh(self) -> list[Any]:
        """No CPU comes or goes."""
        return []

    @property
    def lost(self) -> int:
        """Samples for which there was no room since this reader began."""
        lost: int = sum(self.map.lost_by_cpu) - sum(self._lost_before.values())
        return lost

    def consume(self, callback: Callable[[int, bytes], Any] | None = None,
                on_lost: Callable[[int, int], Any] | None = None) -> int:
        """Hand out what is there; how many samples. A sample counts as read before its callback runs."""
        call, report = callback or self.callback, on_lost or self.on_lost
        total = 0
        while self._queue or self._fill():
            sample = self._next()
            total += 1
            call(sample.cpu, sample.data)
        for cpu, lost in enumerate(self.map.lost_by_cpu):
            new = lost - self._reported.get(cpu, 0)
            self._reported[cpu] = lost
            if new and report is not None:
                report(cpu, new)
        return total

    def consume_addresses(self, callback: Callable[[int, int, int], Any],
                          on_lost: Callable[[int, int], Any] | None) -> int:
        """The same, with ``callback(cpu, address, size)``: the address is valid during the call only."""

        def one(cpu: int, data: bytes) -> None:
            callback(cpu, id(data) + _BYTES_HEADER, len(data))

        return self.consume(one, on_lost)

    def close(self) -> None:
        """Stop reading."""
        fd = self._fd
        self._forget()
        if fd >= 0:
            os.close(fd)
