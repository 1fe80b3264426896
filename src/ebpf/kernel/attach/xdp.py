"""XDP: a program for every packet that a network device receives, before the stack sees it (BPF link: Linux 5.9)."""

from __future__ import annotations

import errno as _errno
import socket
from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType
from ebpf.diagnostics import did_you_mean
from ebpf.errors import AttachError, EbpfError, NotSupported, TargetNotFound
from ebpf.kernel import sys
from ebpf.kernel.attach.conflict import describe
from ebpf.kernel.attach.link import create
from ebpf.kernel.netlink import xdp_program

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

# XDP_FLAGS_* (linux/if_link.h); 0 lets the kernel take the driver's mode where it has one, else the generic one.
FLAGS_UPDATE_IF_NOEXIST, FLAGS_SKB_MODE, FLAGS_DRV_MODE, FLAGS_HW_MODE = 1, 2, 4, 8


def attach(program: KernelProgram, device: str | int, *, flags: int = 0) -> KernelLink:
    """Run `program` for packets of `device` (name or index). `flags`: one of the modes above."""
    index = device_index(device)

    def explain(errno: int) -> EbpfError | None:
        if errno == _errno.EPERM:
            return sys.failure(f"attaching {program.name!r} to {device}", errno,
                               needs=("CAP_BPF", "CAP_NET_ADMIN"))
        if errno in (_errno.EBUSY, _errno.EEXIST):
            return AttachError(f"{device} has an XDP program already", notes=describe([xdp_program(index)]), helps=(
                "programs of ours can share a device: attach each with chain=PRIORITY",
                f"or take that one off: `ip link set dev {device} xdp off`, or detach the link that holds it "
                "(`ebpf link list`)"))
        if errno == _errno.ENODEV:
            return no_device(str(device))
        if errno in (_errno.EOPNOTSUPP, _errno.EINVAL) and flags & (FLAGS_DRV_MODE | FLAGS_HW_MODE):
            return NotSupported(f"native or offloaded XDP on {device}", instead="use FLAGS_SKB_MODE, or no mode at all",
                                notes=("its driver has none, or its MTU or offloads forbid it",))
        if errno == _errno.EINVAL and flags & FLAGS_SKB_MODE:
            return NotSupported(f"this program in generic XDP on {device}", since="5.13", notes=(
                "before that generic XDP takes none whose devmap or cpumap may hold programs",))
        return None

    # UPDATE_IF_NOEXIST is netlink's; a link never replaces anything.
    return create(program, target_fd=index, attach_type=AttachType.XDP, flags=flags & ~FLAGS_UPDATE_IF_NOEXIST,
                  kind="xdp", target=str(device), explain=explain)


def device_index(device: str | int) -> int:
    """The index of a network device in this network namespace; `TargetNotFound` names those there are."""
    if isinstance(device, int):
        return device
    try:
        return socket.if_nametoindex(device)
    except OSError:
        raise no_device(device) from None


def no_device(device: str) -> TargetNotFound:
    """The error for a device that is not there, with those that are."""
    names = [name for _, name in socket.if_nameindex()]
    return TargetNotFound(f"no network device {device!r}", name=device, similar=did_you_mean(device, names),
                          helps=(f"there are: {', '.join(names)}",) if names else ())
