"""rtnetlink, as much of it as attaching needs where the kernel has no BPF link: tc filters, routes with programs, and
which program a device runs. Numbers: include/uapi/linux/{rtnetlink,pkt_sched,pkt_cls,lwtunnel,if_link,seg6_local}.h.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_TC = struct.Struct("=BxxxiIII")  # family, device, handle, parent, priority << 16 | protocol
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst and src length, tos, table, protocol, scope, type, flags
_LINK = struct.Struct("=BxHiII")
_REQUEST, _ACK, _ECHO, _EXCL, _CREATE, _DUMP = 1, 4, 8, 0x200, 0x400, 0x300
_ERROR, _DONE = 2, 3
_NEWROUTE, _DELROUTE, _GETLINK, _NEWQDISC, _NEWTFILTER, _DELTFILTER, _GETTFILTER = 24, 25, 18, 36, 44, 45, 46
_ALL_PROTOCOLS: Final = socket.htons(3)
_CLSACT: Final = 0xFFFFFFF1
PARENTS: Final = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_STATIC, _LINK_SCOPE, _UNICAST, _MAIN = 4, 253, 1, 254
_NESTED: Final = 1 << 15


def attribute(kind: int, value: bytes | int) -> bytes:
    """A netlink attribute; a number is 32 bits."""
    data = struct.pack("=I", value) if isinstance(value, int) else value
    return struct.pack("=HH", len(data) + 4, kind) + data + bytes(-len(data) % 4)


def iter_attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, contents) of attributes that stand one behind the other."""
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind & 0x3FFF, data[at + 4:at + length]
        at += -(-length // 4) * 4


def request(kind: int, body: bytes, flags: int = 0) -> list[bytes]:
    """Send one message about this network namespace; bodies of the answers. Refusals are `OSError`."""
    found: list[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as route:
        route.send(_HEADER.pack(_HEADER.size + len(body), kind, _REQUEST | _ACK | flags, 1, 0) + body)
        while True:
            answer = route.recv(1 << 18)
            at = 0
            while at < len(answer):
                length, what, _, _, _ = _HEADER.unpack_from(answer, at)
                contents = answer[at + _HEADER.size:at + length]
                at += -(-length // 4) * 4
                if what == _ERROR:
                    error = struct.unpack_from("=i", contents)[0]
                    if error:
                        raise OSError(-error, os.strerror(-error))
                    return found
                if what == _DONE:
                    return found
                found.append(contents)


# ---- tc ----


def add_filter(device: int, side: str, program: int, name: str, priority: int) -> tuple[int, int]:
    """A filter that runs the program of that descriptor, whose verdict counts; its (handle, priority << 16 | …)."""
    try:
        request(_NEWQDISC, _TC.pack(0, device, 0xFFFF0000, _CLSACT, 0) + attribute(1, b"clsact\0"), _CREATE | _EXCL)
    except FileExistsError:
        pass
    options = attribute(6, program) + attribute(7, name.encode() + b"\0") + attribute(8, 1)
    body = (_TC.pack(0, device, 0, PARENTS[side], priority << 16 | _ALL_PROTOCOLS) + attribute(1, b"bpf\0")
            + attribute(2, options))
    made = request(_NEWTFILTER, body, _CREATE | _EXCL | _ECHO)
    _, _, handle, _, info = _TC.unpack_from(made[0])
    return handle, info


def filters(device: int, side: str) -> Iterator[tuple[int, int, int]]:
    """(handle, priority, program id) of every BPF filter there, in the order in which they run."""
    try:
        answers = request(_GETTFILTER, _TC.pack(0, device, 0, PARENTS[side], 0), _DUMP)
    except OSError:
        return
    for answer in answers:
        _, _, handle, _, info = _TC.unpack_from(answer)
        attributes = dict(iter_attributes(answer[_TC.size:]))
        if handle and attributes.get(1) == b"bpf\0":
            options = dict(iter_attributes(attributes.get(2, b"")))
            yield handle, info, int.from_bytes(options.get(11, b""), "little")


def delete_filter(device: int, side: str, handle: int, info: int, program_id: int) -> int:
    """Take that filter off if it still runs that program; 0 or ``-errno``."""
    if (handle, info, program_id) not in filters(device, side):
        return 0
    try:
        request(_DELTFILTER, _TC.pack(0, device, handle, PARENTS[side], info) + attribute(1, b"bpf\0"))
    except OSError as error:
        return -(error.errno or 0)
    return 0


# ---- routes ----

LWT_BPF: Final = {"in": 1, "out": 2, "xmit": 3}


def _route(network: str, device: int, metric: int) -> bytes:
    import ipaddress

    net = ipaddress.ip_network(network)
    family = socket.AF_INET if net.version == 4 else socket.AF_INET6
    scope = _LINK_SCOPE if net.version == 4 else 0
    return (_ROUTE.pack(family, net.prefixlen, 0, 0, _MAIN, _STATIC, scope, _UNICAST, 0)
            + attribute(1, net.network_address.packed) + attribute(4, device) + attribute(6, metric))


def add_route(network: str, device: int, metric: int, place: str, program: int, name: str) -> None:
    """A route through `device` whose packets go through the program of that descriptor."""
    text = attribute(2, name.encode() + b"\0")
    if place == "seg6local":
        encap = attribute(1, 15) + attribute(8 | _NESTED, attribute(1, program) + text)
        kind = 7
    else:
        encap = attribute(LWT_BPF[place] | _NESTED, attribute(1, program) + text)
        kind = 6
    body = (_route(network, device, metric) + attribute(21, struct.pack("=H", kind)) + attribute(22 | _NESTED, encap))
    request(_NEWROUTE, body, _CREATE | _EXCL)


def delete_route(network: str, device: int, metric: int) -> int:
    """Take that route away; 0 or ``-errno``."""
    try:
        request(_DELROUTE, _route(network, device, metric))
    except OSError as error:
        return -(error.errno or 0)
    return 0


# ---- devices ----


def xdp_program(device: int) -> int:
    """The id of the XDP program that a device runs; 0 if it runs none."""
    try:
        answers = request(_GETLINK, _LINK.pack(0, 0, device, 0, 0))
    except OSError:
        return 0
    for answer in answers:
        nested = dict(iter_attributes(answer[_LINK.size:])).get(43)
        if nested is not None:
            attributes = dict(iter_attributes(nested))
            for kind in (4, 5, 6, 7):  # the one, else by mode: driver, generic, offloaded
                if kind in attributes:
                    return int.from_bytes(attributes[kind], "little")
    return 0
