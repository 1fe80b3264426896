"""Two tracers on the same work: Debian's bpftrace and ours, both attached before it begins, both ended by Ctrl-C after it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from ebpf.errors import NotSupported

THEIRS = "/usr/bin/bpftrace"
OURS = (sys.executable, "-m", "ebpf.cli", "trace")
WORKLOAD = (sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "workload.py"))
_EPOLL = {"x86_64": ("232", "281", "441"), "aarch64": ("22", "441")}.get(os.uname().machine, ())
_PATIENCE_S = 90


class Said(NamedTuple):
    """What a tracer wrote, and its status."""

    out: str
    err: str
    status: int

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def require_bpftrace() -> None:
    """Skip where the witness is not installed."""
    if not os.path.exists(THEIRS):
        raise NotSupported("comparing with bpftrace", who="this system", instead="install the package bpftrace")


class Tracer:
    """One tracer under way."""

    def __init__(self, argv: tuple[str, ...]) -> None:
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.argv = argv
        self.process = subprocess.Popen(argv, stdout=self.out, stderr=self.err, start_new_session=True)

    def wait_attached(self) -> bool:
        """Until it waits for events; whether it does, and has not ended."""
        until = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                return False
            try:
                with open(f"/proc/{self.process.pid}/syscall") as file:
                    waits = file.read().split()[0] in _EPOLL
            except OSError:
                waits = False
            if waits and self._said_attached():
                return True
            time.sleep(0.02)
        return False

    def _said_attached(self) -> bool:
        return b"Attaching" in os.pread(self.out.fileno(), 65536, 0)

    def end(self) -> Said:
        """Ctrl-C, and what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
            file.close()
        return Said(texts[0], texts[1], self.process.returncode)


def watch(*arguments: str, work: tuple[str, ...] = WORKLOAD, extra: tuple[str, ...] = ()) -> tuple[Said, Said]:
    """(theirs, ours) for a script's file, or ``-e SCRIPT``, while `work` runs once. ``extra``: options for both."""
    tracers = [Tracer((THEIRS, *extra, *arguments)), Tracer((*OURS, *extra, *arguments))]
    ready = [tracer.wait_attached() for tracer in tracers]
    if all(ready):
        subprocess.run(work, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1.5)  # timers of the tools: what they say once a second they say once more
    theirs, ours = (tracer.end() for tracer in tracers)
    return theirs, ours


def alone(argv: tuple[str, ...]) -> Said:
    """A script that ends by itself."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False)
    return Said(done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), done.returncode)


_NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9a-f]{16}|\d+")


def normal(text: str) -> str:
    """A line without its numbers and the width of its columns."""
    return " ".join(_NUMBERS.sub("#", text).split())


def marked(said: Said, marks: tuple[str, ...]) -> set[str]:
    """The normalised lines that have one of the marks."""
    return {normal(line) for line in said.lines if any(mark in line for mark in marks)}
