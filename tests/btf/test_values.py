"""Typed values: Python ↔ bytes ↔ NumPy."""

from __future__ import annotations

import ctypes
import re
import struct

import pytest

from ebpf.btf import Builder, Codec, EnumValue, Record, codec, types as T
from ebpf.errors import BtfError, UsageError
from tests.btf import sample as samples

SAMPLE = samples.build()
BTF, ID = SAMPLE.btf, SAMPLE.id
EVENT = {"pid": 7, "flag": 1, "level": -5, "rest": 77, "comm": "bash", "word": 0x200000001, "color": "INFRA", "ok": True,
         "ratio": 0.5, "at": {"pid": -1, "ns": 9}, "wide": -(1 << 100), "three": [1, 2, 3], "end": 0xFFFFFFFF}


def of(name: str) -> Codec:
    return codec(BTF, ID[name])


@pytest.mark.parametrize(("type", "value", "data"), [
    ("int", -2, b"\xfe\xff\xff\xff"), ("u8", 255, b"\xff"), ("u64", 1 << 63, b"\0" * 7 + b"\x80"),
    ("pid_t", 5, b"\5\0\0\0"), ("volatile", 5, b"\5\0\0\0"), ("bool", True, b"\1"),
    ("u128", 1 << 127, b"\0" * 15 + b"\x80"), ("s128", -1, b"\xff" * 16),
    ("float", 0.5, struct.pack("<f", 0.5)), ("double", -2.0, struct.pack("<d", -2.0)),
    ("comm", b"sshd", b"sshd" + b"\0" * 12), ("comm", b"x" * 16, b"x" * 16),
    ("u32[3]", (1, 2, 3), struct.pack("<3I", 1, 2, 3)),
    ("int[2][3]", ((1, 2, 3), (-1, -2, -3)), struct.pack("<6i", 1, 2, 3, -1, -2, -3)),
    ("node *", 0xFFFF888000000000, struct.pack("<Q", 0xFFFF888000000000)),
    ("color", 1, b"\1\0\0\0"), ("big", 1 << 40, struct.pack("<Q", 1 << 40)),
    ("plain", (-1, 2, 3), struct.pack("<iIQ", -1, 2, 3)),
])
def test_both_ways(type: str, value: object, data: bytes) -> None:
    c = of(type)
    assert c.size == len(data)
    assert c.decode(data) == value and c.decode(memoryview(data)) == value
    assert c.encode(value) == data and c.encode(c.decode(data)) == data
    assert c.decode_many(data * 3) == [value] * 3
    if type != "comm":
        assert c.encode(memoryview(data)) == data


def test_bytes_of_text_stop_at_nul() -> None:
    assert of("comm").decode(b"sh\0garbage......"[:16]) == b"sh"


def test_record() -> None:
    c = of("event")
    data = c.encode(EVENT)
    event = c.decode(data)
    assert isinstance(event, Record)
    assert (event.pid, event.flag, event.level, event.rest) == (7, 1, -5, 77)
    assert (event["comm"], event.ok, event.ratio, event.end) == (b"bash", True, 0.5, 0xFFFFFFFF)
    assert event.parts == (1, 2) and event.parts.high == 2 and event.first == 1, "a union shows all its members"
    assert event.at == (-1, 0, 9) and event.wide == -(1 << 100)
    assert event.color == -1 and event.color.name == "INFRA" and repr(event.color) == "INFRA"
    assert event == c.decode(bytes(data)) and hash(event) == hash(c.decode(data))
    assert c.encode(event) == data and c.encode(dict(event._asdict())) == data
    assert event._replace(word=5).parts == (5, 0) and event.word != 5
    assert repr(event.at) == "{.pid = -1, .cpu = 0, .ns = 9}"
    assert '.comm = "bash"' in repr(event) and "color = INFRA" in repr(event)
    with pytest.raises(AttributeError, match="did you mean 'comm'"):
        _ = event.com
    with pytest.raises(KeyError):
        event["com"]


def test_members_that_tuples_have_too() -> None:
    b = Builder()
    u32 = b.add_int("u32", 4)
    id = b.add_struct("s", 8, [T.Member("count", u32, 0), T.Member("index", u32, 32)])
    record = codec(b.build(), id).decode(struct.pack("<2I", 3, 4))
    assert (record.count, record.index) == (3, 4)


def test_enum_values() -> None:
    value = of("color").decode(b"\7\0\0\0")
    assert isinstance(value, EnumValue) and value == 7 and value.name is None and repr(value) == "7"
    assert of("color").encode("GREEN") == b"\1\0\0\0"


def test_ctypes_structures_are_taken() -> None:
    class Plain(ctypes.Structure):
        _fields_ = [("pid", ctypes.c_int), ("cpu", ctypes.c_uint), ("ns", ctypes.c_ulong)]

    assert of("plain").encode(Plain(1, 2, 3)) == struct.pack("<iIQ", 1, 2, 3)
    assert of("u64").encode(ctypes.c_uint64(5)) == struct.pack("<Q", 5)


@pytest.mark.parametrize(("type", "value", "message"), [
    ("event", {"pidd": 1}, "struct event has no member 'pidd'"),
    ("event", {"pid": 1 << 31}, "struct event.pid: 2147483648 does not fit"),
    ("event", {"level": 32}, "struct event.level: 32 does not fit 6 bits (-32 to 31)"),
    ("event", {"comm": "x" * 17}, "struct event.comm: 17 bytes of text do not fit char[16]"),
    ("event", {"at": {"ns": -1}}, "struct event.at.ns: -1 does not fit unsigned long"),
    ("event", {"three": [1, 2]}, "struct event.three: 2 values given, unsigned int[3] has 3"),
    ("event", {"three": [1, "2", 3]}, "struct event.three[1]: '2' (str) is not an integer"),
    ("event", {"color": "GREN"}, "struct event.color: enum color has no enumerator 'GREN'"),
    ("event", {"ratio": "half"}, "struct event.ratio: 'half' (str) is not a number"),
    ("event", (1, 2), "2 values given, struct event has 15 members"),
    ("event", 5, "5 (int) is not a mapping"),
    ("event", b"123", "3 bytes given, struct event has 96"),
    ("plain", (1, 2, -3), "struct plain.ns: -3 does not fit unsigned long"),
    ("plain", (1, None, 3), "struct plain.cpu: None (NoneType) is not an integer"),
    ("u8", 256, "256 does not fit unsigned char (0 to 255)"),
    ("u8", 1.5, "1.5 (float) is not an integer"),
    ("u128", -1, "-1 does not fit"),
    ("comm", 5, "5 (int) is not text or bytes"),
])
def test_what_does_not_fit_is_named(type: str, value: object, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        of(type).encode(value)


def test_near_misses_are_suggested() -> None:
    with pytest.raises(UsageError) as caught:
        of("event").encode({"cpid": 1})
    assert caught.value.helps == ("did you mean pid?",)


def test_wrong_length() -> None:
    with pytest.raises(UsageError, match="struct plain needs 16 bytes, not 15"):
        of("plain").decode(bytes(15))
    with pytest.raises(UsageError, match="a multiple of 16 bytes, not 24"):
        of("plain").decode_many(bytes(24))


@pytest.mark.parametrize("name", ["func", "proto", "fwd"])
def test_types_without_values(name: str) -> None:
    with pytest.raises(BtfError):
        of(name)


def test_big_endian_bit_fields() -> None:
    """As a big-endian compiler lays them out: the first bit-field has the most significant bits."""
    b = Builder()
    u32 = b.add_int("u32", 4)
    id = b.add_struct("s", 4, [T.Member("a", u32, 0, 4), T.Member("b", u32, 4, 12), T.Member("c", u32, 16, 16)])
    from ebpf.btf import Btf

    c = codec(Btf.parse(b.emit(little_endian=False)), id)
    assert c.decode(b"\x1a\xbc\x12\x34") == (1, 0xABC, 0x1234)
    assert c.encode({"a": 1, "b": 0xABC, "c": 0x1234}) == b"\x1a\xbc\x12\x34"


def test_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    c = of("event")
    data = c.encode(EVENT)
    assert c.dtype.itemsize == c.size
    rows = numpy.frombuffer(data * 2, c.dtype)
    assert rows["pid"].tolist() == [7, 7] and rows["comm"][0] == b"bash" and rows["ok"][1]
    assert rows["at"]["ns"][0] == 9 and rows["three"].tolist() == [[1, 2, 3]] * 2 and rows["parts"]["high"][0] == 2
    assert c.dtype.names is not None and "flag_level_rest" in c.dtype.names
    assert c.encode(rows[0]) == data, "a NumPy record is bytes too"
    assert of("plain").dtype == numpy.dtype([("pid", "<i4"), ("cpu", "<u4"), ("ns", "<u8")])
    assert of("plain").encode((numpy.int32(1), numpy.uint32(2), numpy.uint64(3))) == struct.pack("<iIQ", 1, 2, 3)


def test_hostile_types_are_refused() -> None:
    b = Builder()
    u64 = b.add_int("u64", 8)
    huge = b.add_array(u64, 0xFFFFFFFF, u64)
    beyond = b.add_struct("beyond", 4, [T.Member("a", u64, 0)])
    odd = b.add_struct("odd", 16, [T.Member("a", u64, 3)])
    nested = b.reserve()
    b.define(nested, T.Struct(0, "nested", 8, (T.Member("me", nested, 0),)))
    nothing = b.add_struct("nothing", 0, [])
    many = b.add_array(nothing, 0xFFFFFFFF, u64)
    btf = b.build()
    for id in (huge, beyond, odd, nested):
        with pytest.raises(BtfError):
            codec(btf, id)
    assert codec(btf, many).decode(b"") == ()
