"""Watchpoints: a program that runs when an address is read, written or executed, by the processor's debug registers."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING, Final

from ebpf.errors import AttachError, EbpfError, NotSupported, TargetNotFound, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.link import LinkGroup, refused
from ebpf.kernel.attach.perf import set_program
from ebpf.kernel.cpus import online_cpus

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

_ACCESSES: Final = {"r": 1, "w": 2, "x": 4}  # HW_BREAKPOINT_R, _W, _X
_LENGTHS: Final = (1, 2, 4, 8)


def attach(program: KernelProgram, address: int, *, length: int, mode: str, pid: int | None = None) -> KernelLink:
    """Run `program` when `length` (1, 2, 4, 8) bytes at `address` are accessed as `mode` says: r, w, x, or rw.

    `pid`: in that process; without one on every CPU, which is for the kernel's addresses. A processor has few of them
    (x86: four).
    """
    if length not in _LENGTHS or not mode or set(mode) - set(_ACCESSES):
        raise UsageError(f"a watchpoint has 1, 2, 4 or 8 bytes and a mode of r, w, x, not {length} and {mode!r}")
    attr = sys.perf_event_attr(sys.PERF_TYPE_BREAKPOINT, 0, sample=1, wakeup_events=1, config1=address, config2=length,
                               bp_type=sum(_ACCESSES[letter] for letter in set(mode)))
    target = f"{address:#x}:{length}:{mode}"
    links: list[KernelLink] = []
    try:
        for cpu in online_cpus() if pid is None else [-1]:
            event = sys.perf_event_open(attr, -1 if pid is None else pid, cpu)
            if event < 0:
                raise _failure(program, target, pid, -event)
            links.append(set_program(program, event, kind="watchpoint", target=target))
    except BaseException:
        for link in links:
            link.detach()
        raise
    return links[0] if len(links) == 1 else LinkGroup(links, kind="watchpoint", target=target, program=program.name)


def _failure(program: KernelProgram, target: str, pid: int | None, errno: int) -> EbpfError:
    if errno == _errno.ESRCH:
        return TargetNotFound(f"no process {pid}", name=str(pid))
    if errno == _errno.ENOSPC:
        return AttachError(f"watchpoint {target}: all of the processor's debug registers are in use")
    if errno in (_errno.EINVAL, _errno.EOPNOTSUPP):
        return NotSupported(f"a watchpoint {target}", who="this processor", notes=(
            "addresses are multiples of the length; x86 has no watchpoint for reading alone: use rw",))
    return refused(program, "watchpoint", target, errno, needs=("CAP_PERFMON",))
