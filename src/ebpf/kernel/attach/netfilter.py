"""Netfilter hooks (Linux 6.4): a program among the packet filter's own, at a priority."""

from __future__ import annotations

import errno as _errno
import struct
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType
from ebpf.errors import AttachError, EbpfError, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.conflict import describe, linked
from ebpf.kernel.attach.link import create

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

FAMILIES = {"ipv4": 2, "ipv6": 10}  # NFPROTO_* (linux/netfilter.h)
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}  # NF_INET_*
_DEFRAG = 1  # BPF_F_NETFILTER_IP_DEFRAG, Linux 6.6
_LOWEST, _HIGHEST = -(1 << 31), (1 << 31) - 1  # the kernel keeps both for itself


def attach(program: KernelProgram, hook: str, *, family: str = "ipv4", priority: int = 0,
           defragment: bool = False) -> KernelLink:
    """Run `program` at the `hook` (``"prerouting"`` … ``"postrouting"``) of this network namespace; lower priorities
    come first, and each has one program. `defragment`: it sees whole packets (Linux 6.6).
    """
    for what, given, known in (("hook", hook, HOOKS), ("family", family, FAMILIES)):
        if given not in known:
            raise UsageError(f"netfilter has no {what} {given!r}", helps=(f"there are: {', '.join(known)}",))
    if not _LOWEST < priority < _HIGHEST:
        raise UsageError(f"priority {priority} does not fit: it lies between {_LOWEST + 1} and {_HIGHEST - 1}")
    target = f"{family} {hook} {priority}"

    def explain(errno: int) -> EbpfError | None:
        if errno == _errno.EPERM:
            return sys.failure(f"attaching {program.name!r} to netfilter {target}", errno,
                               needs=("CAP_BPF", "CAP_NET_ADMIN"))
        if errno in (_errno.EBUSY, _errno.EEXIST):
            return AttachError(f"netfilter {family} {hook} has a program of priority {priority} already",
                               notes=describe(linked(lambda info: info.type == "netfilter" and info.target == target)),
                               helps=("give this one another priority",))
        return None

    extra = struct.pack("@IIiI", FAMILIES[family], HOOKS[hook], priority, _DEFRAG if defragment else 0)
    return create(program, target_fd=0, attach_type=AttachType.NETFILTER, kind="netfilter", target=target, extra=extra,
                  explain=explain)
