"""Raw tracepoints: a tracepoint's arguments as the kernel passes them, without the record (Linux 4.17)."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from ebpf.abi.programs import ProgType
from ebpf.diagnostics import did_you_mean
from ebpf.errors import AttachError, NotSupported, TargetNotFound, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.link import KernelLink, refused
from ebpf.kernel.symbols import kernel_symbols

if TYPE_CHECKING:
    from ebpf.kernel.programs import KernelProgram

_TYPES = (ProgType.RAW_TRACEPOINT, ProgType.RAW_TRACEPOINT_WRITABLE)


def attach(program: KernelProgram, name: str, *, cookie: int = 0) -> KernelLink:
    """Run `program` at the tracepoint `name` (``"sched_switch"``, without category). `cookie` needs Linux 6.10."""
    text = name.encode() + b"\0"
    result, _ = sys.attempt("RAW_TRACEPOINT_OPEN", name=sys.address_of(text), prog_fd=program.fileno(), cookie=cookie)
    if result == -_errno.ENOENT:
        similar = did_you_mean(name, raw_tracepoints())
        raise TargetNotFound(f"no raw tracepoint called {name!r}", name=name, similar=similar,
                             helps=(f"similar ones: {', '.join(similar)}",) if similar else ())
    if result == -_errno.EINVAL and program.type not in _TYPES:
        raise UsageError(f"{program.name!r} is a {program.type_name} program, which no raw tracepoint takes",
                         helps=(f'SEC("raw_tp/{name}")',))
    if result == -_errno.EINVAL and cookie:
        raise NotSupported("cookies of raw tracepoints", since="6.10", instead="attach it without")
    if result == -_errno.EINVAL and (arguments := _arguments(name)) is not None:
        raise AttachError(f"{program.name!r} reads more arguments than the tracepoint {name} has on this kernel",
                          notes=(f"it has {len(arguments)}: {', '.join(arguments)}",),
                          helps=("is it meant for another tracepoint, or for a kernel where this one has more?",))
    if result < 0:
        raise refused(program, "raw tracepoint", name, -result, needs=("CAP_PERFMON",))
    return KernelLink((result,), kind="raw_tracepoint", target=name, program=program.name, is_bpf_link=True)


def _arguments(name: str) -> list[str] | None:
    """Their types, as C."""
    from ebpf.btf import format_decl
    from ebpf.btf.types import FuncProto, Kind, Ptr, Typedef
    from ebpf.kernel.facts import kernel_btf

    btf = kernel_btf()
    found = None if btf is None else btf.find(f"btf_trace_{name}", Kind.TYPEDEF)
    if btf is None or found is None:
        return None
    typedef = btf.type(found)
    pointer = btf.type(typedef.type) if isinstance(typedef, Typedef) else None
    proto = btf.type(pointer.type) if isinstance(pointer, Ptr) else None
    if not isinstance(proto, FuncProto):
        return None
    return [format_decl(btf, param.type, "").strip() for param in proto.params[1:]]


def raw_tracepoints() -> list[str]:
    """Names of all tracepoints compiled into the kernel and loaded modules, by their symbols."""
    prefix = "__traceiter_"
    return sorted({name.removeprefix(prefix) for name in kernel_symbols().functions() if name.startswith(prefix)})
