"""Socket filters: a program decides which packets (and how many bytes of each) a socket receives."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ebpf.errors import TargetNotFound
from ebpf.kernel import sys
from ebpf.kernel.attach.link import KernelLink, refused
from ebpf.kernel.attach.xdp import device_index

if TYPE_CHECKING:
    from ebpf.kernel.programs import KernelProgram

_SO_ATTACH_BPF, _SO_DETACH_BPF, _SO_ATTACH_REUSEPORT_EBPF, _ETH_P_ALL = 50, 27, 52, 3


def attach(program: KernelProgram, sock: socket.socket) -> None:
    """Filter what `sock` receives. The program goes with the socket; attaching again replaces it."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_BPF, program.fileno())
    except OSError as error:
        raise refused(program, "socket", str(sock.fileno()), error.errno or 0) from None


def attach_reuseport(program: KernelProgram, sock: socket.socket) -> None:
    """Let an sk_reuseport program (or a socket filter, by the number it returns) choose among the sockets that share
    the address of `sock` by SO_REUSEPORT (Linux 4.5, 4.19). It goes with the last of them.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_EBPF, program.fileno())
    except OSError as error:
        raise refused(program, "reuseport group of socket", str(sock.fileno()), error.errno or 0) from None


def detach(sock: socket.socket) -> None:
    """Take the filter off again."""
    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_BPF, 0)


def attach_raw(program: KernelProgram, device: str) -> KernelLink:
    """A packet socket on `device` ("" for all) that receives what `program` lets through; the link owns the socket.

    ``link.fileno()`` is the socket's descriptor, non-blocking; closing the link closes it.
    """
    if device:
        device_index(device)
    try:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                             socket.htons(_ETH_P_ALL) if not device else 0)
    except OSError as error:
        raise sys.failure("socket(AF_PACKET)", error.errno or 0, needs=("CAP_NET_RAW",)) from None
    try:
        # The filter first, then the device: no packet slips past it.
        attach(program, sock)
        if device:
            try:
                sock.bind((device, _ETH_P_ALL))
            except OSError:
                raise TargetNotFound(f"no network device {device!r}", name=device) from None
    except BaseException:
        sock.close()
        raise
    return KernelLink((sock.detach(),), kind="socket", target=device or "all devices", program=program.name,
                      is_bpf_link=False)
