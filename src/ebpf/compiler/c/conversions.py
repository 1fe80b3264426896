"""C's conversions (C17 6.3): promotions, the usual arithmetic conversions, and the nodes that perform them.

Functions here never report anything: they are total on types that fit and are asked only then.
"""

from __future__ import annotations

from ebpf.compiler.c import tree
from ebpf.compiler.c.constexpr import reduce
from ebpf.compiler.c.types import (
    INT,
    INT128,
    LLONG,
    LONG,
    UINT,
    UINT128,
    ULLONG,
    ULONG,
    Array,
    CType,
    Enum,
    Float,
    Function,
    Int,
    Pointer,
    Qualified,
    Record,
    Typedef,
    Void,
    same,
    strip,
)

POISON = Int("int", 4, True, 3)
"""The type of an expression that was refused already: whatever is done with it draws no further message."""


def is_integer(t: CType) -> bool:
    return isinstance(strip(t), (Int, Enum))


def is_pointer(t: CType) -> bool:
    return isinstance(strip(t), Pointer)


def is_scalar(t: CType) -> bool:
    return isinstance(strip(t), (Int, Enum, Pointer))


def is_record(t: CType) -> bool:
    return isinstance(strip(t), Record)


def is_void(t: CType) -> bool:
    return isinstance(strip(t), Void)


def is_bool(t: CType) -> bool:
    t = strip(t)
    return isinstance(t, Int) and t.name == "_Bool"


def target_of(t: CType) -> CType:
    """What the pointer type ``t`` points to."""
    t = strip(t)
    assert isinstance(t, Pointer)
    return t.target


def int_of(t: CType) -> Int:
    """The integer type that represents the integer or enum type ``t``."""
    t = strip(t)
    if isinstance(t, Enum):
        return t.underlying
    assert isinstance(t, Int)
    return t


def unqualified(t: CType) -> CType:
    """``t`` without qualifiers, also those under typedefs (a typedef of a qualified type loses its name)."""
    while isinstance(t, Qualified):
        t = t.type
    if isinstance(t, Typedef):
        inner: CType = t
        while isinstance(inner, Typedef):
            inner = inner.type
        if isinstance(inner, Qualified):
            return unqualified(inner)
    return t


def qualifiers(t: CType) -> tuple[bool, bool]:
    """(const, volatile) of ``t``, typedefs seen through."""
    const = volatile = False
    while isinstance(t, (Typedef, Qualified)):
        if isinstance(t, Qualified):
            const, volatile = const or t.const, volatile or t.volatile
        t = t.type
    return const, volatile


def identical(a: CType, b: CType) -> bool:
    """`same`, and the qualifiers of what pointers lead to are the same as well: what ``_Generic`` asks."""
    if not same(a, b):
        return False
    a, b = strip(a), strip(b)
    while isinstance(a, Pointer) and isinstance(b, Pointer):
        if qualifiers(a.target) != qualifiers(b.target):
            return False
        a, b = strip(a.target), strip(b.target)
    return True


def qualified(t: CType, const: bool, volatile: bool, tags: tuple[str, ...] = ()) -> CType:
    """``t`` with further qualifiers."""
    if not (const or volatile or tags):
        return t
    if isinstance(t, Qualified):
        return Qualified(t.type, t.const or const, t.volatile or volatile, t.tags + tags)
    return Qualified(t, const, volatile, tags)


def promoted(t: CType, bit_size: int = 0) -> Int:
    """The integer promotion of ``t`` (of a bit-field of ``bit_size`` bits)."""
    kind = int_of(t)
    if kind is POISON:
        return POISON
    if bit_size and kind.size <= 4:
        return INT if bit_size < 32 or kind.signed else UINT
    return INT if kind.rank < INT.rank else kind


def common(a: Int, b: Int) -> Int:
    """The type of the usual arithmetic conversions of two promoted types."""
    if a is POISON or b is POISON:
        return POISON
    if a.signed == b.signed:
        return a if a.rank >= b.rank else b
    unsigned, signed = (b, a) if a.signed else (a, b)
    if unsigned.rank >= signed.rank:
        return unsigned
    if signed.size > unsigned.size:
        return signed
    return UNSIGNED_OF[signed.name]


UNSIGNED_OF = {"int": UINT, "long": ULONG, "long long": ULLONG, "__int128": UINT128}
SIGNED_OF = {"unsigned int": INT, "unsigned long": LONG, "unsigned long long": LLONG, "unsigned __int128": INT128}


def bit_size_of(e: tree.Expr) -> int:
    """The width of the bit-field that ``e`` is, or was loaded from; 0 if it is none."""
    if isinstance(e, tree.Convert) and e.kind == "load":
        e = e.operand
    if isinstance(e, (tree.Member, tree.RecordValueMember)):
        return e.field.bit_size
    if isinstance(e, tree.ProbeRead) and e.field is not None:
        return e.field.bit_size
    return 0


def is_lvalue(e: tree.Expr) -> bool:
    return type(e) in _LVALUES


_LVALUES = frozenset((tree.VarRef, tree.Deref, tree.Member, tree.ElementOf, tree.StringConst, tree.CompoundLiteral))


def to_int(e: tree.Expr, t: CType) -> tree.Expr:
    """The integer or enum value ``e`` converted to the integer or enum type ``t``."""
    if isinstance(e, tree.IntConst):
        return tree.IntConst(t, e.loc, e.end, reduce(e.value, t))
    source, target = int_of(e.type), int_of(t)
    if source is target or source.name == target.name:
        return e if e.type is t else tree.Convert(t, e.loc, e.end, "same", e)
    return tree.Convert(t, e.loc, e.end, "bool" if target.name == "_Bool" else "int", e)


def promote(e: tree.Expr) -> tree.Expr:
    t = promoted(e.type, bit_size_of(e))
    return e if int_of(e.type) is t and e.type is t else to_int(e, t)


def cast(e: tree.Expr, t: CType) -> tree.Expr:
    """The scalar value ``e`` as scalar type ``t``, however it takes."""
    source, target = strip(e.type), strip(t)
    if isinstance(target, Void):
        return tree.Convert(t, e.loc, e.end, "void", e)
    if isinstance(target, Int) and target.name == "_Bool":
        if isinstance(e, tree.IntConst):
            return tree.IntConst(t, e.loc, e.end, int(e.value != 0))
        if isinstance(source, Int) and source.name == "_Bool":
            return e if e.type is t else tree.Convert(t, e.loc, e.end, "same", e)
        return tree.Convert(t, e.loc, e.end, "bool", e)
    if isinstance(target, (Int, Enum)):
        if isinstance(source, Pointer):
            if isinstance(e, tree.IntConst):
                return tree.IntConst(t, e.loc, e.end, reduce(e.value, t))
            return tree.Convert(t, e.loc, e.end, "pointer_to_int", e)
        return to_int(e, t)
    assert isinstance(target, Pointer)
    if isinstance(e, tree.IntConst):
        return tree.IntConst(t, e.loc, e.end, reduce(e.value, t))
    if isinstance(source, Pointer):
        if e.type is t:
            return e
        return tree.Convert(t, e.loc, e.end, "same" if same(source, target) else "pointer", e)
    return tree.Convert(t, e.loc, e.end, "int_to_pointer", to_int(e, LONG if int_of(source).signed else ULONG))


def is_null(e: tree.Expr) -> bool:
    """Whether ``e`` is a null pointer constant."""
    from ebpf.compiler.c.constexpr import evaluate

    t = strip(e.type)
    if isinstance(t, Int) or (isinstance(t, Pointer) and isinstance(strip(t.target), Void)):
        return evaluate(e) == 0
    return False


def decayed(t: CType) -> CType:
    """What an array or function type becomes as a parameter."""
    inner = strip(t)
    if isinstance(inner, Array):
        return Pointer(inner.element)
    if isinstance(inner, Function):
        return Pointer(t)
    return t


def has_float(t: CType) -> bool:
    return isinstance(strip(t), Float)
