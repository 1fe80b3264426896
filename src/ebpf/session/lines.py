"""What programs of the machine print with bpf_trace_printk: lines as the kernel's trace_pipe gives them."""

from __future__ import annotations

import os
from collections import deque
from threading import Condition
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_KEPT = 65536  # lines; the kernel keeps about as many in its default buffers
_SLICE_S = 0.2


class Lines:
    """Implements `ebpf.session.backend.LinePipe`. One for all sessions of a process, as the kernel has one for all."""

    def __init__(self, before_wait: Callable[[], object]) -> None:
        self._lines: deque[bytes] = deque()
        self._changed = Condition()
        self._before_wait = before_wait
        self._fd = -1
        self.lost = 0  #: lines that were overwritten before anybody read them
        #: somebody reads; and when a line was read last (time.monotonic)
        self.read = False
        self.touched = 0.0

    def write(self, task: bytes, tid: int, cpu: int, time_ns: int, text: str) -> None:
        """A message, as a program printed it; newlines in it begin new lines, as in the pipe."""
        if text.endswith("\n"):
            text = text[:-1]
        seconds, micros = divmod(time_ns // 1000, 1_000_000)
        head = b"%16s-%-7d [%03d] ..... %5d.%06d: bpf_trace_printk: " % (task[:15], tid, cpu, seconds, micros)
        with self._changed:
            for line in (head + text.encode("utf-8", "surrogateescape")).split(b"\n"):
                if len(self._lines) == _KEPT:
                    self._lines.popleft()
                    self.lost += 1
                self._lines.append(line)
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)
            self._changed.notify_all()

    @property
    def pending(self) -> bool:
        """Whether lines wait to be read."""
        return bool(self._lines)

    def fileno(self) -> int:
        """Readable while lines wait."""
        with self._changed:
            if self._fd < 0:
                self._fd = os.eventfd(len(self._lines), os.EFD_CLOEXEC | os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
        return self._fd

    def read_line(self, timeout: float | None = None) -> bytes | None:
        """The next line; ``None`` when none came within ``timeout`` seconds (``None``: wait for ever)."""
        import time

        self.read = True
        if not self._lines:
            self._before_wait()
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while not self._lines:
                left = _SLICE_S if deadline is None else min(_SLICE_S, deadline - time.monotonic())
                if left <= 0:
                    return None
                self._changed.wait(left)
            if self._fd >= 0:
                try:
                    os.eventfd_read(self._fd)
                except BlockingIOError:  # lines were overwritten
                    pass
            self.touched = time.monotonic()
            return self._lines.popleft()

    def close(self) -> None:
        """Stop reading; the lines stay for the next reader."""
        self.read = False

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while (line := self.read_line()) is not None:
            yield line
