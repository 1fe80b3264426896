"""The command, run in a guest as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import ebpf

TRACE = (sys.executable, "-m", "ebpf.cli", "trace")
BPFTRACE = (sys.executable, "-c", "import sys; from ebpf.cli.trace import main; sys.exit(main())")  # as installed
_SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(ebpf.__file__)))


def environment() -> dict[str, str]:
    """What finds this package, whoever runs it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([_SOURCE, *(p for p in sys.path if p)])}


def hidden(how: str, argv: Sequence[str]) -> list[str]:
    """A command where ``how`` (a shell's commands about mounts) holds for it alone."""
    return ["unshare", "-m", "sh", "-c", f'{how} || exit 99; exec "$@"', "sh", *argv]


def run(argv: Sequence[str], **variables: str) -> subprocess.CompletedProcess[str]:
    """To its end."""
    return subprocess.run(argv, capture_output=True, text=True, env={**environment(), **variables}, check=False,
                          timeout=100)


def start(*arguments: str) -> subprocess.Popen[str]:
    """``ebpf trace`` under way."""
    return subprocess.Popen([*TRACE, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=environment())


def wait_for(process: subprocess.Popen[str], line: str) -> None:
    """Read up to that line; a process that ends before says why."""
    assert process.stdout is not None and process.stderr is not None
    for read in process.stdout:
        if read == line:
            return
    raise AssertionError(f"it ended before it printed {line!r}: {process.stderr.read()}")


def left() -> list[object]:
    """Programs and links that have come into the kernel, once it had time to free what nobody uses."""
    until = time.monotonic() + 10
    while True:
        found = [each for each in _loaded() if (type(each), each.id) not in _BEFORE]
        if not found or time.monotonic() > until:
            return list(found)
        time.sleep(0.1)


def _loaded() -> list[Any]:
    return [*ebpf.inventory.programs(), *ebpf.inventory.links()]


_BEFORE = {(type(each), each.id) for each in _loaded()} if os.environ.get("EBPF_GUEST") else set()
