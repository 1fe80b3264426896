"""A packet's layers and fields, for people: Ethernet, VLAN, ARP, IP, TCP, UDP, ICMP. Damaged packets end early."""

from __future__ import annotations

from struct import unpack_from
from typing import Any, NamedTuple

_TCP_FLAGS = "FSRPAUEC"


class Layer(NamedTuple):
    """One header (or the payload), its fields in order."""

    name: str
    fields: dict[str, Any]


def mac(data: bytes) -> str:
    """``02:00:00:00:00:01``."""
    return data.hex(":")


def ip(data: bytes) -> str:
    """An address of 4 or 16 bytes in its usual notation."""
    if len(data) == 4:
        return ".".join(map(str, data))
    from ipaddress import IPv6Address

    return str(IPv6Address(data))


def layers(data: bytes) -> list[Layer]:
    """The layers of a packet that begins with its Ethernet header."""
    found: list[Layer] = []
    if len(data) < 14:
        return [Layer("Raw", {"bytes": data.hex(" ")})]
    kind = int.from_bytes(data[12:14], "big")
    found.append(Layer("Ethernet", {"src": mac(data[6:12]), "dst": mac(data[:6]), "type": f"{kind:#06x}"}))
    at = 14
    while kind in (0x8100, 0x88A8) and len(data) >= at + 4:
        tag, inner = unpack_from(">HH", data, at)
        found.append(Layer("VLAN", {"id": tag & 0xFFF, "priority": tag >> 13, "type": f"{inner:#06x}"}))
        kind, at = inner, at + 4
    rest = data[at:]
    if kind == 0x0800:
        _ipv4(found, rest)
    elif kind == 0x86DD:
        _ipv6(found, rest)
    elif kind == 0x0806 and len(rest) >= 28:
        found.append(Layer("ARP", {"operation": int.from_bytes(rest[6:8], "big"), "sender": ip(rest[14:18]),
                                   "target": ip(rest[24:28])}))
    else:
        _payload(found, rest)
    return found


def _ipv4(found: list[Layer], data: bytes) -> None:
    if len(data) < 20:
        return _payload(found, data)
    header = max(20, (data[0] & 15) * 4)
    total, ident, fragment = unpack_from(">HHH", data, 2)
    found.append(Layer("IPv4", {
        "src": ip(data[12:16]), "dst": ip(data[16:20]), "protocol": data[9], "ttl": data[8], "length": total,
        "id": ident, "fragment": fragment, "tos": data[1], "version": data[0] >> 4, "header_bytes": header,
        "checksum": f"{int.from_bytes(data[10:12], 'big'):#06x}"}))
    _transport(found, data[9] if not fragment & 0x1FFF else -1, data[header:])


def _ipv6(found: list[Layer], data: bytes) -> None:
    if len(data) < 40:
        return _payload(found, data)
    word, length = unpack_from(">IH", data)
    found.append(Layer("IPv6", {
        "src": ip(data[8:24]), "dst": ip(data[24:40]), "next_header": data[6], "hop_limit": data[7], "length": length,
        "traffic_class": word >> 20 & 255, "flow": word & 0xFFFFF, "version": word >> 28}))
    _transport(found, data[6], data[40:])


def _transport(found: list[Layer], protocol: int, data: bytes) -> None:
    if protocol == 6 and len(data) >= 20:
        source, target, sequence, acknowledged = unpack_from(">HHII", data)
        flags = "".join(letter for bit, letter in enumerate(_TCP_FLAGS) if data[13] >> bit & 1)
        found.append(Layer("TCP", {"sport": source, "dport": target, "flags": flags or "none", "seq": sequence,
                                   "ack": acknowledged, "window": int.from_bytes(data[14:16], "big"),
                                   "checksum": f"{int.from_bytes(data[16:18], 'big'):#06x}"}))
        return _payload(found, data[max(20, (data[12] >> 4) * 4):])
    if protocol == 17 and len(data) >= 8:
        source, target, length, checksum = unpack_from(">HHHH", data)
        found.append(Layer("UDP", {"sport": source, "dport": target, "length": length, "checksum": f"{checksum:#06x}"}))
        return _payload(found, data[8:])
    if protocol in (1, 58) and len(data) >= 4:
        found.append(Layer("ICMP" if protocol == 1 else "ICMPv6", {
            "type": data[0], "code": data[1], "checksum": f"{int.from_bytes(data[2:4], 'big'):#06x}"}))
        return _payload(found, data[4:])
    return _payload(found, data)


def _payload(found: list[Layer], data: bytes) -> None:
    if data:
        shown = data[:32].hex(" ") + (" …" if len(data) > 32 else "")
        found.append(Layer("Payload", {"length": len(data), "bytes": shown}))
