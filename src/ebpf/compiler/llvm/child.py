"""LLVM in a process of its own: IR text in, ELF bytes or a diagnostic out.

Why a process: an error in LLVM's BPF back end (a stack over 512 bytes, an operation it cannot select) ends the process
by ``exit(1)`` or SIGABRT, and LLVM costs 60 MB that would never be given back. Why it is started first: importing
llvmlite takes as long as the front end, and both run at once on two cores.

::

    with CodeGenerator(mcpu="v3") as generator:      # the child starts here and loads LLVM
        ir = front_end(...)                          # meanwhile
        elf = generator.run(ir)                      # raises CodeGenerationError

The parent forks when it has one thread. With several, another thread could hold a lock (malloc's, an import's) that the
child would wait for forever, so there a fresh interpreter runs this very file. Either way: the child ends when the
parent closes the pipe or dies, it has a timer of its own, the parent always reaps it, and Ctrl-C kills it and goes on
as KeyboardInterrupt.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from ebpf.errors import EbpfError

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_SECONDS = 120
_ERROR_EXIT = 3  # the child's own: LLVM refused the IR (our bug); the words are on stderr
_NO_LLVM_EXIT = 4
_NO_START_EXIT = 5
_STDERR_LIMIT_BYTES = 1 << 20
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


class CodeGenerationError(EbpfError):
    """LLVM gave no object. ``stderr`` is its own text; ``how`` tells how it ended (``"exit status 1"``, ``"SIGABRT"``,
    ``"timeout"``, ``"refused"`` for IR it could not read, ``"missing"`` where llvmlite is not installed,
    ``"not started"`` where the child had not even descriptors)."""

    def __init__(self, how: str, stderr: str) -> None:
        super().__init__(f"the code generator gave up ({how})", notes=[stderr.strip()] if stderr.strip() else [])
        self.how = how
        self.stderr = stderr


class CodeGenerator:
    """A started child, good for one `run`. `close` (or leaving the ``with`` block) ends and reaps it."""

    def __init__(self, *, mcpu: str = "v3", opt: int = 2, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout_seconds
        self._pid = 0
        self._fds: list[int] = []
        job_read, job_write = os.pipe()
        self._fds += [job_read, job_write]
        try:
            result_read, result_write = os.pipe()
            self._fds += [result_read, result_write]
            error_read, error_write = os.pipe()
            self._fds += [error_read, error_write]
            # A signal between the child's start and the note of its number would leave a child that nobody reaps.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
            try:
                signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
                self._pid = start(
                    f"{__name__}:_generate", (job_read, result_write, error_write), (mcpu, opt), timeout_seconds
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        except BaseException:
            self.close()
            raise
        for fd in (job_read, result_write, error_write):
            os.close(fd)
            self._fds.remove(fd)
        self._job, self._result, self._error = job_write, result_read, error_read

    def run(self, ir: str, meanwhile: Callable[[], object] = lambda: None) -> bytes:
        """Compile one module. Raises `CodeGenerationError`; never waits longer than the timeout.

        ``meanwhile`` is called once the child has all of it: to import what will be needed next, say.
        """
        job = memoryview(ir.encode())
        result: list[bytes] = []
        errors: list[bytes] = []
        deadline = time.monotonic() + self._timeout
        os.set_blocking(self._job, False)
        poller = select.poll()
        poller.register(self._job, select.POLLOUT)
        poller.register(self._result, select.POLLIN)
        poller.register(self._error, select.POLLIN)
        waiting = {self._job, self._result, self._error}
        try:
            while self._result in waiting or self._error in waiting:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise CodeGenerationError("timeout", error_text(errors))
                for fd, _ in poller.poll(left * 1000):
                    if fd == self._job:
                        try:
                            job = job[os.write(fd, job[: 1 << 16]) :]
                        except BlockingIOError:
                            continue
                        except BrokenPipeError:
                            job = job[:0]  # the child has ended; its exit status says why
                        if not job:
                            poller.unregister(fd)
                            waiting.discard(fd)
                            self._close_fd(fd)
                            meanwhile()
                        continue
                    chunk = os.read(fd, 1 << 18)
                    if not chunk:
                        poller.unregister(fd)
                        waiting.discard(fd)
                    elif fd == self._result:
                        result.append(chunk)
                    elif sum(map(len, errors)) < _STDERR_LIMIT_BYTES:
                        errors.append(chunk)
            status = self._reap(deadline)
        finally:
            self.close()
        elf = b"".join(result)
        # A parent that ignores SIGCHLD gets no status; a whole ELF file speaks for itself.
        if status == 0 or (status is None and elf[:4] == b"\x7fELF"):
            return elf
        raise CodeGenerationError(how_ended(status), error_text(errors))

    def close(self) -> None:
        """End the child if it still runs, and reap it. Harmless when done already."""
        for fd in list(self._fds):
            self._close_fd(fd)
        pid, self._pid = self._pid, 0
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass

    def __enter__(self) -> CodeGenerator:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_pid", 0):
            self.close()

    def _close_fd(self, fd: int) -> None:
        if fd in self._fds:
            self._fds.remove(fd)
            os.close(fd)

    def _reap(self, deadline: float) -> int | None:
        """The wait status; None if somebody else took it (a SIGCHLD handler of the program we are part of)."""
        pause = 0.0005
        while self._pid:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                self._pid = 0
                return None
            if pid:
                self._pid = 0
                return status
            if time.monotonic() > deadline:
                raise CodeGenerationError("timeout", "")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        return None


def how_ended(status: int | None) -> str:
    if status is None:
        return "ended early"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return "timeout" if number == signal.SIGALRM else signal.Signals(number).name
        except ValueError:
            return f"signal {number}"
    code = os.WEXITSTATUS(status)
    known = {_ERROR_EXIT: "refused", _NO_LLVM_EXIT: "missing", _NO_START_EXIT: "not started"}
    return known.get(code, f"exit status {code}")


def error_text(chunks: list[bytes]) -> str:
    return b"".join(chunks).decode("utf-8", "replace")


def _single_threaded() -> bool:
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:
        threading = sys.modules.get("threading")
        return threading is None or threading.active_count() == 1


def start(work: str, fds: tuple[int, int, int], arguments: tuple[object, ...], timeout_seconds: float) -> int:
    """Start a child that runs ``work`` (``"module:function"``) as ``function(job, result, *arguments)`` and exits; its
    process number. ``fds`` are the child's ends: jobs to read, results to write, errors (its stdout and stderr).
    ``arguments`` must survive `repr`. 0 seconds: no timer.
    """
    return (_fork if _single_threaded() else _spawn)(work, fds, arguments, timeout_seconds)


def _fork(work: str, fds: tuple[int, int, int], arguments: tuple[object, ...], timeout: float) -> int:
    pid = os.fork()
    if pid == 0:
        gc.disable()  # the parent's garbage is the parent's: a finalizer in here could import while an import runs
        try:
            _child_main(work, fds, arguments, timeout)
        except BaseException as e:  # before its descriptors were in order: none left, say
            os.write(fds[2], f"{type(e).__name__}: {e}\n".encode()[:60000])
        finally:
            os._exit(_NO_START_EXIT)
    return pid


def _spawn(work: str, fds: tuple[int, int, int], arguments: tuple[object, ...], timeout: float) -> int:
    import subprocess

    # The child gets descriptors 0, 1 and 2, and our sys.path: a venv or a test may have changed it.
    path = [p for p in sys.path if p]
    code = (
        f"import sys; sys.path[:] = {path!r}; from ebpf.compiler.llvm import child; "
        f"child._spawned({work!r}, {arguments!r}, {timeout})"
    )
    process = subprocess.Popen(
        [sys.executable or "python3", "-I", "-S", "-c", code],
        stdin=fds[0],
        stdout=fds[1],
        stderr=fds[2],
        start_new_session=True,
    )
    process.returncode = 0  # we reap it ourselves; this keeps Popen's destructor from doing so
    return process.pid


def _spawned(work: str, arguments: tuple[object, ...], timeout: float) -> NoReturn:
    job, result = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    _child_main(work, (job, result, 2), arguments, timeout)


# ------------------------------------------------------------------------------------------------- in the child


def _child_main(work: str, fds: tuple[int, int, int], arguments: tuple[object, ...], timeout: float) -> NoReturn:
    """Do the work, exit. Never returns, runs none of the parent's exit handlers."""
    # Ctrl-C reaches the whole foreground group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP", "SIGALRM", "SIGABRT", "SIGPIPE", "SIGCHLD"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.alarm(int(timeout) + 5 if timeout else 0)
    # High numbers first, so that no dup2 below overwrites one still needed; then nothing of the parent's stays open:
    # a map or link of its must not outlive it because a compilation was still running.
    import fcntl

    job, result, error = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in fds)
    os.dup2(error, 2)
    os.dup2(error, 1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    keep = sorted((job, result))
    os.closerange(3, keep[0])
    os.closerange(keep[0] + 1, keep[1])
    os.closerange(keep[1] + 1, 1 << 20)
    try:
        from importlib import import_module

        module, _, function = work.partition(":")
        getattr(import_module(module), function)(job, result, *arguments)
    except BaseException as e:  # whatever it is, it must not unwind into the parent's frames
        os.write(2, f"{type(e).__name__}: {e}\n".encode()[:60000])
        os._exit(_NO_LLVM_EXIT if isinstance(e, ImportError) else _ERROR_EXIT)
    os._exit(0)


def _generate(job: int, result: int, mcpu: str, opt: int) -> None:
    """Read IR until end of file, write the object."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGABRT is an answer here, not a crash to keep
    try:
        import llvmlite.binding as llvm
    except OSError as e:  # its library is there and does not load: no memory, damaged
        raise ImportError(str(e)) from None

    # Of a parent that is killed, the end of the pipe tells only while we read; LLVM can take minutes. (llvmlite has
    # loaded ctypes already.) A parent that died before this line has closed the pipe by now.
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("bpfel").create_target_machine(cpu=mcpu, opt=opt)
    tuning = llvm.create_pipeline_tuning_options(speed_level=opt)
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_interleaving = False
    tuning.loop_unrolling = True
    # With the target machine: it registers the passes that lower CO-RE's intrinsics.
    builder = llvm.create_pass_builder(machine, tuning)
    passes = builder.getModulePassManager()

    chunks = []
    while chunk := os.read(job, 1 << 18):
        chunks.append(chunk)
    ir = b"".join(chunks)
    if not ir:
        os._exit(0)  # the front end found a mistake, or the parent is gone
    module = llvm.parse_assembly(ir.decode())
    module.verify()
    passes.run(module, builder)
    elf = memoryview(machine.emit_object(module))
    while elf:
        elf = elf[os.write(result, elf) :]
