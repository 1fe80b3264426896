"""What maps look like when they are printed, as text and as JSON: bytes as a program leaves them, to the characters.

The texts are what bpftrace 0.17 wrote for the same contents.
"""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from ebpf.compiler.trace.plan import Map, Type
from ebpf.session.histograms import Histogram, TimeSeries
from ebpf.session.tracing.maps import TraceMap
from ebpf.session.tracing.names import Names
from ebpf.session.tracing.output import JsonOutput, TextOutput

CPUS = 2
INT, UNSIGNED = Type("int", 8, True), Type("int", 8)
TEXT = Type("str", 8)
FULL = "@" * 52
NONE = " " * 52


class FakeMap:
    """A map's bytes, as the kernel hands them out."""

    def __init__(self, entries: dict[bytes, bytes], per_cpu: bool) -> None:
        self.entries = entries
        self.key_size = len(next(iter(entries))) if entries else 8
        self.value_stride = len(next(iter(entries.values()))) if entries else 8
        self.value_size = self.value_stride // (CPUS if per_cpu else 1)

    def read_all(self) -> Any:
        return SimpleNamespace(keys=memoryview(b"".join(self.entries)), values=memoryview(b"".join(self.entries.values())),
                               count=len(self.entries))

    def take_all(self) -> Any:
        bulk = self.read_all()
        self.entries = {}
        return bulk

    def clear(self) -> None:
        self.entries = {}

    def update(self, key: bytes, value: bytes) -> None:
        self.entries[key] = value


def key(*parts: int | str) -> bytes:
    return b"".join(p.to_bytes(8, "little", signed=True) if isinstance(p, int) else p.encode().ljust(8, b"\0")
                    for p in parts)


def quads(*values: int) -> bytes:
    return b"".join((v & (1 << 64) - 1).to_bytes(8, "little") for v in values)


def made(name: str, key_type: Type | None, value: Type, entries: dict[bytes, bytes]) -> TraceMap:
    per_cpu = value.kind not in ("int", "str", "tuple")
    return TraceMap(Map(name, name[1:], key_type, value, per_cpu), FakeMap(entries, per_cpu), Names())


def keys(*types: Type) -> Type:
    return Type("tuple", 8 * len(types), False, tuple((str(i), 8 * i, t) for i, t in enumerate(types)))


def buckets(counts: dict[int, int], *before: int | str) -> dict[bytes, bytes]:
    """Of a histogram, half of each count on either CPU."""
    return {key(*before, bucket): quads(count // 2, count - count // 2) for bucket, count in counts.items()}


def log2(*values: int) -> dict[int, int]:
    counts: dict[int, int] = {}
    for n in values:
        bucket = 0 if n < 0 else n + 1 if n < 1 else n.bit_length() + 1
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts


COUNT, SUM = Type("count", 8), Type("sum", 8, True)
CASES: dict[str, tuple[TraceMap, str, object]] = {
    "a number": (made("@a", None, INT, {key(0): quads(-3)}), "@a: -3\n", {"@a": -3}),
    "the nameless map": (made("@", None, INT, {key(0): quads(9)}), "@: 9\n", {"@": 9}),
    "a string": (made("@b", None, TEXT, {key(0): b"str\0\0\0\0\0"}), "@b: str\n", {"@b": "str"}),
    "never set": (made("@x", None, INT, {}), "\n", None),
    "numbers by value": (
        made("@d", INT, INT, {key(1): quads(2), key(2): quads(1), key(7): quads(-4)}),
        "@d[7]: -4\n@d[2]: 1\n@d[1]: 2\n", {"@d": {"7": -4, "2": 1, "1": 2}}),
    "strings by key, negative keys last": (
        made("@i", INT, TEXT, {key(-1): key("m"), key(5): key("n"), key(0): key("z")}),
        "@i[0]: z\n@i[5]: n\n@i[-1]: m\n", {"@i": {"0": "z", "5": "n", "-1": "m"}}),
    "several keys": (
        made("@t", keys(INT, TEXT), TEXT, {key(10, "b"): key("w"), key(2, "a"): key("x"), key(1, "z"): key("y")}),
        "@t[1, z]: y\n@t[2, a]: x\n@t[10, b]: w\n", {"@t": {"1,z": "y", "2,a": "x", "10,b": "w"}}),
    "counts over CPUs": (made("@c", TEXT, COUNT, {key("x"): quads(0, 1), key("y"): quads(1, 1)}),
                         "@c[x]: 1\n@c[y]: 2\n", {"@c": {"x": 1, "y": 2}}),
    "a sum below zero": (made("@s", None, SUM, {key(0): quads(5, -7)}), "@s: -2\n", {"@s": -2}),
    "averages end in an empty line": (
        made("@ak", TEXT, Type("avg", 16, True), {key("b"): quads(10, 1, 0, 0), key("a"): quads(1, 1, 5, 1)}),
        "@ak[a]: 3\n@ak[b]: 10\n\n", {"@ak": {"a": 3, "b": 10}}),
    "an average below zero is cut towards it": (
        made("@a", None, Type("avg", 16, True), {key(0): quads(-3, 1, -4, 1)}), "@a: -3\n\n", {"@a": -3}),
    "statistics": (
        made("@st", None, Type("stats", 16, True), {key(0): quads(10, 1, 21, 1)}),
        "@st: count 2, average 15, total 31\n\n", {"@st": {"count": 2, "average": 15, "total": 31}}),
    "the least of those that are set": (
        made("@m", None, Type("min", 16, True), {key(0): quads(0, 0, 4, 1)}), "@m: 4\n", {"@m": 4}),
    "the greatest may be below zero": (
        made("@x", None, Type("max", 16, True), {key(0): quads(-9, 1, 0, 0)}), "@x: -9\n", {"@x": -9}),
    "a tuple": (
        made("@u", None, Type("tuple", 24, False, (("0", 0, INT), ("1", 8, keys(INT, TEXT)))), {key(0): key(1, 2, "y")}),
        "@u: (1, (2, y))\n", {"@u": [1, [2, "y"]]}),
    "a histogram": (
        made("@h", None, Type("hist", 8, False, (0,)), buckets(log2(-1, 0, 1, 2, 3, 5))),
        "@h: \n"
        f"(..., 0)               1 |{'@' * 26}{' ' * 26}|\n"
        f"[0]                    1 |{'@' * 26}{' ' * 26}|\n"
        f"[1]                    1 |{'@' * 26}{' ' * 26}|\n"
        f"[2, 4)                 2 |{FULL}|\n"
        f"[4, 8)                 1 |{'@' * 26}{' ' * 26}|\n\n",
        {"@h": [{"max": -1, "count": 1}, {"min": 0, "max": 0, "count": 1}, {"min": 1, "max": 1, "count": 1},
                {"min": 2, "max": 3, "count": 2}, {"min": 4, "max": 7, "count": 1}]}),
    "histograms by how much they hold": (
        made("@h", TEXT, Type("hist", 8, False, (0,)),
             buckets(log2(0, 3), "b") | buckets(log2(1000000, 2000000, 2000000, 2000000), "a")),
        "@h[b]: \n"
        f"[0]                    1 |{FULL}|\n"
        f"[1]                    0 |{NONE}|\n"
        f"[2, 4)                 1 |{FULL}|\n\n"
        "@h[a]: \n"
        f"[512K, 1M)             1 |{'@' * 17}{' ' * 35}|\n"
        f"[1M, 2M)               3 |{FULL}|\n\n",
        {"@h": {"b": [{"min": 0, "max": 0, "count": 1}, {"min": 1, "max": 1, "count": 0}, {"min": 2, "max": 3, "count": 1}],
                "a": [{"min": 524288, "max": 1048575, "count": 1}, {"min": 1048576, "max": 2097151, "count": 3}]}}),
    "a histogram set to zero": (
        made("@h", None, Type("hist", 8, False, (0,)), buckets({4: 0})), "@h: \n\n", {"@h": []}),
    "equal steps": (
        made("@l", None, Type("lhist", 8, False, (0, 100, 50)), buckets({0: 1, 1: 2, 3: 1})),
        "@l: \n"
        f"(..., 0)               1 |{'@' * 26}{' ' * 26}|\n"
        f"[0, 50)                2 |{FULL}|\n"
        f"[50, 100)              0 |{NONE}|\n"
        f"[100, ...)             1 |{'@' * 26}{' ' * 26}|\n\n",
        {"@l": [{"max": -1, "count": 1}, {"min": 0, "max": 49, "count": 2}, {"min": 50, "max": 99, "count": 0},
                {"min": 100, "count": 1}]}),
    "equal steps of thousands": (
        made("@b", None, Type("lhist", 8, False, (0, 10240, 1024)), buckets({3: 1})),
        f"@b: \n[2K, 3K)               1 |{FULL}|\n\n", {"@b": [{"min": 2048, "max": 3071, "count": 1}]}),
    "a label longer than its column": (
        made("@big", None, Type("lhist", 8, False, (0, 10000000, 1000000)), buckets({4: 1})),
        f"@big: \n[3000000, 4000000)       1 |{FULL}|\n\n", {"@big": [{"min": 3000000, "max": 3999999, "count": 1}]}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_map_prints(name: str) -> None:
    map, text, _ = CASES[name]
    lines: list[str] = []
    TextOutput(lines.append).map(map.view())
    assert "".join(lines) == text


@pytest.mark.parametrize("name", CASES)
def test_a_map_as_json(name: str) -> None:
    map, _, data = CASES[name]
    lines: list[str] = []
    JsonOutput(lines.append).map(map.view())
    assert [json.loads(line)["data"] for line in lines] == ([] if data is None else [data])


def test_print_takes_the_greatest_and_divides() -> None:
    map = made("@a", INT, INT, {key(1): quads(5), key(2): quads(7), key(3): quads(1)})
    lines: list[str] = []
    out = TextOutput(lines.append)
    for top, div in ((0, 0), (2, 0), (2, 2), (5, 3)):
        out.map(map.view(top, div))
    assert "".join(lines) == ("@a[3]: 1\n@a[1]: 5\n@a[2]: 7\n" "@a[1]: 5\n@a[2]: 7\n" "@a[1]: 2\n@a[2]: 3\n"
                              "@a[3]: 0\n@a[1]: 1\n@a[2]: 2\n")


def test_statistics_ignore_top_and_div() -> None:
    map = made("@st", INT, Type("stats", 16, True), {key(1): quads(4, 1, 0, 0), key(2): quads(9, 1, 0, 0)})
    assert map.view(1, 3) == map.view()


def test_a_cleared_map_is_empty_and_a_zeroed_one_keeps_its_keys() -> None:
    map = made("@a", INT, COUNT, {key(1): quads(5, 1), key(2): quads(7, 1)})
    map.zero()
    assert dict(map.items()) == {1: 0, 2: 0}
    map.clear()
    assert len(map) == 0


def test_a_map_is_a_mapping_of_typed_values() -> None:
    map = made("@t", keys(INT, TEXT), COUNT, {key(1, "a"): quads(2, 3), key(2, "b"): quads(1, 0)})
    assert map[1, "a"] == 5
    assert (9, "z") not in map
    assert dict(map) == {(1, "a"): 5, (2, "b"): 1}
    with pytest.raises(KeyError, match="no entry"):
        map[3, "c"]
    scalar = made("@n", None, INT, {key(0): quads(4)})
    assert scalar.value == 4
    columns, values = map.to_numpy()
    assert values.tolist() == [1, 5] and columns.tolist() == [(2, "b"), (1, "a")]


# bucket of n for a given k, by the rule of the plan
def _index(n: int, k: int) -> int:
    if n < 0:
        return 0
    if n < 1 << k:
        return n + 1
    high = n.bit_length() - 1
    return ((high - k + 1) << k) + (n >> high - k & (1 << k) - 1) + 1


@pytest.mark.parametrize("k", range(6))
def test_every_number_is_in_the_bucket_that_says_so(k: int) -> None:
    for n in (-5, *range(300), 1023, 1024, 1025, (1 << 40) + 12345, (1 << 63) - 1):
        (bucket,) = Histogram.log2({_index(n, k): 1}, k)
        assert (bucket.low is None or bucket.low <= n) and bucket.high is not None and n <= bucket.high, (n, bucket)


def test_labels_of_split_powers_of_two() -> None:
    labels = [b.label for b in Histogram.log2({_index(n, 2): 1 for n in (0, 16)}, 2)]
    assert labels == ["[0]", "[1]", "[2]", "[3]", "[4]", "[5]", "[6]", "[7]", "[8, 10)", "[10, 12)", "[12, 14)",
                      "[14, 16)", "[16, 20)"]
    (wide,) = Histogram.log2({_index(1280, 2): 1}, 2)
    assert wide.label == "[1280, 1536)"


def test_histograms_give_numbers_and_tables() -> None:
    histogram = Histogram.linear({1: 2, 2: 5}, 0, 100, 10)
    lows, counts = histogram.to_numpy()
    assert lows.tolist() == [0, 10] and counts.tolist() == [2, 5]
    assert histogram.total == 7
    assert "<td>5</td>" in histogram._repr_html_() and "[10, 20)" in histogram._repr_html_()
    assert FULL in repr(histogram)


@pytest.mark.parametrize(("kind", "expected"), [
    ("last", [7, None, -3]), ("sum", [12, None, -1]), ("avg", [4, None, 0]), ("min", [5, None, -3]), ("max", [7, None, 2]),
])
def test_a_time_series_has_gaps(kind: str, expected: list[int | None]) -> None:
    """Of two CPUs: the number, and how many it is made of, or when it was."""
    names = Names()
    inner = {key(slot): struct.pack("<qQqQ", *cells) for slot, cells in (
        (10, (1, 1, 1, 1)), (11, (5, 1, 7, 2)), (13, (-3, 9, 2, 8) if kind == "last" else (-3, 1, 2, 1)))}
    map = TraceMap(Map("@t", "t", None, Type("tseries", 16, True, (10**9, 3, kind)), True), FakeMap(inner, True), names)
    (series,) = [value for _, value in map.items()]
    assert isinstance(series, TimeSeries)
    assert [value for _, value in series] == expected
    assert [round(b - a, 3) for (a, _), (b, _) in zip(series.points, series.points[1:])] == [1, 1]


def test_a_time_series_draws_itself() -> None:
    """As bpftrace's documentation shows it."""
    from time import mktime

    start = mktime((2026, 11, 21, 10, 39, 49, 0, 0, 0))
    points = [(start + n / 10, value) for n, value in enumerate((-5, -4, None, 0, 5))]
    assert str(TimeSeries(points, 10**8)) == """\
             -5                                                  5
hh:mm:ss.ms  |___________________________________________________|
10:39:49.000 *                         .                         | -5
10:39:49.100 |    *                    .                         | -4
10:39:49.200 |                         .                         | -
10:39:49.300 |                         *                         | 0
10:39:49.400 |                         .                         * 5
             v___________________________________________________v
             -5                                                  5
"""


def test_errors_of_the_script_are_no_output() -> None:
    said: list[str] = []
    told: list[str] = []
    output = TextOutput(said.append, error=told.append)
    output.message("printf", "x")
    output.message("errorf", "bad 1\n", (1,))
    assert (said, told) == (["x"], ["bad 1\n"])
    JsonOutput(said.append).message("errorf", "bad 1", (1,))
    assert json.loads(said[1]) == {"type": "errorf", "data": "bad 1"}
