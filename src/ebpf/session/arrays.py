"""A map's contents as NumPy arrays, and arrays as a map's contents (`Map.to_numpy`, `Map.from_numpy`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy

from ebpf.errors import MapError, UsageError

if TYPE_CHECKING:
    from ebpf.session.backend import Bulk, RawMap

Array = numpy.ndarray[Any, Any]


def keys_of(raw: RawMap, bulk: Bulk, dtype: Any) -> Array:
    """One element for each entry; shape (n, size) of ``uint8`` without a dtype."""
    return _plain(bulk.keys, raw.key_size, dtype, bulk.count)


def values_of(raw: RawMap, bulk: Bulk, dtype: Any, per_cpu: bool) -> Array:
    """The same; values of per-CPU maps have a second axis, the CPU."""
    if not per_cpu:
        return _plain(bulk.values, raw.value_stride, dtype, bulk.count)
    size, step, cpus = _per_cpu(raw)
    flat = numpy.frombuffer(bulk.values, numpy.uint8).reshape(-1, step)[:, :size]
    if dtype is None:
        rows: Array = flat.reshape(bulk.count, cpus, size)
        return rows
    typed: Array = numpy.ascontiguousarray(flat).view(dtype).reshape(bulk.count, cpus)
    return typed


def _plain(data: memoryview, size: int, dtype: Any, count: int) -> Array:
    if dtype is None:
        return numpy.frombuffer(data, numpy.uint8).reshape(count, size)
    try:
        return numpy.frombuffer(data, numpy.dtype(dtype), count)
    except ValueError as error:
        raise MapError(f"{size} bytes do not fit dtype {dtype}: {error}", map_name="") from None


def key_bytes(raw: RawMap, keys: Any, dtype: Any) -> tuple[memoryview, int]:
    """The bytes of ``keys``, and how many keys they are."""
    array = _checked(raw, "keys", keys, dtype, (), raw.key_size)
    return _bytes(array), len(array)


def value_bytes(raw: RawMap, values: Any, dtype: Any, per_cpu: bool, count: int) -> memoryview:
    """The bytes of ``values``, one (or with ``per_cpu`` one row) for each of ``count`` keys."""
    if not per_cpu:
        array = _checked(raw, "values", values, dtype, (), raw.value_stride)
        _same_length(raw, array, count)
        return _bytes(array)
    size, step, cpus = _per_cpu(raw)
    array = _checked(raw, "values", values, dtype, (cpus,), size)
    _same_length(raw, array, count)
    out = numpy.zeros((count * cpus, step), numpy.uint8)
    out[:, :size] = numpy.frombuffer(_bytes(array), numpy.uint8).reshape(count * cpus, size)
    return _bytes(out)


def _per_cpu(raw: RawMap) -> tuple[int, int, int]:
    """Bytes of a value, bytes from one CPU's to the next, number of CPUs."""
    step = -(-raw.value_size // 8) * 8
    return raw.value_size, step, raw.value_stride // step


def _bytes(array: Array) -> memoryview:
    return numpy.ascontiguousarray(array).reshape(-1).view(numpy.uint8).data


def _same_length(raw: RawMap, values: Array, count: int) -> None:
    if len(values) != count:
        raise UsageError(f"map {raw.name!r}: {count} keys but {len(values)} values")


def _checked(raw: RawMap, what: str, given: Any, dtype: Any, inner: tuple[int, ...], size: int) -> Array:
    """``given`` as an array of ``dtype`` (None: rows of ``size`` bytes), one axis and then ``inner``."""
    array = numpy.asarray(given)
    where = f"map {raw.name!r}: {what}"
    if dtype is None:
        wanted, shape = numpy.dtype(numpy.uint8), (*inner, size)
        if array.dtype != wanted:
            raise UsageError(f"{where} have dtype {array.dtype}, but the map has no types: "
                             f"uint8 of shape {_shape(shape)} is wanted")
    else:
        wanted, shape = numpy.dtype(dtype), inner
        if wanted.subdtype is not None:  # an array type: NumPy moves its axes to the outside
            wanted, extra = wanted.subdtype
            shape = (*inner, *extra)
        if array.shape == (0,):  # an empty list has no type of its own
            array = numpy.zeros((0, *shape), wanted)
        elif array.dtype != wanted:
            array = _converted(where, array, wanted)
    if array.ndim == 0 or array.shape[1:] != shape:
        raise UsageError(f"{where} have shape {array.shape}, not {_shape(shape)}")
    return array


def _converted(where: str, array: Array, wanted: numpy.dtype[Any]) -> Array:
    """Another dtype, if every value is the same in it."""
    if wanted.names is not None and array.dtype.names is not None:
        if _members(array.dtype) == _members(wanted):
            return _copied(array, wanted)  # padded otherwise
        raise UsageError(f"{where} have the members {_members(array.dtype)}",
                         helps=(f"the map's are {_members(wanted)}: make them with that dtype",))
    if wanted.kind in "iub" and array.dtype.kind in "iub":
        out = array.astype(wanted)
        if array.size and not numpy.array_equal(out, array):
            worst = array[out != array].flat[0]
            raise UsageError(f"{where}: {worst} does not fit {wanted.name}")
        return out
    if wanted.kind == "S" and array.dtype.kind == "S":
        longest = max(map(len, array.reshape(-1).tolist()), default=0)
        if longest > wanted.itemsize:
            raise UsageError(f"{where}: {longest} bytes do not fit char[{wanted.itemsize}]")
        return array.astype(wanted)
    raise UsageError(f"{where} have dtype {array.dtype}, not {wanted}")


def _copied(array: Array, wanted: numpy.dtype[Any]) -> Array:
    out = numpy.zeros(array.shape, wanted)
    for name in wanted.names or ():
        inner, target = array[name], out[name]
        if target.dtype.names is not None:
            out[name] = _copied(inner, target.dtype)
        else:
            out[name] = inner
    return out


def _members(dtype: numpy.dtype[Any]) -> str:
    """``pid u4, comm S16``: what counts when two structs are compared."""
    return ", ".join(f"{name} {_member(dtype[name])}" for name in dtype.names or ())


def _member(dtype: numpy.dtype[Any]) -> str:
    if dtype.names is not None:
        return f"({_members(dtype)})"
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return _member(base) + "".join(f"[{n}]" for n in shape)
    return dtype.str.lstrip("<>|=")


def _shape(inner: tuple[int, ...]) -> str:
    return f"(n, {', '.join(map(str, inner))})" if inner else "(n,)"
