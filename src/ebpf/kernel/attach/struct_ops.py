"""struct_ops maps: their table becomes the kernel's (BPF link: Linux 6.4; before that by writing the map's element)."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_F_LINK
from ebpf.abi.programs import AttachType
from ebpf.errors import AttachError, EbpfError, NotSupported
from ebpf.kernel import sys
from ebpf.kernel.attach.janitor import Janitor
from ebpf.kernel.attach.link import KernelLink

if TYPE_CHECKING:
    from ebpf.kernel.maps import KernelMap


def attach(map: KernelMap, value: bytes, type_name: str) -> KernelLink:
    """Register the table ``value`` of the struct_ops `map`. Detaching makes the kernel forget it: what uses it (a TCP
    connection) may go on until it ends.

    Before Linux 6.4 a janitor process waits to take it off again, should this one die.
    """
    janitor = None if map.flags & BPF_F_LINK else Janitor("struct_ops", map.fileno(), fds=(map.fileno(),))
    key = bytes(4)
    result, _ = sys.attempt("MAP_UPDATE_ELEM", map_fd=map.fileno(), key=sys.address_of(key),
                            value=sys.address_of(value))
    if result == -_errno.EBUSY and janitor is None:
        result = 0  # it is in place from an attachment before; a link may be made of it again
    if result < 0:
        if janitor is not None:
            janitor.dismiss()
        raise _refused(map, type_name, -result)
    if janitor is not None:
        return janitor.link(kind="struct_ops", target=type_name, program=map.name)
    result, _ = sys.attempt("LINK_CREATE", prog_fd=map.fileno(), attach_type=AttachType.STRUCT_OPS)
    if result < 0:
        raise _refused(map, type_name, -result)
    return KernelLink((result,), kind="struct_ops", target=type_name, program=map.name, is_bpf_link=True)


def _refused(map: KernelMap, type_name: str, errno: int) -> EbpfError:
    what = f"registering {map.name!r} as {type_name}"
    if errno == _errno.EEXIST:
        return AttachError(f"{what}: the kernel has one of that name", helps=("give it another name",))
    if errno == _errno.EBUSY:
        return AttachError(f"{what}: it is registered already, or another one holds the place")
    if errno == _errno.EINVAL:
        return AttachError(f"{what}: the kernel finds the table incomplete", notes=(
            "a member that it asks for is empty (tcp_congestion_ops: ssthresh, undo_cwnd, name, and cong_avoid or "
            "cong_control)",) if type_name == "tcp_congestion_ops" else ())
    if errno in (sys.ENOTSUPP, _errno.EOPNOTSUPP):
        return NotSupported(what, notes=("the table sets a member that the kernel does not let programs implement",))
    return sys.failure(what, errno, needs=("CAP_BPF", "CAP_NET_ADMIN"))
