"""``ctx.ethernet``, ``.ipv4``, ``.ipv6``, ``.tcp``, ``.udp``, ``.icmp``: headers of the packet at hand, or None.

The functions below are programs' own language: an attribute of a context is a call of the one of its name, compiled
where it is used. ``link`` says whether packets begin with their Ethernet header (XDP, tc) or with IP's (cgroups, lwt).
Options of IPv4 are passed over. What is not the first fragment has no transport header; frames with a VLAN tag have no
``ipv4`` (their ``ethernet.type`` is the tag's), packets with IPv6 extension headers no ``tcp``, ``udp`` and ``icmp``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from ebpf.compiler.py.types import Struct, be16, be32, u8

if TYPE_CHECKING:
    from collections.abc import Callable

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_ETHERNET_BYTES, _IPV6_BYTES = 14, 40
_ICMP, _TCP, _UDP, _ICMPV6 = 1, 6, 17, 58
_LATER_FRAGMENT = 0x1FFF


class Ethernet(Struct):
    target: Annotated[list[int], u8[6]]
    source: Annotated[list[int], u8[6]]
    type: be16


class IPv4(Struct):
    version_length: u8  # 4 bits each
    service: u8
    length: be16
    id: be16
    fragment: be16  # 3 bits of flags, 13 of an offset
    ttl: u8
    protocol: u8
    checksum: be16
    source: be32
    target: be32


class IPv6(Struct):
    version_class_flow: be32
    length: be16
    next_header: u8
    hop_limit: u8
    source: Annotated[list[int], u8[16]]
    target: Annotated[list[int], u8[16]]


class Tcp(Struct):
    source: be16
    target: be16
    sequence: be32
    acknowledgement: be32
    offset: u8  # the header's length in its upper 4 bits, counted in words
    flags: u8
    window: be16
    checksum: be16
    urgent: be16


class Udp(Struct):
    source: be16
    target: be16
    length: be16
    checksum: be16


class Icmp(Struct):
    type: u8
    code: u8
    checksum: be16
    rest: be32


def ethernet(ctx: Any, link: bool) -> Any:
    return ctx.load(Ethernet)


def ipv4(ctx: Any, link: bool) -> Any:
    if link:
        eth = ctx.load(Ethernet)
        if eth is None or eth.type != _ETH_P_IP:
            return None
        return ctx.load(IPv4, _ETHERNET_BYTES)
    ip = ctx.load(IPv4)
    if ip is None or ip.version_length >> 4 != 4:
        return None
    return ip


def ipv6(ctx: Any, link: bool) -> Any:
    if link:
        eth = ctx.load(Ethernet)
        if eth is None or eth.type != _ETH_P_IPV6:
            return None
        return ctx.load(IPv6, _ETHERNET_BYTES)
    ip = ctx.load(IPv6)
    if ip is None or ip.version_class_flow >> 28 != 6:
        return None
    return ip


def _behind_ip(ctx: Any, link: bool, protocol: int, of_ipv6: int) -> Any:
    """Where the header behind IP's begins; 0 where there is none of this protocol."""
    start = _ETHERNET_BYTES if link else 0
    ip = ipv4(ctx, link)
    if ip is not None:
        words = ip.version_length & 15
        if words < 5 or ip.protocol != protocol or ip.fragment & _LATER_FRAGMENT != 0:
            return 0
        return start + words * 4
    ip6 = ipv6(ctx, link)
    if ip6 is None or ip6.next_header != of_ipv6:
        return 0
    return start + _IPV6_BYTES


def tcp(ctx: Any, link: bool) -> Any:
    at = _behind_ip(ctx, link, _TCP, _TCP)
    if at == 0:
        return None
    return ctx.load(Tcp, at)


def udp(ctx: Any, link: bool) -> Any:
    at = _behind_ip(ctx, link, _UDP, _UDP)
    if at == 0:
        return None
    return ctx.load(Udp, at)


def icmp(ctx: Any, link: bool) -> Any:
    at = _behind_ip(ctx, link, _ICMP, _ICMPV6)
    if at == 0:
        return None
    return ctx.load(Icmp, at)


HEADERS: dict[str, Callable[..., Any]] = {"ethernet": ethernet, "ipv4": ipv4, "ipv6": ipv6, "tcp": tcp, "udp": udp,
                                          "icmp": icmp}
"""An attribute of a context → the function that finds that header."""
