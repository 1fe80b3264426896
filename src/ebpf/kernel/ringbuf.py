"""Reading a ring buffer (BPF_MAP_TYPE_RINGBUF, Linux 5.8).

The kernel writes records one behind the other: 8 bytes of header (length with a *busy* bit, set from reserve until
submit, and a *discard* bit; then a page offset of its own) and the data, padded to 8 bytes. The data area is mapped
twice in a row, so that no record wraps. Two positions count bytes since creation: the producer's, which we may only
read, and the consumer's, which we move forward when records are done with (kernel/bpf/ringbuf.c,
Documentation/bpf/ringbuf.rst).

Programs that find the buffer full get NULL from ``bpf_ringbuf_reserve`` (an error from ``bpf_ringbuf_output``): the
kernel keeps no count of that, only the program can. `RingBuffer.fill` tells how close it is.

Speed: most buffers hold records of one size. `_run` recognises a run of them by looking at all headers at once;
then a batch is one copy, and callbacks cost nothing but their call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ebpf.errors import UsageError
from ebpf.kernel.sys import PAGE_SIZE, Mapping, memory_barrier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from ebpf.kernel.maps import KernelMap

_BUSY: Final = 1 << 31
_DISCARD: Final = 1 << 30
_HEADER: Final = 8
# Records handed out before the consumer position moves: programs get room again while a long batch is worked on.
_RUN_LIMIT: Final = 4096


class RingBuffer:
    """The consumer's side of one ring buffer. One reader at a time; closing the map does not close the mapping."""

    __slots__ = ("_consumer", "_consumer_map", "_data", "_data_map", "_headers", "_mask", "_producer", "discarded",
                 "map", "records", "size")

    def __init__(self, map: KernelMap) -> None:
        self.map = map
        self.size = map.max_entries
        self._mask = self.size - 1
        self._consumer_map = Mapping(map.fileno(), PAGE_SIZE, writable=True)
        self._data_map = Mapping(map.fileno(), PAGE_SIZE + 2 * self.size, offset=PAGE_SIZE)
        self._consumer = self._consumer_map.words()
        self._producer = self._data_map.words()
        self._data = self._data_map.view[PAGE_SIZE:]
        self._headers = self._data.cast("I")
        #: records handed out, and records that programs had reserved and then discarded
        self.records = 0
        self.discarded = 0

    def fileno(self) -> int:
        """For epoll: readable while there are records."""
        return self.map.fileno()

    def close(self) -> None:
        """Unmap; the map itself stays open."""
        self._headers = self._data = self._producer = self._consumer = memoryview(b"")
        self._consumer_map.close()
        self._data_map.close()

    @property
    def fill(self) -> int:
        """Bytes that wait to be read, of `size`."""
        return int(self._producer[0] - self._consumer[0]) if self._consumer else 0

    def _run(self, limit: int) -> tuple[int, int, int, bool]:
        """The next run of finished records with equal headers: (offset of the first, its length, how many, discarded).

        How many is 0 when nothing is finished.
        """
        position = self._consumer[0]
        waiting = self._producer[0] - position
        if waiting <= 0:
            return 0, 0, 0, False
        memory_barrier()
        offset = position & self._mask
        headers = self._headers
        first = headers[offset >> 2]
        if first & _BUSY:
            return 0, 0, 0, False
        length = first & ~_DISCARD
        stride = (length + _HEADER + 7) & ~7
        # Positions run up to `size` ahead, and the second mapping covers offset + size: no wrap to think of.
        count = min(waiting // stride, limit)
        if count > 1:
            words = headers[offset >> 2:(offset + count * stride) >> 2:stride >> 2].tolist()
            if words.count(first) != count:
                count = next(i for i, word in enumerate(words) if word != first)
            memory_barrier()
        return offset, length, count, bool(first & _DISCARD)

    def _advance(self, length: int, count: int) -> None:
        if self._consumer:  # else a callback has closed us
            self._consumer[0] = self._consumer[0] + count * ((length + _HEADER + 7) & ~7)

    def consume(self, callback: Callable[[bytes], Any], limit: int = 0) -> int:
        """Call `callback(data)` for every record that is there, `limit` at most; how many.

        A record counts as read before its callback runs: one that raises is not seen again.
        """
        data = self._data

        def one(offset: int, length: int) -> Any:
            return callback(bytes(data[offset:offset + length]))

        return self._each(one, limit, 0)

    def consume_addresses(self, callback: Callable[[int, int], Any], limit: int = 0) -> int:
        """Call `callback(address, size)` for every record, without copying: the address is valid during the call
        only.
        """
        return self._each(callback, limit, self._data_map.address + PAGE_SIZE)

    def _each(self, callback: Callable[[int, int], Any], limit: int, base: int) -> int:
        total = 0
        memory = self._data_map
        while memory.address and (not limit or total < limit):
            offset, length, count, discarded = self._run(min(limit - total, _RUN_LIMIT) if limit else _RUN_LIMIT)
            if not count:
                break
            if discarded:
                self.discarded += count
                self._advance(length, count)
                continue
            stride = (length + _HEADER + 7) & ~7
            start = base + offset + _HEADER
            at = start - stride
            try:
                for at in range(start, start + count * stride, stride):
                    callback(at, length)
                    if not memory.address:  # closed by the callback: there is nothing to read from any more
                        break
            finally:
                done = (at - start) // stride + 1
                total += done
                self.records += done
                self._advance(length, done)
        return total

    def __iter__(self) -> Iterator[bytes]:
        """The records that are there now, one at a time."""
        while True:
            offset, length, count, discarded = self._run(1)
            if not count:
                return
            data = b"" if discarded else bytes(self._data[offset + _HEADER:offset + _HEADER + length])
            self._advance(length, 1)
            if discarded:
                self.discarded += 1
            else:
                self.records += 1
                yield data

    def read_arrays(self, dtype: np.dtype[Any] | None = None, limit: int = 0) -> list[np.ndarray[Any, Any]]:
        """All waiting records as NumPy arrays, one for each run of equal length, in order; copies.

        With a `dtype` each array has that type (records longer than it are cut, shorter ones raise `UsageError`);
        without, they are ``uint8`` of shape (n, length). More than 10 million 48-byte records a second on one core.
        """
        import numpy

        out: list[np.ndarray[Any, Any]] = []
        total = 0
        end = None if limit else self._producer[0]  # what comes meanwhile is for the next call
        while (total < limit) if limit else (self._consumer[0] != end):
            offset, length, count, discarded = self._run(limit - total if limit else 1 << 30)
            if not count:
                break
            if discarded:
                self.discarded += count
                self._advance(length, count)
                continue
            if dtype is not None and length < dtype.itemsize:
                self._advance(length, count)
                self.records += count
                raise UsageError(f"ring buffer {self.map.name!r}: a record has {length} bytes, its type "
                                 f"{dtype.itemsize}")
            stride = (length + _HEADER + 7) & ~7
            rows = numpy.frombuffer(self._data, numpy.uint8, count * stride, offset).reshape(count, stride)
            wanted = length if dtype is None else dtype.itemsize
            if wanted % 8 == 0:  # eight times fewer things to copy
                taken = rows.view(numpy.uint64)[:, 1:1 + wanted // 8].copy().view(numpy.uint8)
            else:
                taken = rows[:, _HEADER:_HEADER + wanted].copy()
            self._advance(length, count)
            self.records += count
            total += count
            out.append(taken if dtype is None else taken.reshape(-1).view(dtype))
        return out
