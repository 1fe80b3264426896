"""Reading a perf buffer: a perf event array with one ring for each CPU, which programs fill with bpf_perf_event_output.

Each ring is a page of state (``struct perf_event_mmap_page``: the kernel's ``data_head``, our ``data_tail``) and 2ⁿ
pages of data. Records: ``PERF_RECORD_SAMPLE`` (a size, and the bytes padded so that size and bytes together are a
multiple of 8) and ``PERF_RECORD_LOST``, by which the kernel tells how many it had no room for: `lost` adds them up.
"""

from __future__ import annotations

import errno as _errno
import struct
from sys import getsizeof
from typing import TYPE_CHECKING, Any, Final

from ebpf.errors import UsageError
from ebpf.kernel import sys
from ebpf.kernel.cpus import online_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.kernel.maps import KernelMap

_SAMPLE, _LOST = 9, 2
_HEADER = struct.Struct("@IHH")
_HEAD_WORD, _TAIL_WORD = 1024 // 8, 1032 // 8
#: where the characters of a bytes object begin, seen from id(): its header without the NUL that ends it
BYTES_HEADER: Final = getsizeof(b"") - 1
_BATCH_LIMIT: Final = 1 << 16  # bytes handed out before the tail moves


class PerfRing:
    """The ring of one CPU."""

    __slots__ = ("_data", "_event", "_mapping", "_size", "_words", "cpu", "lost", "records")

    def __init__(self, cpu: int, pages: int, wakeup_events: int) -> None:
        attr = sys.perf_event_attr(sys.PERF_TYPE_SOFTWARE, sys.PERF_COUNT_SW_BPF_OUTPUT, sample=1,
                                   sample_type=sys.PERF_SAMPLE_RAW, wakeup_events=wakeup_events)
        fd = sys.perf_event_open(attr, -1, cpu)
        if fd < 0:
            raise sys.failure(f"perf_event_open(BPF_OUTPUT, cpu={cpu})", -fd, needs=("CAP_PERFMON",))
        self._event = sys.OwnedFd(fd)
        self.cpu = cpu
        self._size = pages * sys.PAGE_SIZE
        self._mapping = sys.Mapping(fd, sys.PAGE_SIZE + self._size, writable=True)
        self._words = self._mapping.words()
        self._data = self._mapping.view[sys.PAGE_SIZE:]
        #: samples handed out, and samples that the kernel had no room for
        self.records = 0
        self.lost = 0

    def fileno(self) -> int:
        return self._event.fileno()

    def enable(self) -> None:
        result = sys.ioctl(self.fileno(), sys.PERF_EVENT_IOC_ENABLE)
        if result < 0:
            raise sys.failure("ioctl(PERF_EVENT_IOC_ENABLE)", -result)

    def close(self) -> None:
        self._words = self._data = memoryview(b"")
        self._mapping.close()
        self._event.close()

    @property
    def fill(self) -> int:
        """Bytes that wait to be read."""
        return int(self._words[_HEAD_WORD] - self._words[_TAIL_WORD]) if self._words else 0

    def consume(self, callback: Callable[[int, bytes], Any], on_lost: Callable[[int, int], Any] | None) -> int:
        """Hand out what is there now; how many samples. A sample counts as read before its callback runs."""
        words, data, size, memory = self._words, self._data, self._size, self._mapping
        if not memory.address:
            return 0
        mask = size - 1
        head = words[_HEAD_WORD]
        tail = words[_TAIL_WORD]
        if head == tail:
            return 0
        sys.memory_barrier()
        total = 0
        published = tail
        unpack = _HEADER.unpack_from
        cpu = self.cpu
        try:
            while tail != head:
                start = tail & mask
                # Headers are 8-byte aligned and 8 bytes long: they never wrap.
                kind, _, length = unpack(data, start)
                record = self._record(start, length)
                tail += length
                if kind == _SAMPLE:
                    total += 1
                    callback(cpu, record[4:4 + int.from_bytes(record[:4], _ENDIAN)])
                elif kind == _LOST:
                    lost = struct.unpack_from("@QQ", record)[1]
                    self.lost += lost
                    if on_lost is not None:
                        on_lost(cpu, lost)
                if not memory.address:  # closed by the callback: there is nothing to read from any more
                    break
                if tail - published > _BATCH_LIMIT:
                    words[_TAIL_WORD] = published = tail
        finally:
            self.records += total
            if memory.address:
                words[_TAIL_WORD] = tail
        return total


    def consume_addresses(self, callback: Callable[[int, int, int], Any],
                          on_lost: Callable[[int, int], Any] | None) -> int:
        """Call `callback(cpu, address, size)` for every sample, without copying: the address is valid during the call
        only. Otherwise like `consume`, four times as fast.
        """
        words, memory, size, cpu = self._words, self._mapping, self._size, self.cpu
        if not memory.address:
            return 0
        head, tail = words[_HEAD_WORD], words[_TAIL_WORD]
        if head == tail:
            return 0
        sys.memory_barrier()
        slots = self._data.cast("Q")
        base, mask, total = memory.address + sys.PAGE_SIZE + 12, size - 1, 0  # header and size: 12 bytes
        try:
            while tail != head:
                start = tail & mask
                kind, _, length = _HEADER.unpack_from(self._data, start)
                if kind == _SAMPLE and start + length <= size:
                    # Samples of one length in a row, in one loop without looking at each.
                    end = start + min(head - tail, size - start, _BATCH_LIMIT) // length * length
                    run = slots[start >> 3:end >> 3:length >> 3].tolist()
                    count = len(run)
                    if run.count(run[0]) != count:
                        count = next(i for i, header in enumerate(run) if header != run[0])
                    address = first = base + start
                    try:
                        for address in range(first, first + count * length, length):
                            callback(cpu, address, length - 12)  # padding counts
                            if not memory.address:  # closed by the callback
                                break
                    finally:
                        done = (address - first) // length + 1
                        tail += done * length
                        total += done
                else:
                    record = self._record(start, length)
                    tail += length
                    if kind == _SAMPLE:
                        total += 1
                        callback(cpu, id(record) + BYTES_HEADER + 4, length - 12)
                    elif kind == _LOST:
                        lost = struct.unpack_from("@QQ", record)[1]
                        self.lost += lost
                        if on_lost is not None:
                            on_lost(cpu, lost)
                if not memory.address:
                    break
                words[_TAIL_WORD] = tail
        finally:
            self.records += total
            if memory.address:
                words[_TAIL_WORD] = tail
        return total

    def _record(self, start: int, length: int) -> bytes:
        """What follows the header of a record, which may go on at the buffer's beginning."""
        data, size, end = self._data, self._size, start + length
        if end <= size:
            return bytes(data[start + 8:end])
        return bytes(data[start + 8:size]) + bytes(data[max(0, start + 8 - size):end - size])


_ENDIAN: Final = "little" if struct.pack("@H", 1)[0] else "big"


class PerfBuffer:
    """All rings of one perf event array. `callback(cpu, data)` per sample, `on_lost(cpu, count)` per report of loss.

    `pages` (a power of two) for each CPU's ring; `wakeup_events`: how many samples wake a waiting reader. `lost`
    counts what the kernel reported as lost; it is never silent: `PerfBuffer.lost` stays even if nobody gave an
    `on_lost`.
    """

    __slots__ = ("_pages", "_wakeup_events", "callback", "map", "on_lost", "rings")

    def __init__(self, map: KernelMap, callback: Callable[[int, bytes], Any], *,
                 on_lost: Callable[[int, int], Any] | None = None, pages: int = 8, wakeup_events: int = 1) -> None:
        if pages < 1 or pages & (pages - 1):
            raise UsageError(f"a perf buffer has a power of two pages for each CPU, not {pages}")
        self.map = map
        self.callback = callback
        self.on_lost = on_lost
        self._pages = pages
        self._wakeup_events = wakeup_events
        self.rings: dict[int, PerfRing] = {}
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    def refresh(self) -> list[PerfRing]:
        """Open rings on CPUs that came online since; the new ones. A CPU that goes offline keeps its ring."""
        new = []
        for cpu in online_cpus():
            if cpu in self.rings or cpu >= self.map.max_entries:
                continue
            try:
                ring = PerfRing(cpu, self._pages, self._wakeup_events)
            except OSError as error:
                if error.errno == _errno.ENODEV:  # went offline between reading the list and here
                    continue
                raise
            self.rings[cpu] = ring
            self.map.update(cpu.to_bytes(4, _ENDIAN), ring.fileno().to_bytes(4, _ENDIAN))
            ring.enable()
            new.append(ring)
        return new

    @property
    def lost(self) -> int:
        """Samples lost on all CPUs since the start, as far as the kernel has reported them."""
        return sum(ring.lost for ring in self.rings.values())

    @property
    def records(self) -> int:
        """Samples handed out."""
        return sum(ring.records for ring in self.rings.values())

    def consume(self) -> int:
        """Hand out what is there on all CPUs now; how many samples."""
        return sum(ring.consume(self.callback, self.on_lost) for ring in list(self.rings.values()))

    def close(self) -> None:
        """Take the rings out of the map and release them."""
        for cpu, ring in self.rings.items():
            if not self.map.closed:
                try:
                    self.map.delete(cpu.to_bytes(4, _ENDIAN))
                except (OSError, ValueError):
                    pass
            ring.close()
        self.rings.clear()
