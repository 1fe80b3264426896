"""A few packets of every common kind, made here, for where no network device of our own can be had: two hosts find each
other (ARP), ping, talk TCP (handshake, request, answer, end), ask a name server, and do the same over IPv6.

Addresses are those set aside for documentation (RFC 5737, RFC 3849); every checksum is right.
"""

from __future__ import annotations

from struct import pack
from typing import Final

from ebpf.machine.checksums import fold, partial

CLIENT_MAC: Final = bytes.fromhex("02 00 00 00 00 02")  # locally administered
SERVER_MAC: Final = bytes.fromhex("02 00 00 00 00 01")
CLIENT_4: Final = bytes((192, 0, 2, 2))
SERVER_4: Final = bytes((192, 0, 2, 1))
CLIENT_6: Final = bytes.fromhex("20010db8" + "00" * 11 + "02")
SERVER_6: Final = bytes.fromhex("20010db8" + "00" * 11 + "01")

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_FIN, _SYN, _PSH, _ACK = 1, 2, 8, 16
_REQUEST = b"GET / HTTP/1.0\r\nHost: example.com\r\n\r\n"
_ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n"
_QUERY = pack(">HHHHHH", 0x1234, 0x0100, 1, 0, 0, 0) + b"\7example\3com\0" + pack(">HH", 1, 1)
_REPLY = (pack(">HHHHHH", 0x1234, 0x8180, 1, 1, 0, 0) + _QUERY[12:]
          + pack(">HHHIH", 0xC00C, 1, 1, 300, 4) + SERVER_4)


def checksum(data: bytes) -> int:
    """The Internet checksum of ``data``, to be stored little-endian."""
    return fold(partial(data.ljust(-(-len(data) // 4) * 4, b"\0"), 0))


def _filled(data: bytes, at: int, covered: bytes = b"") -> bytes:
    """``data`` with its checksum (over ``covered`` and itself) entered at ``at``."""
    return data[:at] + checksum(covered + data).to_bytes(2, "little") + data[at + 2:]


class _Host:
    """One end: how it sends to the other."""

    def __init__(self, macs: tuple[bytes, bytes], v4: tuple[bytes, bytes], v6: tuple[bytes, bytes]) -> None:
        self.macs, self.v4, self.v6 = macs, v4, v6
        self.identification = 0

    def frame(self, protocol: int, payload: bytes, to: bytes = b"") -> bytes:
        return (to or self.macs[1]) + self.macs[0] + pack(">H", protocol) + payload

    def ip(self, protocol: int, payload: bytes) -> bytes:
        self.identification += 1
        header = pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), self.identification, 0x4000, 64, protocol, 0)
        return self.frame(0x0800, _filled(header + self.v4[0] + self.v4[1], 10) + payload)

    def ip6(self, protocol: int, payload: bytes, hops: int = 64) -> bytes:
        return self.frame(0x86DD, pack(">IHBB", 6 << 28, len(payload), protocol, hops) + self.v6[0] + self.v6[1]
                          + payload)

    def cover(self, six: bool, protocol: int, size: int) -> bytes:
        """The pseudo header that transport checksums cover."""
        if six:
            return self.v6[0] + self.v6[1] + pack(">II", size, protocol)
        return self.v4[0] + self.v4[1] + pack(">BBH", 0, protocol, size)

    def tcp(self, ports: tuple[int, int], seq: int, ack: int, flags: int, data: bytes = b"", *,
            six: bool = False) -> bytes:
        segment = pack(">HHIIBBHHH", *ports, seq, ack, 0x50, flags, 64240, 0, 0) + data
        segment = _filled(segment, 16, self.cover(six, _TCP, len(segment)))
        return self.ip6(_TCP, segment) if six else self.ip(_TCP, segment)

    def udp(self, ports: tuple[int, int], data: bytes, *, six: bool = False) -> bytes:
        datagram = pack(">HHHH", *ports, 8 + len(data), 0) + data
        datagram = _filled(datagram, 6, self.cover(six, _UDP, len(datagram)))
        return self.ip6(_UDP, datagram) if six else self.ip(_UDP, datagram)

    def ping(self, kind: int, sequence: int) -> bytes:
        return self.ip(_ICMP, _filled(pack(">BBHHH", kind, 0, 0, 77, sequence) + bytes(range(48)), 2))

    def icmp6(self, message: bytes, hops: int = 64) -> bytes:
        return self.ip6(_ICMP6, _filled(message, 2, self.cover(True, _ICMP6, len(message))), hops)

    def arp(self, operation: int) -> bytes:
        message = pack(">HHBBH", 1, 0x0800, 6, 4, operation) + self.macs[0] + self.v4[0]
        message += (bytes(6) if operation == 1 else self.macs[1]) + self.v4[1]
        return self.frame(0x0806, message, b"\xff" * 6 if operation == 1 else b"")


def demonstration_packets() -> list[bytes]:
    """Ethernet frames in the order of a conversation; the same ones every time."""
    client = _Host((CLIENT_MAC, SERVER_MAC), (CLIENT_4, SERVER_4), (CLIENT_6, SERVER_6))
    server = _Host((SERVER_MAC, CLIENT_MAC), (SERVER_4, CLIENT_4), (SERVER_6, CLIENT_6))
    frames = [client.arp(1), server.arp(2)]
    for sequence in (1, 2, 3):
        frames += [client.ping(8, sequence), server.ping(0, sequence)]
    frames += [client.udp((40053, 53), _QUERY), server.udp((53, 40053), _REPLY)]
    frames += _conversation(client, server, 40080, six=False)
    # Neighbour discovery (RFC 4861 section 4.3, 4.4): who has that address, and the answer, both at hop limit 255.
    frames += [client.icmp6(pack(">BBHI", 135, 0, 0, 0) + SERVER_6 + b"\1\1" + CLIENT_MAC, 255),
               server.icmp6(pack(">BBHI", 136, 0, 0, 0x60000000) + SERVER_6 + b"\2\1" + SERVER_MAC, 255)]
    frames += [host.icmp6(pack(">BBHHH", kind, 0, 0, 77, 1) + bytes(range(48)))
               for host, kind in ((client, 128), (server, 129))]
    frames += [client.udp((40054, 53), _QUERY, six=True), server.udp((53, 40054), _REPLY, six=True)]
    return frames + _conversation(client, server, 40081, six=True)


def _conversation(client: _Host, server: _Host, port: int, *, six: bool) -> list[bytes]:
    """A request and its answer by TCP, from handshake to end."""
    there, back, c, s = (port, 80), (80, port), 1000, 5000
    asked, told = c + 1 + len(_REQUEST), s + 1 + len(_ANSWER)
    return [
        client.tcp(there, c, 0, _SYN, six=six),
        server.tcp(back, s, c + 1, _SYN | _ACK, six=six),
        client.tcp(there, c + 1, s + 1, _ACK, six=six),
        client.tcp(there, c + 1, s + 1, _PSH | _ACK, _REQUEST, six=six),
        server.tcp(back, s + 1, asked, _PSH | _ACK, _ANSWER, six=six),
        client.tcp(there, asked, told, _FIN | _ACK, six=six),
        server.tcp(back, told, asked + 1, _FIN | _ACK, six=six),
        client.tcp(there, asked + 1, told + 1, _ACK, six=six),
    ]
