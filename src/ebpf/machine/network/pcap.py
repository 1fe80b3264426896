"""Files of captured packets: pcap (either byte order, micro- or nanoseconds) and pcapng, as tcpdump and Wireshark write
them.

Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng. Files are read as a stream, a record at a time. What is
damaged ends the reading with a `FormatError` that names the byte and counts the packets before it, all of which have
been handed out by then.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn

from ebpf.errors import FormatError, NotSupported

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Source = str | os.PathLike[str] | BinaryIO

ETHERNET = 1
MAX_PACKET_BYTES = 1 << 18  # what tcpdump captures at most; a greater length is damage
MAX_BLOCK_BYTES = 1 << 24
_MICROSECONDS, _NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_BYTE_ORDER = 0x1A2B3C4D
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14
_FILE_HEADER = "IHHiIII"  # magic, version, time zone, accuracy, longest capture, link type
_RECORD = "IIII"  # seconds, fraction, captured bytes, bytes on the wire

_IPV4, _IPV6 = 0x0800, 0x86DD
# Link types of https://www.tcpdump.org/linktypes.html whose packets can be given an Ethernet header.
_LINK_NAMES = {0: "NULL", 1: "ETHERNET", 12: "RAW", 14: "RAW", 101: "RAW", 108: "LOOP", 113: "LINUX_SLL",
               228: "IPV4", 229: "IPV6", 276: "LINUX_SLL2"}


class CapturedPacket(NamedTuple):
    """A packet of a file. ``data`` is what was captured of it, ``length`` its bytes on the wire (maybe more)."""

    data: bytes
    time_ns: int  #: since 1970; 0 where the file does not say (pcapng's simple packets)
    length: int
    link_type: int  #: https://www.tcpdump.org/linktypes.html
    interface: int = 0  #: pcapng: which of the section's interfaces

    def ethernet(self) -> bytes:
        """The packet as programs want it, from an Ethernet header on; one with zero addresses is put in front of
        packets that were captured without. Raises `NotSupported` for link types that have none at all.
        """
        data, kind = self.data, self.link_type
        if kind == ETHERNET:
            return data
        if kind == 113:  # type, ARPHRD, length, 8 address bytes, protocol
            return bytes(6) + data[6:12] + data[14:16] + data[16:]
        if kind == 276:  # protocol, reserved, interface, ARPHRD, type, length, 8 address bytes
            return bytes(6) + data[12:18] + data[0:2] + data[20:]
        if kind in (0, 108):  # the system's number of the protocol family, which is 2 for IPv4 everywhere
            family = data[3:4] if kind == 108 or data[:3] == bytes(3) else data[:1]
            return _with_header(_IPV4 if family == b"\x02" else _IPV6, data[4:])
        if kind in (12, 14, 101, 228, 229):
            return _with_header(_IPV6 if data[:1] and data[0] >> 4 == 6 else _IPV4, data)
        raise NotSupported(f"packets of link type {kind}", who="the userspace machine",
                           notes=("it knows " + ", ".join(f"{n} ({k})" for k, n in sorted(_LINK_NAMES.items())),))


def _with_header(protocol: int, data: bytes) -> bytes:
    return bytes(12) + protocol.to_bytes(2, "big") + data


def read_pcap(source: Source) -> Iterator[CapturedPacket]:
    """The packets of a pcap or pcapng file (a path, or a binary file that is open), in order, as a stream.

    Raises `FormatError` for what is neither, and after the last good packet where a file is damaged or cut short:
    ``offset`` is the byte, the message counts the good packets. `OSError` where the path cannot be opened.
    """
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            yield from _Reader(file, os.fspath(source)).packets()
        return
    yield from _Reader(source, str(getattr(source, "name", "the file"))).packets()


def write_pcap(target: Source, packets: Iterable[bytes | CapturedPacket], *, link_type: int = ETHERNET) -> int:
    """Write a pcap file with nanosecond times (little-endian, version 2.4); how many packets there were.

    A ``bytes`` object is a whole packet without a time; packets of another link type than the file's are refused
    (`FormatError`), because a pcap file has one.
    """
    if isinstance(target, (str, os.PathLike)):
        with open(target, "wb") as file:
            return write_pcap(file, packets, link_type=link_type)
    target.write(Struct("<" + _FILE_HEADER).pack(_NANOSECONDS, 2, 4, 0, 0, MAX_PACKET_BYTES, link_type))
    header = Struct("<" + _RECORD)
    count = 0
    for packet in packets:
        data, at, length = (packet, 0, len(packet)) if isinstance(packet, bytes) else packet[:3]
        if not isinstance(packet, bytes) and packet.link_type != link_type:
            raise FormatError(f"packet {count + 1} has link type {packet.link_type}, the file {link_type}")
        target.write(header.pack(at // 1_000_000_000 & 0xFFFFFFFF, at % 1_000_000_000, len(data), length))
        target.write(data)
        count += 1
    return count


class _Interface(NamedTuple):
    link_type: int
    longest: int  # bytes captured at most; 0: no limit
    per_second: int  # units of time stamps
    offset_seconds: int


class _Reader:
    """One file: where we are, how many packets there were."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.file = file
        self.name = name
        self.at = 0
        self.count = 0

    def damaged(self, what: str, at: int, *helps: str) -> NoReturn:
        before = "no packet is" if not self.count else f"{self.count} packet{'s'[:self.count != 1]} before it " + (
            "is" if self.count == 1 else "are")
        raise FormatError(f"{self.name}: {what} at byte {at}; {before} good", offset=at, helps=helps)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes: pipes give them in pieces."""
        data = self.file.read(size)
        while 0 < len(data) < size and (more := self.file.read(size - len(data))):
            data += more
        self.at += len(data)
        return data

    def whole(self, size: int, what: str) -> bytes:
        start = self.at
        data = self.read(size)
        if len(data) < size:
            self.damaged(f"cut short: {what} has {len(data)} of {size} bytes", start + len(data))
        return data

    def packets(self) -> Iterator[CapturedPacket]:
        magic = self.read(4)
        for order, word in (("<", int.from_bytes(magic, "little")), (">", int.from_bytes(magic, "big"))):
            if len(magic) == 4 and word in (_MICROSECONDS, _NANOSECONDS):
                return self.pcap(magic, order, 1000 if word == _MICROSECONDS else 1)
        if magic == _SECTION.to_bytes(4, "big"):  # the same in both byte orders
            return self.pcapng()
        if not magic:
            raise FormatError(f"{self.name} is empty: a pcap file has at least its header", offset=0)
        help = "it is compressed: decompress it first (gzip -d, xz -d, zstd -d)"
        packed = magic.startswith((b"\x1f\x8b", b"\xfd7zX", b"\x28\xb5\x2f\xfd", b"BZh"))
        raise FormatError(f"{self.name} is neither pcap nor pcapng: it begins with {magic.hex(' ')}", offset=0,
                          helps=(help,) if packed else ("`tcpdump -w FILE` writes such files",))

    # ---- pcap ----

    def pcap(self, magic: bytes, order: str, unit_ns: int) -> Iterator[CapturedPacket]:
        header = Struct(order + _FILE_HEADER)
        _, major, minor, _, _, _, link = header.unpack(magic + self.whole(header.size - 4, "the header"))
        if major != 2:
            self.damaged(f"version {major}.{minor} (2.4 is known)", 4)
        record = Struct(order + _RECORD)
        while start := self.read(record.size):
            at = self.at - len(start)
            if len(start) < record.size:
                self.damaged(f"cut short: a packet's header has {len(start)} of {record.size} bytes", self.at)
            seconds, fraction, captured, length = record.unpack(start)
            if captured > MAX_PACKET_BYTES:
                self.damaged(f"a packet of {captured} bytes (at most {MAX_PACKET_BYTES} are possible)", at + 8)
            data = self.whole(captured, f"packet {self.count + 1}")
            self.count += 1
            # The upper bits of the link type say how long the frame check sequence is.
            yield CapturedPacket(data, seconds * 1_000_000_000 + fraction * unit_ns, max(length, captured),
                                 link & 0xFFFF)

    # ---- pcapng ----

    def pcapng(self) -> Iterator[CapturedPacket]:
        interfaces: list[_Interface] = []
        kind_bytes, order = _SECTION.to_bytes(4, "big"), "<"
        while kind_bytes:
            start = self.at - len(kind_bytes)
            if len(kind_bytes) < 4:
                self.damaged(f"cut short: a block's header has {len(kind_bytes)} of 8 bytes", self.at)
            size_bytes = self.whole(4, "a block's length")
            rest = b""
            if kind_bytes == b"\x0a\x0d\x0d\x0a":  # a section says its byte order
                rest = self.whole(4, "a section's byte order")
                if rest not in (_BYTE_ORDER.to_bytes(4, "little"), _BYTE_ORDER.to_bytes(4, "big")):
                    self.damaged(f"{rest.hex(' ')} where a section's byte order should be", start + 8)
                order = "<" if rest[0] == 0x4D else ">"
                interfaces = []
            word = Struct(order + "I")
            (kind,), (size,) = word.unpack(kind_bytes), word.unpack(size_bytes)
            if size < 12 + len(rest) or size % 4 or size > MAX_BLOCK_BYTES:
                self.damaged(f"a block of {size} bytes (a multiple of 4, 12 to {MAX_BLOCK_BYTES} are possible)",
                             start + 4)
            body = rest + self.whole(size - 12 - len(rest), f"a block of {size} bytes")
            (again,) = word.unpack(self.whole(4, "a block's length at its end"))
            if again != size:
                self.damaged(f"a block of {size} bytes that says {again} at its end", self.at - 4)
            if kind == _INTERFACE:
                interfaces.append(self.interface(order, body, start + 8))
            elif kind in (_ENHANCED_PACKET, _SIMPLE_PACKET, _OLD_PACKET):
                packet = self.packet(order, kind, body, interfaces, start + 8)
                self.count += 1
                yield packet
            elif kind == _SECTION:
                if len(body) < 16:
                    self.damaged(f"a section's header of {len(body)} bytes (16 at least)", start + 8)
                if (version := Struct(order + "HH").unpack_from(body, 4))[0] != 1:
                    self.damaged(f"version {version[0]}.{version[1]} (1 is known)", start + 12)
            kind_bytes = self.read(4)

    def interface(self, order: str, body: bytes, at: int) -> _Interface:
        if len(body) < 8:
            self.damaged(f"an interface of {len(body)} bytes (8 at least)", at)
        link, _, longest = Struct(order + "HHI").unpack_from(body)
        per_second, offset = 1_000_000, 0
        option = Struct(order + "HH")
        place = 8
        while place + 4 <= len(body):
            code, size = option.unpack_from(body, place)
            value = body[place + 4:place + 4 + size]
            if not code:
                break
            if len(value) < size:
                self.damaged(f"an option of {size} bytes in a block with {len(value)} left", at + place)
            if code == _OPTION_RESOLUTION and size == 1:
                power = value[0] & 0x7F
                if power > (63 if value[0] >> 7 else 19):
                    self.damaged(f"times in units of 10 or 2 to the power of -{power}", at + place)
                per_second = (2 if value[0] >> 7 else 10) ** power
            elif code == _OPTION_OFFSET and size == 8:
                offset = Struct(order + "q").unpack(value)[0]
            place += 4 + (size + 3 & ~3)
        return _Interface(link, longest, per_second, offset)

    def packet(self, order: str, kind: int, body: bytes, interfaces: list[_Interface], at: int) -> CapturedPacket:
        head = Struct(order + {_ENHANCED_PACKET: "IIIII", _SIMPLE_PACKET: "I", _OLD_PACKET: "HHIIII"}[kind])
        if len(body) < head.size:
            self.damaged(f"a packet's block with {len(body)} bytes ({head.size} at least)", at)
        row = head.unpack_from(body)
        number = 0 if kind == _SIMPLE_PACKET else row[0]
        if number >= len(interfaces):
            self.damaged(f"a packet of interface {number}, of which {len(interfaces)} are known", at)
        interface = interfaces[number]
        if kind == _SIMPLE_PACKET:
            length = row[0]
            captured, stamp = min(length, interface.longest or length), 0
        else:
            high, low, captured, length = row[-4:]
            stamp = high << 32 | low
        if captured > len(body) - head.size:
            self.damaged(f"a packet of {captured} bytes in a block with room for {len(body) - head.size}",
                         at + head.size - 4)
        ns = 0 if kind == _SIMPLE_PACKET else (
            stamp * 1_000_000_000 // interface.per_second + interface.offset_seconds * 1_000_000_000)
        return CapturedPacket(body[head.size:head.size + captured], ns, max(length, captured), interface.link_type,
                              number)
