"""The types of programs that are written in Python: ``u32``, ``chars[16]``, ``u64[4]``, annotated classes.

They are ordinary Python values too: ``u8(300) == 44``, and an instance of a `Struct` has attributes, compares, and
turns into bytes and back, so that helper functions of a program can be tried in plain Python. Layouts are C's.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self, TypeAlias, dataclass_transform
else:

    def dataclass_transform(**_: object) -> object:
        return lambda cls: cls


class IntType(type):
    """The type of integer types: ``size`` in bytes, ``signed``, ``big`` (stored with its first byte highest)."""

    size: int
    signed: bool
    big: bool

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, object],
        *,
        size: int = 0,
        signed: bool = False,
        big: bool = False,
    ) -> IntType:
        cls = super().__new__(mcs, name, bases, namespace)
        cls.size, cls.signed, cls.big = size, signed, big
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, object], **_: object) -> None:
        super().__init__(name, bases, namespace)

    @property
    def minimum(cls) -> int:
        return -(1 << 8 * cls.size - 1) if cls.signed else 0

    @property
    def maximum(cls) -> int:
        return (1 << 8 * cls.size - cls.signed) - 1

    def wrap(cls, value: int) -> int:
        """``value`` as the type holds it: its lowest bits, read as signed or unsigned."""
        value &= (1 << 8 * cls.size) - 1
        return value - (1 << 8 * cls.size) if value > cls.maximum else value

    def __getitem__(cls, count: int) -> ArrayType:
        return ArrayType(cls, count)

    def __repr__(cls) -> str:
        return cls.__name__


class _Integer(int, metaclass=IntType):
    """An integer of a fixed width: what does not fit is cut off, as in C."""

    __slots__ = ()

    def __new__(cls, value: int = 0, /) -> Self:
        return super().__new__(cls, cls.wrap(int(value)))


if TYPE_CHECKING:
    # To a type checker all of them are integers: `Hash(u32, u64)` holds ints.
    u8: TypeAlias = int
    u16: TypeAlias = int
    u32: TypeAlias = int
    u64: TypeAlias = int
    i8: TypeAlias = int
    i16: TypeAlias = int
    i32: TypeAlias = int
    i64: TypeAlias = int
    be16: TypeAlias = int
    be32: TypeAlias = int
    be64: TypeAlias = int
else:

    def _integer(name: str, size: int, signed: bool, big: bool = False) -> IntType:
        sign = "signed" if signed else "unsigned"
        order = ", stored in network byte order: what programs and Python see is the number" if big else ""
        words = {"__slots__": (), "__module__": __name__, "__doc__": f"A {8 * size}-bit {sign} integer{order}."}
        return IntType(name, (_Integer,), words, size=size, signed=signed, big=big)

    u8, u16, u32, u64 = (_integer(f"u{8 * n}", n, False) for n in (1, 2, 4, 8))
    i8, i16, i32, i64 = (_integer(f"i{8 * n}", n, True) for n in (1, 2, 4, 8))
    be16, be32, be64 = (_integer(f"be{8 * n}", n, False, True) for n in (2, 4, 8))


class ArrayType:
    """``element[count]``, elements one after another; `u32[4]` makes it."""

    __slots__ = ("count", "element")

    def __init__(self, element: Any, count: int) -> None:
        if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= 1 << 20:
            raise _usage(f"an array needs a number of elements above 0, not {count!r}", helps=["write `u32[4]`"])
        self.element, self.count = element, count

    def __getitem__(self, count: int) -> ArrayType:
        return ArrayType(self, count)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and (self.element, self.count) == (other.element, other.count)

    def __hash__(self) -> int:
        return hash((self.element, self.count))

    def __call__(self, values: object = ()) -> object:
        """A value of the type, in plain Python: a list of elements."""
        return convert(self, values)

    def __repr__(self) -> str:
        return f"{self.element!r}[{self.count}]"


class CharsType(ArrayType):
    """``chars[count]``: text that ends at its first NUL; str or bytes in Python."""

    __slots__ = ()

    def __init__(self, count: int) -> None:
        super().__init__(i8, count)

    def __repr__(self) -> str:
        return f"chars[{self.count}]"


if TYPE_CHECKING:
    chars: Any
else:

    class chars:
        """Text in a buffer of fixed size: ``chars[16]``. Values are bytes up to the first NUL."""

        def __class_getitem__(cls, count: int) -> CharsType:
            return CharsType(count)


class PointerType:
    """A pointer to a record of the kernel (or to a named struct): accesses through it are probe reads."""

    __slots__ = ("target",)

    def __init__(self, target: object) -> None:
        self.target = target

    def __eq__(self, other: object) -> bool:
        return type(other) is PointerType and self.target == other.target

    def __hash__(self) -> int:
        return hash(("pointer", self.target))

    def __repr__(self) -> str:
        return f"pointer[{self.target!r}]"


class KernelType:
    """A struct, union, enum, typedef or enumerator of the kernel by name: ``ebpf.linux.task_struct``."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return type(other) is KernelType and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __getitem__(self, count: int) -> ArrayType:
        return ArrayType(self, count)

    def __repr__(self) -> str:
        return f"linux.{self.name}"


class KernelNames:
    """``ebpf.linux``: the kernel's types and constants by name: ``linux.task_struct``, ``linux.XDP_DROP``.

    Constants of C headers are plain integers; everything else is a `KernelType`, which the compiler looks up in the
    kernel's own types.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        from ebpf.abi.constants import lookup_constant

        value = lookup_constant(name)
        return value if isinstance(value, int) else KernelType(name)

    def __repr__(self) -> str:
        return "ebpf.linux"


class ContextNames:
    """``ebpf.contexts``: what programs are called with, for annotations only:
    ``def count(ctx: ebpf.contexts.tracepoint.syscalls.sys_enter_openat)``. Editors know them once `ebpf stubs` ran.
    """

    __slots__ = ("_path",)

    def __init__(self, path: str = "") -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return ContextNames(f"{self._path}.{name}")

    def __repr__(self) -> str:
        return f"ebpf.contexts{self._path}"


if TYPE_CHECKING:
    # What `ebpf stubs` wrote; Any where it did not.
    from ebpf_linux import contexts as contexts, linux as linux
else:
    linux = KernelNames()
    contexts = ContextNames()


class StructField:
    """A member: ``offset`` in bytes."""

    __slots__ = ("name", "offset", "type")

    def __init__(self, name: str, type: Any, offset: int) -> None:
        self.name, self.type, self.offset = name, type, offset


class StructType(type):
    """The type of structs: ``fields`` by name, ``size`` and ``align`` in bytes."""

    fields: dict[str, StructField]
    size: int
    align: int
    packed: bool

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], *, packed: bool = False
    ) -> StructType:
        namespace.setdefault("__slots__", ())
        defaults = {k: namespace[k] for k in namespace.get("__annotations__", ()) if k in namespace}
        cls = super().__new__(mcs, name, bases, namespace)
        if defaults:
            first = next(iter(defaults))
            raise _usage(
                f"`{name}.{first}` has a default value: members of a struct begin as zeroes",
                helps=[f"leave it away, and write `{name}({first}=…)` where one is made"],
            )
        own = cls.__dict__.get("__annotations__") if sys.version_info < (3, 14) else cls.__annotations__
        cls.packed = packed
        fields: dict[str, StructField] = {}
        end, align = 0, 1
        for base in bases:
            if isinstance(base, StructType) and base.fields:
                fields.update(base.fields)
                end, align = base.size, base.align
        frame = sys._getframe(1)
        for member, written in (own or {}).items():
            t = _resolved(written, frame, f"{name}.{member}")
            size, wanted = size_of(t), 1 if packed else align_of(t)
            if size is None:
                raise _usage(
                    f"`{name}.{member}` cannot be {written!r}: members are integers, bool, chars[N], arrays "
                    "and structs",
                    helps=["pointers are kept as u64"],
                )
            end = -(-end // wanted) * wanted
            fields[member] = StructField(member, t, end)
            end, align = end + size, max(align, wanted)
        cls.fields, cls.align, cls.size = fields, align, -(-end // align) * align
        return cls

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **_: object) -> None:
        super().__init__(name, bases, namespace)

    def __getitem__(cls, count: int) -> ArrayType:
        return ArrayType(cls, count)


@dataclass_transform(kw_only_default=False)
class _StructBase(metaclass=StructType):
    if not TYPE_CHECKING:
        __slots__ = ("_values",)


class Struct(_StructBase):
    """Base of structs: a class with annotations, laid out as C would.

    ::

        class Event(ebpf.Struct):
            pid: u32
            comm: chars[16]
            times: u64[2]

    ``class Header(ebpf.Struct, packed=True)`` has no padding. Annotations may be other structs. In plain Python,
    members are given by place or name, what is left out is zero, integers wrap; ``bytes(e)`` and
    ``Event.from_bytes(data)`` are the bytes that programs see.
    """

    if not TYPE_CHECKING:
        __slots__ = ()

        def __init__(self, *args: object, **named: object) -> None:
            fields = type(self).fields
            if len(args) > len(fields):
                raise _usage(f"{type(self).__name__} has {len(fields)} members, and {len(args)} values are given")
            given = dict(zip(fields, args, strict=False))
            for name, value in named.items():
                if name not in fields:
                    raise _usage(f"{type(self).__name__} has no member `{name}`", helps=[f"it has {', '.join(fields)}"])
                given[name] = value
            values = {n: convert(f.type, given[n]) if n in given else zero(f.type) for n, f in fields.items()}
            object.__setattr__(self, "_values", values)

        def __getattr__(self, name: str) -> object:
            if name == "_values":
                raise AttributeError(name)
            try:
                return self._values[name]
            except KeyError:
                raise AttributeError(f"{type(self).__name__} has no member {name!r}") from None

        def __setattr__(self, name: str, value: object) -> None:
            field = type(self).fields.get(name)
            if field is None:
                raise AttributeError(f"{type(self).__name__} has no member {name!r}")
            self._values[name] = convert(field.type, value)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bytes(self) == bytes(other)

    __hash__ = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values.values())  # type: ignore[attr-defined]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in self._values.items())})"  # type: ignore[attr-defined]

    def __bytes__(self) -> bytes:
        return emit(type(self), self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The value whose bytes ``data`` begins with; `UsageError` where it is too short."""
        if len(data) < cls.size:
            raise _usage(f"{cls.__name__} has {cls.size} bytes, and these are {len(data)}")
        return parse(cls, data)  # type: ignore[no-any-return]


# ------------------------------------------------------------------------------------------------------- questions


def size_of(t: object) -> int | None:
    """Bytes of a type; None where it is no type of members."""
    if isinstance(t, (IntType, StructType)):
        return t.size
    if isinstance(t, ArrayType):
        each = size_of(t.element)
        return None if each is None else each * t.count
    return 1 if t is bool else 8 if t is int or isinstance(t, PointerType) else None


def align_of(t: object) -> int:
    if isinstance(t, StructType):
        return t.align
    if isinstance(t, ArrayType):
        return align_of(t.element)
    return size_of(t) or 1


def describe(t: object) -> str:
    """All that matters of a type to a compiled program, as text: the key of a cache."""
    if isinstance(t, StructType):
        inner = ",".join(f"{f.name}@{f.offset}:{describe(f.type)}" for f in t.fields.values())
        return f"struct {t.__name__}[{t.size},{t.align}]{{{inner}}}"
    if isinstance(t, CharsType):
        return repr(t)
    if isinstance(t, ArrayType):
        return f"{describe(t.element)}[{t.count}]"
    if isinstance(t, PointerType):
        return f"*{describe(t.target)}"
    return t.__name__ if isinstance(t, type) else repr(t)


# ---------------------------------------------------------------------------------------------------------- values


def zero(t: Any) -> Any:
    """The value that is all zeroes."""
    if isinstance(t, CharsType):
        return b""
    if isinstance(t, ArrayType):
        return [zero(t.element) for _ in range(t.count)]
    return t()


def convert(t: Any, value: Any) -> Any:
    """``value`` as a value of type ``t``; `UsageError` where it is none."""
    try:
        if isinstance(t, IntType):
            return t.wrap(int(value))
        if isinstance(t, CharsType):
            raw = value.encode() if isinstance(value, str) else bytes(value)
            if len(raw) > t.count:
                raise _usage(f"{len(raw)} bytes do not fit in {t!r}")
            return raw.partition(b"\0")[0]
        if isinstance(t, ArrayType):
            values = [convert(t.element, v) for v in value]
            if len(values) > t.count:
                raise _usage(f"{len(values)} values do not fit in {t!r}")
            return values + [zero(t.element) for _ in range(t.count - len(values))]
        if isinstance(t, StructType):
            if isinstance(value, t):
                return value
            return t(**value) if isinstance(value, dict) else t(*value)
        return t(value)
    except (TypeError, ValueError, AttributeError) as error:
        from ebpf.errors import UsageError

        if isinstance(error, UsageError):
            raise
        raise _usage(f"{value!r} is no {describe(t)}") from None


def emit(t: Any, value: Any) -> bytes:
    """The bytes of ``value`` as programs see them."""
    if isinstance(t, IntType):
        return t.wrap(value).to_bytes(t.size, "big" if t.big else "little", signed=t.signed)
    if isinstance(t, CharsType):
        return bytes(value).ljust(t.count, b"\0")
    if isinstance(t, ArrayType):
        return b"".join(emit(t.element, v) for v in value)
    if isinstance(t, StructType):
        out = bytearray(t.size)
        for f in t.fields.values():
            raw = emit(f.type, value._values[f.name])
            out[f.offset : f.offset + len(raw)] = raw
        return bytes(out)
    size = size_of(t) or 1
    return int(value).to_bytes(size, "little", signed=t is int)


def parse(t: Any, data: bytes) -> Any:
    """The value of type ``t`` at the start of ``data``."""
    size = size_of(t)
    assert size is not None
    if isinstance(t, IntType):
        return int.from_bytes(data[:size], "big" if t.big else "little", signed=t.signed)
    if isinstance(t, CharsType):
        return bytes(data[:size]).partition(b"\0")[0]
    if isinstance(t, ArrayType):
        each = size // t.count
        return [parse(t.element, data[i * each : (i + 1) * each]) for i in range(t.count)]
    if isinstance(t, StructType):
        return t(**{f.name: parse(f.type, data[f.offset :]) for f in t.fields.values()})
    return bool(data[0]) if t is bool else int.from_bytes(data[:size], "little", signed=True)


# -------------------------------------------------------------------------------------------------------- annotations


def _resolved(written: Any, frame: Any, what: str) -> Any:
    """An annotation's type, where it is text still (``from __future__ import annotations``)."""
    if isinstance(written, str):
        try:
            written = eval(written, frame.f_globals, frame.f_locals)
        except Exception as error:
            raise _usage(f"the type of `{what}`, `{written}`, cannot be told: {error}") from None
    extra = getattr(written, "__metadata__", None)  # typing.Annotated[bytes, chars[16]]
    return extra[0] if extra else written


def _usage(message: str, *, helps: list[str] | None = None) -> Exception:
    from ebpf.errors import UsageError

    return UsageError(message, helps=helps or ())
