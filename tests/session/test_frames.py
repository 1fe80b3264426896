"""Maps as Arrow tables, data frames and what reads them; without those packages one clear error."""

from __future__ import annotations

import sys
from typing import Any

import numpy
import pytest

import ebpf
from ebpf.session import frames

from .objects import TEXT

pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture
def session(backend: str) -> Any:
    with ebpf.load(ebpf.compile(TEXT), load_programs=False) as session:
        yield session


def test_numbers_are_handed_over_as_they_lie(session: ebpf.Session) -> None:
    counts = session.maps["counts"]
    counts.update({k: k * 3 for k in range(500)})
    table = counts.to_arrow()
    assert table.schema == pyarrow.schema([("key", pyarrow.uint64()), ("value", pyarrow.uint64())])
    assert dict(zip(table["key"].to_pylist(), table["value"].to_pylist())) == dict(counts.items())
    keys, _ = counts.to_numpy()
    assert frames.to_arrow(keys).buffers()[1].address == keys.ctypes.data, "a column of numbers was copied"


def test_members_of_structs_are_columns(session: ebpf.Session) -> None:
    pairs = session.maps["pairs"]
    pairs[{"a": 1, "comm": "sh"}] = {"a": 2, "comm": b"caf\xc3\xa9", "b": 9}
    pairs[{"a": 3, "comm": b"x" * 16}] = {"comm": b"\xff"}
    rows = sorted(pairs.to_arrow().to_pylist(), key=lambda row: row["key_a"])
    assert rows == [
        {"key_a": 1, "key_comm": "sh", "key_b": 0, "value_a": 2, "value_comm": "café", "value_b": 9},
        {"key_a": 3, "key_comm": "x" * 16, "key_b": 0, "value_a": 0, "value_comm": "\ufffd", "value_b": 0}]


def test_a_per_cpu_map_has_a_row_for_each_cpu(session: ebpf.Session) -> None:
    percpu = session.maps["percpu"]
    percpu[7] = 3
    percpu[8] = 4
    cpus = len(percpu[7])
    table = percpu.to_arrow()
    assert table.column_names == ["key", "cpu", "value"]
    assert sorted(map(tuple, (row.values() for row in table.to_pylist()))) == sorted(
        (key, cpu, value) for key, value in ((7, 3), (8, 4)) for cpu in range(cpus))


def test_an_empty_map_is_a_table_of_the_same_columns(session: ebpf.Session) -> None:
    table = session.maps["pairs"].to_arrow()
    assert table.num_rows == 0 and table.column_names == [
        "key_a", "key_comm", "key_b", "value_a", "value_comm", "value_b"]


def test_take_empties_the_map(session: ebpf.Session) -> None:
    counts = session.maps["counts"]
    counts[1] = 2
    assert counts.to_arrow(take=True).num_rows == 1 and len(counts) == 0


def test_data_frames(session: ebpf.Session) -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    counts = session.maps["counts"]
    counts.update({1: 10, 2: 20})
    frame = counts.to_pandas()
    assert isinstance(frame, pandas.DataFrame) and frame.set_index("key")["value"].to_dict() == {1: 10, 2: 20}
    assert isinstance(counts.to_polars(), polars.DataFrame) and counts.to_polars()["value"].sum() == 30


@pytest.mark.parametrize(("array", "expected"), [
    (numpy.array([[1, 2], [3, 4]], "u4"), [[1, 2], [3, 4]]),
    (numpy.array([[[1], [2]], [[3], [4]]], "i2"), [[[1], [2]], [[3], [4]]]),
    (numpy.array([[1, 2, 255]], "u1"), [b"\x01\x02\xff"]),
    (numpy.array([b"ab", b"", b"a\0b", b"full"], "S4"), ["ab", "", "a", "full"]),
    (numpy.array([True, False]), [True, False]),
    (numpy.zeros(2, "V3"), [b"\0\0\0", b"\0\0\0"]),
    (numpy.array([(1, (2, b"x"))], [("a", "u1"), ("b", [("c", "<f8"), ("d", "S1")])]), [{"a": 1, "b": {"c": 2, "d": "x"}}]),
    (numpy.zeros(0, "S8"), []),
    (numpy.zeros(0, "V8"), []),
    (numpy.zeros((0, 3), "u8"), []),
], ids=str)
def test_every_shape_has_an_arrow_type(array: Any, expected: list[Any]) -> None:
    made = frames.to_arrow(array)
    made.validate(full=True)
    assert made.to_pylist() == expected


def test_without_the_packages_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with ebpf.load(ebpf.compile(TEXT), load_programs=False, backend="machine") as session:
        for package, method, extra in (("pyarrow", "to_arrow", "arrow"), ("pandas", "to_pandas", "data"),
                                       ("polars", "to_polars", "data")):
            monkeypatch.setitem(sys.modules, package, None)
            with pytest.raises(ebpf.NotSupported) as caught:
                getattr(session.maps["counts"], method)()
            assert f"pip install 'ebpf[{extra}]'" in str(caught.value)
