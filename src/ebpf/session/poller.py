"""Waiting on several descriptors at once, of the kernel's buffers or the machine's."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_S = (1 << 31) // 1000 - 1  # epoll_wait(2) counts milliseconds in an int; 24 days, then the caller asks again


class Poller:
    """Waits on any number of descriptors (event streams, rings, pipes) at once; the handlers do the reading."""

    __slots__ = ("_epoll", "_handlers")

    #: called before each wait: what the machine traces is let go when somebody waits for it (`session.world`)
    before_wait: ClassVar[Callable[[], object] | None] = None

    def __init__(self) -> None:
        # Another system has none: there only what the machine sends is read, and nobody has to wait for that.
        self._epoll: select.epoll | None = select.epoll() if hasattr(select, "epoll") else None
        self._handlers: dict[int, Callable[[], int]] = {}

    def add(self, fd: int, consume: Callable[[], int]) -> None:
        """Call `consume()` whenever `fd` is readable."""
        if self._epoll is not None:
            self._epoll.register(fd, 1)  # EPOLLIN
        self._handlers[fd] = consume

    def remove(self, fd: int) -> None:
        """Stop watching `fd`; unknown ones are ignored."""
        if self._handlers.pop(fd, None) is not None and self._epoll is not None:
            try:
                self._epoll.unregister(fd)
            except OSError:  # closed already: the kernel has forgotten it
                pass

    def fileno(self) -> int:
        """Readable when any of them is: for asyncio's ``add_reader``."""
        return -1 if self._epoll is None else self._epoll.fileno()

    def poll(self, timeout: float | None = None) -> int:
        """Wait up to `timeout` seconds (None: for ever) and read what came; how many records."""
        if Poller.before_wait is not None:
            Poller.before_wait()
        if self._epoll is None:
            return sum(handler() for handler in self._handlers.values())
        ready = self._epoll.poll(-1 if timeout is None else min(timeout, _LONGEST_S))
        return sum(handler() for fd, _ in ready if (handler := self._handlers.get(fd)) is not None)

    def close(self) -> None:
        """Stop watching everything."""
        if self._epoll is not None:
            self._epoll.close()
        self._handlers.clear()
