"""Keys, values and events of the types that a Python program declares, for `Map` and `EventStream`.

The object's BTF knows the same layouts; what it does not know is that a value is an instance of the program's own
class, or stored in network byte order. Types for which that makes no difference are left to BTF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.py.types import ArrayType, CharsType, IntType, StructType, convert, emit, parse, size_of
from ebpf.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


class DeclaredCodec:
    """Between the bytes of a declared type and its Python values; has what a BTF `Codec` has."""

    __slots__ = ("_dtype", "size", "type")

    def __init__(self, type: Any) -> None:
        self.type = type
        self.size = size_of(type) or 0
        self._dtype: np.dtype[Any] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The NumPy dtype of many."""
        if self._dtype is None:
            self._dtype = dtype_of(self.type)
        return self._dtype

    def decode(self, data: bytes | memoryview) -> Any:
        return parse(self.type, bytes(data))

    def decode_many(self, data: bytes | memoryview) -> list[Any]:
        raw, size, type = bytes(data), self.size, self.type
        return [parse(type, raw[at:at + size]) for at in range(0, len(raw), size)]

    def encode(self, value: Any) -> bytes:
        if isinstance(value, (bytes, bytearray, memoryview)) and isinstance(self.type, StructType):
            if len(value) != self.size:
                raise UsageError(f"{self.type.__name__} has {self.size} bytes, and these are {len(value)}")
            return bytes(value)
        checked = _checked(self.type, value)
        return emit(self.type, convert(self.type, checked))


def codec_for(type: Any) -> DeclaredCodec | None:
    """The codec of a declared type; ``None`` where BTF's gives the same values."""
    return DeclaredCodec(type) if type is not None and _own(type) else None


def _own(type: Any) -> bool:
    if isinstance(type, StructType):
        return True
    if isinstance(type, ArrayType):
        return _own(type.element)
    return isinstance(type, IntType) and type.big


def _checked(type: Any, value: Any) -> Any:
    """Numbers that do not fit are refused here, though the types' own conversion would wrap them: nobody computes."""
    if isinstance(type, IntType):
        if not isinstance(value, int):
            index = getattr(value, "__index__", None)
            if index is None:
                raise UsageError(f"{value!r} is no integer: {type!r} is wanted")
            value = index()
        if not type.minimum <= value <= type.maximum:
            raise UsageError(f"{value} does not fit {type!r}, which goes from {type.minimum} to {type.maximum}")
    elif isinstance(type, StructType) and not isinstance(value, type):
        named = value if isinstance(value, dict) else dict(zip(type.fields, value)) if isinstance(value, tuple) else {}
        for name, field in type.fields.items():
            if name in named and isinstance(field.type, (IntType, StructType)):
                _checked(field.type, named[name])
    return value


def dtype_of(type: Any) -> np.dtype[Any]:
    """The NumPy dtype of a declared type."""
    import numpy

    if isinstance(type, IntType):
        return numpy.dtype(f"{'>' if type.big else '<'}{'i' if type.signed else 'u'}{type.size}")
    if isinstance(type, CharsType):
        return numpy.dtype(f"S{type.count}")
    if isinstance(type, ArrayType):
        return numpy.dtype((dtype_of(type.element), (type.count,)))
    if isinstance(type, StructType):
        fields = type.fields.values()
        return numpy.dtype({"names": [f.name for f in fields], "formats": [dtype_of(f.type) for f in fields],
                            "offsets": [f.offset for f in fields], "itemsize": type.size})
    return numpy.dtype("?") if type is bool else numpy.dtype("<i8")
