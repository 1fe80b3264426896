"""What programs print with bpf_trace_printk, from tracefs' ``trace_pipe``; and where tracefs is.

There is one pipe for the whole machine: lines of other programs come too, and a line goes to one reader only.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.errors import KernelError, PrivilegeError
from ebpf.kernel import sys

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where distributions mount it, newer place first.
TRACEFS_PLACES: Final = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")

# `task-pid [cpu] flags seconds.micros: function: message`. 5.11 added a fifth flag (migration disabled); a task's
# name may hold anything, blanks and dashes included; with the option record-tgid `(tgid)` stands behind the pid.
_LINE = re.compile(rb"^\s*(?P<task>.*?)-(?P<pid>\d+)\s+(?:\(\s*[\d-]+\)\s+)?\[(?P<cpu>\d+)\]\s+(?P<flags>\S{4,6})\s+"
                   rb"(?P<ts>\d+\.\d+):\s+(?P<function>[^:]*):\s?(?P<message>.*)$", re.DOTALL)
_LOST = re.compile(rb"^CPU:(?P<cpu>\d+) \[LOST (?P<count>\d+) EVENTS\]")


class TraceLine(NamedTuple):
    """One line: `task` (comm), `pid`, `cpu`, `flags` (``b"d..31"``), `timestamp` in seconds since boot, `message`."""

    task: bytes
    pid: int
    cpu: int
    flags: bytes
    timestamp: float
    message: bytes


class LostLines(NamedTuple):
    """The pipe's own report: that many lines of that CPU were overwritten before anyone read them."""

    cpu: int
    lines: int


def parse_line(line: bytes) -> TraceLine | LostLines | None:
    """A line of trace_pipe (newline or not); None for what is not one (headers, parts of messages with newlines)."""
    line = line.rstrip(b"\n")
    match = _LINE.match(line)
    if match is None:
        lost = _LOST.match(line)
        return LostLines(int(lost["cpu"]), int(lost["count"])) if lost else None
    return TraceLine(match["task"], int(match["pid"]), int(match["cpu"]), match["flags"], float(match["ts"]),
                     match["message"])


def tracefs() -> str:
    """Where tracefs is mounted. Raises `PrivilegeError` if it is hidden from us, `KernelError` if it is nowhere."""
    hidden = False
    for place in TRACEFS_PLACES:
        try:
            if os.path.exists(f"{place}/trace_pipe") or os.path.isdir(f"{place}/events"):
                return place
            os.listdir(place)
        except PermissionError:
            hidden = True
        except OSError:
            pass
    import errno

    mounts = [fields for line in _mounts() if len(fields := line.split()) > 2]
    elsewhere = next((fields[1] for fields in mounts if fields[2] == "tracefs"), None)
    if not hidden and elsewhere is not None:
        return elsewhere
    # debugfs brings tracefs along, but only for who may look into it.
    if hidden and (not mounts or any(fields[2] in ("tracefs", "debugfs") for fields in mounts)):
        raise _closed("open(tracefs)")
    raise KernelError("open(tracefs)", errno.ENOENT, message="tracefs is not mounted",
                      helps=("mount -t tracefs tracefs /sys/kernel/tracing",))


def _closed(what: str) -> PrivilegeError:
    """tracefs, or a file in it, is kept to root by its permissions: no capability of eBPF's opens it."""
    import errno

    return PrivilegeError(what, errno.EACCES, needs=("CAP_DAC_READ_SEARCH",),
                          message="tracefs is closed to this user (only root may look into /sys/kernel/tracing)",
                          helps=("run it as root, or mount it for a group: "
                                 "mount -o remount,gid=GROUP,mode=750 /sys/kernel/tracing",))


def _mounts() -> list[str]:
    try:
        with open("/proc/mounts") as file:
            return file.readlines()
    except OSError:
        return []


class TracePipe(sys.OwnedFd):
    """An open trace_pipe. Lines as bytes, without their newline."""

    __slots__ = ("_rest", "lost")

    def __init__(self, path: str | None = None) -> None:
        where = path or f"{tracefs()}/trace_pipe"
        try:
            fd = os.open(where, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except PermissionError:
            raise _closed(f"open({where})") from None
        except OSError as error:
            import errno

            if error.errno == errno.EBUSY:
                # Linux 6.6 and its stable siblings: c2489bb7e6be ("tracing: Introduce pipe_cpumask").
                raise KernelError(f"open({where})", errno.EBUSY, message="another program reads the trace pipe, and "
                                  "this kernel lets only one", helps=(
                                      f"end that one (fuser {where} tells its pid), or send events through a ring "
                                      "buffer instead of printing",)) from None
            raise sys.failure(f"open({where})", error.errno or 0) from None
        super().__init__(fd)
        self._rest = b""
        self.lost = 0  #: lines that the pipe reported as overwritten

    def read_line(self, timeout: float | None = None) -> bytes | None:
        """The next line; None when none came within `timeout` seconds (None: wait for ever, 0: don't wait)."""
        import select
        import time

        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                lost = _LOST.match(line)
                if lost:
                    self.lost += int(lost["count"])
                return line
            try:
                data = os.read(self.fileno(), 65536)
            except BlockingIOError:
                data = None
            if data:
                self._rest += data
                continue
            if data == b"" and not self._may_follow():
                return None
            wait = None if deadline is None else deadline - time.monotonic()
            if wait is not None and wait <= 0:
                return None
            # The pipe wakes pollers lazily on some kernels: look again now and then.
            select.select([self.fileno()], [], [], 0.2 if wait is None else min(wait, 0.2))

    def _may_follow(self) -> bool:
        """An empty read of a regular file (tests, recordings) is its end; of trace_pipe only a pause."""
        import stat

        return os.fstat(self.fileno()).st_size == 0 or not stat.S_ISREG(os.fstat(self.fileno()).st_mode)

    def __enter__(self) -> TracePipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        while (line := self.read_line()) is not None:
            yield line
