"""The task of an event, and its memory, as the user's process sees them: read when asked for."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from ebpf.machine.tracing import protocol as p, ptrace
from ebpf.machine.tracing.records import cgroup_of, ids_of, read_status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.machine.tracing.events import Event
    from ebpf.machine.tracing.tracer import Tracer

_MAX_FRAMES = 127  # PERF_MAX_STACK_DEPTH


class Status(NamedTuple):
    """What /proc says of a task. Ids are the real, effective, saved and file system's."""

    tid: int
    pid: int
    parent: int  #: process id; 0: none that we could see
    comm: bytes
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    start_ns: int  #: since boot

    @classmethod
    def read(cls, tid: int) -> Status:
        """As it is now; zeros where the task is gone."""
        status = read_status(tid)
        start = 0
        try:
            with open(f"/proc/{tid}/stat", "rb") as file:
                ticks = int(file.read().rpartition(b")")[2].split()[19])
            start = ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        except (OSError, IndexError):
            pass
        uids, gids = (tuple(map(int, status.get(name, "0 0 0 0").split())) for name in ("Uid", "Gid"))
        return cls(tid, int(status.get("Tgid", tid)), int(status.get("PPid", 0)),
                   status.get("Name", "").rstrip("\n").encode(errors="surrogateescape"), uids, gids, start)


class TracedTask:
    """A `machine.Task` whose attributes are read from /proc when a program asks for them.

    ``user_stack`` follows frame pointers, as the kernel does: code that was compiled without them (most C libraries)
    shows only the innermost function and whatever callers keep the register.
    """

    __slots__ = ("_cgroup", "_comm", "_event", "_gid", "_stack", "_uid", "address", "kernel_stack", "memory", "pid",
                 "tid")

    def __init__(self, event: Event, memory: TaskMemory, pid: int, tid: int, uid: int, gid: int, comm: bytes,
                 cgroup: int) -> None:
        self._event = event
        self.memory = memory
        self.pid = pid
        self.tid = tid
        self._uid = uid
        self._gid = gid
        self._comm = comm
        self._cgroup = cgroup
        self._stack: Sequence[int] | None = None
        self.address = 0
        self.kernel_stack: Sequence[int] = ()

    def __repr__(self) -> str:
        return f"<TracedTask {self.comm.decode(errors='replace')} pid {self.pid} tid {self.tid}>"

    @property
    def comm(self) -> bytes:
        if not self._comm:
            try:
                with open(f"/proc/{self.tid}/comm", "rb") as file:
                    self._comm = file.read(64)[:-1]
            except OSError:
                pass
        return self._comm

    @property
    def uid(self) -> int:
        if self._uid == p.NO_ID:
            self._uid, self._gid = ids_of(self.tid)
        return self._uid

    @property
    def gid(self) -> int:
        return self._gid if self.uid == self._uid else 0

    @property
    def cgroup_id(self) -> int:
        if not self._cgroup:
            self._cgroup = cgroup_of(self.tid)
        return self._cgroup

    @property
    def status(self) -> Status:
        """More of what /proc says of it, read anew."""
        return Status.read(self.tid)

    @property
    def user_stack(self) -> Sequence[int]:
        if self._stack is None:
            self._stack = self._walk() if self._event.waits and self._event.has_registers else ()
        return self._stack

    def _walk(self) -> Sequence[int]:
        registers, arch = self._event.registers, self._event.arch
        found = [registers[arch.ip]]
        frame = registers[arch.fp]
        while len(found) < _MAX_FRAMES and frame and frame % 8 == 0:
            try:
                data = self.memory.read(frame, 16)
            except OSError:
                break
            following, address = int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")
            if not address:
                break
            found.append(address)
            if following <= frame:  # frames lie towards higher addresses
                break
            frame = following
        return found


class TaskMemory:
    """The memory of the task whose event is handled (`machine.TracedMemory`). A failed access is an `OSError`."""

    __slots__ = ("_refused", "_tracer", "tid")

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._refused = False
        self.tid = 0

    def read(self, address: int, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        if not self.tid:
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        if not self._refused:
            try:
                return ptrace.read_memory(self.tid, address, size)
            except PermissionError:
                # Yama lets ancestors look, and the parent of a daemon is init: the tracer may.
                self._refused = True
        return self._tracer.ask("peek", self.tid, address, size)

    def write(self, address: int, data: bytes) -> None:
        """Store ``data``; memory that the task itself could not write refuses."""
        if not self.tid:
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        if not self._refused:
            try:
                ptrace.write_memory(self.tid, address, data)
                return
            except PermissionError:
                self._refused = True
        self._tracer.ask("poke", self.tid, address, bytes(data))
