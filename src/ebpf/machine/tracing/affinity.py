"""Who hands work to and fro stays on one CPU.

Waking a process that sleeps on another CPU takes 40 µs in a virtual machine, switching to one on the same CPU 4 µs. The
tracer child and the thread that handles its events never run at the same time while a task waits, so when many do, both
are put onto one CPU for as long as that lasts. The traced command runs where it likes.
"""

from __future__ import annotations

import os
import time

_HOT_WAITS = 32  # events that waited …
_HOT_NS = 20_000_000  # … within this time


class SharedCpu:
    """Decides when, and undoes it. `waited` after each event, `rest` when the thread leaves or has nothing to do."""

    __slots__ = ("_child", "_count", "_every", "_mask", "_since")

    def __init__(self, child: int) -> None:
        self._child = child
        self._every = os.sched_getaffinity(child)
        self._mask: set[int] | None = None  # the thread's own, while both share a CPU
        self._count = 0
        self._since = 0

    @property
    def shared(self) -> bool:
        """Whether both are on one CPU now."""
        return self._mask is not None

    def waited(self) -> None:
        """A task has waited for this thread."""
        if self._mask is not None or len(self._every) < 2:
            return
        self._count += 1
        if self._count < _HOT_WAITS:
            return
        now = time.monotonic_ns()
        hot = now - self._since < _HOT_NS
        self._count, self._since = 0, now
        if hot:
            self._join()

    def _join(self) -> None:
        from ebpf.machine.tracing.ptrace import libc

        cpu = libc.sched_getcpu()
        mask = os.sched_getaffinity(0)
        if cpu not in mask or len(mask) < 2:
            return
        try:
            os.sched_setaffinity(self._child, {cpu})
            os.sched_setaffinity(0, {cpu})
            self._mask = mask
        except OSError:
            self._restore_child()

    def rest(self) -> None:
        """The thread does something else now."""
        mask, self._mask = self._mask, None
        if mask is not None:
            self._count, self._since = _HOT_WAITS - 2, time.monotonic_ns()  # back at once if it goes on like that
            os.sched_setaffinity(0, mask)
            self._restore_child()

    def _restore_child(self) -> None:
        try:
            os.sched_setaffinity(self._child, self._every)
        except OSError:
            pass  # it has ended
