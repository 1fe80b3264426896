"""Many entries at once, as JSON and CSV: the same text as one by one, and nothing called for each entry."""

from __future__ import annotations

import io
import json
import struct

import pytest

from ebpf.btf import Builder, codec
from ebpf.btf.types import Member
from ebpf.cli import _map_dump, _map_rows
from ebpf.cli.output import json_line, plain


def records() -> list[tuple[object, object]]:
    """Structs with text, numbers below zero, an enum, a struct within, an array, a `bool`."""
    b = Builder()
    u32, s8 = b.add_int("unsigned int", 4), b.add_int("signed char", 1, signed=True)
    char, truth = b.add_int("char", 1, is_char=True), b.add_int("_Bool", 1, is_bool=True)
    state = b.add_enum("state", [("OFF", 0), ("ON", 1)])
    inner = b.add_struct("inner", 3, [Member("x", s8, 0), Member("y", s8, 8), Member("z", truth, 16)])
    name, pair = b.add_array(char, 8, u32), b.add_array(u32, 2, u32)
    outer = b.add_struct("outer", 24, [Member("pid", u32, 0), Member("comm", name, 32), Member("pair", pair, 96),
                                       Member("state", state, 160)])
    types = b.build()
    values, keys = codec(types, outer), codec(types, inner)
    out: list[tuple[object, object]] = []
    for n in range(50):
        comm = (b"a%d", b'q"%d', b"\xff%d", b"\xc3\xa9%d", b"")[n % 5]
        raw = struct.pack("<I8s2II", n, comm % n if comm else b"", n, 7, n % 3)
        out.append((keys.decode(struct.pack("<bbb", -n, n, n & 1)), values.decode(raw)))
    return out


ENTRIES = {
    "numbers": [(n, -n) for n in range(20)],
    "bytes": [(bytes([n, 0xFF]), b"text%d\0" % n) for n in range(20)],
    "words": [(n, bool(n & 1)) for n in range(4)],
    "per CPU": [(n, (n, n + 1)) for n in range(4)],
    "no two alike": [(1, 2), (1, (2, 3)), (1, (4,)), (1, True), (b"x", 1.5), (None, float("nan"))],
    "fractions": [(0, 0.5), (1, float("inf"))],
    "empty": [],
}


@pytest.mark.parametrize("name", [*ENTRIES, "structs"])
def test_as_one_by_one(name: str) -> None:
    entries = records() if name == "structs" else ENTRIES[name]
    pieces = [entries[:3], [], entries[3:]]
    out = io.StringIO()
    assert _map_dump._json(iter(pieces), out) == len(entries)
    one_by_one = ",\n ".join(json_line({"key": k, "value": v}) for k, v in entries)
    assert out.getvalue() == (f"[\n {one_by_one}\n]\n" if entries else "[]\n")
    assert len(json.loads(out.getvalue())) == len(entries)
    out = io.StringIO(newline="")
    assert _map_dump._csv(iter(pieces), out) == len(entries)
    lines = out.getvalue().splitlines()
    assert len(lines) == (len(entries) + 1 if entries else 0)
    if name == "structs":
        assert lines[0] == "key.x,key.y,key.z,value.pid,value.comm,value.pair.0,value.pair.1,value.state"
        assert lines[2] == '-1,1,True,1,"q""1",1,7,1'


def test_nothing_is_called_for_each_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(_map_rows, "plain", lambda value: calls.append(value) or plain(value))
    monkeypatch.setattr(_map_rows, "json_line", lambda value: calls.append(value) or json_line(value))
    entries = [(n, (n, -n)) for n in range(10_000)]
    assert _map_dump._json(iter([entries]), io.StringIO()) == _map_dump._csv(iter([entries]), io.StringIO()) == 10_000
    assert len(calls) <= 4
