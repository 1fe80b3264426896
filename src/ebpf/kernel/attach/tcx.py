"""TCX (Linux 6.6) and netkit (6.7): programs for the packets of a network device, several in an order of one's own.

Both are lists of BPF links with the same rules, so they are one module: a new program stands at the end of the list, or
before or after another one that is there.
"""

from __future__ import annotations

import errno as _errno
import struct
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType
from ebpf.errors import AttachError, EbpfError, NotSupported, UsageError
from ebpf.kernel import sys
from ebpf.kernel.attach.link import KernelLink, create
from ebpf.kernel.attach.xdp import device_index, no_device

if TYPE_CHECKING:
    from ebpf.kernel.programs import KernelProgram

    Anchor = KernelLink | KernelProgram | int | None

# linux/bpf.h: how the anchor of an order is given.
_BEFORE, _AFTER, _ID, _LINK = 1 << 3, 1 << 4, 1 << 5, 1 << 13

_SIDES = {
    "tcx": {"ingress": AttachType.TCX_INGRESS, "egress": AttachType.TCX_EGRESS},
    "netkit": {"primary": AttachType.NETKIT_PRIMARY, "peer": AttachType.NETKIT_PEER},
}
_SINCE = {"tcx": "6.6", "netkit": "6.7"}


def attach(program: KernelProgram, device: str | int, side: str = "ingress", *, before: Anchor = None,
           after: Anchor = None, kind: str = "tcx") -> KernelLink:
    """Run `program` for packets of `device` (name or index) that arrive (``"ingress"``) or leave (``"egress"``); for
    netkit devices (`kind`) of the ``"primary"`` or the ``"peer"``.

    `before` and `after` name a program that is attached there: its link, the program itself, or its id. `before=0` is
    the very front, `after=0` (and neither) the very end.
    """
    index = device_index(device)
    attach_type = _SIDES[kind].get(side)
    if attach_type is None:
        raise UsageError(f"{kind} has no side {side!r}", helps=(f"it is {' or '.join(map(repr, _SIDES[kind]))}",))
    flags, relative = place(before, after)
    target = f"{device} {side}"

    def explain(errno: int) -> EbpfError | None:
        if errno == _errno.EPERM:
            return sys.failure(f"attaching {program.name!r} to {target}", errno, needs=("CAP_BPF", "CAP_NET_ADMIN"))
        if errno == _errno.EEXIST:
            return AttachError(f"{program.name!r} is attached to {target} already",
                               helps=("load it a second time to attach it twice",))
        if errno == _errno.ENOENT and relative:
            return AttachError(f"the program that {program.name!r} should stand {'before' if before else 'after'} is "
                               f"not attached to {target}")
        if errno == _errno.ERANGE:
            return AttachError(f"{target} has 64 programs, the kernel's limit")
        if errno == _errno.ENODEV:
            return no_device(str(device))
        if errno == _errno.EINVAL:
            return NotSupported(f"{kind} on {device}", since=_SINCE[kind],
                                notes=("the device is no netkit device",) if kind == "netkit" else ())
        return None

    return create(program, target_fd=index, attach_type=attach_type, flags=flags, kind=kind, target=target,
                  extra=struct.pack("@IxxxxQ", relative, 0), explain=explain)


def place(before: Anchor, after: Anchor) -> tuple[int, int]:
    """(flags, descriptor or id) for an anchor; `UsageError` for two."""
    if before is not None and after is not None:
        raise UsageError("a place is before or after another program, not both")
    anchor = before if before is not None else after
    if anchor is None:
        return 0, 0
    flags = _BEFORE if before is not None else _AFTER
    if isinstance(anchor, KernelLink):
        return flags | _LINK, anchor.fileno()
    if isinstance(anchor, int):
        return (flags | _ID, anchor) if anchor else (flags, 0)
    return flags, anchor.fileno()
