"""A program run as users run it, and what it says: on this machine and in guests."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(__file__).resolve().parent / "programs"
PYTHON: tuple[str, ...] = (sys.executable,)
EBPF: tuple[str, ...] = (sys.executable, "-m", "ebpf.cli")


def environment(**more: str) -> dict[str, str]:
    """Ours, with this checkout's packages in front."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1", **more}


class Running:
    """A program in a session of its own; what it writes is collected as it comes."""

    def __init__(self, argv: Sequence[str | Path], *, cwd: str | Path | None = None,
                 env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, cwd=cwd, env=environment(**(env or {})),
                                        start_new_session=True)
        self._out: list[bytes] = []
        self._err: list[bytes] = []
        self._threads = []
        for stream, sink in ((self.process.stdout, self._out), (self.process.stderr, self._err)):
            assert stream is not None
            thread = threading.Thread(target=lambda s=stream, k=sink: k.extend(iter(lambda: s.read1(65536), b"")))
            thread.start()
            self._threads.append(thread)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def out(self) -> str:
        return b"".join(self._out).decode(errors="replace")

    @property
    def err(self) -> str:
        return b"".join(self._err).decode(errors="replace")

    def wait_for(self, pattern: str, *, times: int = 1, meanwhile: Callable[[], object] = lambda: None,
                 timeout_s: float = 60) -> None:
        """Until standard output (or the other) shows `pattern` that often; `meanwhile` is what there is to be seen."""
        end = time.monotonic() + timeout_s
        while len(re.findall(pattern, self.out + self.err)) < times:
            if self.process.poll() is not None:
                raise AssertionError(f"ended (status {self.process.returncode}) before {pattern!r} came\n{self}")
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} did not come in {timeout_s:g} s\n{self}")
            meanwhile()
            time.sleep(0.05)

    def end(self, number: int | None = None, *, timeout_s: float = 30) -> int:
        """Send a signal to the whole group as a terminal does, and wait; the exit status (-N after signal N)."""
        if number is not None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                pass
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there {timeout_s:g} s after the signal\n{self}") from None
        finally:
            self.kill()
        return status

    def kill(self) -> None:
        """End it and all that it started; harmless when it is over."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait()
        for thread in self._threads:
            thread.join(10)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def __str__(self) -> str:
        return f"--- stdout\n{self.out}--- stderr\n{self.err}"


def run(argv: Sequence[str | Path], *, timeout_s: float = 60, **how: object) -> Running:
    """Run it to its end."""
    program = Running(argv, **how)  # type: ignore[arg-type]
    try:
        program.process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"not done after {timeout_s:g} s\n{program}") from None
    finally:
        program.kill()
    return program


def shows_our_frames(text: str) -> bool:
    """Whether a traceback goes through this package."""
    return f'File "{ROOT / "src"}' in text


def group_members(group: int) -> list[int]:
    """Processes of a process group that are still there, zombies apart."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(entry))
    return found


def wait_until(condition: Callable[[], bool], timeout_s: float = 10) -> bool:
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
