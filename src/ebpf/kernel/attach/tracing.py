"""Programs whose target was settled when they were loaded (``attach_btf_id``): fentry, fexit, fmod_ret, tp_btf, LSM,
freplace; and iterators."""

from __future__ import annotations

import errno as _errno
import struct
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import AttachError, EbpfError, NotSupported, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.conflict import describe, linked
from ebpf.kernel.attach.link import KernelLink, create, refused

if TYPE_CHECKING:
    from ebpf.kernel.maps import KernelMap
    from ebpf.kernel.programs import KernelProgram

_KINDS = {AttachType.TRACE_FENTRY: "fentry", AttachType.TRACE_FEXIT: "fexit", AttachType.MODIFY_RETURN: "fmod_ret",
          AttachType.TRACE_RAW_TP: "tp_btf", AttachType.LSM_MAC: "lsm", AttachType.TRACE_ITER: "iter"}


def attach(program: KernelProgram, *, cookie: int = 0) -> KernelLink:
    """Attach `program` where it was loaded for. Needs BTF in the kernel and (fentry, fexit) CONFIG_FUNCTION_TRACER."""
    kind = _KINDS.get(AttachType(program.expected_attach_type), "tracing")
    if program.type == ProgType.EXT:
        kind = "freplace"
    target = program.attach_to or "its target"
    if cookie:  # tail of LINK_CREATE for tracing: target_btf_id, (padding), cookie; Linux 5.19
        return create(program, target_fd=0, attach_type=program.expected_attach_type, kind=kind, target=target,
                      extra=struct.pack("@IQ", 0, cookie), explain=lambda e: _explain(kind, target, e, program))
    result, _ = sys.attempt("RAW_TRACEPOINT_OPEN", prog_fd=program.fileno())
    if result < 0:
        raise _explain(kind, target, -result, program) or refused(program, kind, target, -result,
                                                                  needs=("CAP_PERFMON",))
    return KernelLink((result,), kind=kind, target=target, program=program.name, is_bpf_link=True)


def _explain(kind: str, target: str, errno: int, program: KernelProgram) -> EbpfError | None:
    if errno in (sys.ENOTSUPP, _errno.EOPNOTSUPP):
        return NotSupported(f"{kind} programs", instead="use kprobes; this kernel is built without "
                            "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS" if kind != "lsm" else "boot with lsm=…,bpf")
    if errno == _errno.EBUSY:
        attach_type, function = program.expected_attach_type, program.info().attach_btf_id
        there = linked(lambda info: info.type == "tracing" and bool(function)
                       and info.details["target_btf_id"] == function
                       and (kind == "freplace" or info.details["attach_type"] == attach_type))
        return AttachError(f"{kind} {target}: it is taken (a function takes one fmod_ret or freplace, or is "
                           "being live-patched)", notes=describe(there))
    if errno == _errno.E2BIG:
        return AttachError(f"{kind} {target}: 38 programs are attached there already, the kernel's limit")
    return None


def attach_iterator(program: KernelProgram, *, map: KernelMap | None = None, pid: int | None = None,
                    tid: int | None = None, cgroup: int | None = None, order: int = 2) -> KernelLink:
    """Make an iterator usable; `open_iterator` then runs it.

    What it goes over, where it asks: the elements of `map` (bpf_map_elem, sockmap, bpf_sk_storage_map); of one process
    or thread (task, task_file, task_vma: Linux 6.1); groups from the descriptor `cgroup` on in `order` (1 itself, 2
    descendants first come first, 3 last, 4 ancestors; Linux 6.1).
    """
    info = b""
    if map is not None:
        info = struct.pack("@IIII", map.fileno(), 0, 0, 0)
    elif cgroup is not None:
        info = struct.pack("@IIQ", order, cgroup, 0)
    elif pid is not None or tid is not None:
        info = struct.pack("@IIII", tid or 0, pid or 0, 0, 0)
    extra = struct.pack("@QI", sys.address_of(info), len(info)) if info else b""

    def explain(errno: int) -> EbpfError | None:
        if errno in (_errno.EBADF, _errno.EINVAL) and program.attach_to in _OVER_MAPS and map is None:
            return UsageError(f"iterator {program.name!r} goes over a map", helps=("say which: map=session.maps[…]",))
        if errno == _errno.EINVAL and info:
            return NotSupported(f"iterators over {program.attach_to} of one {'map' if map else 'target'}", since="6.1")
        return None

    return create(program, target_fd=0, attach_type=AttachType.TRACE_ITER, kind="iter", target=program.attach_to,
                  extra=extra, explain=explain)


_OVER_MAPS = frozenset({"bpf_map_elem", "sockmap", "bpf_sk_storage_map"})


def open_iterator(link: KernelLink) -> sys.OwnedFd:
    """A descriptor that reads as the text the iterator writes, once."""
    return sys.OwnedFd(sys.call("ITER_CREATE", link_fd=link.fileno()))
