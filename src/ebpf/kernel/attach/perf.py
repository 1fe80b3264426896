"""What kprobes, uprobes, tracepoints and perf events share: a perf event, and a program set on it."""

from __future__ import annotations

import errno as _errno
import os
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType
from ebpf.errors import AttachError, NotSupported
from ebpf.kernel import sys
from ebpf.kernel.attach.link import KernelLink, refused
from ebpf.kernel.cpus import online_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.kernel.programs import KernelProgram

_SOURCES = "/sys/bus/event_source/devices/"


@lru_cache(maxsize=8)
def dynamic_pmu(name: str) -> tuple[int, int, int] | None:
    """Of the PMU "kprobe" or "uprobe" (Linux 4.17): its type, the bit for return probes, the shift of ref_ctr.

    None where the kernel has no such PMU, which then leaves tracefs' ``kprobe_events``.
    """
    try:
        with open(f"{_SOURCES}{name}/type") as file:
            type = int(file.read())
        with open(f"{_SOURCES}{name}/format/retprobe") as file:
            retprobe = int(file.read().partition(":")[2])
    except (OSError, ValueError):
        return None
    shift = 32
    try:
        with open(f"{_SOURCES}{name}/format/ref_ctr_offset") as file:
            shift = int(file.read().partition(":")[2].partition("-")[0])
    except (OSError, ValueError):
        pass
    return type, retprobe, shift


def open_event(attr: sys.Buffer, pid: int | None) -> int:
    """A perf event for one process on any CPU, or (None) for all: programs then run on every CPU. Or ``-errno``."""
    where = (pid, -1) if pid is not None else (-1, 0)
    fd = sys.perf_event_open(attr, *where)
    if fd == -_errno.EMFILE and _more_files():
        fd = sys.perf_event_open(attr, *where)
    if fd == -_errno.ENODEV and pid is None:  # CPU 0 is offline
        fd = sys.perf_event_open(attr, -1, online_cpus()[0])
    return fd


def _more_files() -> bool:
    """Lift the soft limit of open files to the hard one: a probe is a descriptor, and 1024 is soon too few."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return True


def set_program(program: KernelProgram, event: int, *, kind: str, target: str, cookie: int | None = None,
                after: Callable[[], object] | None = None) -> KernelLink:
    """Let `program` run on perf event `event`, which the link then owns: by a BPF link (5.15), else by ioctl."""
    try:
        extra = struct.pack("@Q", cookie or 0)
        members: dict[str, int | bytes] = {"prog_fd": program.fileno(), "target_fd": event,
                                           "attach_type": AttachType.PERF_EVENT, "extra": extra}
        result, _ = sys.attempt("LINK_CREATE", **members)
        if result == -_errno.EMFILE and _more_files():
            result, _ = sys.attempt("LINK_CREATE", **members)
        if result < 0:
            if cookie:
                raise NotSupported("attach cookies", since="5.15")
            set_result = sys.ioctl(event, sys.PERF_EVENT_IOC_SET_BPF, program.fileno())
            if set_result < 0:
                raise _set_failure(program, kind, target, -set_result)
        link = KernelLink((result if result >= 0 else event,), kind=kind, target=target, program=program.name,
                          is_bpf_link=result >= 0, after=after)
        after = None
        enabled = sys.ioctl(event, sys.PERF_EVENT_IOC_ENABLE)
        if result < 0:
            event = -1  # the link's now
        if enabled < 0:
            link.detach()
            raise sys.failure("ioctl(PERF_EVENT_IOC_ENABLE)", -enabled)
        return link
    finally:
        # A BPF link holds on to its perf event by itself: one descriptor less for each probe.
        if event >= 0:
            os.close(event)
        if after is not None:
            after()


def _set_failure(program: KernelProgram, kind: str, target: str, errno: int) -> Exception:
    if errno == _errno.E2BIG:
        return AttachError(f"attaching {program.name!r} to {kind} {target}: 64 programs are attached there already, "
                           "the kernel's limit")
    if errno == _errno.EACCES and kind == "tracepoint":
        return AttachError(f"{program.name!r} reads past the end of tracepoint {target}'s record",
                           notes=("its argument structure belongs to another tracepoint or to another kernel",))
    return refused(program, kind, target, errno, needs=("CAP_PERFMON",))
