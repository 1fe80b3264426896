"""The kernel's types, scanned in a child while this process does something else: imports a compiler, say.

The child writes what it finds into memory that both share, says so in a pipe, then builds the index for the next
process and puts it into the store; nobody waits for that.
"""

from __future__ import annotations

import gc
import mmap
import os
import signal
from typing import TYPE_CHECKING, Final, NoReturn

from ebpf.btf.index import Tables, scan

if TYPE_CHECKING:
    from ebpf.btf import Btf

_TIMEOUT_SECONDS: Final = 30
_LEAST_IMPORTANT: Final = 19
_left: list[int] = []  # children that make an index while we do something else, to be reaped


class TypeScan:
    """Implements `ebpf.btf.index.Scan`. `start` it, give it to `Btf.expect`, and `finish` it."""

    __slots__ = ("_memory", "_pid", "_pipe", "_tables")

    def __init__(self, pid: int, pipe: int, memory: mmap.mmap) -> None:
        self._pid = pid
        self._pipe = pipe
        self._memory = memory
        self._tables: Tables | None = None

    @classmethod
    def start(cls, btf: Btf, *, keep: bool) -> TypeScan | None:
        """Begin; ``keep``: make the index for later too. None where a child cannot be had, or would not be safe to
        have: beside other threads, one of which may hold a lock that the child would wait for.
        """
        try:
            _reap()
            if len(os.listdir("/proc/self/task")) != 1:
                return None
            memory = mmap.mmap(-1, 8 * len(btf.words) + mmap.PAGESIZE)
            read, write = os.pipe2(os.O_CLOEXEC)
        except (OSError, ValueError):
            return None
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        try:
            pid = os.fork()
            if not pid:
                _child(btf, memory, write, keep)
        except OSError:
            os.close(read)
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(write)
        return cls(pid, read, memory)

    def tables(self) -> Tables | None:
        """What it found, waited for; None if the child failed."""
        if self._tables is None and self._pipe >= 0:
            data = b""
            while len(data) < 8 and (chunk := os.read(self._pipe, 8 - len(data))):
                data += chunk
            self._close()
            if len(data) == 8:
                types, enums = (int.from_bytes(data[at:at + 4], "little") for at in (0, 4))
                words, raw = memoryview(self._memory).cast("I"), self._memory
                self._tables = Tables(words[:types], raw[4 * types:8 * types],
                                      words[2 * types:2 * types + enums],
                                      raw[8 * types + 4 * enums:8 * types + 8 * enums])
        return self._tables

    def leave(self) -> None:
        """Let the child go on by itself, also beyond our end. It is reaped when it has ended and another is started."""
        pid, self._pid = self._pid, 0
        if pid:
            _left.append(pid)
        _reap()

    def finish(self) -> None:
        """Wait until the child has put the index into the store, or has failed."""
        pid, self._pid = self._pid, 0
        if pid:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:  # somebody else took it: a SIGCHLD handler of the program that we are part of
                pass

    def _close(self) -> None:
        pipe, self._pipe = self._pipe, -1
        if pipe >= 0:
            os.close(pipe)

    def __del__(self) -> None:
        if getattr(self, "_pipe", -1) >= 0:
            self._close()


def _reap() -> None:
    """Reap what was left and has ended."""
    for pid in _left[:]:
        try:
            ended, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            ended = pid
        if ended:
            _left.remove(pid)


def _child(btf: Btf, memory: mmap.mmap, pipe: int, keep: bool) -> NoReturn:
    """Never returns, and runs none of the parent's exit handlers."""
    try:
        gc.disable()  # the parent's garbage is the parent's
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to answer
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        signal.alarm(_TIMEOUT_SECONDS)
        # Nothing of the parent's may live on in here: the reader of its output waits for the last writer.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        offsets, enum_offsets = scan(btf.words, 0)
        tables = Tables.make(btf.words, offsets, enum_offsets)
        data = b"".join((bytes(tables.offsets), tables.names, bytes(tables.enums), tables.enum_names))
        memory[:len(data)] = data
        os.write(pipe, len(offsets).to_bytes(4, "little") + len(tables.enums).to_bytes(4, "little"))
        os.close(pipe)
        if keep:
            os.nice(_LEAST_IMPORTANT)  # whoever waits for something waits for the others: the compiler, LLVM
            btf.make_index(offsets, enum_offsets)
    finally:
        os._exit(0)
