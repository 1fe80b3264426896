"""Where guest kernels lie, and whether guests can run on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

QEMU = "qemu-system-x86_64"
# How a missing kernel is fetched, for messages.
FETCH = "python -m ebpf.testing.guests --fetch"

# The matrix: what Debian has between the oldest kernel that we promise to work on and the newest.
KERNELS = ("5.10", "6.1", "6.12", "6.18", "7.2")
# The one on which a default test run executes every guest test (Debian 12's own).
SAMPLE = "6.1"


def directory() -> Path:
    """The store; ``EBPF_GUESTS`` moves it. About 600 MB for the whole matrix with its snapshots."""
    return Path(os.environ.get("EBPF_GUESTS") or Path.home() / ".cache" / "ebpf-guests")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One fetched kernel: ``name`` is ours ("6.1"), ``release`` is what its `uname -r` says."""

    name: str
    directory: Path
    release: str

    @property
    def vmlinux(self) -> Path:
        """The uncompressed ELF image, started through PVH: nothing is unpacked at boot."""
        return self.directory / "vmlinux"

    @property
    def modules(self) -> Path:
        return self.directory / "modules" / self.release


def kernel(name: str) -> Kernel | None:
    """The fetched kernel of that name."""
    place = directory() / name
    try:
        return Kernel(name, place, (place / "release").read_text().strip())
    except OSError:
        return None


def fetched() -> list[str]:
    """Names of all fetched kernels, by version."""
    return sorted((place.parent.name for place in directory().glob("*/release") if place.parent.name[0].isdigit()),
                  key=lambda name: [int(part) for part in name.split(".") if part.isdigit()])


def busybox() -> Path:
    """The static busybox that is every guest's pid 1, fetched along with the kernels."""
    return directory() / "busybox"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file to write that becomes ``path`` when all went well; others see the old one or the new one, whole."""
    new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        yield new
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def locked(kernel: Kernel) -> Iterator[None]:
    """Keeps other threads and processes from making the same large file at the same time."""
    import fcntl  # no other system has it, and `why_not` answers there, too

    with open(kernel.directory / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def slots() -> int:
    """How many guests may run at once on this machine: emulation keeps a processor busy for each.

    ``EBPF_GUEST_SLOTS`` says otherwise. With more of them all are slower, and what bounds a test's time fires.
    """
    return max(1, int(os.environ.get("EBPF_GUEST_SLOTS") or os.cpu_count() or 1))


@contextmanager
def slot(stop: Callable[[], bool] | None = None) -> Iterator[bool]:
    """Waits for one of the `slots`, shared with every other process; False if ``stop`` said to give up waiting."""
    with ExitStack() as opened:
        locks = [opened.enter_context(open(directory() / f".slot-{i}", "w")) for i in range(slots())]
        while not (taken := any(_try_lock(lock) for lock in locks)) and not (stop is not None and stop()):
            time.sleep(0.1)
        yield taken


def _try_lock(file: IO[str]) -> bool:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def why_not(name: str | None = None) -> str | None:
    """Why a guest (under kernel ``name``) cannot run here, with what to do about it; None if it can."""
    if sys.platform != "linux":
        return f"guests run on Linux, this is {sys.platform}"
    if platform.machine() != "x86_64":
        return f"guests are x86-64 machines, this is {platform.machine()}"
    if shutil.which(QEMU) is None:
        return f"no {QEMU} (apt-get install qemu-system-x86)"
    if name is not None and kernel(name) is None:
        return f"kernel {name} is not fetched ({FETCH} {name})"
    return None
