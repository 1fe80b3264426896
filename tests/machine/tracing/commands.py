"""Commands to trace, and how tests trace them."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pytest

from ebpf.machine.tracing import Event, Needs, Tracer
from ebpf.machine.tracing.events import Hook

SECONDS = 60  # no command here takes more than a fraction of one; a machine may be slow

# A program of many ways: each test's C is the body of main, or functions before it.
_HEAD = """
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
"""


def build(folder: Path, source: str, *flags: str, name: str = "command") -> str:
    """Compile a C program; its path. Skips where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    (folder / f"{name}.c").write_text(_HEAD + source)
    subprocess.run(["gcc", "-O1", *flags, str(folder / f"{name}.c"), "-o", str(folder / name), "-lpthread"], check=True)
    return str(folder / name)


def finish(tracer: Tracer) -> int | None:
    """Release the command and handle its events to the end; its exit status."""
    tracer.release()
    deadline = time.monotonic() + SECONDS
    while not tracer.ended:
        tracer.dispatch(1)
        assert time.monotonic() < deadline, "the command does not end"
    return tracer.exit_status


def trace(argv: Sequence[str], probes: Iterable[tuple[Hook, Callable[[Event], object]]] = (), *,
          wait: bool = True) -> int | None:
    """Run a command with handlers; its exit status."""
    with Tracer(argv) as tracer:
        for hook, handler in probes:
            tracer.probe(hook, handler, Needs(wait=wait))
        return finish(tracer)
