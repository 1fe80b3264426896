"""`Tracer`: a command whose events are handled here, while a child process of ours traces it (see `child`)."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import select
import shutil
import signal
import stat
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from ebpf.errors import InternalError, NotSupported, PrivilegeError, TargetNotFound, UsageError
from ebpf.machine.tracing import protocol as p
from ebpf.machine.tracing.affinity import SharedCpu
from ebpf.machine.tracing.arch import this_arch
from ebpf.machine.tracing.events import (
    Event,
    Exec,
    Exit,
    Fork,
    Hook,
    Interval,
    Needs,
    Probe,
    Sample,
    SyscallEnter,
    SyscallExit,
    Uprobe,
    Uretprobe,
)
from ebpf.machine.tracing.task import TaskMemory, TracedTask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ebpf.machine.tracing.arch import Arch

_READ_BYTES, _SMALL_READ_BYTES = 1 << 18, 1 << 13
_F_SETPIPE_SZ, _PIPE_BYTES = 1031, 1 << 20
_CLOSE_SECONDS = 5.0
_HOT_SECONDS, _HOT_PAUSE_MS = 0.05, 1
_DEFAULT_NEEDS = Needs()
_KIND_OF = {SyscallEnter: p.ENTER, SyscallExit: p.EXIT, Fork: p.FORK, Exec: p.EXEC, Exit: p.TASK_EXIT,
            Uprobe: p.UPROBE, Uretprobe: p.URETPROBE, Interval: p.INTERVAL, Sample: p.SAMPLE}


class Tracer:
    """A command that has not begun yet, and everything that it and its children do from `release` on.

    ``argv[0]`` is a path or a name on PATH. Handlers run in `dispatch`, one at a time; while one runs that waits
    (`Needs`), the task stands still, and `memory` is its memory. ``namespaces``: files (``/proc/PID/ns/net``) of those
    that the command enters first, in order. The command gets no new privileges: a setuid program
    that it starts runs as the user who started it. When this object is closed, or this process ends, the command and
    its children end too. Raises `UsageError` if there is no such command.
    """

    def __init__(self, argv: Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None,
                 namespaces: Sequence[str] = ()) -> None:
        self._owner = os.getpid()
        self._child = 0
        self._fds: list[int] = []
        self._events = self._command = -1
        arch = this_arch()
        if arch is None or not sys.platform.startswith("linux"):
            raise NotSupported("tracing commands", who=f"this package on {sys.platform} ({os.uname().machine})")
        environment = dict(os.environ if env is None else env)
        path = find_command(argv, cwd, environment)
        self.arch: Arch = arch
        self.argv = tuple(argv)
        #: facts that whoever shows the events should tell
        self.notes = _privilege_notes(path)
        self.memory = TaskMemory(self)
        self.ended = False
        self.pid = 0
        self._status = 0
        self._released = False
        self._buffer = b""
        self._read_bytes = _SMALL_READ_BYTES
        self._sending = threading.Lock()
        self._handling = threading.Lock()  # held while records are read and handled
        self._registering = threading.Lock()  # never held while a handler runs, so that those may use any lock
        self._probes: dict[int, Probe] = {}
        self._by_kind: dict[int, dict[int | None, list[Probe]]] = {}
        self._next = 0
        self._current: Event | None = None
        self._clocks: list[tuple[Callable[[], int | None], Callable[[], object]]] = []
        try:
            self._start(path, list(argv), cwd, environment, list(namespaces))
        except BaseException:
            self.close()
            raise
        self._cpu = SharedCpu(self._child)
        self._poller = select.poll()
        self._poller.register(self._events, select.POLLIN)

    def __repr__(self) -> str:
        state = "ended" if self.ended else "runs" if self._released else "waits"
        return f"<Tracer {' '.join(self.argv)} (pid {self.pid}, {state})>"

    def _start(self, path: str, argv: list[str], cwd: str | None, env: dict[str, str], namespaces: list[str]) -> None:
        command_read, self._command = os.pipe()
        self._fds += [command_read, self._command]
        self._events, events_write = os.pipe()
        self._fds += [self._events, events_write]
        try:
            # Room for thousands of events, so that both sides can work without stopping at each other.
            fcntl.fcntl(events_write, _F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            pass  # this user has used up what pipes may take
        start = _fork if _single_threaded() else _spawn
        self._child = start(command_read, events_write)
        for fd in (command_read, events_write):
            self._fds.remove(fd)
            os.close(fd)
        self._send(p.frame("start", path, argv, cwd, env, namespaces))
        try:
            head = p.read_exactly(self._events, p.HEAD.size)
            size, kind, _, tid, _, _, _, _, code, *_ = p.HEAD.unpack(head)
            rest = p.read_exactly(self._events, size - p.HEAD.size) if size > p.HEAD.size else b""
        except EOFError:
            raise InternalError("the tracer ended before it began") from None
        if kind == p.DENIED:
            self._denied(code, rest)
        self.pid = tid

    def _denied(self, code: int, text: bytes) -> NoReturn:
        if text:
            raise InternalError(f"the tracer failed: {text.decode(errors='replace').strip()}")
        raise PrivilegeError("ptrace(PTRACE_SEIZE)", code, needs=("CAP_SYS_PTRACE",), helps=(
            "see /proc/sys/kernel/yama/ptrace_scope; a container's own filter may forbid ptrace (docker run "
            "--cap-add SYS_PTRACE)",))

    # ---- probes ----

    def probe(self, hook: Hook, handler: Callable[[Event], object], needs: Needs = _DEFAULT_NEEDS) -> Probe:
        """Call ``handler(event)`` in `dispatch` at every event of ``hook``. `TargetNotFound`: no such file."""
        if isinstance(hook, Interval | Sample) and hook.nanoseconds < 1:
            raise UsageError("an interval takes at least a nanosecond")
        if isinstance(hook, Uprobe | Uretprobe) and self.arch.name != "x86_64":
            raise NotSupported(f"uprobes on {self.arch.name}", who="the userspace machine")
        if isinstance(hook, Uprobe | Uretprobe) and not os.path.isfile(hook.path):
            raise TargetNotFound(f"no file {hook.path}", name=hook.path)
        with self._registering:
            self._next += 1
            probe = Probe(self, self._next, hook, handler, needs)
            self._probes[probe.id] = probe
            self._changed(hook)
        return probe

    def remove(self, probe: Probe) -> None:
        """What `Probe.remove` does."""
        with self._registering:
            if self._probes.pop(probe.id, None) is not None:
                self._changed(probe.hook)

    def _changed(self, hook: Hook) -> None:
        """Sort the probes by what finds them, and tell the tracer what is wanted."""
        by_kind: dict[int, dict[int | None, list[Probe]]] = {}
        for probe in self._probes.values():
            key = probe.hook.number if isinstance(probe.hook, SyscallEnter | SyscallExit) else None
            if isinstance(probe.hook, Uprobe | Uretprobe | Interval | Sample):
                key = probe.id
            by_kind.setdefault(_KIND_OF[type(probe.hook)], {}).setdefault(key, []).append(probe)
        self._by_kind = by_kind
        if self.ended or not self._child:
            return
        if isinstance(hook, Interval | Sample):
            self._send(p.frame("timers", [(probe.id, probe.hook.nanoseconds, int(isinstance(probe.hook, Sample)))
                                          for probe in self._probes.values()
                                          if isinstance(probe.hook, Interval | Sample)]))
        elif isinstance(hook, Uprobe | Uretprobe):
            self._send(p.frame("sites", self._sites()))
        else:
            masks = {kind: {key: self._mask(probes) for key, probes in found.items()} for kind, found
                     in by_kind.items()}
            parts: list[object] = []
            for kind in (p.ENTER, p.EXIT):
                every = masks.get(kind, {}).pop(None, 0)
                parts += [masks.get(kind, {}), every]
            parts += [masks.get(kind, {}).get(None, 0) for kind in (p.FORK, p.EXEC, p.TASK_EXIT)]
            self._send(p.frame("wanted", *parts))

    def _mask(self, probes: list[Probe]) -> int:
        mask = 0
        for probe in probes:
            mask |= probe.needs.mask
        return mask

    def _sites(self) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        for probe in self._probes.values():
            if isinstance(probe.hook, Uprobe | Uretprobe):
                path = os.path.realpath(probe.hook.path)
                file = os.stat(path)
                found.append((probe.id, path, file.st_dev, file.st_ino, probe.hook.offset,
                              isinstance(probe.hook, Uretprobe), probe.needs.mask,
                              probe.hook.semaphore if isinstance(probe.hook, Uprobe) else 0))
        return found

    def add_clock(self, next_ns: Callable[[], int | None], expire: Callable[[], object]) -> None:
        """`dispatch` calls ``expire`` when the time (CLOCK_MONOTONIC) that ``next_ns`` says has come."""
        self._clocks.append((next_ns, expire))

    # ---- running ----

    def release(self) -> None:
        """Let the command begin. Probes of system calls that are made later make all of its calls slow."""
        if not self._released:
            self._released = True
            self._send(p.frame("release"))

    def fileno(self) -> int:
        """Readable when an event waits."""
        return self._events

    @property
    def exit_status(self) -> int | None:
        """The command's exit status, ``-N`` if signal N ended it; ``None`` until all has `ended`."""
        return os.waitstatus_to_exitcode(self._status) if self.ended else None

    def dispatch(self, timeout: float | None = None) -> int:
        """Handle the events that wait; for the first, wait ``timeout`` seconds (``None``: as long as it takes).

        The number of events. What a handler raises comes out of here, after the task has been let go on. Raises
        `UsageError` if the command could not be started after all.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.ended:
            if self._wait(deadline):
                with self._handling:  # another thread may have been here first
                    count = self._take_all() if not self.ended and self._poller.poll(0) else 0
                if count:
                    return count
            elif deadline is not None and time.monotonic() >= deadline:
                break
        return 0

    def _take_all(self) -> int:
        """Handle what there is; while tasks wait one after the other, what follows within milliseconds too."""
        try:
            count = self._take()
            if self._cpu.shared:
                until = time.monotonic() + _HOT_SECONDS
                while not self.ended and time.monotonic() < until and self._poller.poll(_HOT_PAUSE_MS):
                    count += self._take()
            return count
        finally:
            self._cpu.rest()

    def _wait(self, deadline: float | None) -> bool:
        """Wait for the pipe, no longer than until a clock is due; whether there is something to read."""
        until = deadline
        for next_ns, _ in self._clocks:
            due = next_ns()
            if due is not None and (until is None or due / 1e9 < until):
                until = due / 1e9
        left = None if until is None else max(0.0, (until - time.monotonic()) * 1000)
        poller = select.poll()  # one's own: another thread may wait too
        poller.register(self._events, select.POLLIN)
        ready = bool(poller.poll(left))
        now = time.monotonic_ns()
        for next_ns, expire in self._clocks:
            due = next_ns()
            if due is not None and due <= now:
                expire()
        return ready

    def _take(self) -> int:
        """Read and handle what there is."""
        data = os.read(self._events, self._read_bytes)
        if not data:
            self._finished(self._status)
            return 0
        # Python makes room for all that could come: of events that wait there is one at a time.
        self._read_bytes = _READ_BYTES if len(data) >= _SMALL_READ_BYTES else _SMALL_READ_BYTES
        view = memoryview(self._buffer + data if self._buffer else data)
        at, end, count = 0, len(view), 0
        head = p.HEAD
        try:
            while end - at >= head.size:
                size = int.from_bytes(view[at:at + 4], sys.byteorder)
                if end - at < size:
                    break
                record = view[at:at + size]
                at += size
                count += self._record(record)
        finally:
            self._buffer = bytes(view[at:])
        return count

    def _record(self, record: memoryview) -> int:
        _, kind, waits, tid, tgid, uid, gid, time_ns, first, second, cgroup, comm = p.HEAD.unpack_from(record)
        if kind == p.ENDED:
            self._finished(first)
            return 0
        if kind == p.FAILED:
            raise UsageError(f"cannot run {self.argv[0]}: {os.strerror(first)}")
        if kind == p.DENIED:
            self._denied(first, bytes(record[p.HEAD.size:]))
        event = Event(self.arch, kind, bool(waits), time_ns, first, second, record[p.HEAD.size:])
        event.task = TracedTask(event, self.memory, tgid, tid, uid, gid, comm.rstrip(b"\0"), cgroup)
        found = self._by_kind.get(kind)
        self.memory.tid = tid if waits else 0
        self._current = event
        try:
            if found is not None:
                # By identity first, then those that want all of the kind.
                for probe in (*found.get(first, ()), *found.get(None, ())):
                    probe.handler(event)
        finally:
            self._current = None
            self.memory.tid = 0
            if waits:
                self._cpu.waited()
                self._send(p.GO if event.overridden is None else p.frame("go", event.overridden & (1 << 64) - 1))
        return 1

    def _finished(self, status: int) -> None:
        self.ended = True  # the tracer child may take a while to go: `close` waits for it
        self._status = status

    # ---- the tracer child ----

    def ask(self, *message: object) -> bytes:
        """A question to the tracer about the task that stands still. Raises `OSError`."""
        if self._current is None or not self._current.waits:
            raise OSError(errno.ESRCH, os.strerror(errno.ESRCH))
        self._send(p.frame(*message))
        head = p.HEAD.unpack(p.read_exactly(self._events, p.HEAD.size))
        if head[8]:
            raise OSError(head[8], os.strerror(head[8]))
        return p.read_exactly(self._events, head[0] - p.HEAD.size) if head[0] > p.HEAD.size else b""

    def _send(self, data: bytes) -> None:
        with self._sending:
            if self._command not in self._fds:
                return  # closed
            try:
                p.write_all(self._command, data)
            except BrokenPipeError:
                pass  # it has ended; the events that it left are still to be read

    def signal(self, number: int, tid: int | None = None) -> None:
        """Send a signal to the process of the event that is handled, or to its thread ``tid``."""
        from ebpf.machine.tracing.ptrace import libc

        if self._current is None:
            raise UsageError("no event is being handled, so there is no task to send a signal to")
        if tid is None:
            os.kill(self._current.task.pid, number)
        else:
            libc.syscall(234 if self.arch.name == "x86_64" else 131, self._current.task.pid, tid, number)

    def _reap(self) -> None:
        pid, self._child = self._child, 0
        if pid and os.getpid() == self._owner:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass

    def close(self) -> None:
        """End what is left of the command and the tracer; doing so again is harmless."""
        mine = os.getpid() == self._owner
        if self._command in self._fds:
            self._close(self._command)  # the tracer's word to end everything
        if self._child and mine:
            deadline = time.monotonic() + _CLOSE_SECONDS
            poller = select.poll()
            poller.register(self._events, select.POLLIN)
            # Its end of the pipe closes when it has reaped everybody.
            while (left := deadline - time.monotonic()) > 0 and poller.poll(left * 1000):
                if not os.read(self._events, _READ_BYTES):
                    break
            else:
                os.kill(self._child, signal.SIGKILL)  # and the kernel ends who it traces
            self._reap()
        self.ended = True
        for fd in list(self._fds):
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._fds.remove(fd)
        os.close(fd)

    def __enter__(self) -> Tracer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fds", None):
            try:
                self.close()
            except (OSError, TypeError, AttributeError):  # the interpreter may be half gone
                pass


def find_command(argv: Sequence[str], cwd: str | None, env: Mapping[str, str]) -> str:
    """The file that ``argv[0]`` means. `UsageError` says why there is none that could run."""
    if not argv or not argv[0]:
        raise UsageError("no command to trace")
    for word in argv:
        if "\0" in word:
            raise UsageError("a command's arguments cannot hold NUL characters")
    if cwd is not None and not os.path.isdir(cwd):
        raise UsageError(f"no folder {cwd} to run the command in")
    name = argv[0]
    if "/" in name:
        path = os.path.join(cwd or os.getcwd(), name)
        if os.path.isdir(path):
            raise UsageError(f"{name} is a folder, not a command")
        if not os.path.exists(path):
            raise UsageError(f"no command {name}: there is no such file")
        if not os.access(path, os.X_OK):
            raise UsageError(f"{name} may not be executed", helps=(f"chmod +x {name}",))
        return path
    found = shutil.which(name, path=env.get("PATH"))
    if found is None:
        raise UsageError(f"no command {name!r} on PATH")
    return os.path.abspath(found)


def _privilege_notes(path: str) -> tuple[str, ...]:
    mode = os.stat(path).st_mode
    if mode & (stat.S_ISUID | stat.S_ISGID) and os.geteuid() != 0:
        return (f"{path} is a setuid program: while it is traced it runs without the privileges that it is meant to "
                "have",)
    return ()


def _single_threaded() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        return threading.active_count() == 1


def _fork(command: int, events: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        gc.disable()  # our garbage is ours to end, not the child's
        try:
            from ebpf.machine.tracing import child

            # Nothing of ours stays open in it: a map or a pipe must not outlive us because a command still ends.
            command, events = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (command, events))
            low, high = sorted((command, events))
            os.closerange(3, low)
            os.closerange(low + 1, high)
            os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
            child.main(command, events, parent)
        finally:
            os._exit(1)
    return pid


def _spawn(command: int, events: int) -> int:
    """With several threads a fork could keep a lock that nobody gives back: there a fresh interpreter is started."""
    path = [entry for entry in sys.path if entry]
    code = (f"import sys; sys.path[:] = {path!r}; from ebpf.machine.tracing import child; "
            f"child.main(3, 4, {os.getpid()})")
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (command, events)]
    try:
        return os.posix_spawn(
            sys.executable or "/usr/bin/python3", [sys.executable or "python3", "-I", "-S", "-c", code], os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, high[0], 3), (os.POSIX_SPAWN_DUP2, high[1], 4)])
    finally:
        for fd in high:
            os.close(fd)
