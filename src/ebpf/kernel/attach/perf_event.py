"""Perf events: a program that runs each time a software or hardware counter overflows (sampling, profiling)."""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING

from ebpf.abi.perf_events import PERF_EVENTS
from ebpf.errors import EbpfError, NotSupported, TargetNotFound, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.link import LinkGroup, refused
from ebpf.kernel.attach.perf import set_program
from ebpf.kernel.cpus import online_cpus

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

_PID_CGROUP = 4  # PERF_FLAG_PID_CGROUP


def attach(program: KernelProgram, type: int, config: int, *, period: int = 0, frequency: int = 0,
           pid: int | None = None, cpu: int | None = None, inherit: bool = False,
           cookie: int | None = None, cgroup: str | None = None) -> KernelLink:
    """Run `program` every `period` counts, or `frequency` times a second, of the counter (`type`, `config`).

    `PERF_EVENTS` has both by name. `pid`: count for that process only (`inherit`: and its children to come); `cpu`: on
    that CPU only; with neither on every CPU that is online. `cgroup`: only while processes of that control group (its
    path, in the hierarchy that perf uses) run.
    """
    if bool(period) == bool(frequency):
        raise UsageError("give either a period (in counts) or a frequency (in Hz)")
    flags = (sys.PERF_ATTR_FREQ if frequency else 0) | (sys.PERF_ATTR_INHERIT if inherit else 0)
    attr = sys.perf_event_attr(type, config, sample=frequency or period, flags=flags)
    cpus = [cpu] if cpu is not None else [-1] if pid is not None else online_cpus()
    name = next((n for n, event in PERF_EVENTS.items() if event == (type, config)), f"event {type}:{config:#x}")
    links: list[KernelLink] = []
    group = _open_group(cgroup, pid) if cgroup is not None else None
    target = -1 if pid is None else pid
    try:
        for on in cpus:
            event = (sys.perf_event_open(attr, group.fileno(), on, flags=sys.PERF_FLAG_FD_CLOEXEC | _PID_CGROUP)
                     if group is not None else sys.perf_event_open(attr, target, on))
            if event == -_errno.ENODEV and cpu is None:
                continue  # went offline meanwhile
            if event < 0:
                raise _failure(program, name, type, pid, on, -event)
            links.append(set_program(program, event, kind="perf_event", target=name, cookie=cookie))
    except BaseException:
        for link in links:
            link.detach()
        raise
    if len(links) == 1:
        return links[0]
    return LinkGroup(links, kind="perf_event", target=name, program=program.name)


def _open_group(path: str, pid: int | None) -> sys.OwnedFd:
    if pid is not None:
        raise UsageError("an event belongs to a process or to a control group, not both")
    try:
        return sys.OwnedFd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise TargetNotFound(f"no control group {path}: {error.strerror}", name=path) from None


def _failure(program: KernelProgram, name: str, type: int, pid: int | None, cpu: int, errno: int) -> EbpfError:
    if errno == _errno.ESRCH:
        return TargetNotFound(f"no process {pid}", name=str(pid))
    if errno in (_errno.ENOENT, _errno.EOPNOTSUPP) and type in (0, 3, 4):
        return NotSupported(f"the hardware counter {name}", instead="use a software event such as cpu-clock: this "
                            "machine (a virtual one?) has no such counter")
    if errno == _errno.ENOENT:
        return NotSupported(f"perf events of that control group ({name})", notes=(
            "perf's controller is not in the hierarchy of this group (CONFIG_CGROUP_PERF, or it is mounted as version "
            "1)",))
    if errno == _errno.EINVAL and cpu >= 0 and cpu not in online_cpus():
        return TargetNotFound(f"CPU {cpu} is not online", name=str(cpu))
    return refused(program, "perf event", name, errno, needs=("CAP_PERFMON",))
