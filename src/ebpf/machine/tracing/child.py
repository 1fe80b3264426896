"""The tracer child: the process that owns every ptrace and every wait status of the traced command.

It starts the command, stops it where somebody wants to know, sends a record, and lets it go on: at once, or, if a
program may look at the task's memory or change it, when the user's process says so. It imports little, since a fresh
interpreter may have to run it, and it never outlives the process that it works for.

A stop costs two switches between processes. Waking a sleeping process on another CPU takes 40 µs in a virtual machine,
ten times what the stop itself takes: so after a stop it asks again and again for a few dozen microseconds before it
sleeps.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from typing import NoReturn

from ebpf.machine.tracing import protocol as p, ptrace as pt
from ebpf.machine.tracing.arch import Arch, this_arch
from ebpf.machine.tracing.records import Reporter, Task
from ebpf.machine.tracing.seccomp import build_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ebpf.machine.tracing.breakpoints import Breakpoints

_SPIN_NS = 80_000
# Where others want the CPU, who yields it gets it back late: then asking is left alone for a while, since who sleeps is
# woken sooner.
_CROWDED_NS, _REST_NS = 400_000, 200_000_000
_PAUSE_NS = 1_000_000
_BUSY_CHECK = 64  # stops between looks at what the user's process wants
_FINISH_SECONDS = 3
_ORPHAN_NS = 50_000_000  # how long a new task waits for its parent's word
_OPTIONS = (pt.O_TRACESYSGOOD | pt.O_TRACEFORK | pt.O_TRACEVFORK | pt.O_TRACECLONE | pt.O_TRACEEXEC
            | pt.O_TRACESECCOMP | pt.O_EXITKILL)
_SECCOMP_STOP = pt.EVENT_SECCOMP << 16 | signal.SIGTRAP << 8 | 0x7F
_GROUP_STOPS = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
# What a terminal sends to all of us; the user's process decides what it means.
_DEAF_TO = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_CLONE_VM = 0x100
_CLONE_THREAD = 0x10000


class Wanted:
    """What the user's process wants to know: masks of protocol's bits."""

    __slots__ = ("enter", "enter_all", "exec", "exit", "exit_all", "fork", "task_exit")

    def __init__(self) -> None:
        self.enter: dict[int, int] = {}
        self.exit: dict[int, int] = {}
        self.enter_all = self.exit_all = self.fork = self.exec = self.task_exit = 0


class Tracer(Reporter):
    """The child's whole state and its loop."""

    def __init__(self, command: int, events: int, arch: Arch) -> None:
        super().__init__(command, events)
        self.arch = arch
        self.tasks: dict[int, Task] = {}
        self.early: dict[int, int] = {}  # tasks seen before their parent told of them: tid → since when
        self.wanted = Wanted()
        self.filtered: set[int] | None = set()  # numbers that the filter stops; None: all
        self.filter_covers_maps = False
        self.every_call = False  # the filter does not know all that is wanted: stop at every call
        self.options = _OPTIONS
        self.main = 0  # pid of the command
        self.main_status = 0
        self.released = False
        self.started = False  # the command itself runs, not our preparation of it
        self.go_fd = self.status_fd = -1
        self.registers = pt.Registers(arch.words)
        self.breakpoints: Breakpoints | None = None
        self.timers: list[list[int]] = []  # [due, interval, id, samples]
        self.sampled: dict[int, int] = {}  # tasks that were interrupted to be looked at: tid → timer
        self.spins = len(os.sched_getaffinity(0)) > 1
        self.signal_fd = _signalfd()
        self.poller = select.poll()
        self.poller.register(command, select.POLLIN)
        self.poller.register(self.signal_fd, select.POLLIN)

    # ---- the command ----

    def start(self, path: str, argv: list[str], cwd: str | None, env: dict[str, str], namespaces: list[str],
              signals: tuple[list[int], list[int]]) -> None:
        """Fork the command; it waits for `release`."""
        go_read, self.go_fd = os.pipe()
        self.status_fd, status_write = os.pipe()
        pid = os.fork()
        if pid == 0:
            _become(go_read, status_write, path, argv, cwd, env, namespaces, *signals)
        os.close(go_read)
        os.close(status_write)
        self.main = pid
        result = pt.ptrace(pt.SEIZE, pid, 0, self.options)
        if result < 0:
            os.kill(pid, signal.SIGKILL)
            self.tell(p.DENIED, None, 0, -result, 0)
            self.flush()
            return
        task = self.tasks[pid] = Task(pid, self.options)
        task.tgid = pid
        self.tell(p.STARTED, task, 0, 0, 0)
        self.flush()
        # Nothing here needs the user's terminal or pipes any more: who reads from a pipe waits for its last writer.
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)

    def release(self) -> None:
        """Decide which system calls stop the command, and let it become what it is to be."""
        wanted = self.wanted
        every = bool(wanted.enter_all or wanted.exit_all)
        self.filtered = None if every else {*wanted.enter, *wanted.exit}
        if self.filtered is not None and self.breakpoints is not None and self.breakpoints.counts:
            self.filtered.add(self.arch.mmap)
        self.filter_covers_maps = every or self.breakpoints is not None
        code = b""
        if every or self.filtered or self.filter_covers_maps:
            code = build_filter(self.arch, self.filtered, executable=self.filter_covers_maps)
        self.released = True
        p.write_all(self.go_fd, p.LENGTH.pack(len(code)) + code)
        os.close(self.go_fd)

    # ---- the loop ----

    def run(self) -> None:
        """Until the command and all its children have ended."""
        waitpid, stopped, entry, tasks = os.waitpid, self.stopped, self.entry, self.tasks
        flags = pt.WALL | os.WNOHANG
        busy = resting = 0
        while self.tasks:
            try:
                tid, status = waitpid(-1, flags)
                if not tid and self.spins:
                    began = now = time.monotonic_ns()
                    if began > resting:
                        while not tid and now - began < _SPIN_NS:
                            os.sched_yield()
                            tid, status = waitpid(-1, flags)
                            now = time.monotonic_ns()
                        if now - began > _CROWDED_NS:
                            resting = now + _REST_NS
            except ChildProcessError:
                break
            if not tid:
                self.idle()
                continue
            if status == _SECCOMP_STOP and not self.every_call and tid in tasks:  # by far the most frequent
                entry(tasks[tid])
            else:
                stopped(tid, status)
            busy += 1
            if busy >= _BUSY_CHECK:
                busy = 0
                self.look(0)
        self.tell(p.ENDED, None, 0, self.main_status, 0)
        self.flush()

    def idle(self) -> None:
        """Nothing has stopped: sleep until something does, somebody wants something, or a timer is due."""
        # What has been collected goes out when nothing has come for a moment: each wake-up of the reader costs as much
        # as many records.
        if self.out and self.look(_PAUSE_NS):
            return
        self.flush()
        timeout = -1
        if self.timers:
            timeout = max(0, min(t[0] for t in self.timers) - time.monotonic_ns())
        if self.early:
            timeout = min(timeout, _ORPHAN_NS) if timeout >= 0 else _ORPHAN_NS
        self.look(timeout)

    def look(self, timeout_ns: int) -> bool:
        """What waits in the pipe and which timers are due; wait at most ``timeout_ns`` (negative: for ever).

        Whether anything came.
        """
        ready = self.poller.poll(None if timeout_ns < 0 else timeout_ns / 1e6)
        for fd, _ in ready:
            if fd == self.signal_fd:
                os.read(self.signal_fd, 128 * 16)
            else:
                self.obey(self.listen())
        now = time.monotonic_ns()
        for timer in self.timers:
            if timer[0] <= now:
                self.expire(timer, now)
        for tid, since in list(self.early.items()):
            if now - since > _ORPHAN_NS:
                self.admit(tid, None)
        return bool(ready)

    def obey(self, message: tuple[Any, ...]) -> None:
        verb = message[0] if message else ""
        if verb == "wanted":
            wanted = self.wanted
            (wanted.enter, wanted.enter_all, wanted.exit, wanted.exit_all, wanted.fork, wanted.exec,
             wanted.task_exit) = message[1:]
        elif verb == "sites":
            from ebpf.machine.tracing.breakpoints import Breakpoints

            if self.breakpoints is None:
                self.breakpoints = Breakpoints(self)
            self.breakpoints.set_sites(message[1])
        elif verb == "timers":
            now = time.monotonic_ns()
            known = {timer[2]: timer for timer in self.timers}
            self.timers = [known.get(id) or [now + interval, interval, id, samples]
                           for id, interval, samples in message[1]]
        elif verb == "release":
            self.release()
        elif verb == "end":
            raise EOFError
        self.reconsider()

    def reconsider(self) -> None:
        """Wishes may have changed: what follows for tasks that run already."""
        wanted = self.wanted
        options = _OPTIONS | (pt.O_TRACEEXIT if wanted.task_exit else 0)
        missing = False
        if self.released and self.filtered is not None:
            missing = (bool(wanted.enter_all or wanted.exit_all) or not {*wanted.enter, *wanted.exit} <= self.filtered
                       or (self.breakpoints is not None and not self.filter_covers_maps))
        pending = self.breakpoints is not None and self.breakpoints.changed
        if options != self.options or missing != self.every_call or pending:
            self.options, self.every_call = options, missing
            for tid in self.tasks:
                pt.ptrace(pt.INTERRUPT, tid)

    def expire(self, timer: list[int], now: int) -> None:
        """A timer is due: an interval fires, or the tasks that run are interrupted to be looked at."""
        timer[0] += timer[1] * max(1, (now - timer[0]) // timer[1])
        if not self.started:
            return
        if not timer[3]:
            self.tell(p.INTERVAL, None, p.REPORT | p.WAIT, timer[2], 0)
            return
        for tid in self.tasks:
            if _runs(tid) and pt.ptrace(pt.INTERRUPT, tid) >= 0:
                self.sampled[tid] = timer[2]

    # ---- stops ----

    def stopped(self, tid: int, status: int) -> None:
        """A task has stopped or ended."""
        task = self.tasks.get(tid)
        if status & 0xFF != 0x7F:
            self.ended(tid, status, task)
            return
        number, event = status >> 8 & 0xFF, status >> 16
        if task is None:
            # A new task, whose parent has not told of it yet: what it does comes after that.
            self.early[tid] = time.monotonic_ns()
            return
        if event == pt.EVENT_SECCOMP:
            if not self.every_call:
                self.entry(task)
            else:
                pt.ptrace(pt.SYSCALL, tid)
        elif number == signal.SIGTRAP | 0x80:
            self.call_stop(task)
        elif event in (pt.EVENT_FORK, pt.EVENT_VFORK, pt.EVENT_CLONE):
            self.forked(task)
        elif event == pt.EVENT_EXEC:
            self.executed(task)
        elif event == pt.EVENT_EXIT:
            self.end_of(task, pt.event_message(tid))
            self.resume(task)
        elif event == pt.EVENT_STOP:
            if number in _GROUP_STOPS:
                pt.ptrace(pt.LISTEN, tid)
                return
            self.interrupted(task)
        elif number == signal.SIGTRAP and self.breakpoints is not None and self.breakpoints.hit(task):
            return
        else:
            self.resume(task, number)

    def resume(self, task: Task, number: int = 0) -> None:
        """Let a task go on, with a signal or without."""
        if task.options != self.options:
            pt.ptrace(pt.SETOPTIONS, task.tid, 0, self.options)
            task.options = self.options
        request = pt.SYSCALL if task.in_syscall or self.every_call else pt.CONT
        pt.ptrace(request, task.tid, 0, number)

    def interrupted(self, task: Task) -> None:
        """The stop that PTRACE_INTERRUPT asked for (or the first of a new task, or one after SIGCONT)."""
        timer = self.sampled.pop(task.tid, None)
        if self.breakpoints is not None:
            self.breakpoints.refresh(task)
        if timer is not None and self.registers.read(task.tid):
            self.tell(p.SAMPLE, task, p.REPORT | p.WAIT, timer, 0, self.registers.buffer)
        self.resume(task)

    def entry(self, task: Task) -> None:
        """A system call begins."""
        registers, arch = self.registers, self.arch
        if not registers.read(task.tid):
            return
        number = registers.words[arch.number]
        wanted = self.wanted
        if not self.started:
            if task.tid != self.main or not self._is_exec(number):
                self.resume(task)
                return
            self.started = True
        mask = wanted.enter.get(number, 0) | wanted.enter_all
        leave = wanted.exit.get(number, 0) | wanted.exit_all
        maps = self.breakpoints is not None and number in (arch.mmap, arch.mprotect)
        task.in_syscall = bool(leave or maps or self.every_call)
        task.number = number
        if mask:
            answer = self.tell(p.ENTER, task, mask, number, 0, registers.buffer)
            if answer:
                self.replace(task, answer, entry=True)
        self.resume(task)

    def call_stop(self, task: Task) -> None:
        """A system call ends; where every call stops the task, it may begin."""
        if self.every_call or not task.in_syscall:
            begins = _call_begins(task.tid, self.arch)
            if begins is None:  # 32-bit, or gone
                task.in_syscall = False
                self.resume(task)
                return
            if begins:
                self.entry(task)
                return
        task.in_syscall = False
        registers, arch = self.registers, self.arch
        if not registers.read(task.tid):
            return
        number = task.number
        if self.breakpoints is not None and number in (arch.mmap, arch.mprotect):
            self.breakpoints.mapped(task, registers.words[arch.result])
        mask = self.wanted.exit.get(number, 0) | self.wanted.exit_all
        if mask and self.started:
            answer = self.tell(p.EXIT, task, mask, number, registers.words[arch.result], registers.buffer)
            if answer:
                self.replace(task, answer, entry=False)
        self.resume(task)

    def replace(self, task: Task, answer: tuple[Any, ...], *, entry: bool) -> None:
        """``("go", result)``: the system call is not made (or was made), and gives that result."""
        registers, arch = self.registers, self.arch
        registers.words[arch.result] = answer[1] & 0xFFFFFFFFFFFFFFFF
        if entry:
            if arch.name == "x86_64":
                registers.words[arch.number] = 0xFFFFFFFFFFFFFFFF
            else:
                pt.set_syscall_number(task.tid, -1)
        registers.write(task.tid)

    # ---- tasks come and go ----

    def forked(self, task: Task) -> None:
        """A task has made another one."""
        child = pt.event_message(task.tid)
        registers, arch = self.registers, self.arch
        flags = 0
        if registers.read(task.tid):
            number, argument = registers.words[arch.number], registers.words[arch.arguments[0]]
            if number == arch.clone:
                flags = argument
            elif number == arch.clone3:
                try:
                    flags = int.from_bytes(pt.read_memory(task.tid, argument, 8), "little")
                except OSError:
                    flags = 0
            elif arch.name == "x86_64" and number == 58:  # vfork
                flags = 0x4000 | _CLONE_VM
        new = self.tasks.get(child) or Task(child, self.options)
        new.tgid = task.tgid if flags & _CLONE_THREAD else child
        if self.breakpoints is not None:
            self.breakpoints.inherit(task, new, shared=bool(flags & _CLONE_VM))
        if self.wanted.fork and self.started:
            self.tell(p.FORK, task, self.wanted.fork | p.COMM, child, flags)
        self.admit(child, new)
        self.resume(task)

    def admit(self, tid: int, task: Task | None) -> None:
        """A new task is known; if it has stopped already, it goes on."""
        if tid not in self.tasks:
            self.tasks[tid] = task or Task(tid, self.options)
        if self.early.pop(tid, None) is not None:
            self.interrupted(self.tasks[tid])

    def executed(self, task: Task) -> None:
        """A process has become another program: its other threads are gone, its memory is new."""
        former = pt.event_message(task.tid)
        if former and former != task.tid:
            old = self.tasks.pop(former, None)
            if old is not None:
                # The system call that goes on is the former thread's.
                task.in_syscall, task.number = old.in_syscall, old.number
                self.forget(old)
        task.tgid = task.tid
        if not self.started and task.tid == self.main:
            self.started = True
        if self.breakpoints is not None:
            self.breakpoints.renew(task)
        if self.wanted.exec:
            self.tell(p.EXEC, task, self.wanted.exec | p.COMM, former or task.tid, 0, _file_name(task.tid))
        self.resume(task)

    def end_of(self, task: Task, status: int) -> None:
        """Tell of a task's end, once."""
        if task.dead:
            return
        task.dead = True
        if self.wanted.task_exit and self.started:
            if not task.tgid:
                self.tell(p.TASK_EXIT, task, 0, 0, 0)
            alone = not any(t.tgid == task.tgid and t is not task and not t.dead for t in self.tasks.values())
            self.tell(p.TASK_EXIT, task, self.wanted.task_exit | p.COMM, status, int(alone))

    def ended(self, tid: int, status: int, task: Task | None) -> None:
        """A task is gone."""
        self.early.pop(tid, None)
        self.sampled.pop(tid, None)
        if tid == self.main:
            self.main_status = status
            code = os.read(self.status_fd, 16)  # nothing, once the command itself has run
            if code:
                self.tell(p.FAILED, None, 0, int(code), 0)
        if task is None:
            return
        self.end_of(task, status)
        del self.tasks[tid]
        self.forget(task)
        if self.breakpoints is not None:
            self.breakpoints.leave(task)

    def finish(self) -> None:
        """The user's process wants no more, or is gone: end everybody, and leave no zombie to others."""
        for tid in self.tasks:
            try:
                os.kill(tid, signal.SIGKILL)
            except OSError:
                pass
        deadline = time.monotonic() + _FINISH_SECONDS
        try:
            while time.monotonic() < deadline:
                tid, status = os.waitpid(-1, pt.WALL)
                if status & 0xFF == 0x7F:
                    os.kill(tid, signal.SIGKILL)
                    pt.ptrace(pt.CONT, tid)
        except OSError:
            pass

    def _is_exec(self, number: int) -> bool:
        return number in ((59, 322) if self.arch.name == "x86_64" else (221, 281))


def _become(go: int, status: int, path: str, argv: list[str], cwd: str | None, env: dict[str, str],
            namespaces: list[str], mask: list[int], ignored: list[int]) -> NoReturn:
    """In the forked child: turn into the command when the word comes. Never returns."""
    try:
        for number in (*_DEAF_TO, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM):  # Python itself ignores two
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
        size, = p.LENGTH.unpack(p.read_exactly(go, 4))
        code = p.read_exactly(go, size) if size else b""
        pt.enter_namespaces(namespaces)
        if cwd is not None:
            os.chdir(cwd)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if code:
            pt.install_filter(code)
        os.execve(path, argv, env)
    except OSError as error:
        os.write(status, str(error.errno).encode())
    except BaseException:
        pass
    finally:
        os._exit(127)


def _signalfd() -> int:
    """A descriptor that is readable when a child has stopped or ended."""
    mask = (ctypes.c_uint64 * 16)(1 << signal.SIGCHLD - 1)
    fd: int = pt.libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return fd


def _call_begins(tid: int, arch: Arch) -> bool | None:
    """At a system call's stop: whether it begins (or ends); ``None``: not a call of this architecture."""
    info = bytearray(88)
    buffer = (ctypes.c_char * 88).from_buffer(info)
    if pt.ptrace(pt.GET_SYSCALL_INFO, tid, 88, ctypes.addressof(buffer)) < 0:
        return None
    if int.from_bytes(info[4:8], sys.byteorder) != arch.audit or info[0] not in (1, 2, 3):
        return None
    if info[0] != 2 and int.from_bytes(info[24:32], sys.byteorder) & 0x40000000:
        return None
    return info[0] != 2


def _runs(tid: int) -> bool:
    """Whether a task is on a CPU or wants one."""
    try:
        with open(f"/proc/{tid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2][1:2] == b"R"
    except OSError:
        return False


def _file_name(tid: int) -> bytes:
    """What a task that has just become another program was asked to run: AT_EXECFN's string."""
    try:
        with open(f"/proc/{tid}/auxv", "rb") as file:
            words = memoryview(file.read()).cast("Q")
        address = dict(zip(words[::2], words[1::2], strict=True)).get(31, 0)
        page = 4096 - address % 4096
        name = pt.read_memory(tid, address, page)
        if b"\0" not in name:
            name += pt.read_memory(tid, address + page, 4096)
        return name.partition(b"\0")[0]
    except (OSError, ValueError):
        return b""


def main(command: int, events: int, parent: int) -> NoReturn:
    """The process from beginning to end."""
    arch = this_arch()
    assert arch is not None
    tracer = Tracer(command, events, arch)
    try:
        ignored = [int(number) for number in _DEAF_TO if signal.getsignal(number) == signal.SIG_IGN]
        for number in (*_DEAF_TO, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)

        def parent_gone(number: int, frame: object) -> None:
            if os.getppid() != parent:  # else a thread of it has ended, the one that started us
                os._exit(1)  # and the kernel ends who we trace

        signal.signal(signal.SIGTERM, parent_gone)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        mask = [int(n) for n in signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGCHLD,))]
        pt.prctl(pt.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)
        first = tracer.listen()
        _, path, argv, cwd, env, namespaces = first
        tracer.start(path, argv, cwd, env, namespaces, (mask, ignored))
        tracer.run()
    except (EOFError, BrokenPipeError):
        tracer.finish()
    except BaseException as error:
        import traceback

        try:
            text = f"{type(error).__name__}: {error}\n{''.join(traceback.format_tb(error.__traceback__))}".encode()
            p.write_all(events, p.HEAD.pack(p.HEAD.size + len(text), p.DENIED, 0, 0, 0, 0, 0, 0, 0, 0, 0, b"") + text)
        except OSError:
            pass
    finally:
        os._exit(0)
