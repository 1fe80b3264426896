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
    import os
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    import numpy as np
    import pandas
    import pyarrow

    from ebpf.session.backend import PerfReader, RingReader
    from ebpf.session.maps import Map
    from ebpf.session.poller import Poller
    from ebpf.session.session import Session

_EVENTS = (MapType.RINGBUF, MapType.PERF_EVENT_ARRAY)
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
        if type_name is None and self.map.event_codec is not None:
            return self.map.event_codec
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

    @property
    def codec(self) -> Any:
        """The `Codec` of the events; ``None`` where they are plain bytes."""
        return self._codec

    @property
    def waiting_bytes(self) -> int:
        """How many bytes of a ring buffer wait to be read: near its size, programs find no room. Perf buffers: 0."""
        return int(getattr(self._ring, "fill", 0))

    # ---- reading ----

    def put_back(self, records: np.ndarray[Any, Any]) -> None:
        """Events of `batches` that were not wanted yet: they come first when more are asked for."""
        size = records.dtype.itemsize if records.ndim == 1 else records.shape[1]
        data = records.tobytes()
        self._pending.extendleft((-1, data[at:at + size]) for at in range(len(data) - size, -1, -size))

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

    def batches(self, *, timeout: float | None = None, until: float | None = None) -> Batches:
        """Waiting events as NumPy arrays, all that are there at once: ``for`` and ``async for``.

        Structured arrays; without a type ``uint8`` of shape (n, length). Ends after ``timeout`` seconds (by default the
        stream's own) without an event, or when ``time.monotonic()`` is ``until``. Records of different lengths come in
        separate arrays.
        """
        self._check_open()
        return Batches(self, self.timeout if timeout is None else timeout, until)

    def _arrays(self, quiet: float | None, until: float | None) -> Generator[np.ndarray[Any, Any], None, None]:
        import time

        dtype = None if self._codec is None else self._codec.dtype
        while self._poller is not None:
            wait = quiet
            if until is not None:
                left = until - time.monotonic()
                if left < 0:
                    return
                wait = left if quiet is None else min(left, quiet)
            if self._ring is not None and not self._pending:
                arrays = self._ring.read_arrays(dtype)
                if arrays:
                    yield from self._handed_out(arrays)
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

    def _handed_out(self, arrays: list[np.ndarray[Any, Any]]) -> Iterator[np.ndarray[Any, Any]]:
        """One after the other; those that nobody came for are still to be read."""
        for number, array in enumerate(arrays, 1):
            try:
                yield array
            except GeneratorExit:
                for rest in reversed(arrays[number:]):
                    self.put_back(rest)
                raise

    async def _async_arrays(self, wait: float | None) -> AsyncIterator[np.ndarray[Any, Any]]:
        import time

        dtype = None if self._codec is None else self._codec.dtype
        quiet_since = time.monotonic()
        while self._poller is not None:
            if self._ring is not None and not self._pending:
                found = self._ring.read_arrays(dtype)
            elif self._pending or self._fill():
                found = list(self._pending_arrays(dtype))
            else:
                found = []
            for number, array in enumerate(found, 1):
                try:
                    yield array
                except GeneratorExit:
                    for rest in reversed(found[number:]):
                        self.put_back(rest)
                    raise
            if found:
                quiet_since = time.monotonic()
                continue
            left = _SLICE_S if wait is None else wait - (time.monotonic() - quiet_since)
            if left < 0 or self.map.raw.ended:
                return
            await self._readable(min(left, _SLICE_S))

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

    # ---- as data ----

    def to_arrow(self, *, limit: int | None = None, timeout: float | None = None,
                 duration: float | None = None) -> pyarrow.Table:
        """The events that come as an Arrow table, a column for each member; see `to_parquet` for when that ends."""
        from ebpf.session import gathering

        return gathering.to_arrow(self, limit, timeout, duration)

    def to_pandas(self, *, limit: int | None = None, timeout: float | None = None,
                  duration: float | None = None) -> pandas.DataFrame:
        """The same as a pandas data frame."""
        from ebpf.session.extras import need

        need("pandas", "data frames")
        return self.to_arrow(limit=limit, timeout=timeout, duration=duration).to_pandas()

    def to_parquet(self, path: str | os.PathLike[str], *, limit: int | None = None, timeout: float | None = None,
                   duration: float | None = None) -> int:
        """Write events to a Parquet file as they come; how many.

        It ends with ``limit`` events, after ``timeout`` seconds without one (by default the stream's own), after
        ``duration`` seconds, when the stream is closed, or with Ctrl-C; the file is whole in every case. Needs pyarrow
        (``pip install 'ebpf[arrow]'``).
        """
        from ebpf.session import gathering

        return gathering.to_parquet(self, path, limit, timeout, duration)

    def to_duckdb(self, database: Any, table: str = "events", *, limit: int | None = None,
                  timeout: float | None = None, duration: float | None = None) -> int:
        """Append events to a table of a DuckDB database (a connection, or a file's path) as they come; how many.

        The table is made where there is none. It ends as `to_parquet` does; each batch is committed by itself. Needs
        duckdb (``pip install 'ebpf[data]'``).
        """
        from ebpf.session import gathering

        return gathering.to_duckdb(self, database, table, limit, timeout, duration)

    def __enter__(self) -> EventStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Batches:
    """A stream's events in arrays: ``for`` waits, ``async for`` lets other tasks run meanwhile."""

    __slots__ = ("_arrays", "_stream", "_timeout")

    def __init__(self, stream: EventStream, timeout: float | None, until: float | None) -> None:
        self._stream = stream
        self._timeout = timeout
        self._arrays = stream._arrays(timeout, until)

    def __iter__(self) -> Iterator[np.ndarray[Any, Any]]:
        return self._arrays

    def __next__(self) -> np.ndarray[Any, Any]:
        return next(self._arrays)

    def close(self) -> None:
        """Read no more: what was not handed out stays in the stream. Dropping the iterator does the same."""
        self._arrays.close()

    def __aiter__(self) -> AsyncIterator[np.ndarray[Any, Any]]:
        return self._stream._async_arrays(self._timeout)


def find_stream(session: Session, type: Any, *, timeout: float | None, pages: int) -> EventStream:
    """The stream of the one map that carries events of ``type``."""
    carriers = [map for map in session.maps.values() if map.type in _EVENTS]
    if not carriers:
        raise UsageError("no map of these programs carries events: ring buffers and perf event arrays do")
    chosen = carriers if type is None else [map for map in carriers if _carries(map, type)]
    if len(chosen) != 1:
        named = type if isinstance(type, str) else getattr(type, "__name__", repr(type))
        said = f"events of type {named}" if type is not None else "events"
        there = ", ".join(f"{map.name} ({_event_name(map) or 'of no known type'})" for map in carriers)
        raise UsageError(f"{'several maps carry' if chosen else 'no map carries'} {said}", notes=(f"maps: {there}",),
                         helps=(f"session.maps[{carriers[0].name!r}].events() reads one of them",))
    return chosen[0].events(timeout=timeout, pages=pages)


def _event_name(map: Map) -> str:
    declared = getattr(map.event_codec, "type", None)
    if declared is not None:
        return str(getattr(declared, "__name__", declared))
    if map.btf is None or not map.event_type_id:
        return ""
    found = map.btf.resolved(map.event_type_id)
    return found.name or map.btf.type(map.event_type_id).name


def _carries(map: Map, type: Any) -> bool:
    declared = getattr(map.event_codec, "type", None)
    if declared is not None and not isinstance(type, str):
        return declared is type
    wanted = type.rpartition(" ")[2] if isinstance(type, str) else getattr(type, "__name__", None)
    if wanted is None or _event_name(map) != wanted:
        return False
    if not isinstance(type, str):  # an object from C, and the user's own class of the same name
        from ebpf.session.functions.codecs import codec_for

        map.declare(None, codec_for(type))
    return True
