"""The trace pipe as BCC's scripts read it: lines as bytes, or fields."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class TraceFile:
    """The open trace pipe."""

    def __init__(self, session: Any, nonblocking: bool = False) -> None:
        self._pipe = session.trace_pipe()
        self.nonblocking = nonblocking
        self._pattern: Any = None

    def fileno(self) -> int:
        """For select."""
        return int(self._pipe.fileno())

    def readline(self, size: int = -1) -> bytes:
        """The next line, with its newline; empty if there is none and the pipe was opened without blocking."""
        line = self._pipe.read_line(0 if self.nonblocking else None)
        return b"" if line is None else line + b"\n"

    def __iter__(self) -> TraceFile:
        return self

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def read_line(self, nonblocking: bool) -> bytes | None:
        """The next line without blanks at its end; ``None`` if there is none and ``nonblocking``."""
        line = self._pipe.read_line(0 if nonblocking or self.nonblocking else None)
        return None if line is None else line.rstrip()

    def read_fields(self, nonblocking: bool) -> tuple[Any, ...]:
        """(task, pid, cpu, flags, timestamp, message) of the next line that has them."""
        if self._pattern is None:
            import re

            # `task-pid [cpu] flags time: function: message`; a task's name may hold anything.
            self._pattern = re.compile(rb"\s*(.*?)-(\d+)\s+(?:\(\s*[\d-]+\)\s+)?\[(\d+)\]\s+(\S+)\s+([\d.]+):\s+"
                                       rb"[^:]*: ?(.*)", re.DOTALL)
        while True:
            line = self.read_line(nonblocking)
            if line is None:
                return (None,) * 6
            found = self._pattern.fullmatch(line)
            if found is not None:
                task, pid, cpu, flags, time, message = found.groups()
                return task, int(pid), int(cpu), flags, float(time), message

    def close(self) -> None:
        """Close the pipe."""
        self._pipe.close()
