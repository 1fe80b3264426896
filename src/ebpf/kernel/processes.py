"""Processes to be traced: a command that waits until its probes are attached, a process that runs already."""

from __future__ import annotations

import errno as _errno
import os
import shutil
import signal
from typing import TYPE_CHECKING

from ebpf.errors import KernelError, TargetNotFound, UsageError
from ebpf.kernel import sys

if TYPE_CHECKING:
    from collections.abc import Sequence


class Process:
    """A process that runs already. `fileno` is readable once it has ended (Linux 5.3)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        if pid <= 0:
            raise UsageError(f"a process id is positive, not {pid}")
        try:
            self._fd = sys.OwnedFd(os.pidfd_open(pid))
        except ProcessLookupError:
            raise TargetNotFound(f"no process {pid}", name=str(pid),
                                 notes=("it has ended, or never was",)) from None
        except OSError as error:
            if error.errno == _errno.EINVAL:
                raise UsageError(f"{pid} is a thread, not a process",
                                 helps=(f"its process is {_process_of(pid)}",)) from None
            raise KernelError(f"pidfd_open({pid})", error.errno or 0) from None

    def fileno(self) -> int:
        """Readable once the process has ended."""
        return self._fd.fileno()

    def release(self) -> None:
        """It runs already."""

    def close(self) -> None:
        """Watch it no longer."""
        self._fd.close()


def _process_of(thread: int) -> str:
    try:
        with open(f"/proc/{thread}/status") as file:
            return next((line.split()[1] for line in file if line.startswith("Tgid:")), "unknown")
    except OSError:
        return "unknown"


class Command(Process):
    """A command that is started, and runs from `release` on: the same process, so that probes see its first
    instruction.

    Raises `UsageError` if there is no such command. `close` ends what has not ended by itself.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        if not argv:
            raise UsageError("the command is empty")
        path = shutil.which(argv[0])
        if path is None:
            there = os.path.exists(argv[0])
            raise UsageError(f"the command {argv[0]!r} cannot be executed" if there else f"no command {argv[0]!r}",
                             notes=() if there or "/" in argv[0] else ("it is in none of the directories of PATH",))
        gate, self._key = os.pipe()
        refused, tell = os.pipe()
        pid = os.fork()
        if pid == 0:
            _wait_and_run(path, argv, gate, self._key, tell)
        os.close(gate)
        os.close(tell)
        self._refused = refused
        self.status: int | None = None
        try:
            super().__init__(pid)
        except BaseException:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def release(self) -> None:
        """Let it run. `KernelError` if the kernel does not execute it."""
        key, self._key = self._key, -1
        if key < 0:
            return
        os.write(key, b"!")
        os.close(key)
        refused, self._refused = self._refused, -1
        with open(refused, "rb") as file:  # ends when the new program takes over
            answer = file.read()
        if answer:
            raise KernelError("execve()", int(answer))

    def poll(self) -> int | None:
        """Its status once it has ended, negative for a signal; None while it runs."""
        if self.status is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self) -> None:
        for fd in (self._key, self._refused):
            if fd >= 0:
                os.close(fd)
        self._key = self._refused = -1
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
            os.waitpid(self.pid, 0)
            self.status = -signal.SIGTERM
        super().close()


def _wait_and_run(path: str, argv: Sequence[str], gate: int, key: int, tell: int) -> None:
    """In the child: what comes after fork. Never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.close(key)
        if os.read(gate, 1) == b"!":
            os.execv(path, list(argv))
    except OSError as error:
        os.write(tell, str(error.errno).encode())
    finally:
        os._exit(127)


def shell_output(command: str) -> bytes:
    """What a shell command writes to standard output; its errors go where ours go."""
    import subprocess

    return subprocess.run(command, shell=True, stdout=subprocess.PIPE, check=False).stdout
