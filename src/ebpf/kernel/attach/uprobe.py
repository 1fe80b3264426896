"""Uprobes: a program at an instruction of a user program or library, in one process or all; uretprobes: at a return."""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING

from ebpf.binaries.place import locate
from ebpf.errors import AttachError, EbpfError, NotSupported, TargetNotFound, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.link import refused
from ebpf.kernel.attach.perf import dynamic_pmu, open_event, set_program

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, binary: str, *, symbol: str | None = None, address: int | None = None,
           offset: int = 0, retprobe: bool = False, pid: int | None = None, ref_ctr_offset: int = 0,
           cookie: int | None = None) -> KernelLink:
    """Run `program` when `binary` executes the function `symbol` (+ `offset`), or virtual address `address`, or
    returns.

    `binary` is a path, a library's short name (``"c"``) or a program on PATH. With neither symbol nor address,
    `offset` is an offset in the file. `pid`: in that process only. `ref_ctr_offset`: file offset of a USDT semaphore.
    """
    place = locate(binary, symbol=symbol, address=address, offset=offset, pid=pid)
    return attach_at(program, place.path, place.offset, retprobe=retprobe, pid=pid, ref_ctr_offset=ref_ctr_offset,
                     cookie=cookie, target=place.text)


def attach_at(program: KernelProgram, path: str, offset: int, *, retprobe: bool = False, pid: int | None = None,
              ref_ctr_offset: int = 0, cookie: int | None = None, target: str = "") -> KernelLink:
    """Attach at a file offset of the file at `path`, without looking at symbols."""
    kind = "uretprobe" if retprobe else "uprobe"
    pmu = dynamic_pmu("uprobe")
    if pmu is None:
        raise NotSupported("uprobes through perf_event_open", since="4.17",
                           instead="use a kernel that is built with CONFIG_UPROBE_EVENTS")
    if pid is not None and pid <= 0:
        raise UsageError(f"a process id is positive, not {pid}; None means all processes")
    type, retprobe_bit, shift = pmu
    target = target or f"{path}+{offset:#x}"
    text = os.fsencode(path) + b"\0"
    attr = sys.perf_event_attr(type, int(retprobe) << retprobe_bit | ref_ctr_offset << shift, sample=1,
                               wakeup_events=1, config1=sys.address_of(text), config2=offset)
    event = open_event(attr, pid)
    if event < 0:
        raise _failure(program, kind, path, offset, target, pid, -event)
    return set_program(program, event, kind=kind, target=target, cookie=cookie)


def _failure(program: KernelProgram, kind: str, path: str, offset: int, target: str, pid: int | None,
             errno: int) -> EbpfError:
    if errno == _errno.ESRCH:
        return TargetNotFound(f"no process {pid}", name=str(pid))
    if errno == _errno.ENOENT:
        return TargetNotFound(f"no file {path}", name=path)
    if errno in (_errno.EINVAL, _errno.EILSEQ, _errno.ENOEXEC):
        return AttachError(f"{target} cannot be probed", notes=(
            f"file offset {offset:#x} is not the beginning of an instruction in executable code, or {path} is no "
            "regular file",))
    if errno == _errno.EIO:
        return AttachError(f"{target} cannot be probed: the file cannot be read there",
                           notes=(f"is {offset:#x} past the end of {path}?",))
    # perf_uprobe_event_init() asks for CAP_SYS_ADMIN where kprobes are content with CAP_PERFMON.
    return refused(program, kind, target, errno, needs=("CAP_SYS_ADMIN",))
