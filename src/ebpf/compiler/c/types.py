"""C's types for the BPF target: 64-bit pointers and longs, little-endian, 8-byte maximal alignment (16 for
``__int128``).

`Record` and `Enum` have identity (one object per definition); the others are structural: compare with `same`.
A record that came from the kernel's BTF is filled in when its members are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c.nodes import NodeBase, field

if TYPE_CHECKING:
    from collections.abc import Callable


class Void:
    __slots__ = ()


class Int:
    """An integer type; ``name`` is C's canonical spelling. ``rank`` orders conversions; a ``_Bool`` holds 0 or 1."""

    __slots__ = ("name", "rank", "signed", "size")

    def __init__(self, name: str, size: int, signed: bool, rank: int) -> None:
        self.name, self.size, self.signed, self.rank = name, size, signed, rank


class Float:
    """Kept only so that kernel structs that hold one can be laid out; BPF has no floating point."""

    __slots__ = ("name", "size")

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size


class Pointer:
    __slots__ = ("target",)

    def __init__(self, target: CType) -> None:
        self.target = target


class Array:
    """``count`` is None for ``[]``."""

    __slots__ = ("count", "element")

    def __init__(self, element: CType, count: int | None) -> None:
        self.element, self.count = element, count


class Function:
    __slots__ = ("names", "parameters", "result", "variadic")

    def __init__(self, result: CType, parameters: tuple[CType, ...], variadic: bool = False,
                 names: tuple[str, ...] = ()) -> None:
        self.result, self.parameters, self.variadic, self.names = result, parameters, variadic, names


class Qualified:
    """``const`` and/or ``volatile`` around a type that is not itself Qualified. ``tags`` are BTF type tags
    (``__user``).
    """

    __slots__ = ("const", "tags", "type", "volatile")

    def __init__(self, type: CType, const: bool = False, volatile: bool = False, tags: tuple[str, ...] = ()) -> None:
        self.type, self.const, self.volatile, self.tags = type, const, volatile, tags


class Typedef:
    """A name for a type: kept because messages and BTF show it; ``align`` is an ``aligned(n)`` on the typedef, or 0."""

    __slots__ = ("align", "name", "type")

    def __init__(self, name: str, type: CType, align: int = 0) -> None:
        self.name, self.type, self.align = name, type, align


class Field(NodeBase):
    """A member. Offsets are in bits from the start of its record; ``bit_size`` is 0 unless it is a bit-field.

    ``name`` is None for an anonymous record member (look through it) or a nameless bit-field.
    ``index`` is its position in the record's ``fields``.
    """

    name: str | None
    type: CType
    bit_offset: int
    bit_size: int = 0
    index: int = 0
    loc: int = 0


class Record(NodeBase):
    """A struct or union. ``fields`` is empty until complete; `ensure_complete` fills in one that came from BTF."""

    kind: str  # "struct" | "union"
    tag: str | None
    size: int = 0
    align: int = 1
    fields: list[Field] = field(default_factory=list)
    complete: bool = False
    from_btf: bool = False  # the kernel's definition: its layout may be relocated (CO-RE)
    preserve_access: bool = False  # __attribute__((preserve_access_index))
    packed: bool = False
    loc: int = 0
    loader: Callable[[Record], None] | None = None

    def ensure_complete(self) -> bool:
        """Fill in the members if they can be had; False where the type stays incomplete."""
        if self.loader is not None:
            load, self.loader = self.loader, None
            load(self)
        return self.complete

    def find(self, name: str) -> list[Field] | None:
        """The path of fields to member ``name``, through anonymous records; None if there is none."""
        self.ensure_complete()
        for f in self.fields:
            if f.name == name:
                return [f]
        for f in self.fields:
            if f.name is None:
                inner = strip(f.type)
                if isinstance(inner, Record) and (rest := inner.find(name)):
                    return [f, *rest]
        return None


class Enum(NodeBase):
    """``underlying`` is the integer type that holds it; ``values`` in order of declaration."""

    tag: str | None
    underlying: Int
    values: dict[str, int] = field(default_factory=dict)
    complete: bool = False
    from_btf: bool = False
    loc: int = 0


CType = Void | Int | Float | Pointer | Array | Function | Qualified | Typedef | Record | Enum

VOID = Void()
BOOL = Int("_Bool", 1, False, 0)
CHAR = Int("char", 1, True, 1)
SCHAR = Int("signed char", 1, True, 1)
UCHAR = Int("unsigned char", 1, False, 1)
SHORT = Int("short", 2, True, 2)
USHORT = Int("unsigned short", 2, False, 2)
INT = Int("int", 4, True, 3)
UINT = Int("unsigned int", 4, False, 3)
LONG = Int("long", 8, True, 4)
ULONG = Int("unsigned long", 8, False, 4)
LLONG = Int("long long", 8, True, 5)
ULLONG = Int("unsigned long long", 8, False, 5)
INT128 = Int("__int128", 16, True, 6)
UINT128 = Int("unsigned __int128", 16, False, 6)
FLOAT = Float("float", 4)
DOUBLE = Float("double", 8)

BUILTIN: dict[str, CType] = {t.name: t for t in (BOOL, CHAR, SCHAR, UCHAR, SHORT, USHORT, INT, UINT, LONG, ULONG, LLONG,
                                                 ULLONG, INT128, UINT128, FLOAT, DOUBLE)}
BUILTIN["void"] = VOID
BUILTIN["long double"] = Float("long double", 16)


def strip(t: CType) -> CType:
    """The type without typedefs and qualifiers."""
    while isinstance(t, (Typedef, Qualified)):
        t = t.type
    return t


def size_of(t: CType) -> int | None:
    """Bytes; None for an incomplete type, a function or void."""
    t = strip(t)
    if isinstance(t, (Int, Float)):
        return t.size
    if isinstance(t, Pointer):
        return 8
    if isinstance(t, Array):
        each = size_of(t.element)
        return None if each is None or t.count is None else each * t.count
    if isinstance(t, Record):
        return t.size if t.ensure_complete() else None
    if isinstance(t, Enum):
        return t.underlying.size
    return None


def align_of(t: CType) -> int:
    """Bytes; 1 where the type has none."""
    while isinstance(t, (Typedef, Qualified)):
        if isinstance(t, Typedef) and t.align:
            return t.align
        t = t.type
    if isinstance(t, (Int, Float)):
        return t.size
    if isinstance(t, Pointer):
        return 8
    if isinstance(t, Array):
        return align_of(t.element)
    if isinstance(t, Record):
        t.ensure_complete()
        return t.align
    if isinstance(t, Enum):
        return t.underlying.size
    return 1


def same(a: CType, b: CType) -> bool:
    """Whether two types are one after typedefs and top-level qualifiers are taken away (qualifiers below do not
    count either).
    """
    a, b = strip(a), strip(b)
    if a is b:
        return True
    if isinstance(a, Int) and isinstance(b, Int):
        return a.name == b.name
    if isinstance(a, Pointer) and isinstance(b, Pointer):
        return same(a.target, b.target)
    if isinstance(a, Array) and isinstance(b, Array):
        return a.count == b.count and same(a.element, b.element)
    if isinstance(a, Function) and isinstance(b, Function):
        return (same(a.result, b.result) and a.variadic == b.variadic and len(a.parameters) == len(b.parameters)
                and all(same(x, y) for x, y in zip(a.parameters, b.parameters, strict=True)))
    return False


def format_ctype(t: CType, name: str = "") -> str:
    """The type as C text, around ``name`` if given: ``format_ctype(Pointer(INT), "p") == "int *p"``."""
    if isinstance(t, Pointer):
        inner = f"*{name}"
        if isinstance(strip_qualifiers(t.target), (Array, Function)):
            inner = f"({inner})"
        return format_ctype(t.target, inner)
    if isinstance(t, Array):
        return format_ctype(t.element, f"{name}[{'' if t.count is None else t.count}]")
    if isinstance(t, Function):
        params = ", ".join(format_ctype(p) for p in t.parameters) + (", ..." if t.variadic else "")
        return format_ctype(t.result, f"{name}({params or 'void'})")
    if isinstance(t, Qualified):
        words = " ".join(w for w, on in (("const", t.const), ("volatile", t.volatile)) if on)
        if isinstance(t.type, Pointer):
            return format_ctype(t.type, f"{words} {name}".strip())
        return f"{words} {format_ctype(t.type, name)}".strip()
    if isinstance(t, Void):
        base = "void"
    elif isinstance(t, Record):
        base = f"{t.kind} {t.tag or '<anonymous>'}"
    elif isinstance(t, Enum):
        base = f"enum {t.tag or '<anonymous>'}"
    else:
        base = t.name
    return f"{base} {name}".rstrip()


def strip_qualifiers(t: CType) -> CType:
    """The type without top-level qualifiers, typedefs kept."""
    while isinstance(t, Qualified):
        t = t.type
    return t
