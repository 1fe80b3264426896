"""BCC's event tables: perf buffers and ring buffers, with callbacks that are given an address and a size."""

from __future__ import annotations

import ctypes as ct
import sys

from bcc.table import ArrayBase, TableBase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class _Events(TableBase):
    _event_class: Any = None
    _event_bytes: Any = None

    def event(self, data: Any) -> Any:
        """The record at ``data`` (what the callback was given) as the struct that the program sent; a copy."""
        cls = self._event_class
        if cls is None:
            cls = self._find_event_class()
        if isinstance(data, int):
            data = self._event_bytes.from_address(data)
        elif not isinstance(data, (bytes, bytearray)):
            data = self._event_bytes.from_address(ct.cast(data, ct.c_void_p).value or 0)
        return cls.from_buffer_copy(data)

    def _find_event_class(self) -> Any:
        classes = self.bpf._ctypes(self._map)
        type_id = self._map.event_type_id
        if not type_id or classes is None:
            from ebpf import UsageError

            raise UsageError(f"table {self._map.name!r}: the type of its events is not known",
                             helps=("send one type of struct through it, or define the struct with ctypes and "
                                    "cast to it",))
        self._event_class = classes.get(type_id, event=True)
        self._event_bytes = ct.c_char * ct.sizeof(self._event_class)
        return self._event_class


def guarded(call: Callable[..., Any], *args: Any) -> Any:
    """``call(*args)``, which runs callbacks: a closed pipe behind their ``print`` (``| head``) ends the script quietly,
    as in BCC.
    """
    try:
        return call(*args)
    except BrokenPipeError:
        import os

        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the flush at exit must not fail again
        sys.exit(0)


class PerfEventArray(_Events, ArrayBase):
    """BPF_PERF_OUTPUT and BPF_PERF_ARRAY."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._buffer: Any = None
        self._callback: Callable[[int, Any, int], Any] | None = None
        self._counters: list[Any] = []

    def open_perf_buffer(self, callback: Callable[[int, Any, int], Any], page_cnt: int = 8,
                         lost_cb: Callable[[int], Any] | None = None, wakeup_events: int = 1) -> None:
        """Call ``callback(cpu, data, size)`` for each event during `BPF.perf_buffer_poll`.

        ``page_cnt`` (a power of two) sizes each CPU's buffer; ``lost_cb(count)`` hears of events that found no room;
        without one that is printed on stderr. ``data`` is an address, valid during the call: give it to `event`.
        """
        if page_cnt & (page_cnt - 1) or page_cnt < 1:
            raise Exception("Perf buffer page_cnt must be a power of two")

        def on_lost(cpu: int, count: int) -> None:
            if lost_cb is not None:
                lost_cb(count)
            else:
                print(f"Possibly lost {count} samples", file=sys.stderr)

        self._close_buffer()
        self._callback = callback
        self._buffer = self._map.perf_buffer(lambda cpu, data: None, on_lost=on_lost, pages=page_cnt,
                                             wakeup_events=wakeup_events)
        self.bpf._add_perf_buffer(self)

    def open_perf_event(self, typ: int, config: int) -> None:
        """Put a counter for each online CPU into the table, for ``table.perf_read(CUR_CPU)`` in the program."""
        self._counters.append(self._map.open_counters(typ, config))

    def _consume_ring(self, ring: Any) -> int:
        """Call the callback for what waits in one CPU's ring."""
        return guarded(ring.consume_addresses, self._callback, self._buffer.on_lost)  # type: ignore[no-any-return]

    def _consume(self) -> int:
        return sum(map(self._consume_ring, list(self._buffer.rings.values())))

    @property
    def lost(self) -> int:
        """Events that the kernel reported as lost, in all."""
        return self._buffer.lost if self._buffer is not None else 0

    def _close_buffer(self) -> None:
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            self.bpf._remove_perf_buffer(self)
            buffer.close()

    def close(self) -> None:
        """Stop receiving."""
        self._close_buffer()
        counters, self._counters = self._counters, []
        for counter in counters:
            counter.close()

    def __delitem__(self, key: Any) -> None:
        self._raw.delete(self._key_bytes(key))


class RingBuf(_Events):
    """BPF_RINGBUF_OUTPUT."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ring: Any = None

    def open_ring_buffer(self, callback: Callable[[Any, Any, int], Any], ctx: Any = None) -> None:
        """Call ``callback(ctx, data, size)`` for each event during `BPF.ring_buffer_poll`.

        ``data`` is an address, valid during the call: give it to `event`.
        """
        self.close()
        self._ring = ring = self._map.ring_buffer()

        def deliver(address: int, size: int) -> None:
            callback(ctx, address, size)

        self.bpf._add_ring_buffer(self, ring.fileno(), lambda: guarded(ring.consume_addresses, deliver))

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def close(self) -> None:
        """Stop receiving."""
        ring, self._ring = self._ring, None
        if ring is not None:
            self.bpf._remove_ring_buffer(self, ring.fileno())
            ring.close()
