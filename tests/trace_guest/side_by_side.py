"""Two tracers on the same work: Debian's bpftrace and ours, both attached before it begins, both ended by Ctrl-C after it.

Many scripts can be watched at once. Run inside a guest: ``python -m tests.trace_guest.side_by_side NAME…`` writes what
was said as a line of JSON for each (`tools` asks for that).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ebpf.errors import NotSupported

SCRIPTS = "/usr/sbin"
THEIRS = "/usr/bin/bpftrace"
OURS = (sys.executable, "-m", "ebpf.cli", "trace")
WORKLOAD = (sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "workload.py"))
_EPOLL = {"x86_64": ("232", "281", "441"), "aarch64": ("22", "441")}.get(os.uname().machine, ())
_PATIENCE_S = 400  # twenty compilers at once, under emulation
_ENDING_S = 60
NOT_RUN = 77  # the status of a witness that was left out


class Said(NamedTuple):
    """What a tracer wrote before and after the work began, what on standard error, and its status."""

    before: str
    out: str
    err: str
    status: int

    @property
    def whole(self) -> str:
        return self.before + self.out


class Watched(NamedTuple):
    """Both on one script. ``work``: what the work could not do."""

    theirs: Said
    ours: Said
    work: str = ""


def require_bpftrace() -> None:
    """Skip where the witness is not installed."""
    if not os.path.exists(THEIRS):
        raise NotSupported("comparing with bpftrace", who="this system", instead="install the package bpftrace")


class Tracer:
    """One tracer under way."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.out, self.err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        self.argv = argv
        self.begun = 0
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err,
                                        start_new_session=True)

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
            if waits and b"Attaching" in os.pread(self.out.fileno(), 65536, 0):
                return True
            time.sleep(0.1)
        return False

    def begin(self) -> None:
        """What it says from now on is about the work."""
        self.begun = os.fstat(self.out.fileno()).st_size

    def interrupt(self) -> None:
        """Ctrl-C."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)

    def end(self) -> Said:
        """What it said, once it has ended."""
        for patience in (_ENDING_S, _ENDING_S / 3):
            try:
                self.process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                self.interrupt()
        else:
            self.err.write(f"did not end at two Ctrl-C: in {_where(self.process.pid)}\n".encode())
            self.process.kill()
            self.process.wait()
        self.out.seek(0)
        out = self.out.read()
        self.err.seek(0)
        err = self.err.read().decode("utf-8", "replace")
        self.out.close()
        self.err.close()
        texts = [part.decode("utf-8", "replace") for part in (out[:self.begun], out[self.begun:])]
        return Said(texts[0], texts[1], err, self.process.returncode)


def _where(pid: int) -> str:
    """What the kernel does for a process, for whoever wonders why it does not end."""
    try:
        with open(f"/proc/{pid}/stack") as stack, open(f"/proc/{pid}/syscall") as call:
            return " ".join([call.read().split()[0], *(line.split()[-1] for line in stack)])
    except OSError as error:
        return str(error)


def observe(scripts: Mapping[str, Sequence[str]], areas: Sequence[str] = ()) -> dict[str, Watched]:
    """Both on each of the scripts (arguments of a tracer, by name), all at once, while the work is done once."""
    return dict(iter_observed(scripts, areas))


def iter_observed(scripts: Mapping[str, Sequence[str]], areas: Sequence[str] = (), *,
                  witness: bool = True) -> Iterator[tuple[str, Watched]]:
    """See `observe`; each script as soon as both tracers have ended.

    Without ``witness`` ours alone: what is said to be bpftrace's is then nothing, with the status `NOT_RUN`.
    """
    complaints = tempfile.TemporaryFile()
    work = subprocess.Popen([*WORKLOAD, *areas], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints,
                            text=True)
    assert work.stdin is not None and work.stdout is not None
    assert work.stdout.readline() == "ready\n", "the work could not be prepared"
    nobody = ("/bin/sh", "-c", f"exit {NOT_RUN}")
    tracers = {}
    everybody: list[Tracer] = []
    for name, arguments in scripts.items():
        tracers[name] = Tracer((THEIRS, *arguments) if witness else nobody), Tracer((*OURS, *arguments))
        everybody += tracers[name]
        for tracer in everybody[-4:-2]:  # two scripts' compilers at once, for two processors
            tracer.wait_attached()
    for tracer in everybody[-2:]:
        tracer.wait_attached()
    time.sleep(1.5)  # what timers say once a second of the start they have said
    for tracer in everybody:
        tracer.begin()
    work.stdin.write("\n")
    work.stdin.flush()
    work.stdout.readline()
    time.sleep(2.5)  # and what they say of the work
    for tracer in everybody:
        tracer.interrupt()
    complaints.seek(0)
    missing = complaints.read().decode("utf-8", "replace")
    for name, (theirs, ours) in tracers.items():
        yield name, Watched(theirs.end(), ours.end(), missing)
    work.communicate()
    complaints.close()


def watch(*arguments: str, areas: Sequence[str] = ()) -> tuple[Said, Said]:
    """(theirs, ours) for a script's file, or ``-e SCRIPT``."""
    both = observe({"": arguments}, areas)[""]
    return both.theirs, both.ours


def alone(argv: Sequence[str]) -> Said:
    """A script that ends by itself."""
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S, check=False)
    return Said("", done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"), done.returncode)


def main(names: Sequence[str]) -> None:
    """``--alone`` first: without the witness."""
    witness = names[0] != "--alone"
    names = names[not witness:]
    require_bpftrace()
    for name, watched in iter_observed({name: (f"{SCRIPTS}/{name}.bt",) for name in names}, witness=witness):
        print(json.dumps([name, watched]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
