"""`codec(btf, id)`: values of a BTF type, between Python, bytes and NumPy.

========================  ==========================================================================
BTF                       Python
========================  ==========================================================================
integer, pointer          ``int`` (128 bits too)
``bool``                  ``bool``
float                     ``float``
enum                      `EnumValue`: an ``int`` with ``.name``
``char[N]``               ``bytes``, cut at the first NUL
other array               ``tuple``
struct, union             `Record`: a tuple with the members as attributes; members of anonymous
                          structs and unions appear among the outer one's, all members of a union are there
========================  ==========================================================================

A codec is built once for each type and kept by its `Btf`. Decoding is done by `struct` as far as possible: one call for
a struct of plain members, one ``iter_unpack`` for a whole buffer of them.
"""

from __future__ import annotations

from collections import _tuplegetter  # type: ignore[attr-defined]  # as named tuples: 5 times as fast as a property
from functools import partial
from struct import Struct as Layout, error as LayoutError
from sys import byteorder
from typing import TYPE_CHECKING, Any, ClassVar, cast

from ebpf.btf import types as T
from ebpf.btf.format import format_decl
from ebpf.errors import BtfError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy

    from ebpf.btf.reader import Btf

    Buffer = bytes | bytearray | memoryview

_MAX_SIZE = 1 << 30
_MAX_NESTING = 64
_INT_CODES = {1: "bB", 2: "hH", 4: "iI", 8: "qQ"}


def codec(btf: Btf, id: int) -> Codec:
    """The codec of a type (behind typedefs and qualifiers). Raises `BtfError` for ``void`` and functions."""
    found = btf.codecs.get(id)
    if found is None:
        found = btf.codecs[id] = _make(btf, id, 0)
    return cast("Codec", found)


class EnumValue(int):
    """A value of an enum. ``name`` is the (first) enumerator with that value, or None."""

    _names: ClassVar[Mapping[int, str]] = {}

    @property
    def name(self) -> str | None:
        return self._names.get(int(self))

    def __repr__(self) -> str:
        return self.name or int.__repr__(self)

    __str__ = __repr__


class Record(tuple[Any, ...]):
    """A struct or union: a tuple of its members' values that also answers to their names (``r.pid``, ``r["pid"]``).

    ``_fields`` are the names in order. Records are compared, hashed and unpacked as tuples.
    """

    __slots__ = ()
    _fields: ClassVar[tuple[str, ...]] = ()
    _codec: ClassVar[Codec]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                return tuple.__getitem__(self, self._fields.index(key))
            except ValueError:
                raise KeyError(key) from None
        return tuple.__getitem__(self, key)

    def __getattr__(self, name: str) -> Any:  # only for names that are not members
        from ebpf.diagnostics import did_you_mean

        similar = did_you_mean(name, self._fields)
        raise AttributeError(f"{self._codec.type_name} has no member {name!r}"
                             + (f"; did you mean {similar[0]!r}?" if similar else ""))

    def _asdict(self) -> dict[str, Any]:
        return dict(zip(self._fields, self, strict=True))

    def _replace(self, **values: object) -> Record:
        """A copy with some members changed."""
        composite = cast("_Composite", self._codec)
        data = bytearray(composite.encode(self))
        composite.put_fields(data, values, composite.type_name)
        return cast("Record", composite.decode(data))

    def __repr__(self) -> str:
        return self._codec.format(self)

    def __reduce__(self) -> tuple[object, ...]:
        return tuple, (tuple(self),)  # the type cannot travel: another process may have other BTF


class Codec:
    """Between a type's values and their bytes. ``size`` is in bytes, ``type_name`` the type as C text."""

    __slots__ = ("_dtype", "_layout", "_order", "btf", "code", "id", "size", "type_name")

    def __init__(self, btf: Btf, id: int, size: int, code: str | None) -> None:
        self.btf = btf
        self.id = id
        self.size = size
        self.type_name = _type_name(btf, id)
        self._order = "<" if btf.little_endian else ">"
        #: The `struct` character whose Python value `from_raw` takes, or None if it takes ``size`` bytes.
        self.code = code
        self._layout = Layout(self._order + (code or f"{size}s"))
        self._dtype: numpy.dtype[Any] | None = None

    # Subclasses translate what `struct` gives; the defaults are for types that `struct` knows.

    def from_raw(self, raw: Any) -> Any:
        return raw

    def to_raw(self, value: object, where: str) -> Any:
        raise NotImplementedError

    @property
    def is_identity(self) -> bool:
        """Whether `from_raw` changes nothing."""
        return type(self).from_raw is Codec.from_raw

    def decode(self, data: Buffer) -> Any:
        """The value of exactly ``size`` bytes. Raises `UsageError` for another length."""
        try:
            (raw,) = self._layout.unpack(data)
        except LayoutError:
            raise self._wrong_length(len(data)) from None
        return self.from_raw(raw)

    def decode_many(self, data: Buffer) -> list[Any]:
        """The values of a buffer that holds any number of them without gaps."""
        if not self.size or len(data) % self.size:
            raise self._wrong_length(len(data), "a multiple of ")
        if self.is_identity:
            return [raw for (raw,) in self._layout.iter_unpack(data)]
        from_raw = self.from_raw
        return [from_raw(raw) for (raw,) in self._layout.iter_unpack(data)]

    def encode(self, value: object) -> bytes:
        """The ``size`` bytes of a value. Raises `UsageError` that names the member that does not fit, and why."""
        return self._layout.pack(self.to_raw(value, self.type_name))

    def format(self, value: object) -> str:
        """The value as C text."""
        return _format(value)

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """The NumPy type with the same bytes. Imports NumPy."""
        if self._dtype is None:
            self._dtype = self._make_dtype()
        return self._dtype

    def _make_dtype(self) -> numpy.dtype[Any]:
        import numpy

        return numpy.dtype(self._order + self.code if self.code else f"V{self.size}")

    def _wrong_length(self, length: int, multiple: str = "") -> UsageError:
        return UsageError(f"{self.type_name} needs {multiple}{self.size} bytes, not {length}")

    def _raw_bytes(self, value: object, where: str) -> bytes | None:
        """``value`` as the bytes of this type, if it is some kind of buffer (also ctypes and NumPy scalars)."""
        try:
            raw = bytes(memoryview(value))  # type: ignore[arg-type]
        except TypeError:
            return None
        except ValueError:  # a NumPy record whose type cannot be said in a buffer's format
            raw = value.tobytes()  # type: ignore[attr-defined]
        if len(raw) != self.size:
            raise UsageError(f"{where}: {len(raw)} bytes given, {self.type_name} has {self.size}")
        return raw

    def __repr__(self) -> str:
        return f"<Codec {self.type_name}, {self.size} bytes>"


def _unsuitable(value: object, where: str, wanted: str) -> UsageError:
    shown = repr(value)
    if len(shown) > 60:
        shown = shown[:57] + "..."
    return UsageError(f"{where}: {shown} ({type(value).__name__}) is not {wanted}")


class _Integer(Codec):
    """Integers up to 64 bits, and pointers."""

    __slots__ = ("_high", "_low")

    def __init__(self, btf: Btf, id: int, size: int, signed: bool) -> None:
        super().__init__(btf, id, size, _INT_CODES[size][not signed] if size in _INT_CODES else None)
        self._low = -(1 << 8 * size - 1) if signed else 0
        self._high = self._low + (1 << 8 * size) - 1

    def to_raw(self, value: object, where: str) -> Any:
        return self.checked(value, where)

    def decode_many(self, data: Buffer) -> list[Any]:
        if self.code is None or not self.is_identity or self.btf.little_endian != (byteorder == "little") or (
                len(data) % self.size):
            return super().decode_many(data)
        return memoryview(data).cast("B").cast(cast("Any", self.code)).tolist()

    def checked(self, value: object, where: str) -> int:
        try:
            number = value.__index__()  # type: ignore[attr-defined]
        except AttributeError:
            if value is None and self.size == self.btf.pointer_size and isinstance(self.btf.resolved(self.id), T.Ptr):
                return 0
            raw = self._raw_bytes(value, where)
            if raw is None:
                raise _unsuitable(value, where, "an integer") from None
            return int.from_bytes(raw, "little" if self.btf.little_endian else "big", signed=self._low < 0)
        if not self._low <= number <= self._high:
            raise UsageError(f"{where}: {number} does not fit {self.type_name} ({self._low} to {self._high})")
        return cast("int", number)


class _Wide(_Integer):
    """Integers of 128 bits, which `struct` does not know."""

    __slots__ = ()

    def from_raw(self, raw: Any) -> Any:
        return int.from_bytes(raw, "little" if self.btf.little_endian else "big", signed=self._low < 0)

    def to_raw(self, value: object, where: str) -> Any:
        return self.checked(value, where).to_bytes(16, "little" if self.btf.little_endian else "big",
                                                   signed=self._low < 0)


class _Bool(_Integer):
    __slots__ = ()
    from_raw = staticmethod(bool)  # type: ignore[assignment]

    def to_raw(self, value: object, where: str) -> Any:
        return self.checked(value, where)

    def _make_dtype(self) -> numpy.dtype[Any]:
        import numpy

        return numpy.dtype("?") if self.size == 1 else super()._make_dtype()


class _EnumCodec(_Integer):
    __slots__ = ("_by_name", "_known", "enum_type")

    def __init__(self, btf: Btf, id: int, t: T.Enum | T.Enum64) -> None:
        super().__init__(btf, id, t.size, t.signed)
        names: dict[int, str] = {}
        mask = (1 << 8 * t.size) - 1
        for v in t.values:
            value = v.value if t.signed else v.value & mask
            names.setdefault(value, v.name)
        self.enum_type: type[EnumValue] = type(_class_name(t, "enum"), (EnumValue,), {"_names": names})
        self._known = {value: self.enum_type(value) for value in names}
        self._by_name = {v.name: v.value for v in t.values}

    def from_raw(self, raw: Any) -> Any:
        known = self._known.get(raw)
        return known if known is not None else self.enum_type(raw)

    def to_raw(self, value: object, where: str) -> Any:
        if isinstance(value, str):
            number = self._by_name.get(value)
            if number is None:
                from ebpf.diagnostics import did_you_mean

                similar = did_you_mean(value, self._by_name)
                raise UsageError(f"{where}: {self.type_name} has no enumerator {value!r}",
                                 helps=[f"did you mean {', '.join(similar)}?"] if similar else ())
            return number
        return self.checked(value, where)


class _FloatCodec(Codec):
    __slots__ = ()

    def to_raw(self, value: object, where: str) -> Any:
        if isinstance(value, (int, float)) or hasattr(value, "__float__"):
            if self.code is None:
                raise UsageError(f"{where}: Python has no {self.type_name}; give its {self.size} bytes")
            try:
                self._layout.pack(number := float(value))
            except OverflowError:
                raise UsageError(f"{where}: {value} does not fit {self.type_name}") from None
            return number
        raw = self._raw_bytes(value, where)
        if raw is None:
            raise _unsuitable(value, where, "a number")
        return self._layout.unpack(raw)[0]


class _Text(Codec):
    """``char[N]``."""

    __slots__ = ()

    def from_raw(self, raw: Any) -> Any:
        end = raw.find(b"\0")
        return raw if end < 0 else raw[:end]

    def to_raw(self, value: object, where: str) -> Any:
        raw: bytes | None
        if isinstance(value, str):
            raw = value.encode()
        elif isinstance(value, (bytes, bytearray)):
            raw = bytes(value)
        else:
            raw = self._raw_bytes(value, where)
            if raw is None:
                raise _unsuitable(value, where, "text or bytes")
        if len(raw) > self.size:
            raise UsageError(f"{where}: {len(raw)} bytes of text do not fit {self.type_name}")
        return raw  # `struct` pads with NUL

    def _make_dtype(self) -> numpy.dtype[Any]:
        import numpy

        return numpy.dtype(f"S{self.size}") if self.size else numpy.dtype("V0")


class _ArrayCodec(Codec):
    __slots__ = ("_element", "_length", "_many")

    def __init__(self, btf: Btf, id: int, element: Codec, length: int) -> None:
        super().__init__(btf, id, element.size * length, None)
        self._element = element
        self._length = length
        self._many = Layout(f"{self._order}{length}{element.code}") if element.code else None

    def from_raw(self, raw: Any) -> Any:
        if self._many is not None:
            values = self._many.unpack(raw)
            return values if self._element.is_identity else tuple(map(self._element.from_raw, values))
        if not raw:  # nothing, or nothing many times
            return (self._element.decode(b""),) * self._length if 0 < self._length <= 256 else ()
        return tuple(self._element.decode_many(raw))

    def to_raw(self, value: object, where: str) -> Any:
        if isinstance(value, (str, dict)):
            raise _unsuitable(value, where, f"a sequence of {self._length} values")
        raw = None if isinstance(value, (list, tuple)) else self._raw_bytes(value, where)
        if raw is not None:
            return raw
        try:
            values = list(value)  # type: ignore[call-overload]
        except TypeError:
            raise _unsuitable(value, where, f"a sequence of {self._length} values") from None
        if not self.size and len(values) <= self._length:
            return b""
        if len(values) != self._length:
            raise UsageError(f"{where}: {len(values)} values given, {self.type_name} has {self._length}")
        element = self._element
        layout = element._layout
        return b"".join([layout.pack(element.to_raw(v, f"{where}[{i}]")) for i, v in enumerate(values)])

    def _make_dtype(self) -> numpy.dtype[Any]:
        import numpy

        return numpy.dtype((self._element.dtype, (self._length,)))


class _FieldCodec:
    """One member in its struct: at ``offset`` bytes; for a bit-field ``shift`` and ``bits`` in ``size`` bytes there."""

    __slots__ = ("_order", "bits", "codec", "name", "offset", "shift", "size")

    def __init__(self, name: str, codec: Codec, offset: int, size: int, bits: int, shift: int) -> None:
        self.name = name
        self.codec = codec
        self.offset = offset
        self.size = size
        self.bits = bits
        self.shift = shift
        self._order: Any = "little" if codec.btf.little_endian else "big"

    def get(self, data: bytes, base: int = 0) -> Any:
        """The value out of bytes that start ``base`` bytes into the struct."""
        at = self.offset - base
        raw: Any = data[at:at + self.size]
        if self.bits:
            raw = int.from_bytes(raw, self._order) >> self.shift & ((1 << self.bits) - 1)
            if cast("_Integer", self.codec)._low < 0 and raw >> self.bits - 1:
                raw -= 1 << self.bits
            if isinstance(self.codec, _Wide):
                return raw
        elif self.codec.code:
            (raw,) = self.codec._layout.unpack(raw)
        return self.codec.from_raw(raw)

    def put(self, data: bytearray, value: object, where: str) -> None:
        where = f"{where}.{self.name}"
        if self.bits:
            integer = cast("_Integer", self.codec)
            number = integer.checked(integer.to_raw(value, where) if isinstance(value, str) else value, where)
            low = -(1 << self.bits - 1) if integer._low < 0 else 0
            high = low + (1 << self.bits) - 1
            if not low <= number <= high:
                raise UsageError(f"{where}: {number} does not fit {self.bits} bits ({low} to {high})")
            mask = (1 << self.bits) - 1
            old = int.from_bytes(data[self.offset:self.offset + self.size], self._order)
            new = old & ~(mask << self.shift) | (number & mask) << self.shift
            data[self.offset:self.offset + self.size] = new.to_bytes(self.size, self._order)
        else:
            self.codec._layout.pack_into(data, self.offset, self.codec.to_raw(value, where))


class _Composite(Codec):
    """Structs and unions.

    The bytes are cut into items that don't overlap: a member each where possible, else the range that several members
    (of a union, or bit-fields) share. `struct` cuts; ``_plan`` says for each member which item it takes, and what has
    to be done to it.
    """

    __slots__ = ("_fields", "_items", "_make", "_plan", "_plain", "record_type")

    def __init__(self, btf: Btf, id: int, t: T.Struct | T.Union, fields: Sequence[_FieldCodec]) -> None:
        super().__init__(btf, id, t.size, None)
        self._fields = {f.name: f for f in fields}
        namespace: dict[str, object] = {"__slots__": (), "_codec": self, "_fields": tuple(self._fields)}
        for i, name in enumerate(self._fields):
            if name.isidentifier() and name not in _RECORD_NAMES and not (name[:2] == name[-2:] == "__"):
                namespace[name] = _tuplegetter(i, "")
        self.record_type: type[Record] = type(_class_name(t, "Record"), (Record,), namespace)
        self._make: Callable[[Any], Record] = partial(tuple.__new__, self.record_type)
        self._plan: list[tuple[int, Callable[[Any], Any] | None]] = []
        self._items = self._cut(fields)
        self._plain = all(f is None for _, f in self._plan) and [i for i, _ in self._plan] == list(range(len(fields)))

    def _cut(self, fields: Sequence[_FieldCodec]) -> Layout:
        code, at, item = [self._order], 0, 0
        plan: dict[str, tuple[int, Callable[[Any], Any] | None]] = {}
        ordered = sorted(fields, key=lambda f: f.offset)
        while ordered:
            first, start = ordered[0], ordered[0].offset
            end, count = start + first.size, 1
            while count < len(ordered) and ordered[count].offset < end:
                end = max(end, ordered[count].offset + ordered[count].size)
                count += 1
            group, ordered = ordered[:count], ordered[count:]
            if end > self.size:
                raise BtfError(f"{self.type_name}: member {group[-1].name!r} ends at byte {end}, "
                               f"after the struct ({self.size})",
                               offset=self.btf.offset_of(self.id) if self.id >= self.btf.first_id else None)
            code.append(f"{start - at}x" if start > at else "")
            if count == 1 and not first.bits:
                code.append(first.codec.code or f"{first.size}s")
                plan[first.name] = (item, None if first.codec.is_identity else first.codec.from_raw)
            else:
                code.append(f"{end - start}s")
                for f in group:
                    plan[f.name] = (item, partial(f.get, base=start))
            at, item = end, item + 1
        code.append(f"{self.size - at}x")
        self._plan = [plan[f.name] for f in fields]
        return Layout("".join(code))

    def from_raw(self, raw: Any) -> Any:
        items = self._items.unpack(raw)
        return self._make(items if self._plain else self._values(items))

    def _values(self, items: tuple[Any, ...]) -> list[Any]:
        return [items[i] if convert is None else convert(items[i]) for i, convert in self._plan]

    def decode(self, data: Buffer) -> Any:
        try:
            items = self._items.unpack(data)
        except LayoutError:
            raise self._wrong_length(len(data)) from None
        return self._make(items if self._plain else self._values(items))

    def decode_many(self, data: Buffer) -> list[Any]:
        if not self.size or len(data) % self.size:
            raise self._wrong_length(len(data), "a multiple of ")
        make = self._make
        if self._plain:
            return list(map(make, self._items.iter_unpack(data)))
        # By columns: a conversion is one `map` then, and nothing is called for a whole row.
        columns = list(zip(*self._items.iter_unpack(data), strict=True))
        if not columns:
            return [make(self._values(items)) for items in self._items.iter_unpack(data)]
        rows = zip(*[columns[i] if convert is None else map(convert, columns[i]) for i, convert in self._plan],
                   strict=True)
        return list(map(make, rows))

    def to_raw(self, value: object, where: str) -> Any:
        from collections.abc import Mapping as AnyMapping

        if self._plain and isinstance(value, tuple) and len(value) == len(self._fields):
            try:
                return self._items.pack(*value)
            except (LayoutError, TypeError):
                pass  # something doesn't fit: find out what
        if isinstance(value, AnyMapping):
            data = bytearray(self.size)
            self.put_fields(data, value, where)
            return bytes(data)
        if not isinstance(value, (list, tuple)):
            raw = self._raw_bytes(value, where)
            if raw is not None:
                return raw
            if isinstance(value, int) and len(self._fields) == 1:
                value = (value,)
            else:
                raise _unsuitable(value, where, f"a mapping, a sequence of {len(self._fields)} values, "
                                                f"or the {self.size} bytes of {self.type_name}")
        if len(value) != len(self._fields):
            raise UsageError(f"{where}: {len(value)} values given, {self.type_name} has {len(self._fields)} members",
                             notes=(f"its members are {', '.join(self._fields)}",))
        data = bytearray(self.size)
        for field, v in zip(self._fields.values(), value, strict=True):
            field.put(data, v, where)
        return bytes(data)

    def put_fields(self, data: bytearray, values: Mapping[Any, object], where: str) -> None:
        """Write members by name into the bytes of a value; the others keep what is there."""
        for name, value in values.items():
            field = self._fields.get(name)
            if field is None:
                from ebpf.diagnostics import did_you_mean

                similar = did_you_mean(str(name), self._fields)
                raise UsageError(f"{where}: {self.type_name} has no member {name!r}",
                                 notes=(f"its members are {', '.join(self._fields)}",),
                                 helps=[f"did you mean {', '.join(similar)}?"] if similar else ())
            field.put(data, value, where)

    def format(self, value: object) -> str:
        if isinstance(value, tuple) and len(value) == len(self._fields):
            parts = (f".{name} = {_format(v)}" for name, v in zip(self._fields, value, strict=True))
            return f"{{{', '.join(parts)}}}"
        return _format(value)

    def _make_dtype(self) -> numpy.dtype[Any]:
        """Bit-fields have no NumPy type: those that share bytes appear as raw bytes, named ``"a_b_c"``."""
        import numpy

        names: list[str] = []
        formats: list[Any] = []
        offsets: list[int] = []
        shared: list[_FieldCodec] = []

        def flush() -> None:
            if shared:
                start = min(f.offset for f in shared)
                names.append("_".join(f.name for f in shared))
                formats.append(f"V{max(f.offset + f.size for f in shared) - start}")
                offsets.append(start)
                shared.clear()

        for field in self._fields.values():
            if field.bits:
                if shared and field.offset >= max(f.offset + f.size for f in shared):
                    flush()
                shared.append(field)
                continue
            flush()
            if field.size:
                names.append(field.name)
                formats.append(field.codec.dtype)
                offsets.append(field.offset)
        flush()
        return numpy.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": self.size})


_RECORD_NAMES = frozenset(("_codec", "_fields", "_asdict", "_replace"))


def _class_name(t: T.Struct | T.Union | T.Enum | T.Enum64, default: str) -> str:
    return t.name if t.name.isidentifier() else default


def _type_name(btf: Btf, id: int) -> str:
    t = btf.type(id)
    if isinstance(t, (T.Struct, T.Union, T.Enum, T.Enum64)) and not t.name:
        return f"anonymous {t.kind.name.lower()}"
    try:
        return format_decl(btf, id)
    except BtfError:
        return f"type {id}"


def _format(value: object) -> str:
    if isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace").replace("\\", "\\\\") if b"\\" in value else (
            value.decode("utf-8", "backslashreplace"))
        return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text).replace('"', '\\"') + '"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Record):
        return value._codec.format(value)
    if isinstance(value, tuple):
        return "{" + ", ".join(map(_format, value)) + "}"
    return repr(value)


def _make(btf: Btf, id: int, depth: int) -> Codec:
    """The codec of a type, from the innermost out; the same for the ids that only rename it."""
    if depth > _MAX_NESTING:
        raise BtfError(f"type {id} nests more than {_MAX_NESTING} types")
    end = btf.resolve(id)
    t = btf.type(end)
    kept = btf.codecs.get(end) if end != id and not isinstance(t, (T.Int, T.Ptr)) else None
    if kept is not None:
        return cast("Codec", kept)
    if isinstance(t, T.Int):
        if t.is_bool and t.size in _INT_CODES:
            return _Bool(btf, id, t.size, False)
        return (_Integer if t.size in _INT_CODES else _Wide)(btf, id, t.size, t.signed)
    if isinstance(t, T.Ptr):
        return _Integer(btf, id, btf.pointer_size, False)
    if isinstance(t, (T.Enum, T.Enum64)):
        return _EnumCodec(btf, id, t)
    if isinstance(t, T.Float):
        return _FloatCodec(btf, id, t.size, {2: "e", 4: "f", 8: "d"}.get(t.size))
    if isinstance(t, T.Array):
        inner = btf.resolved(t.type)
        size = btf.size_of(end)
        if size > _MAX_SIZE:
            raise BtfError(f"type {id} has {size} bytes, more than can be handled ({_MAX_SIZE})")
        if isinstance(inner, T.Int) and inner.is_char:
            return _Text(btf, id, size, None)
        return _ArrayCodec(btf, id, _inner(btf, t.type, depth), t.nelems)
    if isinstance(t, (T.Struct, T.Union)):
        if t.size > _MAX_SIZE:
            raise BtfError(f"type {id} has {t.size} bytes, more than can be handled ({_MAX_SIZE})")
        fields = []
        for name, (bit_offset, bit_size, type, is_bitfield) in btf.members(end).items():
            inner_codec = _inner(btf, type, depth)
            start = bit_offset // 8
            if is_bitfield:
                if not isinstance(inner_codec, _Integer) or bit_size > 8 * inner_codec.size:
                    raise BtfError(f"member {name!r} of type {end} is a bit-field of {bit_size} bits, "
                                   f"which a {inner_codec.type_name} cannot be")
                size = -(-(bit_offset + bit_size) // 8) - start
                into = bit_offset - 8 * start
                shift = into if btf.little_endian else 8 * size - into - bit_size
                fields.append(_FieldCodec(name, inner_codec, start, size, bit_size, shift))
            else:
                if bit_offset % 8:
                    raise BtfError(f"member {name!r} of type {end} is no bit-field but starts at bit {bit_offset}")
                fields.append(_FieldCodec(name, inner_codec, start, inner_codec.size, 0, 0))
        return _Composite(btf, end, t, fields)
    raise BtfError(f"type {id} ({t.kind.name} {t.name!r}) has no values")


def _inner(btf: Btf, id: int, depth: int) -> Codec:
    found = btf.codecs.get(id)
    if found is None:
        found = btf.codecs[id] = _make(btf, id, depth + 1)
    return cast("Codec", found)
