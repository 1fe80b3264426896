"""A stream's events into files and tables, batch by batch (`EventStream.to_parquet`, `to_duckdb`, `to_arrow`)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ebpf.errors import UsageError
from ebpf.session import frames
from ebpf.session.extras import need

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.session.events import EventStream


def _tables(stream: EventStream, limit: int | None, timeout: float | None, duration: float | None) -> Iterator[Any]:
    """Arrow tables of what comes, until a bound is reached; the first has no rows, and the columns."""
    import numpy

    if limit is not None and limit < 0:
        raise UsageError(f"limit is a number of events, not {limit}")
    dtype = None if stream.codec is None else stream.codec.dtype
    empty = numpy.zeros((0, 1), numpy.uint8) if dtype is None else numpy.zeros(0, dtype)
    yield frames.to_table(frames.event_columns(empty))
    if not limit and limit is not None:
        return
    count = 0
    until = None if duration is None else time.monotonic() + duration
    batches = stream.batches(timeout=timeout, until=until)
    for batch in batches:
        if limit is not None and len(batch) >= limit - count:
            batches.close()
            stream.put_back(batch[limit - count:])
            batch = batch[:limit - count]
        count += len(batch)
        yield frames.to_table(frames.event_columns(batch))
        if count == limit:
            return


def to_arrow(stream: EventStream, limit: int | None, timeout: float | None, duration: float | None) -> Any:
    """All of it in memory."""
    pyarrow = need("pyarrow", "Arrow tables")
    head, *rest = _tables(stream, limit, timeout, duration)
    return pyarrow.concat_tables(rest) if rest else head


def to_parquet(stream: EventStream, path: str | os.PathLike[str], limit: int | None, timeout: float | None,
               duration: float | None) -> int:
    """A row group for each batch."""
    parquet = need("pyarrow.parquet", "Parquet files")
    count, writer = 0, None
    try:
        for table in _tables(stream, limit, timeout, duration):
            if writer is None or table.schema != writer.schema:
                if count:
                    raise UsageError("records of different lengths and without a type do not fit one file")
                if writer is not None:
                    writer.close()
                writer = parquet.ParquetWriter(os.fspath(path), table.schema)
            if table.num_rows:
                writer.write_table(table)
                count += table.num_rows
    finally:
        if writer is not None:
            writer.close()
    return count


def to_duckdb(stream: EventStream, database: Any, table: str, limit: int | None, timeout: float | None,
              duration: float | None) -> int:
    """An insertion for each batch."""
    duckdb = need("duckdb", "DuckDB tables")
    if not table.isidentifier():
        raise UsageError(f"{table!r} is no name of a table: letters, digits and _")
    mine = isinstance(database, (str, os.PathLike))
    connection = duckdb.connect(os.fspath(database)) if mine else database
    count = 0
    try:
        for batch in _tables(stream, limit, timeout, duration):
            connection.register("_ebpf_batch", batch)
            try:
                if not count:
                    connection.execute(f'CREATE TABLE IF NOT EXISTS "{table}" AS SELECT * FROM _ebpf_batch LIMIT 0')
                if batch.num_rows:
                    connection.execute(f'INSERT INTO "{table}" SELECT * FROM _ebpf_batch')
            finally:
                connection.unregister("_ebpf_batch")
            count += batch.num_rows
    finally:
        if mine:
            connection.close()
    return count
