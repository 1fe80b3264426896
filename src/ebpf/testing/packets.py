"""What tests send: bytes, hexadecimal text, scapy's packets, captures."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def packet_bytes(packet: Any) -> bytes:
    """The bytes of one packet: of any buffer, hexadecimal digits in a ``str``, a scapy packet, one of `read_pcap`."""
    if isinstance(packet, (bytes, bytearray, memoryview)):
        return bytes(packet)
    if isinstance(packet, str):
        try:
            return bytes.fromhex(packet)
        except ValueError:
            raise UsageError(f"{packet[:40]!r} is no packet: hexadecimal digits are wanted",
                             helps=("packets of a capture are sent with send_pcap(path)",)) from None
    if hasattr(packet, "ethernet"):
        return bytes(packet.ethernet())
    if hasattr(packet, "__bytes__"):
        return bytes(packet)  # scapy's packets build themselves
    raise UsageError(f"a packet is bytes, hexadecimal text or a scapy packet, not {type(packet).__name__}")


def iter_packets(source: Any) -> Iterator[bytes]:
    """The packets of a capture (its path), or of anything that yields packets."""
    if isinstance(source, (str, os.PathLike)):
        for packet in ebpf.read_pcap(source):
            yield packet.ethernet()
        return
    packets: Iterable[Any] = source
    for one in packets:
        yield packet_bytes(one)
