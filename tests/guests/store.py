"""Where guest kernels lie, and whether guests can run on this machine."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

QEMU = "qemu-system-x86_64"

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
    with open(kernel.directory / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def why_not(name: str | None = None) -> str | None:
    """Why a guest (under kernel ``name``) cannot run here, with what to do about it; None if it can."""
    if platform.machine() != "x86_64":
        return f"guests are x86-64 machines, this is {platform.machine()}"
    if shutil.which(QEMU) is None:
        return f"no {QEMU} (apt-get install qemu-system-x86)"
    if name is not None and kernel(name) is None:
        return f"kernel {name} is not fetched (./dev guest --fetch {name})"
    return None
