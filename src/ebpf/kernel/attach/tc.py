"""tc filters (Linux 4.4): programs for the packets of a network device by the older way, in the order of priorities.

TCX (`tcx`, Linux 6.6) has links and replaces this. Here a filter stands in the device's ``clsact`` queueing
discipline, which is made if it is missing and stays; a janitor takes the filter off when we end.
"""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from ebpf.errors import AttachError, UsageError
from ebpf.kernel import netlink, sys
from ebpf.kernel.attach.janitor import Janitor
from ebpf.kernel.attach.xdp import device_index, no_device

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

_LAST_PRIORITY = 0xFFFF


def attach(program: KernelProgram, device: str | int, side: str = "ingress", *, priority: int = 0) -> KernelLink:
    """Run `program` for packets of `device` that arrive (``"ingress"``) or leave (``"egress"``). Lower priorities (1 to
    65535) come first; 0 lets the kernel choose one before all that are there.
    """
    index = device_index(device)
    if side not in netlink.PARENTS:
        raise UsageError(f"tc has no side {side!r}", helps=("it is 'ingress' or 'egress'",))
    if not 0 <= priority <= _LAST_PRIORITY:
        raise UsageError(f"priority {priority} does not fit: 1 to {_LAST_PRIORITY}, or 0")
    target = f"{device} {side}"
    # The janitor has to know which filter is ours before there is one: by its program.
    janitor = Janitor("tc", index, side, program.info().id)
    try:
        netlink.add_filter(index, side, program.fileno(), program.name, priority)
    except OSError as error:
        janitor.dismiss()
        errno = error.errno or 0
        if errno == _errno.ENODEV:
            raise no_device(str(device)) from None
        if errno == _errno.EINVAL:
            raise AttachError(f"attaching {program.name!r} to {target}: the kernel refuses it as a tc filter", notes=(
                f"it is a {program.type_name} program; tc takes sched_cls ones, and CONFIG_NET_CLS_BPF",)) from None
        raise sys.failure(f"attaching {program.name!r} to {target}", errno, needs=("CAP_NET_ADMIN",)) from None
    return janitor.link(kind="tc", target=target, program=program.name)
