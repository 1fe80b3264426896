"""Files of packets: by hand for the corners, tcpdump as a witness, and whatever bytes for what must never happen."""

from __future__ import annotations

import io
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from ebpf.errors import EbpfError, FormatError, NotSupported
from ebpf.machine.network import CapturedPacket, demonstration_packets, read_pcap, write_pcap

FRAMES = [bytes(range(14)) + b"first", bytes(range(14)) + b"second one"]


def pcap(order: str, magic: int, fraction: int, link: int = 1) -> bytes:
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for n, frame in enumerate(FRAMES):
        out += struct.pack(order + "IIII", 1700000000 + n, fraction, len(frame), len(frame) + n) + frame
    return out


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def section(order: str) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str, options: bytes = b"", link: int = 1, longest: int = 0) -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link, 0, longest) + options)


def enhanced(order: str, number: int, stamp: int, data: bytes) -> bytes:
    return block(order, 6, struct.pack(order + "IIIII", number, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)) + data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_the_four_kinds_of_pcap(order: str, magic: int, unit: int) -> None:
    found = list(read_pcap(io.BytesIO(pcap(order, magic, 7))))
    assert [p.data for p in found] == FRAMES
    assert [p.time_ns for p in found] == [1_700_000_000_000_000_000 + n * 10**9 + 7 * unit for n in (0, 1)]
    assert [p.length for p in found] == [len(FRAMES[0]), len(FRAMES[1]) + 1]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng(order: str) -> None:
    nanoseconds = struct.pack(order + "HHB3x", 9, 1, 9) + struct.pack(order + "HHqHH", 14, 8, 1000, 0, 0)
    data = (section(order) + interface(order) + interface(order, nanoseconds, longest=15) + block(order, 0x0BAD, b"whatever")
            + enhanced(order, 0, 5 << 32 | 6, FRAMES[0]) + enhanced(order, 1, 77, FRAMES[1])
            + block(order, 2, struct.pack(order + "HHIIII", 1, 0, 0, 78, 15, 24) + FRAMES[1][:15])
            + section(order) + interface(order, longest=15) + block(order, 3, struct.pack(order + "I", 24) + FRAMES[1][:15]))
    assert list(read_pcap(io.BytesIO(data))) == [
        CapturedPacket(FRAMES[0], (5 << 32 | 6) * 1000, 19, 1, 0), CapturedPacket(FRAMES[1], 1000 * 10**9 + 77, 24, 1, 1),
        CapturedPacket(FRAMES[1][:15], 1000 * 10**9 + 78, 24, 1, 1), CapturedPacket(FRAMES[1][:15], 0, 24, 1, 0)]


def test_a_section_may_have_the_other_byte_order() -> None:
    data = b"".join(section(o) + interface(o) + enhanced(o, 0, 1, FRAMES[0]) for o in "<><")
    assert [p.data for p in read_pcap(io.BytesIO(data))] == [FRAMES[0]] * 3


NG = section("<") + interface("<") + enhanced("<", 0, 1, FRAMES[0])
PCAP = pcap("<", 0xA1B2C3D4, 0)


@pytest.mark.parametrize(("data", "message", "good"), [
    (b"", "is empty", 0),
    (b"hello world", "is neither pcap nor pcapng: it begins with 68 65 6c 6c", 0),
    (b"\x1f\x8b\x08\0", "it is compressed", 0),
    (PCAP[:20], "cut short: the header has 16 of 20 bytes at byte 20; no packet is good", 0),
    (PCAP[:30], "cut short: a packet's header has 6 of 16 bytes at byte 30; no packet is good", 0),
    (PCAP[:-3], f"cut short: packet 2 has 21 of 24 bytes at byte {len(PCAP) - 3}; 1 packet before it is good", 1),
    (PCAP + b"x", "2 packets before it are good", 2),
    (PCAP[:32] + b"\xff\xff\xff\x7f" + PCAP[36:], "a packet of 2147483647 bytes (at most 262144 are possible) at byte 32", 0),
    (PCAP[:4] + b"\3" + PCAP[5:], "version 3.4 (2.4 is known) at byte 4", 0),
    (NG[:-2], "a block's length at its end has 2 of 4 bytes", 0),
    (NG[:-4] + b"abcd", "that says 1684234849 at its end", 0),
    (NG + b"\1\0", "a block's header has 2 of 8 bytes", 1),
    (NG + enhanced("<", 3, 1, FRAMES[0]), "a packet of interface 3, of which 1 are known", 1),
    (section("<") + enhanced("<", 0, 1, FRAMES[0]), "a packet of interface 0, of which 0 are known", 0),
    (NG + struct.pack("<II", 6, 1 << 30), "a block of 1073741824 bytes", 1),
    (NG + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 99, 99)), "a packet of 99 bytes in a block with room for 0", 1),
    (section("<").replace(b"\x4d\x3c\x2b\x1a", b"abcd"), "61 62 63 64 where a section's byte order should be at byte 8", 0),
    (block("<", 0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)), "version 2.0 (1 is known) at byte 12", 0),
])
def test_damage_is_named_after_the_good_packets(data: bytes, message: str, good: int) -> None:
    packets = read_pcap(io.BytesIO(data))
    found = []
    with pytest.raises(FormatError) as caught:
        for packet in packets:
            found.append(packet)
    assert message in str(caught.value) and len(found) == good and caught.value.offset is not None


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_give_packets_or_one_clear_error(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([PCAP, NG, NG.replace(b"first", b"other"), pcap(">", 0xA1B23C4D, 9), b""]))
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    raw = bytes(damaged)[:data.draw(st.integers(0, len(whole)))] + data.draw(st.binary(max_size=40))
    try:
        for packet in read_pcap(io.BytesIO(raw)):
            assert isinstance(packet.data, bytes) and packet.length >= len(packet.data)
            try:
                packet.ethernet()
            except NotSupported:
                pass
    except EbpfError as error:
        assert isinstance(error, FormatError) and 0 <= (error.offset or 0) <= len(raw)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out.pcap"
    packets = [CapturedPacket(f, 1_600_000_000_123_456_789, len(f) + 5, 1) for f in FRAMES]
    assert write_pcap(path, packets) == 2 and list(read_pcap(path)) == packets
    with pytest.raises(FormatError, match="link type 101"):
        write_pcap(tmp_path / "mixed.pcap", [packets[0], packets[1]._replace(link_type=101)])
    with pytest.raises(FileNotFoundError):
        list(read_pcap(tmp_path / "nowhere.pcap"))


@pytest.mark.parametrize(("link", "head", "expected"), [
    (1, b"", bytes(range(14))),
    (101, b"", bytes(12) + b"\x08\x00"),
    (113, b"\0\0\0\1\0\6" + b"abcdef\0\0" + b"\x08\x00", bytes(6) + b"abcdef" + b"\x08\x00"),
    (276, b"\x08\x00\0\0\0\0\0\2\0\1\0\6" + b"abcdef\0\0", bytes(6) + b"abcdef" + b"\x08\x00"),
    (0, b"\2\0\0\0", bytes(12) + b"\x08\x00"),
    (108, b"\0\0\0\2", bytes(12) + b"\x08\x00"),
])
def test_other_links_get_an_ethernet_header(link: int, head: bytes, expected: bytes) -> None:
    ip = b"\x45" + bytes(19)
    data = (bytes(range(14)) if link == 1 else head) + ip
    assert CapturedPacket(data, 0, len(data), link).ethernet() == expected + ip


def test_links_without_one_are_refused() -> None:
    with pytest.raises(NotSupported, match="packets of link type 105"):
        CapturedPacket(b"x", 0, 1, 105).ethernet()


def test_tcpdump_finds_nothing_wrong(tmp_path: Path) -> None:
    """Every checksum right, every packet of the demonstration understood."""
    if shutil.which("tcpdump") is None:
        pytest.skip("not installed: tcpdump")
    path = tmp_path / "demo.pcap"
    count = write_pcap(path, demonstration_packets())
    # From standard input: tcpdump gives up its privileges, and may then not read our folder.
    said = subprocess.run(["tcpdump", "-nnvvr", "-"], input=path.read_bytes(), capture_output=True, check=True).stdout.decode()
    assert sum(line[:2].isdigit() for line in said.splitlines()) == count == len(demonstration_packets())
    assert "incorrect" not in said and "bad" not in said and "[|" not in said
    for word in ("Request who-has 192.0.2.1", "echo reply", "[udp sum ok]", "A? example.com.", "Flags [S.]", "neighbor solicitation"):
        assert word in said
