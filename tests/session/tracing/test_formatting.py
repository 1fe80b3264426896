"""printf's formats, by data. The expected texts are those of bpftrace 0.17 on the same arguments, but where said."""

from __future__ import annotations

import pytest

from ebpf.session.tracing.formatting import Format
from ebpf.session.tracing.values import Array, Buffer, Enumerator, Struct, Tuple, jsonable, show

CASES = [
    # integers: width, padding, base
    ("[%d] [%5d] [%-5d] [%05d]", (42, 42, 42, 42), "[42] [   42] [42   ] [00042]"),
    ("[%x] [%X] [%o] [%u]", (255, 255, 8, 7), "[ff] [FF] [10] [7]"),
    ("[%#x] [%+d] [%i]", (255, 3, 4), "[0xff] [+3] [4]"),
    # no length: 32 bits, as long as that is enough
    ("[%d] [%u] [%x] [%o]", (-1, -1, -1, -1), "[-1] [4294967295] [ffffffff] [37777777777]"),
    # lengths cut, or say that all 64 bits are meant
    ("[%hhd] [%hd] [%ld] [%lld]", (300, 70000, -5, -6), "[44] [4464] [-5] [-6]"),
    ("[%hhu] [%hhx] [%hx]", (300, 300, 70000), "[44] [2c] [1170]"),
    ("[%lx] [%llx] [%lu]", (-1, -1, -1), "[ffffffffffffffff] [ffffffffffffffff] [18446744073709551615]"),
    ("[%ju] [%zu] [%td] [%jd]", (1, 2, 3, -4), "[1] [2] [3] [-4]"),
    ("[%hhd] [%hd]", (200, 40000), "[-56] [-25536]"),
    ("[%ld]", (0xFFFFFFFFFFFFFFFF,), "[-1]"),
    ("[%d] [%i] [%ld] [%u]", (0xFFFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFF), "[-1] [-2147483648] [4294967295] [4294967295]"),
    ("[%d] [%d]", (0x7FFFFFFF, 1 << 32), "[2147483647] [4294967296]"),
    # a difference: what needs more than 32 bits is written whole (0.17 cuts it without a length)
    ("[%d] [%u] [%x]", (1 << 40, 1 << 40, 1 << 40), "[1099511627776] [1099511627776] [10000000000]"),
    ("[%x]", (-(1 << 40),), "[ffffff0000000000]"),
    # characters, pointers
    ("[%c]", (65,), "[A]"),
    ("[%c]", (0,), "[]"),
    ("[%p] [%p] [%10p]", (0x1234, 0, 0x12), "[0x1234] [(nil)] [      0x12]"),
    # strings: width and precision
    ("[%s] [%10s] [%-10s] [%.2s] [%10.2s]", ("abcd",) * 5, "[abcd] [      abcd] [abcd      ] [ab] [        ab]"),
    ("%-16s|", ("127.0.0.1",), "127.0.0.1       |"),
    ("%s", ("é",), "é"),
    ("%3s|%-3s|%.1s|", ("é", "é", "é"), " é|é |\udcc3|"),   # bytes are what C counts
    ("%s", ("\udcff",), "\udcff"),
    # a percent sign needs no doubling, and a doubled one stays double
    ("100%\n", (), "100%\n"),
    ("%d%%\n", (5,), "5%%\n"),
    ("%%d", (), "%%d"),
    ("%%%d", (5,), "%%5"),
    # buffers
    ("%r %r", (Buffer(b"a\0b\xff~ \\"), Buffer(b"hi\n")), "a\\x00b\\xff~ \\ hi\\x0a"),
    ("%rx|%rh|", (Buffer(b"a\0b\xff"), Buffer(b"a\0b\xff")), "\\x61\\x00\\x62\\xff|61 00 62 ff|"),
    ("%s", (Buffer(b"q\xff"),), "q\\xff"),
    # enums by name and by number
    ("%s %d", (Enumerator(3, "RED"), Enumerator(3, "RED")), "RED 3"),
    ("%s", (Enumerator(9, ""),), "9"),
    ("%s %d", (True, True), "true 1"),
]


@pytest.mark.parametrize(("text", "values", "expected"), CASES)
def test_a_format_writes(text: str, values: tuple[object, ...], expected: str) -> None:
    assert Format(text).apply(values) == expected


def test_a_format_knows_how_many_values_it_takes() -> None:
    assert Format("%d %s %% %p %rx").arguments == 4
    assert Format("nothing").arguments == 0


@pytest.mark.parametrize(("value", "text", "json"), [
    (5, "5", 5),
    (-1, "-1", -1),
    ("x", "x", "x"),
    (Tuple((1, "a", 3)), "(1, a, 3)", [1, "a", 3]),
    (Tuple((1, Tuple((2, 3)))), "(1, (2, 3))", [1, [2, 3]]),
    (Array((1, 2)), "[1,2]", [1, 2]),
    (Struct(x=1, s="a"), "{ .x = 1, .s = a }", {"x": 1, "s": "a"}),
    (Buffer(b"q\xff"), "q\\xff", "q\\xff"),
    ("\udcc3", "\udcc3", "�"),
    (Enumerator(1, "ONE"), "ONE", "ONE"),
])
def test_print_of_a_value(value: object, text: str, json: object) -> None:
    assert show(value) == text
    assert jsonable(value) == json
