"""What an expression of a program is: numbers, references to memory, constants of compile time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import types as C
from ebpf.compiler.py import types as P
from ebpf.compiler.py.declarations import MapDecl

if TYPE_CHECKING:
    from ebpf.compiler.c import tree

_NAMED = {
    name: C.Typedef(c_name, base)
    for name, c_name, base in (
        ("u8", "__u8", C.UCHAR),
        ("u16", "__u16", C.USHORT),
        ("u32", "__u32", C.UINT),
        ("u64", "__u64", C.ULLONG),
        ("i8", "__s8", C.SCHAR),
        ("i16", "__s16", C.SHORT),
        ("i32", "__s32", C.INT),
        ("i64", "__s64", C.LLONG),
        ("be16", "__be16", C.Typedef("__u16", C.USHORT)),
        ("be32", "__be32", C.Typedef("__u32", C.UINT)),
        ("be64", "__be64", C.Typedef("__u64", C.ULLONG)),
    )
}
"""Our integer types → C's, by the names that the kernel gives them."""


class IntTy:
    """An integer; one object for each width and sign."""

    __slots__ = ("boolean", "ctype", "name", "signed", "size")

    def __init__(self, name: str, size: int, signed: bool, ctype: C.CType, boolean: bool = False) -> None:
        self.name, self.size, self.signed, self.ctype, self.boolean = name, size, signed, ctype, boolean

    @property
    def minimum(self) -> int:
        return -(1 << 8 * self.size - 1) if self.signed else 0

    @property
    def maximum(self) -> int:
        return 1 if self.boolean else (1 << 8 * self.size - self.signed) - 1

    def holds(self, value: int) -> bool:
        return self.minimum <= value <= self.maximum

    def wrap(self, value: int) -> int:
        if self.boolean:
            return int(value != 0)
        value &= (1 << 8 * self.size) - 1
        return value - (1 << 8 * self.size) if value > self.maximum else value

    def __repr__(self) -> str:
        return self.name


U8, U16, U32, U64 = (
    IntTy(f"u{8 * n}", n, False, t) for n, t in ((1, C.UCHAR), (2, C.USHORT), (4, C.UINT), (8, C.ULONG))
)
I8, I16, I32, I64 = (IntTy(f"i{8 * n}", n, True, t) for n, t in ((1, C.SCHAR), (2, C.SHORT), (4, C.INT), (8, C.LONG)))
BOOL = IntTy("bool", 1, False, C.BOOL, True)
_INTS = {(t.size, t.signed): t for t in (U8, U16, U32, U64, I8, I16, I32, I64)}


def int_ty(size: int, signed: bool) -> IntTy:
    return _INTS[size, signed]


def ty_of_ctype(t: C.CType) -> IntTy | None:
    """The type of numbers that a C integer, enum or bool is; None for anything else (128 bits too)."""
    inner = C.strip(t)
    if isinstance(inner, C.Enum):
        inner = inner.underlying
    if not isinstance(inner, C.Int) or inner.size > 8:
        return None
    return BOOL if inner.name == "_Bool" else _INTS[inner.size, inner.signed]


def joined(a: IntTy, b: IntTy) -> IntTy:
    """The type of an operation on both: the wider; of two signs the narrowest that holds both, u64 if none does."""
    if a is b:
        return I32 if a.boolean else a
    if a.boolean or b.boolean:
        return b if a.boolean else a
    if a.signed == b.signed:
        return a if a.size >= b.size else b
    unsigned, signed = (b, a) if a.signed else (a, b)
    if signed.size > unsigned.size:
        return signed
    return _INTS[unsigned.size * 2, True] if unsigned.size < 8 else U64


# ---------------------------------------------------------------------------------------------------------- values


class Value:
    __slots__ = ()


class Int(Value):
    """``e`` is of ``ty.ctype`` (or one of its size and sign); 0 <= value < 2**bits if ``bits`` is not None. ``soft``:
    made of literals alone, so that a variable that holds it may still take another type.
    """

    __slots__ = ("bits", "e", "soft", "ty")

    def __init__(self, ty: IntTy, e: tree.Expr, bits: int | None = None, soft: bool = False) -> None:
        self.ty, self.e, self.soft = ty, e, soft
        own = None if ty.signed else 1 if ty.boolean else 8 * ty.size
        self.bits = own if bits is None else bits if own is None else min(bits, own)


class Const(Value):
    """A value of Python's that is known: a number, text, None, a tuple of such, a function, module, class, map…"""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


OWN, CONTEXT, BTF, KERNEL, USER = "own", "ctx", "btf", "kernel", "user"
"""Whose memory: ours (stack, maps, packets), the context, the kernel's by loads or by probe reads, a process's."""


class Ref(Value):
    """Memory: ``e`` is its address; ``t`` the C type of what is there, ``py`` the type of ours if it has one.

    ``nullable``: it may be None, and has to be asked before it is used. Kernel pointers are never marked so: reading
    through one that leads nowhere gives zeroes. ``pointer``: the program's text had a pointer, not the thing itself.
    ``shared``: it lies in a map, where other CPUs may write to it. ``there``: a scalar that tells None from the rest
    where the address does not.
    """

    __slots__ = ("e", "nullable", "pointer", "py", "shared", "space", "t", "there")

    def __init__(
        self,
        e: tree.Expr,
        t: C.CType,
        space: str = OWN,
        py: Any = None,
        nullable: bool = False,
        pointer: bool = False,
        shared: bool = False,
        there: tree.Expr | None = None,
    ) -> None:
        self.e, self.t, self.space, self.py, self.nullable, self.pointer = e, t, space, py, nullable, pointer
        self.shared, self.there = shared, there


class Maybe(Value):
    """A number or None: ``there`` is a scalar that is not zero if it is a number."""

    __slots__ = ("there", "value")

    def __init__(self, there: tree.Expr, value: Int) -> None:
        self.there, self.value = there, value


class Tuple(Value):
    __slots__ = ("items",)

    def __init__(self, items: list[Value]) -> None:
        self.items = items


class Bound(Value):
    """``owner.name`` before it is called: a method of a map, a context, text."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: Value, name: str) -> None:
        self.owner, self.name = owner, name


class Context(Value):
    """The program's context."""

    __slots__ = ()


class Arguments(Value):
    """``ctx.args``."""

    __slots__ = ()


class Format(Value):
    """An f-string: format for the kernel's printk, and the values."""

    __slots__ = ("args", "text")

    def __init__(self, text: bytes, args: list[Value]) -> None:
        self.text, self.args = text, args


class Unknown(Value):
    """What a name holds after a mistake: whatever is done with it draws no further message."""

    __slots__ = ()


class Entry(Value):
    """``m[k]`` before it is known what is done with it. ``key`` is the key's address."""

    __slots__ = ("key", "map")

    def __init__(self, map: Any, key: tree.Expr) -> None:
        self.map, self.key = map, key


def words(v: Value | Any) -> str:
    """A value's type for messages."""
    if isinstance(v, Int):
        return f"a {v.ty.name}" if v.ty is not I64 and v.ty not in (I8, I16, I32) else f"an {v.ty.name}"
    if isinstance(v, Const):
        if v.value is None:
            return "None"
        if isinstance(v.value, (bool, int)):
            return f"the number {v.value}"
        if isinstance(v.value, (str, bytes)):
            return f"the text {v.value!r}"
        if isinstance(v.value, P.StructType):
            return f"the struct {v.value.__name__}"
        if isinstance(v.value, MapDecl):
            return f"the map `{v.value.name}`"
        return f"a {type(v.value).__name__}"
    if isinstance(v, Ref):
        inner = C.strip(v.t)
        star = "a pointer to " if v.pointer and not isinstance(v.py, P.StructType) else ""
        none = " or None" if v.nullable else ""
        if v.py is not None:
            return f"{star}{P.describe(v.py) if not isinstance(v.py, P.StructType) else v.py.__name__}{none}"
        if isinstance(inner, C.Record):
            return f"{star}{inner.kind} {inner.tag or '<anonymous>'}{none}"
        return f"{star}{C.format_ctype(v.t)}{none}"
    if isinstance(v, Maybe):
        return f"{v.value.ty.name} or None"
    if isinstance(v, Tuple):
        return f"a tuple of {len(v.items)}"
    if isinstance(v, Format):
        return "an f-string"
    if isinstance(v, Context):
        return "the context"
    if isinstance(v, Entry):
        return f"an entry of `{v.map.name}`"
    return "a method" if isinstance(v, Bound) else "this"
