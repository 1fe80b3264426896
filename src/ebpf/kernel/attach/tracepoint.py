"""Tracepoints: places the kernel's authors chose, with arguments in a documented record."""

from __future__ import annotations

import errno as _errno
import os
from typing import TYPE_CHECKING

from ebpf.diagnostics import did_you_mean
from ebpf.errors import EbpfError, TargetNotFound
from ebpf.kernel import sys
from ebpf.kernel.attach.link import refused
from ebpf.kernel.attach.perf import open_event, set_program
from ebpf.kernel.replacement import replacement
from ebpf.kernel.tracepipe import tracefs

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, category: str, name: str, *, pid: int | None = None,
           cookie: int | None = None) -> KernelLink:
    """Run `program` at tracepoint ``category:name`` (``"syscalls", "sys_enter_openat"``); `pid`: for that process only.

    Raises `TargetNotFound` with similar tracepoints; `KernelError` if tracefs is not mounted.
    """
    target = f"{category}:{name}"
    attr = sys.perf_event_attr(sys.PERF_TYPE_TRACEPOINT, tracepoint_id(category, name), sample=1, wakeup_events=1)
    event = open_event(attr, pid)
    if event < 0:
        if event == -_errno.ESRCH and pid is not None:
            raise TargetNotFound(f"no process {pid}", name=str(pid))
        raise refused(program, "tracepoint", target, -event, needs=("CAP_PERFMON",))
    return set_program(program, event, kind="tracepoint", target=target, cookie=cookie)


def tracepoint_id(category: str, name: str) -> int:
    """The number by which perf knows the tracepoint."""
    root = tracefs()
    try:
        with open(f"{root}/events/{category}/{name}/id") as file:
            return int(file.read())
    except PermissionError as error:
        raise sys.failure(f"open({root}/events/{category}/{name}/id)", error.errno or _errno.EACCES,
                          needs=("CAP_DAC_READ_SEARCH",)) from None
    except (OSError, ValueError):
        raise tracepoint_not_found(category, name) from None


def tracepoint_not_found(category: str, name: str) -> EbpfError:
    """The error for a tracepoint that does not exist."""
    known = tracepoints()
    similar = did_you_mean(f"{category}:{name}", known) or [t for t in known if t.endswith(f":{name}")]
    notes: tuple[str, ...] = ()
    if category not in {t.partition(":")[0] for t in known}:
        notes = (f"there is no category {category!r}; its module may not be loaded",)
    helps = (f"similar tracepoints: {', '.join(similar)}",) if similar else ()
    if (instead := replacement(f"tracepoint:{category}:{name}")) is not None:
        helps = (f"this kernel has {instead} in its place",)
    return TargetNotFound(f"no tracepoint called {category}:{name}", name=f"{category}:{name}", similar=similar,
                          notes=notes, helps=helps)


def tracepoints(category: str | None = None) -> list[str]:
    """All tracepoints as ``category:name``, sorted; those of one category if it is given."""
    root = f"{tracefs()}/events"
    found = []
    for group in [category] if category is not None else sorted(os.listdir(root)):
        try:
            with os.scandir(f"{root}/{group}") as entries:
                found += sorted(f"{group}:{e.name}" for e in entries if e.is_dir())
        except OSError:
            continue
    return found
