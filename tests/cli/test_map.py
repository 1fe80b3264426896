"""``ebpf map``: entries looked up and changed, dumps in every format."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import ebpf
from ebpf import cli

pytestmark = pytest.mark.kernel

_SOURCE = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct v { __u64 n; __u32 a[2]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, struct v); __uint(max_entries, 64); }
    table SEC(".maps");
"""


@pytest.fixture
def table() -> Iterator[tuple[ebpf.Map, str]]:
    with ebpf.load(ebpf.compile(_SOURCE), backend="kernel") as session:
        map = session.maps["table"]
        map.update({k: {"n": k * 10, "a": (k, 1)} for k in range(5)})
        yield map, str(map.raw.info().id)


def test_entries(table: tuple[ebpf.Map, str], capsys: pytest.CaptureFixture[str]) -> None:
    map, id = table
    assert cli.main(["map", "update", id, "7", '{"n": 5, "a": [1, 2]}']) == 0 and map[7].n == 5
    assert cli.main(["map", "lookup", id, "7", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"n": 5, "a": [1, 2]}
    assert cli.main(["map", "lookup", id, "hex:07000000"]) == 0 and ".n = 5" in capsys.readouterr().out
    assert cli.main(["map", "delete", id, "7"]) == 0 and 7 not in map
    assert cli.main(["map", "lookup", id, "7"]) == 1 and "no entry under 7" in capsys.readouterr().err
    assert cli.main(["map", "update", id, "7"]) == 2 and "KEY VALUE" in capsys.readouterr().err
    assert cli.main(["map", "lookup", id, "hex:0x"]) == 2 and "hexadecimal" in capsys.readouterr().err


def test_dumps(table: tuple[ebpf.Map, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    map, id = table
    expected = {k: v.n for k, v in map.items()}
    assert cli.main(["map", "dump", id, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["key"]: row["value"]["n"] for row in rows} == expected
    made = tmp_path / "table.csv"
    assert cli.main(["map", "dump", id, "-o", str(made)]) == 0
    with made.open() as file:
        assert {int(row["key"]): int(row["value.n"]) for row in csv.DictReader(file)} == expected
    assert "5 entries" in capsys.readouterr().err
    pytest.importorskip("pyarrow")
    import pyarrow as pa

    made = tmp_path / "table.arrow"
    assert cli.main(["map", "dump", id, "-o", str(made)]) == 0
    with pa.OSFile(str(made)) as file:
        found = pa.ipc.open_file(file).read_all().to_pydict()
    assert dict(zip(found["key"], found["n"], strict=True)) == expected


def test_pieces_are_the_whole(table: tuple[ebpf.Map, str]) -> None:
    map, _ = table
    pieces = list(map.chunks(2))
    assert len(pieces) > 1 and dict(entry for piece in pieces for entry in piece) == dict(map.items())
