"""rtnetlink, as much of it as a network device of our own needs: veth pairs, addresses, routes; no `ip` command may be
there. Numbers: include/uapi/linux/rtnetlink.h, if_link.h, if_addr.h, ethtool.h.
"""

from __future__ import annotations

import fcntl
import os
import socket
from array import array
from struct import Struct, pack

_HEADER = Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = Struct("=BxHiII")  # family, type, index, flags, mask of the flags
_NEWLINK, _NEWADDR, _NEWROUTE = 16, 20, 24
_REQUEST, _ACK, _EXCL, _CREATE = 1, 4, 0x200, 0x400
_ERROR = 2
_UP, _PROMISCUOUS = 1, 0x100
_ADDRESS, _NAME, _MTU, _LINK_INFO, _AF_SPEC, _NET_NS_FD = 1, 3, 4, 18, 26, 28
_INFO_KIND, _INFO_DATA, _VETH_PEER, _INET6_ADDR_GEN_MODE, _NO_ADDRESSES = 1, 2, 1, 8, 1
_NO_DAD = 2
_SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, SSG, STSO, SGSO, SGRO: a frame that we read must be whole, with its checksums
_OFFLOADS = (0x17, 0x19, 0x1F, 0x24, 0x2C)


def attribute(kind: int, value: bytes | int) -> bytes:
    """A netlink attribute; a number is 32 bits."""
    data = pack("=I", value) if isinstance(value, int) else value
    return pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


class Route:
    """A conversation with the kernel about the current network namespace. Refusals are `OSError`."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)

    def __enter__(self) -> Route:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def request(self, kind: int, body: bytes, flags: int = 0) -> None:
        """Send one message and take its answer."""
        self.socket.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body)
        answer = self.socket.recv(65536)
        _, kind, _, _, _ = _HEADER.unpack_from(answer)
        error = int.from_bytes(answer[16:20], "little", signed=True)
        if kind == _ERROR and error:
            raise OSError(-error, os.strerror(-error))

    def add_veth(self, name: str, peer: str, peer_mac: bytes, peer_namespace: int, mtu: int) -> None:
        """A pair of devices: ``name`` here, ``peer`` in the namespace of that descriptor."""
        other = (_LINK.pack(0, 0, 0, 0, 0) + attribute(_NAME, peer.encode() + b"\0") + attribute(_MTU, mtu)
                 + attribute(_ADDRESS, peer_mac) + attribute(_NET_NS_FD, peer_namespace))
        info = attribute(_INFO_KIND, b"veth") + attribute(_INFO_DATA, attribute(_VETH_PEER, other))
        body = (_LINK.pack(0, 0, 0, 0, 0) + attribute(_NAME, name.encode() + b"\0") + attribute(_MTU, mtu)
                + attribute(_LINK_INFO, info))
        self.request(_NEWLINK, body, _CREATE | _EXCL)

    def up(self, index: int, *, promiscuous: bool = False) -> None:
        """Switch a device on, without addresses that it gives itself."""
        quiet = attribute(socket.AF_INET6, attribute(_INET6_ADDR_GEN_MODE, bytes((_NO_ADDRESSES,))))
        try:
            self.request(_NEWLINK, _LINK.pack(0, 0, index, 0, 0) + attribute(_AF_SPEC, quiet))
        except OSError:
            pass  # no IPv6 in this kernel
        flags = _UP | _PROMISCUOUS * promiscuous
        self.request(_NEWLINK, _LINK.pack(0, 0, index, flags, flags))

    def add_address(self, index: int, address: bytes, prefix: int) -> None:
        """Give a device an IPv4 or IPv6 address, usable at once."""
        family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
        body = pack("=BBBBI", family, prefix, _NO_DAD if len(address) == 16 else 0, 0, index)
        body += attribute(2, address) + attribute(1, address)
        if len(address) == 4:
            last = int.from_bytes(address, "big") | (1 << 32 - prefix) - 1
            body += attribute(4, last.to_bytes(4, "big"))  # broadcast
        self.request(_NEWADDR, body, _CREATE | _EXCL)

    def add_default_route(self, gateway: bytes) -> None:
        family = socket.AF_INET if len(gateway) == 4 else socket.AF_INET6
        # table main, protocol static, scope universe, type unicast
        self.request(_NEWROUTE, pack("=BBBBBBBBI", family, 0, 0, 0, 254, 4, 0, 1, 0) + attribute(5, gateway),
                     _CREATE | _EXCL)


def no_offloads(name: str) -> None:
    """Let a device's frames leave it as they would travel: segmented, with checksums."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for command in _OFFLOADS:
            value = array("I", (command, 0))
            request = pack("=16sQ", name.encode(), value.buffer_info()[0]).ljust(40, b"\0")
            try:
                fcntl.ioctl(any_socket, _SIOCETHTOOL, request)
            except OSError:
                pass  # a device that has no such offload
