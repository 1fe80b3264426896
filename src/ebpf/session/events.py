"""Streams of events: what programs send through ring buffers and perf event arrays, as typed values or NumPy arrays.

One `EventStream` reads one map. Iterating waits for events; ``async for`` does so without blocking the loop; `batches`
gives structured arrays, many thousand records at once. What was reported as lost is in `EventStream.lost`.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType
from ebpf.errors import UnknownName, UsageError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable, Iterator

    import numpy as np

    from ebpf.session.backend import PerfReader, RingReader
    from ebpf.session.maps import Map
    from ebpf.session.poller import Poller

_SLICE_S = 0.25  # an endless wait looks up this often, so that Ctrl-C and CPU hotplug are noticed
_AT_ONCE = 4096  # records read ahead: a program that sends faster than we read must not fill our memory


class EventStream:
    """The events of one map, in the order of their arrival (perf event arrays: per CPU).

    Iterate over it, ``async for`` over it, or give `consume` a callback; close it, or let the session do so. Closing it
    ends an iteration, also one that another task is waiting in (so does, in the machine, the end of what is traced:
    `Session.ended`); reading from a closed one is a `UsageError`. An event counts as read when it is handed out: if a
    callback raises, the next call goes on with the event after.
    """

    def __init__(self, map: Map, *, type_name: str | None = None, timeout: float | None = None, pages: int = 64,
                 wakeup_events: int = 1, after: EventStream | None = None) -> None:
        """``after``: the map's reader so far, which is closed; what it had not handed out yet is ours."""
        from ebpf.session.poller import Poller

        self.map = map
        self.timeout = timeout
        self._codec = self._find_codec(type_name)
        self._pending: deque[Any] = deque()
        self._ring: RingReader | None = None
        self._perf: PerfReader | None = None
        self._poller: Poller | None = Poller()
        self._closed_lost = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, int, asyncio.Future[None]]] = []
        if after is not None and not after.closed:
            after._fill()
            self._pending.extend(after._pending)
            after.close()
        self.cpu = -1  #: of the event handed out last (perf event arrays); -1 for ring buffers
        try:
            if map.type == MapType.RINGBUF:
                self._ring = map.ring_buffer()
                self._poller.add(self._ring.fileno(), self._fill)
            else:
                self._perf = map.perf_buffer(self._sample, pages=pages, wakeup_events=wakeup_events)
                for ring in self._perf.rings.values():
                    self._poller.add(ring.fileno(), self._fill)
        except BaseException:
            self.close()
            raise

    def _find_codec(self, type_name: str | None) -> Any:
        btf = self.map.btf
        type_id = self.map.event_type_id
        if type_name is not None:
            if btf is None:
                raise UsageError(f"map {self.map.name!r}: the object has no BTF to look {type_name!r} up in")
            from ebpf.btf import Kind

            word, _, bare = type_name.strip().rpartition(" ")
            kinds = {"struct": (Kind.STRUCT,), "union": (Kind.UNION,), "enum": (Kind.ENUM, Kind.ENUM64)}.get(
                word, (Kind.STRUCT, Kind.UNION, Kind.TYPEDEF, Kind.INT, Kind.ENUM, Kind.ENUM64))
            found = next((id for kind in kinds if (id := btf.find(bare, kind)) is not None), None)
            if found is None:
                similar = [name for kind in kinds for name in btf.similar(bare, kind)]
                raise UnknownName(f"the object has no type called {type_name!r}", name=type_name, similar=similar,
                                  helps=(f"similar types: {', '.join(similar)}",) if similar else ())
            type_id = found
        if not type_id or btf is None:
            return None
        from ebpf.btf import codec

        return codec(btf, type_id)

    def __repr__(self) -> str:
        return f"<EventStream of {self.map.name}{'' if self._poller else ' (closed)'}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed, by itself or with its session."""
        return self._poller is None

    @property
    def lost(self) -> int:
        """Events for which there was no room. Ring buffers: 0, only the program is told (NULL from reserve)."""
        return self._closed_lost + (self._perf.lost if self._perf is not None else 0)

    def fileno(self) -> int:
        """Readable when events wait: for ``select`` and event loops."""
        return -1 if self._poller is None else self._poller.fileno()

    # ---- reading ----

    def _sample(self, cpu: int, data: bytes) -> None:
        self._pending.append((cpu, data))

    def _fill(self) -> int:
        """Read what is there into `_pending`."""
        if self._ring is not None:
            before = len(self._pending)
            self._pending.extend([(-1, data) for data in islice(self._ring, _AT_ONCE)])
            return len(self._pending) - before
        return self._perf.consume() if self._perf is not None else 0

    def poll(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds (``None``: for ever) until an event is there; whether one is."""
        self._check_open()
        return self._wait_for_one(timeout)

    def _check_open(self) -> None:
        if self._poller is None:
            raise UsageError(f"map {self.map.name!r}: this event stream is closed",
                             helps=("a map has one reader: opening another closes the one before",))

    def _wait_for_one(self, timeout: float | None) -> bool:
        """The same; False once the stream is closed."""
        import time

        if self._pending or self._fill():
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        while (poller := self._poller) is not None:
            left = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
            if left < 0:
                return False
            if poller.poll(left) or self._pending:
                return True
            if self.map.raw.ended:
                return bool(self._fill())
            self.refresh()
        return False

    def refresh(self) -> None:
        """Read from CPUs that came online since, too; waiting does so by itself."""
        if self._perf is not None and self._poller is not None:
            for ring in self._perf.refresh():
                self._poller.add(ring.fileno(), self._fill)

    def _decode(self, data: bytes) -> Any:
        codec = self._codec
        if codec is None:
            return data
        if len(data) < codec.size:
            raise UsageError(f"map {self.map.name!r}: a record has {len(data)} bytes, its type {codec.size}")
        return codec.decode(data[:codec.size] if len(data) != codec.size else data)

    def __iter__(self) -> Iterator[Any]:
        self._check_open()
        return self._events()

    def _events(self) -> Iterator[Any]:
        while self._wait_for_one(self.timeout):
            while self._pending:
                self.cpu, data = self._pending.popleft()
                yield self._decode(data)

    def consume(self, callback: Callable[[Any], Any], *, timeout: float | None = 0) -> int:
        """Call ``callback(event)`` for every event that is there, waiting up to ``timeout`` seconds for the first;
        how many.
        """
        if not self.poll(timeout):
            return 0
        count = 0
        while self._pending:
            self.cpu, data = self._pending.popleft()
            count += 1
            callback(self._decode(data))
        return count

    def batches(self, *, timeout: float | None = None) -> Iterator[np.ndarray[Any, Any]]:
        """Waiting events as NumPy arrays, all that are there at once; without a type ``uint8`` of shape (n, length).

        Ends after ``timeout`` seconds (by default the stream's own) without an event. Records of different lengths come
        in separate arrays.
        """
        self._check_open()
        return self._arrays(self.timeout if timeout is None else timeout)

    def _arrays(self, wait: float | None) -> Iterator[np.ndarray[Any, Any]]:
        dtype = None if self._codec is None else self._codec.dtype
        while self._poller is not None:
            if self._ring is not None and not self._pending:
                arrays = self._ring.read_arrays(dtype)
                if arrays:
                    yield from arrays
                    continue
                if not self._wait(wait):
                    return
                continue
            if not self._wait_for_one(wait):
                return
            yield from self._pending_arrays(dtype)

    def _wait(self, timeout: float | None) -> bool:
        """Wait for readability without reading (ring buffers: their bytes go straight into arrays)."""
        import time

        from ebpf.session.poller import Poller

        if self._ring is None:
            return False
        watch = Poller()
        watch.add(self._ring.fileno(), lambda: 1)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            while self._poller is not None:
                left = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
                if left < 0:
                    return False
                if watch.poll(left):
                    return True
                if self.map.raw.ended:
                    return False
        finally:
            watch.close()
        return False

    def _pending_arrays(self, dtype: Any) -> Iterator[np.ndarray[Any, Any]]:
        import numpy

        by_length: dict[int, list[bytes]] = {}
        while self._pending:
            _, data = self._pending.popleft()
            by_length.setdefault(len(data), []).append(data)
        for length, records in by_length.items():
            if dtype is None:
                yield numpy.frombuffer(b"".join(records), numpy.uint8).reshape(len(records), length)
                continue
            size = dtype.itemsize
            if length < size:
                raise UsageError(f"map {self.map.name!r}: a record has {length} bytes, its type {size}")
            yield numpy.frombuffer(b"".join([r[:size] for r in records] if length != size else records), dtype)

    def __aiter__(self) -> AsyncIterator[Any]:
        self._check_open()
        return self._async_events()

    async def _async_events(self) -> AsyncIterator[Any]:
        import time

        quiet_since = time.monotonic()
        while self._poller is not None:
            while self._pending:
                self.cpu, data = self._pending.popleft()
                yield self._decode(data)
                quiet_since = time.monotonic()
            if self._fill():
                continue
            left = _SLICE_S if self.timeout is None else self.timeout - (time.monotonic() - quiet_since)
            if left < 0 or self.map.raw.ended:
                return
            await self._readable(min(left, _SLICE_S))
            self.refresh()

    async def _readable(self, timeout: float | None) -> None:
        """Until events wait, the stream is closed, or ``timeout`` seconds are over."""
        import asyncio

        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        fd = self.fileno()
        if fd < 0:
            return
        mine = (loop, fd, ready)
        self._waiting.append(mine)
        loop.add_reader(fd, self._wake)  # again, perhaps: several tasks may wait
        try:
            await asyncio.wait_for(ready, timeout)
        except TimeoutError:
            pass
        finally:
            if mine in self._waiting:  # else `close` has done it: the number may be another file's by now
                self._waiting.remove(mine)
                if not any(other[0] is loop for other in self._waiting):
                    loop.remove_reader(fd)

    def _wake(self) -> None:
        for _, _, ready in self._waiting:
            if not ready.done():
                ready.set_result(None)

    def close(self) -> None:
        """Stop reading; doing so again is harmless. `lost` keeps its value; events not yet handed out are gone."""
        self._closed_lost = self.lost
        self._pending.clear()
        poller, self._poller = self._poller, None
        waiting, self._waiting = self._waiting, []
        for loop, fd, ready in waiting:
            if not loop.is_closed():
                loop.remove_reader(fd)
                if not ready.done():
                    ready.set_result(None)
        if poller is not None:
            poller.close()
        perf, self._perf = self._perf, None
        if perf is not None:
            perf.close()
        ring, self._ring = self._ring, None
        if ring is not None:
            ring.close()

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
