"""How to take off what the kernel would keep: one function for each way, run here or by the janitor.

Arguments are numbers and text, so that they can be told to another process. Each takes off exactly what we put
there; what is gone already, or is somebody else's, is left alone.
"""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING, Final

from ebpf.kernel import netlink, sys

if TYPE_CHECKING:
    from collections.abc import Callable


def program(target: int, attach_type: int, program: int) -> int:
    """BPF_PROG_DETACH of that very program."""
    result, _ = sys.attempt("PROG_DETACH", target_fd=target, attach_type=attach_type, attach_bpf_fd=program)
    return result


def struct_ops(map: int) -> int:
    """The kernel forgets the table of a struct_ops map; what uses it now may go on until it ends."""
    key = bytes(4)
    result, _ = sys.attempt("MAP_DELETE_ELEM", map_fd=map, key=sys.address_of(key))
    return result


def tc(device: int, side: str, program_id: int) -> int:
    """The tc filter that runs that program."""
    results = [netlink.delete_filter(device, side, handle, info, found)
               for handle, info, found in list(netlink.filters(device, side)) if found == program_id]
    return min(results, default=0)


def route(network: str, device: int, metric: int) -> int:
    """A route with a program."""
    return netlink.delete_route(network, device, metric)


def xdp_chain(device: int, members: int, order: int, slot: int, program_id: int) -> int:
    """A member of a device's chain of XDP programs."""
    from ebpf.errors import EbpfError
    from ebpf.kernel import maps, xdp_chain

    try:
        with xdp_chain.locked(device):
            xdp_chain.Chain(maps._from_fd(members), maps._from_fd(order)).remove(slot, program_id)
    except EbpfError:
        return -_errno.EIO
    return 0


WAYS: Final[dict[str, Callable[..., int]]] = {"program": program, "struct_ops": struct_ops, "tc": tc, "route": route,
                                              "xdp_chain": xdp_chain}
HARMLESS: Final = frozenset({0, _errno.ENOENT, _errno.ENODEV, _errno.ENXIO, _errno.ESRCH})
