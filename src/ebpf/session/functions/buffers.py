"""Declared queues, sets, buffers of events, and storage that belongs to something else (`containers`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.abi.maps import MapType
from ebpf.errors import UsageError
from ebpf.session.functions.containers import DeclaredMap, i32_type, only_in_programs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Generic, TypeVar

    from ebpf.session.events import EventStream

    V = TypeVar("V")

    class _Of(Generic[V]):
        pass
else:
    from ebpf.session.functions.containers import Subscripted

    class _Of(Subscripted):
        __slots__ = ()

    V = None


class Queue(DeclaredMap, _Of[V]):
    """First in, first out: ``push``, ``pop`` and ``peek`` on both sides (Linux 4.20)."""

    __slots__ = ()
    TYPE = MapType.QUEUE

    def __init__(self, value: type[V], max_entries: int = 1024, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        super().__init__(None, value, max_entries, flags=flags, name=name, pinning=pinning)

    def push(self, value: V, *, replace_oldest: bool = False) -> None:
        """Add a value; `MapFull` where there is no room, unless the oldest may go."""
        self.live.push(value, replace_oldest=replace_oldest)

    def pop(self) -> V:
        """Remove the next value and return it; `KeyMissing` from an empty one."""
        found: V = self.live.pop()
        return found

    def peek(self) -> V:
        """The next value, which stays."""
        found: V = self.live.peek()
        return found

    def drain(self) -> Iterator[V]:
        """Remove and yield values until there are none."""
        nothing: Any = object()
        while (value := self.live.pop(default=nothing)) is not nothing:
            yield value


class Stack(Queue[V]):
    """Last in, first out (Linux 4.20)."""

    __slots__ = ()
    TYPE = MapType.STACK


class BloomFilter(DeclaredMap, _Of[V]):
    """A set that may err on the side of yes: ``seen.add(x)``, ``x in seen`` (Linux 5.16)."""

    __slots__ = ()
    TYPE = MapType.BLOOM_FILTER

    def __init__(self, value: type[V], max_entries: int = 10_240, *, hashes: int = 5, name: str = "",
                 pinning: str = "") -> None:
        super().__init__(None, value, max_entries, map_extra=hashes, name=name, pinning=pinning)

    def push(self, value: V) -> None:
        """Remember a value, as a queue would."""
        self.live.push(value)

    add = push

    def __contains__(self, value: object) -> bool:
        return value in self.live


class _Events(DeclaredMap, _Of[V]):
    """What carries events to Python."""

    __slots__ = ()

    def stream(self, *, timeout: float | None = None) -> EventStream:
        """The events as a stream: iterate, ``async for``, `EventStream.batches`. ``timeout`` ends a quiet iteration."""
        return self.live.events(timeout=timeout)

    def __iter__(self) -> Iterator[V]:
        events: Iterator[V] = iter(self._open())
        return events

    def __aiter__(self) -> AsyncIterator[V]:
        return self._open().__aiter__()

    def _open(self) -> EventStream:
        opened = self.live.stream
        return self.stream() if opened is None or opened.closed else opened

    def send(self, *event: Any) -> bool:
        """In a program: send an event, ``events.send(Event(…))``; perf event arrays: ``events.send(ctx, Event(…))``."""
        only_in_programs("send")

    @property
    def lost(self) -> int:
        """Events that were lost because nobody read in time, as far as they were reported."""
        return self.live.lost


class RingBuf(_Events[V]):
    """A ring buffer of events: ``events = ebpf.RingBuf(Event)``, ``max_entries`` bytes large (Linux 5.8).

    Programs ``events.send(Event(…))``; Python iterates, or gives it to ``session.events(Event)``.
    """

    __slots__ = ()
    TYPE = MapType.RINGBUF

    def __init__(self, event: type[V] | None = None, max_entries: int = 1 << 18, *, flags: int = 0, name: str = "",
                 pinning: str = "") -> None:
        if isinstance(max_entries, int) and max_entries & (max_entries - 1):
            raise UsageError(f"a ring buffer's size is a power of two in bytes, not {max_entries}",
                             helps=(f"max_entries={1 << max_entries.bit_length()}",))
        super().__init__(None, event, max_entries, flags=flags, name=name, pinning=pinning)

    def reserve(self, type: Any = None) -> Any:
        """In a program: room for an event in the buffer, ``None`` if there is none; `submit` or `discard` it."""
        only_in_programs("reserve")

    def submit(self, event: Any) -> None:
        """In a program: send what `reserve` gave."""
        only_in_programs("submit")

    def discard(self, event: Any) -> None:
        """In a program: give back what `reserve` gave."""
        only_in_programs("discard")


class PerfEventArray(_Events[V]):
    """A buffer of events for each CPU, for kernels before ring buffers: programs ``events.send(ctx, Event(…))``."""

    __slots__ = ()
    TYPE = MapType.PERF_EVENT_ARRAY

    def __init__(self, event: type[V] | None = None, *, flags: int = 0, name: str = "", pinning: str = "") -> None:
        super().__init__(None, event, 0, flags=flags, name=name, pinning=pinning)

    def read(self) -> int:
        """In a program: the value of this CPU's counter."""
        only_in_programs("read")


class UserRingBuf(DeclaredMap, _Of[V]):
    """A ring buffer that Python fills and programs drain (Linux 6.1)."""

    __slots__ = ()
    TYPE = MapType.USER_RINGBUF

    def __init__(self, record: type[V] | None = None, max_entries: int = 1 << 18, *, name: str = "",
                 pinning: str = "") -> None:
        super().__init__(None, record, max_entries, name=name, pinning=pinning)

    def send(self, value: V, *, timeout: float = 0) -> None:
        """Send a record; `MapFull` if there is no room for it within ``timeout`` seconds."""
        self.live.send(value, timeout=timeout)


# ---- storage that belongs to something else ----


class _Storage(DeclaredMap, _Of[V]):
    """A value that lives as long as what it belongs to; from Python under that thing's descriptor."""

    __slots__ = ()

    def __init__(self, value: type[V], *, name: str = "", pinning: str = "") -> None:
        from ebpf.abi.maps import BPF_F_NO_PREALLOC

        super().__init__(i32_type(), value, 0, flags=BPF_F_NO_PREALLOC, name=name, pinning=pinning)

    def __getitem__(self, owner: Any) -> V:
        found: V = self.live[_number(owner)]
        return found

    def __setitem__(self, owner: Any, value: V) -> None:
        self.live[_number(owner)] = value

    def __delitem__(self, owner: Any) -> None:
        del self.live[_number(owner)]

    def __contains__(self, owner: object) -> bool:
        return _number(owner) in self.live

    def get(self, owner: Any, default: Any = None) -> Any:
        """The value of ``owner``, or ``default``."""
        return self.live.get(_number(owner), default)

    def setdefault(self, owner: Any, default: V) -> V:
        """The value of ``owner``, which is ``default`` from now on if there was none."""
        found: V | None = self.get(owner)
        if found is None:
            self[owner] = found = default
        return found

    def delete(self, owner: Any) -> bool:
        """Remove the value of ``owner``; whether there was one."""
        return self.live.delete(_number(owner))


class SkStorage(_Storage[V]):
    """A value for each socket: ``marks[sock]`` (Linux 5.2)."""

    __slots__ = ()
    TYPE = MapType.SK_STORAGE


class TaskStorage(_Storage[V]):
    """A value for each task: ``state[pidfd]`` (Linux 5.11)."""

    __slots__ = ()
    TYPE = MapType.TASK_STORAGE


class InodeStorage(_Storage[V]):
    """A value for each file: ``tags[file]`` (Linux 5.10)."""

    __slots__ = ()
    TYPE = MapType.INODE_STORAGE


class CgrpStorage(_Storage[V]):
    """A value for each control group: ``limits[directory]`` (Linux 6.2)."""

    __slots__ = ()
    TYPE = MapType.CGRP_STORAGE


def _number(owner: Any) -> int:
    number: int = owner.fileno() if hasattr(owner, "fileno") else owner
    return number
