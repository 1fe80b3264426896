"""Lightweight tunnels (Linux 4.10, seg6local 4.18): a route whose packets go through a program.

There is no link for it: the route is ours, and a janitor takes it away when we end.
"""

from __future__ import annotations

import errno as _errno
import ipaddress
from typing import TYPE_CHECKING

from ebpf.abi.programs import ProgType
from ebpf.errors import AttachError, NotSupported, UsageError
from ebpf.kernel import netlink, sys
from ebpf.kernel.attach.janitor import Janitor
from ebpf.kernel.attach.xdp import device_index

if TYPE_CHECKING:
    from ebpf.kernel.attach.link import KernelLink
    from ebpf.kernel.programs import KernelProgram

_PLACES = {ProgType.LWT_IN: "in", ProgType.LWT_OUT: "out", ProgType.LWT_XMIT: "xmit",
           ProgType.LWT_SEG6LOCAL: "seg6local"}


def attach(program: KernelProgram, network: str, device: str | int, *, metric: int = 77) -> KernelLink:
    """Make a route to `network` (``"10.9.0.0/24"``) through `device`, whose packets `program` sees: as they arrive from
    there (lwt_in), are routed (lwt_out), are sent (lwt_xmit), or as the end of a segment route (lwt_seg6local).
    """
    place = _PLACES.get(program.type)
    if place is None:
        raise UsageError(f"{program.name!r} is a {program.type_name} program; routes take lwt_in, lwt_out, lwt_xmit "
                         "and lwt_seg6local ones")
    try:
        net = str(ipaddress.ip_network(network))
    except ValueError as error:
        raise UsageError(f"{network!r} is no network: {error}") from None
    index = device_index(device)
    target = f"{net} dev {device} ({place})"
    janitor = Janitor("route", net, index, metric)
    try:
        netlink.add_route(net, index, metric, place, program.fileno(), program.name)
    except OSError as error:
        janitor.dismiss()
        if error.errno == _errno.EEXIST:
            raise AttachError(f"there is a route to {net} with metric {metric} already",
                              helps=("give this one another metric=",)) from None
        if error.errno in (_errno.EOPNOTSUPP, _errno.EINVAL, _errno.EAFNOSUPPORT):
            raise NotSupported(f"programs on routes ({place}, {net})", notes=(
                "it takes CONFIG_LWTUNNEL_BPF" if place != "seg6local" else
                "it takes CONFIG_IPV6_SEG6_BPF and an IPv6 route",)) from None
        raise sys.failure(f"attaching {program.name!r} to {target}", error.errno or 0,
                          needs=("CAP_NET_ADMIN",)) from None
    return janitor.link(kind=f"lwt_{place}", target=target, program=program.name)
