"""Packets for the network examples."""

from __future__ import annotations

import random
import struct
from ipaddress import ip_address


def checksum(header: bytes) -> int:
    total = sum(struct.unpack(f">{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source: str, target: str, protocol: int = 17, ports: tuple[int, int] = (1000, 2000), *, cut: int | None = None,
           ethertype: int = 0x0800, options: bytes = b"") -> bytes:
    length = 5 + len(options) // 4
    header = struct.pack(">BBHHHBBH4s4s", 0x40 | length, 0, length * 4 + 20, 7, 0, 64, protocol, 0,
                         ip_address(source).packed, ip_address(target).packed) + options
    header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
    whole = bytes(range(12)) + struct.pack(">H", ethertype) + header + struct.pack(">HH", *ports) + bytes(16)
    return whole[:cut]


def traffic(count: int = 150) -> list[bytes]:
    """Packets of every kind that the programs tell apart, some cut off."""
    random.seed(7)
    made = []
    for _ in range(count):
        source = f"{random.choice(('10.1.2', '192.0.2', '198.51.100'))}.{random.randrange(1, 250)}"
        target = random.choice(("203.0.113.1", "203.0.113.2"))
        ports = (random.randrange(1, 65536), random.choice((25, 53, 80, 8080)))
        made.append(packet(source, target, random.choice((1, 6, 17, 17)), ports,
                           cut=random.choice((None, None, None, None, 20, 33, 35, 37)),
                           ethertype=random.choice((0x0800, 0x0800, 0x0800, 0x86DD)),
                           options=random.choice((b"", b"", bytes(8)))))
    return made
