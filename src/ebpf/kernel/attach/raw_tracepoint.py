"""Raw tracepoints: a tracepoint's arguments as the kernel passes them, without the record (Linux 4.17)."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from ebpf.diagnostics import did_you_mean
from ebpf.errors import TargetNotFound
from ebpf.kernel import sys
from ebpf.kernel.attach.link import KernelLink, refused
from ebpf.kernel.symbols import kernel_symbols

if TYPE_CHECKING:
    from ebpf.kernel.programs import KernelProgram


def attach(program: KernelProgram, name: str, *, cookie: int = 0) -> KernelLink:
    """Run `program` at the tracepoint `name` (``"sched_switch"``, without category). `cookie` needs Linux 6.10."""
    text = name.encode() + b"\0"
    result, _ = sys.attempt("RAW_TRACEPOINT_OPEN", name=sys.address_of(text), prog_fd=program.fileno(), cookie=cookie)
    if result == -_errno.ENOENT:
        similar = did_you_mean(name, raw_tracepoints())
        raise TargetNotFound(f"no raw tracepoint called {name!r}", name=name, similar=similar,
                             helps=(f"similar ones: {', '.join(similar)}",) if similar else ())
    if result < 0:
        raise refused(program, "raw tracepoint", name, -result, needs=("CAP_PERFMON",))
    return KernelLink((result,), kind="raw_tracepoint", target=name, program=program.name, is_bpf_link=True)


def raw_tracepoints() -> list[str]:
    """Names of all tracepoints compiled into the kernel and loaded modules, by their symbols."""
    prefix = "__traceiter_"
    return sorted({name.removeprefix(prefix) for name in kernel_symbols().functions() if name.startswith(prefix)})
