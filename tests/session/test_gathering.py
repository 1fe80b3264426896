"""Events as files and tables: Parquet, DuckDB, Arrow, in batches that other tasks can wait for."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ebpf

from .objects import PACKET, TEXT

pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture
def session(backend: str) -> Iterator[ebpf.Session]:
    with ebpf.load(ebpf.compile(TEXT), load_programs=["to_ring", "to_perf"]) as session:
        yield session


def send(session: ebpf.Session, count: int, program: str = "to_ring") -> None:
    for _ in range(count):
        session.programs[program].test_run(PACKET)


@pytest.mark.parametrize(("program", "map", "row"), [
    ("to_ring", "ring", {"a": 7, "comm": "hello", "b": 9}), ("to_perf", "perf", {"a": 5, "comm": "perf", "b": 11})])
def test_a_parquet_file(session: ebpf.Session, tmp_path: Path, program: str, map: str, row: dict[str, Any]) -> None:
    import pyarrow.parquet

    stream = session.maps[map].events(timeout=0)
    send(session, 5, program)
    assert stream.to_parquet(tmp_path / "events.parquet") == 5
    assert pyarrow.parquet.read_table(tmp_path / "events.parquet").to_pylist() == [row] * 5
    assert stream.to_parquet(tmp_path / "none.parquet") == 0
    assert pyarrow.parquet.read_table(tmp_path / "none.parquet").column_names == list(row), "no rows, and the columns"


def test_a_limit_leaves_the_rest_for_later(session: ebpf.Session) -> None:
    stream = session.maps["ring"].events(timeout=0)
    send(session, 5)
    assert stream.to_arrow(limit=2).num_rows == 2
    assert len(next(stream.batches())) == 3
    send(session, 3)
    assert stream.to_arrow(limit=2).num_rows == 2 and len(list(stream)) == 1
    assert stream.to_arrow(limit=0).num_rows == 0
    with pytest.raises(ebpf.UsageError, match="a number of events, not -1"):
        stream.to_arrow(limit=-1)


def test_a_duration_ends_it(session: ebpf.Session) -> None:
    stream = session.maps["ring"].events()
    send(session, 2)
    start = time.monotonic()
    assert stream.to_arrow(duration=0.05).num_rows == 2
    assert 0.04 < time.monotonic() - start < 5


def test_a_duckdb_table(session: ebpf.Session, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    stream = session.maps["ring"].events(timeout=0)
    send(session, 3)
    path = tmp_path / "events.duckdb"
    assert stream.to_duckdb(path) == 3
    send(session, 4)
    assert stream.to_duckdb(path) == 4
    with duckdb.connect(str(path)) as database:
        assert database.execute("SELECT comm, count(*), sum(b) FROM events GROUP BY comm").fetchall() == [
            ("hello", 7, 63)]
    memory = duckdb.connect()
    send(session, 1)
    assert stream.to_duckdb(memory, "other") == 1
    assert memory.execute("SELECT a FROM other").fetchall() == [(7,)]
    with pytest.raises(ebpf.UsageError, match="no name of a table"):
        stream.to_duckdb(memory, "x; drop table other")
    memory.close()


def test_a_data_frame(session: ebpf.Session) -> None:
    pytest.importorskip("pandas")
    stream = session.maps["ring"].events(timeout=0)
    send(session, 2)
    assert stream.to_pandas()["comm"].tolist() == ["hello", "hello"]


def test_batches_let_other_tasks_run(session: ebpf.Session) -> None:
    stream = session.maps["ring"].events()

    async def read() -> int:
        count = 0
        async for batch in stream.batches(timeout=5):
            count += len(batch)
            assert batch["a"].tolist() == [7] * len(batch)
            if count == 6:
                break
        return count

    async def work() -> int:
        reader = asyncio.create_task(read())
        for _ in range(3):
            await asyncio.sleep(0.001)
            send(session, 2)
        return await reader

    assert asyncio.run(work()) == 6


def test_what_waits_is_known(session: ebpf.Session) -> None:
    stream = session.maps["ring"].events(timeout=0)
    assert stream.waiting_bytes == 0
    send(session, 3)
    if session.backend == "kernel":
        assert stream.waiting_bytes == 3 * 40
    assert len(list(stream)) == 3 and stream.waiting_bytes == 0 and stream.lost == 0


def test_without_the_packages_one_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ebpf.load(ebpf.compile(TEXT), load_programs=False, backend="machine") as session:
        stream = session.maps["ring"].events(timeout=0)
        monkeypatch.setitem(sys.modules, "duckdb", None)
        with pytest.raises(ebpf.NotSupported, match=r"pip install 'ebpf\[data\]'"):
            stream.to_duckdb(tmp_path / "x")
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(ebpf.NotSupported, match=r"pip install 'ebpf\[arrow\]'"):
            stream.to_parquet(tmp_path / "x")
