"""Arrays as tables: Arrow, and through it pandas, polars, Parquet and DuckDB.

A column is a member of a struct. Numbers that lie together are handed over as they lie; members of a struct lie apart,
so that each is copied once. ``char[N]`` becomes text: up to its NUL, what is not UTF-8 replaced (the bytes are in the
NumPy arrays); an array a fixed-size list, a struct in a struct a struct, what has no type fixed-size binary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from ebpf.session.extras import need

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = numpy.ndarray[Any, Any]

_PLAIN = "iuf"


def to_table(columns: list[tuple[str, Array]]) -> Any:
    """A ``pyarrow.Table`` of arrays of one length, by name."""
    pyarrow = need("pyarrow", "Arrow tables")
    return pyarrow.table([to_arrow(array) for _, array in columns], names=[name for name, _ in columns])


def map_columns(keys: Array, values: Array, per_cpu: bool) -> list[tuple[str, Array]]:
    """A map's entries as columns: ``key`` and ``value``, or the members where these are structs.

    A member of both has ``key_`` or ``value_`` before its name. Values of a per-CPU map are a row for each CPU.
    """
    if per_cpu:
        cpus = values.shape[1]
        cpu = numpy.tile(numpy.arange(cpus, dtype=numpy.uint32), len(keys))
        keys = numpy.repeat(keys, cpus, axis=0)
        values = values.reshape(-1, *values.shape[2:])
    left, right = list(_split("key", keys)), list(_split("value", values))
    if per_cpu:
        left.append(("cpu", cpu))
    both = {name for name, _ in left} & {name for name, _ in right}
    return [(f"key_{name}" if name in both else name, array) for name, array in left] + \
           [(f"value_{name}" if name in both else name, array) for name, array in right]


def event_columns(records: Array) -> list[tuple[str, Array]]:
    """The members of records; one column ``data`` where they have none."""
    return list(_split("data", records))


def _split(name: str, array: Array) -> Iterator[tuple[str, Array]]:
    if array.dtype.names is None:
        yield name, array
        return
    for member in array.dtype.names:
        yield member, array[member]


def to_arrow(array: Array) -> Any:
    """One array, of any shape and dtype that types of programs have, as an Arrow array."""
    pyarrow = need("pyarrow", "Arrow arrays")
    dtype, count = array.dtype, len(array)
    if array.ndim > 1:
        inner = array.shape[1]
        if dtype == numpy.uint8 and array.ndim == 2:  # bytes: of a map without types, an address
            flat = numpy.ascontiguousarray(array)
            return pyarrow.Array.from_buffers(pyarrow.binary(inner), count, [None, pyarrow.py_buffer(flat)])
        values = to_arrow(numpy.ascontiguousarray(array).reshape(count * inner, *array.shape[2:]))
        return pyarrow.FixedSizeListArray.from_arrays(values, inner)
    if dtype.names is not None:
        if not dtype.names:
            return pyarrow.nulls(count)
        return pyarrow.StructArray.from_arrays([to_arrow(array[name]) for name in dtype.names], list(dtype.names))
    if dtype.kind == "S":
        return _to_text(pyarrow, array)
    flat = numpy.ascontiguousarray(array)
    if dtype.kind in _PLAIN:
        return pyarrow.Array.from_buffers(pyarrow.from_numpy_dtype(dtype), count, [None, pyarrow.py_buffer(flat)])
    if dtype.kind == "b":
        return pyarrow.array(flat)
    return pyarrow.Array.from_buffers(pyarrow.binary(dtype.itemsize), count,
                                      [None, pyarrow.py_buffer(flat.view(numpy.uint8) if count else b"")])


def _to_text(pyarrow: Any, array: Array) -> Any:
    """Text up to its NUL, all rows at once where it is ASCII."""
    size = array.dtype.itemsize
    rows = numpy.ascontiguousarray(array).view(numpy.uint8).reshape(len(array), size)
    ends = rows == 0
    lengths = numpy.where(ends.any(axis=1), ends.argmax(axis=1), size)
    taken = rows[numpy.arange(size) < lengths[:, None]]
    if taken.size and taken.max() > 127:
        return pyarrow.array([bytes(row[:end]).decode("utf-8", "replace") for row, end in zip(rows, lengths.tolist())],
                             pyarrow.string())
    offsets = numpy.zeros(len(array) + 1, numpy.int32)
    numpy.cumsum(lengths, out=offsets[1:])
    return pyarrow.StringArray.from_buffers(len(array), pyarrow.py_buffer(offsets), pyarrow.py_buffer(taken))
