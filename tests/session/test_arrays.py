"""`Map.from_numpy` and `Map.to_numpy`, on every kind of map that they take."""

from __future__ import annotations

import pytest

import ebpf
from tests.session.objects import loaded

numpy = pytest.importorskip("numpy")


pytestmark = pytest.mark.usefixtures("backend")


def test_integers() -> None:
    with loaded() as session:
        counts = session.maps["counts"]
        assert counts.from_numpy(numpy.arange(500), numpy.arange(500) * 3) == 500  # int64: every value fits
        keys, values = counts.to_numpy()
        assert keys.dtype == "u8" and (values == keys * 3).all() and len(keys) == 500
        assert counts.from_numpy([], []) == 0
        assert counts.from_numpy([7], [1]) == 1 and counts[7] == 1
        with pytest.raises(ebpf.EbpfError):
            counts.from_numpy([7], [2], ebpf.Map.NOEXIST)
        assert counts[7] == 1
        assert session.maps["arr"].from_numpy(range(4), [9, 8, 7, 6]) == 4
        assert session.maps["arr"].values() == [9, 8, 7, 6]


def test_structs() -> None:
    with loaded() as session:
        pairs = session.maps["pairs"]
        pairs[{"a": 1, "comm": b"one", "b": 10}] = {"a": 2, "comm": b"two", "b": 20}
        keys, values = pairs.to_numpy(take=True)
        assert len(pairs) == 0
        assert pairs.from_numpy(keys, values) == 1 and pairs.items()[0][1].comm == b"two"
        packed = numpy.zeros(3, [("a", "u4"), ("comm", "S16"), ("b", "u8")])  # without C's padding
        packed["a"], packed["comm"], packed["b"] = [1, 2, 3], [b"x", b"yy", b""], 5
        pairs.clear()
        assert pairs.from_numpy(packed, packed[::-1]) == 3
        assert {k.a: (v.a, v.comm) for k, v in pairs.items()} == {1: (3, b""), 2: (2, b"yy"), 3: (1, b"x")}


def test_per_cpu_maps() -> None:
    with loaded() as session:
        percpu = session.maps["percpu"]
        cpus = len(next(iter(session.maps["percpu_arr"].values())))
        table = numpy.arange(3 * cpus, dtype="u4").reshape(3, cpus)
        assert percpu.from_numpy([1, 2, 3], table) == 3
        keys, values = percpu.to_numpy()
        assert (values[keys.argsort()] == table).all()
        with pytest.raises(ebpf.UsageError, match=r"shape \(3,\), not \(n, "):
            percpu.from_numpy([1, 2, 3], [1, 2, 3])


@pytest.mark.parametrize(("name", "keys", "values", "message"), [
    ("counts", [1, 2], [1], "2 keys but 1 values"),
    ("counts", [[1], [2]], [1, 2], r"keys have shape \(2, 1\), not \(n,\)"),
    ("counts", 1, 1, "shape"),
    ("counts", [1], [-1], "-1 does not fit uint64"),
    ("tiny", [1 << 32], [1], "4294967296 does not fit uint32"),
    ("counts", [1.5], [1], "dtype float64, not uint64"),
    ("counts", ["a"], [1], "dtype <U1, not uint64"),
    ("pairs", [1], [1], "dtype int64, not"),
    ("queue", [1], [1], "queue cannot be filled"),
    ("ring", [1], [1], "ringbuf cannot be filled"),
    ("progs", [1], [1], "prog_array cannot be filled"),
])
def test_what_does_not_fit(name: str, keys: object, values: object, message: str) -> None:
    with loaded() as session, pytest.raises(ebpf.UsageError, match=message):
        session.maps[name].from_numpy(keys, values)


def test_other_members_are_named() -> None:
    with loaded() as session, pytest.raises(ebpf.UsageError, match="the members a u4, b u8") as caught:
        session.maps["pairs"].from_numpy(*[numpy.zeros(1, [("a", "u4"), ("b", "u8")])] * 2)
    assert "a u4, comm S16, b u8" in caught.value.helps[0]
