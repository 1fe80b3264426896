"""The tracer child's side of the pipe: records out, what is known of a task, answers in."""

from __future__ import annotations

import marshal
import os
import time

from ebpf.machine.tracing import protocol as p, ptrace as pt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ebpf.machine.tracing.breakpoints import Space

_FLUSH_BYTES = 1 << 15
_MAX_COMM_FDS = 128


class Task:
    """A traced thread."""

    __slots__ = ("comm_fd", "dead", "in_syscall", "number", "options", "space", "tgid", "tid")

    def __init__(self, tid: int, options: int) -> None:
        self.tid = tid
        self.tgid = 0  # asked when first told
        self.options = options
        self.in_syscall = False  # stopped at the entry, to be stopped again at the end
        self.number = 0  # of that call: signal returns lose it
        self.dead = False  # its end was told
        self.comm_fd = -1
        self.space: Space | None = None


class Reporter:
    """Sends records, and waits for the answers to those that want one."""

    def __init__(self, command: int, events: int) -> None:
        self.command = command
        self.events = events
        self.out = bytearray()
        self.comm_fds = 0

    def tell(self, kind: int, task: Task | None, mask: int, a: int, b: int, payload: bytes | memoryview = b"",
             ) -> tuple[Any, ...]:
        """Report an event of a stopped task; where the mask says so, the answer of the user's process."""
        tid = tgid = cgroup = 0
        uid = gid = p.NO_ID
        comm = b""
        if task is not None:
            tid, tgid = task.tid, task.tgid
            if not tgid:
                tgid = task.tgid = thread_group(tid)
            if mask & (p.COMM | p.IDS | p.CGROUP):
                if mask & p.COMM:
                    comm = self.comm(task)
                if mask & p.IDS:
                    uid, gid = ids_of(tid)
                if mask & p.CGROUP:
                    cgroup = cgroup_of(tid)
        out = self.out
        wait = mask & p.WAIT
        out += p.HEAD.pack(p.HEAD.size + len(payload), kind, 1 if wait else 0, tid, tgid, uid, gid,
                           time.monotonic_ns(), a & 0xFFFFFFFFFFFFFFFF, b & 0xFFFFFFFFFFFFFFFF, cgroup, comm)
        out += payload
        if wait:
            self.flush()
            return self.answer()
        if len(out) > _FLUSH_BYTES:
            self.flush()
        return ()

    def flush(self) -> None:
        """Send what has been collected."""
        if self.out:
            p.write_all(self.events, self.out)
            self.out.clear()

    def listen(self) -> tuple[Any, ...]:
        """The next message; () lets the task go on. Raises `EOFError` when the user's process is gone."""
        size, = p.LENGTH.unpack(p.read_exactly(self.command, 4))
        return marshal.loads(p.read_exactly(self.command, size)) if size else ()

    def answer(self) -> tuple[Any, ...]:
        """Wait until the task may go on; what is asked for meanwhile is done."""
        while True:
            message = self.listen()
            if not message or message[0] == "go":
                return message
            if message[0] == "peek":
                self.peek(*message[1:])
            elif message[0] == "poke":
                self.poke(*message[1:])
            else:
                self.obey(message)

    def obey(self, message: tuple[Any, ...]) -> None:
        """Do what a message says that is no answer."""
        raise NotImplementedError

    def peek(self, tid: int, address: int, size: int) -> None:
        """Memory that the user's process may not read itself (the tracer may)."""
        try:
            self.tell(p.MEMORY, None, 0, 0, 0, pt.read_memory(tid, address, size))
        except OSError as error:
            self.tell(p.MEMORY, None, 0, error.errno or 1, 0)
        self.flush()

    def poke(self, tid: int, address: int, data: bytes) -> None:
        """The same for writing."""
        try:
            pt.write_memory(tid, address, data)
            self.tell(p.MEMORY, None, 0, 0, 0)
        except OSError as error:
            self.tell(p.MEMORY, None, 0, error.errno or 1, 0)
        self.flush()

    # ---- what is known of a task ----

    def comm(self, task: Task) -> bytes:
        """The task's name as it is now; its file is kept open, which makes reading it ten times faster."""
        fd = task.comm_fd
        try:
            if fd < 0:
                fd = os.open(f"/proc/{task.tid}/comm", os.O_RDONLY | os.O_CLOEXEC)
                if self.comm_fds >= _MAX_COMM_FDS:
                    try:
                        return os.read(fd, 64)[:-1]
                    finally:
                        os.close(fd)
                task.comm_fd = fd
                self.comm_fds += 1
            return os.pread(fd, 64, 0)[:-1]
        except OSError:
            return b""

    def forget(self, task: Task) -> None:
        """The task is gone."""
        if task.comm_fd >= 0:
            os.close(task.comm_fd)
            task.comm_fd = -1
            self.comm_fds -= 1


def read_status(tid: int) -> dict[str, str]:
    """/proc/TID/status: what stands there, by name; empty if the task is gone."""
    try:
        with open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
            return dict(line.partition(":\t")[::2] for line in file)
    except OSError:
        return {}


def thread_group(tid: int) -> int:
    """The process that a thread belongs to (itself if that cannot be told any more)."""
    return int(read_status(tid).get("Tgid", tid))


def ids_of(tid: int) -> tuple[int, int]:
    """Real user and group."""
    status = read_status(tid)
    return int(status.get("Uid", "0").split()[0]), int(status.get("Gid", "0").split()[0])


def cgroup_of(tid: int) -> int:
    """The id of the task's version 2 control group: the inode of its directory; 0 where it cannot be told."""
    try:
        with open(f"/proc/{tid}/cgroup") as file:
            path = next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), None)
        return 0 if path is None else os.stat(f"/sys/fs/cgroup{path}").st_ino
    except OSError:
        return 0
