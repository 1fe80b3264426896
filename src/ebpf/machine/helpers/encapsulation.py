"""Headers that come and go: VLAN tags, room for tunnels, IPv4 ↔ IPv6, congestion marks (net/core/filter.c, skbuff.c).

A packet's outermost VLAN tag may stand beside its data, in the context (``vlan_present``, ``vlan_tci``,
``vlan_proto``), as a network card hands it over; a second one goes into the data.
"""

from __future__ import annotations

from errno import EACCES, EALREADY, EFAULT, EINVAL, ENOMEM
from typing import TYPE_CHECKING

from ebpf.machine.helpers.packets import ENOTSUPP, MAX_SKB_BYTES, packet_of
from ebpf.machine.helpers.table import helper, s32, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment
    from ebpf.machine.packets import Packet

_TAG_BYTES, _MACS_BYTES, _TAGGED_HEADER_BYTES = 4, 12, 18
_8021Q, _8021AD = 0x0081, 0xA888  # as they stand in memory, read little-endian; so are these:
_IP, _IPV6 = 0x0008, 0xDD86
_BASE_BYTES = {_IP: 20, _IPV6: 40}
_PROTO_DIFFERENCE = 20
_MAX_ROOM = 0xFFF
_ROOM_NET, _ROOM_MAC = 0, 1
_FIXED_GSO, _ENCAP_IPV4, _ENCAP_IPV6, _ENCAP_GRE, _ENCAP_UDP, _NO_CSUM_RESET, _ENCAP_ETH, _DECAP_IPV4, _DECAP_IPV6 = (
    1 << n for n in range(9))
_ENCAP_L3 = _ENCAP_IPV4 | _ENCAP_IPV6
_DECAP_L3 = _DECAP_IPV4 | _DECAP_IPV6
_ENCAP_L2_SHIFT, _ENCAP_L2_MASK = 56, 0xFF << 56
_ROOM_FLAGS = (1 << 9) - 1 | _ENCAP_L2_MASK
_LEVEL_QUERY, _LEVEL_INC, _LEVEL_DEC, _LEVEL_RESET = range(4)
_MAX_LEVEL = 3


# ---- VLAN tags ----

def _insert_tag(packet: Packet, protocol: int, tci: int) -> bool:
    """Put a tag into the data, behind the addresses; whether there was room."""
    start = packet.start - _TAG_BYTES
    if start < 0:
        return False
    buffer = packet.buffer
    buffer[start:start + _MACS_BYTES] = buffer[packet.start:packet.start + _MACS_BYTES]
    at = start + _MACS_BYTES
    buffer[at:at + 4] = protocol.to_bytes(2, "little") + (tci & 0xFFFF).to_bytes(2, "big")
    packet.mac = start
    packet.network -= _TAG_BYTES  # since Linux 6.12
    packet.set("protocol", protocol)
    packet.resize(start, packet.end)
    return True


def _take_tag(packet: Packet) -> int | None:
    """Take the tag out of the data; its TCI, or None if the packet is too short to have one."""
    buffer, start = packet.buffer, packet.start
    if packet.length < _TAGGED_HEADER_BYTES:
        return None
    tci = int.from_bytes(buffer[start + 14:start + 16], "big")
    inner = bytes(buffer[start + 16:start + 18])
    if int.from_bytes(inner, "big") < 1536:  # a length: 802.2, or 802.3 with the mark of raw IPX
        inner = b"\0\1" if bytes(buffer[start + 18:start + 20]) == b"\xff\xff" else b"\0\4"
    buffer[start + _TAG_BYTES:start + _TAG_BYTES + _MACS_BYTES] = buffer[start:start + _MACS_BYTES]
    packet.mac = start + _TAG_BYTES
    packet.network = max(packet.network, packet.mac + 14)
    packet.set("protocol", int.from_bytes(inner, "little"))
    packet.resize(packet.mac, packet.end)
    return tci


def _note_tag(packet: Packet, present: int, protocol: int, tci: int) -> None:
    packet.set("vlan_present", present)
    packet.set("vlan_proto", protocol)
    packet.set("vlan_tci", tci & 0xFFFF)


@helper
def bpf_skb_vlan_push(env: Environment, skb: int, vlan_proto: int, vlan_tci: int) -> int:
    packet, protocol = packet_of(env), vlan_proto & 0xFFFF
    if protocol not in (_8021Q, _8021AD):
        protocol = _8021Q
    if packet.get("vlan_present") and not _insert_tag(packet, packet.get("vlan_proto"), packet.get("vlan_tci")):
        return -ENOMEM
    _note_tag(packet, 1, protocol, vlan_tci)
    packet.place()
    return 0


@helper
def bpf_skb_vlan_pop(env: Environment, skb: int) -> int:
    packet = packet_of(env)
    if packet.get("vlan_present"):
        _note_tag(packet, 0, 0, 0)
    elif packet.get("protocol") in (_8021Q, _8021AD):
        if _take_tag(packet) is None:
            return -ENOMEM
    protocol = packet.get("protocol")
    if protocol in (_8021Q, _8021AD):  # the next one is now the outermost
        tci = _take_tag(packet)
        if tci is None:
            return -ENOMEM
        _note_tag(packet, 1, protocol, tci)
    packet.place()
    return 0


# ---- room between headers ----

def _push(packet: Packet, offset: int, size: int) -> int:
    """``size`` zero bytes at ``offset``; what is before moves to the front."""
    start = packet.start - size
    if start < 0:
        return -ENOMEM
    buffer = packet.buffer
    buffer[start:start + offset] = buffer[packet.start:packet.start + offset]
    buffer[start + offset:start + offset + size] = bytes(size)
    packet.mac -= size
    packet.network -= size
    packet.resize(start, packet.end)
    return 0


def _pop(packet: Packet, offset: int, size: int) -> int:
    if offset + size > packet.length:
        return -ENOMEM
    start = packet.start + size
    packet.buffer[start:start + offset] = packet.buffer[packet.start:packet.start + offset]
    packet.mac += size
    packet.network += size
    packet.resize(start, packet.end)
    return 0


@helper
def bpf_skb_change_proto(env: Environment, skb: int, proto: int, flags: int) -> int:
    """IPv4's header becomes as long as IPv6's, or the other way round; the program writes it."""
    packet, wanted = packet_of(env), proto & 0xFFFF
    if flags:
        return -EINVAL
    offset = packet.network - packet.mac
    change = {(_IP, _IPV6): _push, (_IPV6, _IP): _pop}.get((packet.get("protocol"), wanted))
    if change is None:
        return -ENOTSUPP
    error = change(packet, offset, _PROTO_DIFFERENCE)
    if not error:
        packet.set("protocol", wanted)
        packet.set("hash", 0)
    packet.place()
    return error


@helper
def bpf_skb_adjust_room(env: Environment, skb: int, len_diff: int, mode: int, flags: int) -> int:
    packet, difference, mode = packet_of(env), s32(len_diff), u32(mode)
    protocol = packet.get("protocol")
    size, shrink = abs(difference), difference < 0
    if flags & ~_ROOM_FLAGS:
        return -EINVAL
    if size > _MAX_ROOM:
        return -EFAULT
    if protocol not in _BASE_BYTES:
        return -ENOTSUPP
    offset, least = packet.network - packet.mac, _BASE_BYTES[protocol]
    if mode == _ROOM_NET:
        offset += least
    elif mode != _ROOM_MAC:
        return -ENOTSUPP
    if flags & _DECAP_L3:
        if not shrink or flags & _DECAP_L3 == _DECAP_L3:
            return -EINVAL
        least = 20 if flags & _DECAP_IPV4 else 40
    current = packet.end - packet.network
    if shrink and (size >= current or current - size < least):
        return -ENOTSUPP
    if not shrink and packet.length + size > MAX_SKB_BYTES:
        return -ENOTSUPP
    error = _shrink(packet, offset, size, flags) if shrink else _grow(packet, offset, size, flags)
    if not error and not flags & _NO_CSUM_RESET:
        packet.checksum_level = -1
    packet.place()
    return error


def _grow(packet: Packet, offset: int, size: int, flags: int) -> int:
    encap = flags & _ENCAP_L3
    if encap:
        link_bytes = flags >> _ENCAP_L2_SHIFT & 0xFF
        both = (_ENCAP_L3, _ENCAP_GRE | _ENCAP_UDP)
        if any(flags & pair == pair for pair in both) or (flags & _ENCAP_ETH and link_bytes < 14):
            return -EINVAL
        if packet.encapsulated:
            return -EALREADY
        if link_bytes > size:
            return -EINVAL
    error = _push(packet, offset, size)
    if not error and encap:
        packet.encapsulated = True
        packet.set("protocol", _IPV6 if flags & _ENCAP_IPV6 else _IP)
    return error


def _shrink(packet: Packet, offset: int, size: int, flags: int) -> int:
    if flags & ~(_FIXED_GSO | _DECAP_L3 | _NO_CSUM_RESET):
        return -EINVAL
    error = _pop(packet, offset, size)
    if not error and flags & _DECAP_L3:
        packet.set("protocol", _IP if flags & _DECAP_IPV4 else _IPV6)
    return error


# ---- marks ----

def _behind_tags(packet: Packet) -> int:
    """The protocol that VLAN tags in the data carry."""
    protocol, at = packet.get("protocol"), packet.mac + 14
    while protocol in (_8021Q, _8021AD):
        if at + 4 > packet.end:
            return 0
        protocol = int.from_bytes(packet.buffer[at + 2:at + 4], "little")
        at += 4
    return protocol


@helper
def bpf_skb_ecn_set_ce(env: Environment, skb: int) -> int:
    """Mark congestion (RFC 3168), if sender and receiver understand it; 1 if the mark is there."""
    packet = packet_of(env)
    protocol, buffer, at = _behind_tags(packet), packet.buffer, packet.network
    if packet.end - at < _BASE_BYTES.get(protocol, 1 << 32):
        return 0
    if protocol == _IP:
        following = buffer[at + 1] + 1 & 3
        if not following & 2:
            return int(not following)
        added = 0xFBFF + (following << 8) & 0xFFFF
        total = int.from_bytes(buffer[at + 10:at + 12], "little") + added
        buffer[at + 10:at + 12] = ((total & 0xFFFF) + (total >> 16) & 0xFFFF).to_bytes(2, "little")
        buffer[at + 1] |= 3
    else:
        if not buffer[at + 1] & 0x30:
            return 0
        buffer[at + 1] |= 0x30
    packet.place()
    return 1


@helper
def bpf_csum_level(env: Environment, skb: int, level: int) -> int:
    """How many checksums a network card has found right; packets here come unchecked."""
    packet, what = packet_of(env), level
    known = packet.checksum_level
    if what == _LEVEL_QUERY:
        return known if known >= 0 else -EACCES
    if what == _LEVEL_INC:
        packet.checksum_level = min(known + 1, _MAX_LEVEL)
    elif what == _LEVEL_DEC:
        packet.checksum_level = max(known - 1, -1)
    elif what == _LEVEL_RESET:
        packet.checksum_level = -1
    else:
        return -EINVAL
    return 0
