"""Hypothesis strategies for packets, contexts, and the keys and values of maps (``pip install 'ebpf[test]'``)::

    from ebpf.testing import strategies as bpf

    @given(packet=bpf.packets())
    def test_never_aborts(packet):
        with load("firewall.c") as firewall:
            assert firewall.send(packet) != "XDP_ABORTED"
"""

from __future__ import annotations

from struct import pack, pack_into
from typing import TYPE_CHECKING, Any

from ebpf import UsageError

try:
    from hypothesis import strategies as st
except ImportError:
    raise UsageError("ebpf.testing.strategies needs Hypothesis, which is not installed",
                     helps=("pip install 'ebpf[test]'",)) from None

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

    from ebpf import Btf, Map, Program

_TCP, _UDP, _ICMP, _ICMP6 = 6, 17, 1, 58
_KINDS = ("tcp", "udp", "icmp", "other")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[at:at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def macs() -> SearchStrategy[bytes]:
    """Ethernet addresses: the interesting ones more often."""
    known = (bytes(6), b"\xff" * 6, bytes.fromhex("020000000001"), bytes.fromhex("01005e000001"))
    return st.one_of(st.sampled_from(known), st.binary(min_size=6, max_size=6))


def ports() -> SearchStrategy[int]:
    """Port numbers: the known ones and the limits more often."""
    return st.one_of(st.sampled_from([0, 22, 53, 80, 443, 1023, 1024, 65535]), st.integers(0, 65535))


def payloads(max_size: int = 64) -> SearchStrategy[bytes]:
    """What comes behind the headers."""
    return st.binary(max_size=max_size)


@st.composite
def transports(draw: Any, source: bytes, target: bytes, kinds: Sequence[str] = _KINDS) -> tuple[int, bytes]:
    """(protocol number, header and payload) with right checksums, of an IP packet between these addresses."""
    kind = draw(st.sampled_from(list(kinds)))
    body = draw(payloads())
    six = len(source) == 16
    if kind == "tcp":
        options = draw(st.sampled_from([b"", b"\x02\x04\x05\xb4", b"\x01" * 8]))
        header = bytearray(pack(">HHIIBBHHH", draw(ports()), draw(ports()), draw(st.integers(0, (1 << 32) - 1)),
                                draw(st.integers(0, (1 << 32) - 1)), (5 + len(options) // 4) << 4,
                                draw(st.integers(0, 255)), draw(st.integers(0, 65535)), 0, 0) + options)
        protocol, at = _TCP, 16
    elif kind == "udp":
        header = bytearray(pack(">HHHH", draw(ports()), draw(ports()), 8 + len(body), 0))
        protocol, at = _UDP, 6
    elif kind == "icmp":
        types = [128, 129, 133, 135, 1] if six else [0, 3, 8, 11]
        header = bytearray(pack(">BBHHH", draw(st.sampled_from(types)), draw(st.integers(0, 15)), 0, 1, 1))
        protocol, at = (_ICMP6 if six else _ICMP), 2
    else:
        return draw(st.sampled_from([2, 47, 50, 89, 132])), body
    data = bytes(header) + body
    pseudo = b"" if protocol == _ICMP else (
        source + target + (pack(">II", len(data), protocol) if six else pack(">HH", protocol, len(data))))
    value = checksum(pseudo + data)
    pack_into(">H", header, at, value or (0xFFFF if protocol == _UDP else 0))
    return protocol, bytes(header) + body


@st.composite
def ipv4(draw: Any, kinds: Sequence[str] = _KINDS) -> bytes:
    """An IPv4 packet whose lengths and checksums are right, with options and fragments now and then."""
    source: bytes = draw(st.binary(min_size=4, max_size=4))
    target: bytes = draw(st.binary(min_size=4, max_size=4))
    body: bytes
    protocol, body = draw(transports(source, target, kinds))
    options = b"\x01" * (4 * draw(st.sampled_from([0, 0, 0, 1, 10])))
    fragment = draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x00B9]))
    header = bytearray(pack(">BBHHHBBH", 0x45 + len(options) // 4, draw(st.integers(0, 255)),
                            20 + len(options) + len(body), draw(st.integers(0, 65535)), fragment,
                            draw(st.integers(1, 255)), protocol, 0) + source + target + options)
    pack_into(">H", header, 10, checksum(bytes(header)))
    return bytes(header) + body


@st.composite
def ipv6(draw: Any, kinds: Sequence[str] = _KINDS) -> bytes:
    """An IPv6 packet whose lengths and checksums are right."""
    source: bytes = draw(st.binary(min_size=16, max_size=16))
    target: bytes = draw(st.binary(min_size=16, max_size=16))
    body: bytes
    protocol, body = draw(transports(source, target, kinds))
    return pack(">IHBB", 6 << 28 | int(draw(st.integers(0, (1 << 28) - 1))), len(body), protocol,
                draw(st.integers(1, 255))) + source + target + body


@st.composite
def packets(draw: Any, *, versions: Sequence[int] = (4, 6), kinds: Sequence[str] = _KINDS, vlan: bool | None = None,
            corrupted: bool | None = None) -> bytes:
    """Ethernet frames. Valid ones, and (``corrupted``: ``None`` some, True all, False none) damaged ones: cut short,
    bits turned, lengths and header sizes that lie.

    ``versions`` of IP; ``kinds`` of what is in it (``tcp``, ``udp``, ``icmp``, ``other``); ``vlan``: whether there is
    a tag.
    """
    version = draw(st.sampled_from(list(versions)))
    inner = draw(ipv4(kinds) if version == 4 else ipv6(kinds))
    tagged = draw(st.booleans()) if vlan is None else vlan
    tag = pack(">HH", 0x8100, draw(st.integers(0, 65535))) if tagged else b""
    frame: bytes = draw(macs()) + draw(macs()) + tag + (b"\x08\0" if version == 4 else b"\x86\xdd") + inner
    if corrupted or (corrupted is None and draw(st.booleans())):
        worse: bytes = draw(damaged(frame))
        return worse
    return frame


@st.composite
def damaged(draw: Any, packet: bytes) -> bytes:
    """The packet with something wrong: another one than before, with at least its Ethernet header."""
    how = draw(st.sampled_from(["cut", "bits", "byte", "header", "longer"]))
    data = bytearray(packet)
    if how == "cut" and len(data) > 14:
        return bytes(data[:draw(st.integers(14, len(data) - 1))])
    if how == "longer":
        return bytes(data) + bytes(draw(st.binary(min_size=1, max_size=32)))
    if how == "header" and len(data) > 14:
        old = data[14]  # version and length of the header, most likely
        data[14] = draw(st.integers(0, 255).filter(lambda new: new != old))
        return bytes(data)
    at = draw(st.integers(0, len(data) - 1))
    data[at] ^= draw(st.integers(1, 255)) if how == "byte" else 1 << draw(st.integers(0, 7))
    return bytes(data)


# ---- values by type ----

def by_type(btf: Btf, type_id: int) -> SearchStrategy[Any]:
    """Values of a BTF type, as maps take them: numbers in their range, bytes for ``char[N]``, tuples for arrays, dicts
    for structs and unions (one member of a union).
    """
    t = btf.resolved(type_id)
    kind = t.kind.name
    if kind == "INT":
        if t.is_bool:  # type: ignore[union-attr]
            return st.booleans()
        bits = btf.size_of(type_id) * 8
        if t.signed:  # type: ignore[union-attr]
            return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
        return st.integers(0, (1 << bits) - 1)
    if kind == "PTR":
        return st.integers(0, (1 << 64) - 1)
    if kind in ("ENUM", "ENUM64"):
        return st.sampled_from([e.value for e in t.values] or [0])  # type: ignore[union-attr]
    if kind == "ARRAY":
        return _array(btf, t)
    if kind == "STRUCT":
        fields = {name: _field(btf, field) for name, field in btf.members(t.id).items()}
        return st.fixed_dictionaries(fields)
    if kind == "UNION":
        return st.one_of([st.fixed_dictionaries({name: _field(btf, field)})
                          for name, field in btf.members(t.id).items()])
    if kind == "FLOAT":
        return st.floats(width=64 if btf.size_of(type_id) == 8 else 32)
    raise UsageError(f"there are no values of a {kind.lower()}")


def _array(btf: Btf, t: Any) -> SearchStrategy[Any]:
    element = btf.resolved(t.type)
    count = btf.size_of(t.id) // max(1, btf.size_of(t.type))
    if element.kind.name == "INT" and getattr(element, "is_char", False):
        return st.binary(max_size=max(count - 1, 0)).map(lambda data: data.replace(b"\0", b"x"))
    return st.tuples(*(by_type(btf, t.type) for _ in range(count)))


def _field(btf: Btf, field: Any) -> SearchStrategy[Any]:
    if field.is_bitfield:
        t = btf.resolved(field.type)
        if getattr(t, "signed", False):
            return st.integers(-(1 << field.bit_size - 1), (1 << field.bit_size - 1) - 1)
        return st.integers(0, (1 << field.bit_size) - 1)
    return by_type(btf, field.type)


def keys(map: Map) -> SearchStrategy[Any]:
    """Keys for ``map``, as its type says; bytes of its size where none is known."""
    if map.type.name in ("ARRAY", "PERCPU_ARRAY"):
        return st.integers(0, map.max_entries - 1)
    return _of_map(map, map.key_type_id, map.key_size)


def values(map: Map) -> SearchStrategy[Any]:
    """Values for ``map``."""
    return _of_map(map, map.value_type_id, map.value_size)


def entries(map: Map, *, max_size: int = 16) -> SearchStrategy[list[tuple[Any, Any]]]:
    """Some (key, value) pairs for ``map``."""
    return st.lists(st.tuples(keys(map), values(map)), max_size=min(max_size, map.max_entries))


def _of_map(map: Map, type_id: int, size: int) -> SearchStrategy[Any]:
    if map.btf is None or not type_id:
        return st.binary(min_size=size, max_size=size)
    return by_type(map.btf, type_id)


def contexts(program: Program) -> SearchStrategy[dict[str, int]]:
    """Fields of the program's context by name, for `Rig.send` and `Rig.fire`: those that a test may set, any of them.
    """
    return st.fixed_dictionaries({}, optional={
        name: st.integers(0, (1 << 8 * size) - 1) for name, size in program.context_fields.items()})
