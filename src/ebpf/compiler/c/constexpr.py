"""Constant expressions: the value of a typed tree that needs no program to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree
from ebpf.compiler.c.types import CHAR, LONG, Array, CType, Enum, Int, Pointer, Record, size_of, strip

if TYPE_CHECKING:
    from collections.abc import Callable


def integer_type(t: CType) -> Int | None:
    """The integer type that ``t`` is represented by (enums and pointers too), or None."""
    t = strip(t)
    if isinstance(t, Int):
        return t
    if isinstance(t, Enum):
        return t.underlying
    if isinstance(t, Pointer):
        return _ADDRESS
    return None


_ADDRESS = Int("unsigned long", 8, False, 4)


def reduce(value: int, t: CType) -> int:
    """``value`` as an object of integer type ``t`` holds it."""
    kind = integer_type(t)
    if kind is None:
        return value
    if kind.name == "_Bool":
        return int(value != 0)
    bits = kind.size * 8
    value &= (1 << bits) - 1
    if kind.signed and value >> (bits - 1):
        value -= 1 << bits
    return value


def evaluate(e: tree.Expr) -> int | None:
    """The integer (or null-pointer or absolute address) value of ``e``, or None where it is not an integer constant."""
    kind = type(e)
    if kind is tree.IntConst:
        return e.value  # type: ignore[attr-defined,no-any-return]
    handler = _EVALUATE.get(kind)
    return handler(e) if handler is not None else None


def _convert(e: tree.Convert) -> int | None:
    if e.kind == "load":
        return None
    value = evaluate(e.operand)
    if value is None:
        return None
    if e.kind == "bool":
        return int(value != 0)
    return reduce(value, e.type) if integer_type(e.type) else None


def _unary(e: tree.Unary) -> int | None:
    value = evaluate(e.operand)
    if value is None:
        return None
    if e.op == "!":
        return int(not value)
    return reduce(-value if e.op == "-" else ~value, e.type)


def _binary(e: tree.Binary) -> int | None:
    a, b = evaluate(e.left), evaluate(e.right)
    if a is None or b is None:
        return None
    value = apply(e.op, a, b, e.left.type)
    return None if value is None else reduce(value, e.type)


def apply(op: str, a: int, b: int, operands: CType) -> int | None:
    """``a op b`` without reduction; None for a division by zero or a shift that C leaves undefined."""
    if op in _COMPARE:
        return int(_COMPARE[op](a, b))
    if op == "+":
        return a + b
    if op == "-":
        return a - b
    if op == "*":
        return a * b
    if op == "&":
        return a & b
    if op == "|":
        return a | b
    if op == "^":
        return a ^ b
    width = 8 * (size_of(operands) or 8)
    if op == "<<":
        return a << b if 0 <= b < width else None
    if op == ">>":
        return a >> b if 0 <= b < width else None
    if b == 0:
        return None
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return quotient if op == "/" else a - quotient * b


_COMPARE = {"==": int.__eq__, "!=": int.__ne__, "<": int.__lt__, "<=": int.__le__, ">": int.__gt__, ">=": int.__ge__}


def _logical(e: tree.Logical) -> int | None:
    a = evaluate(e.left)
    if a is None:
        return None
    if bool(a) == (e.op == "||"):
        return int(bool(a))
    b = evaluate(e.right)
    return None if b is None else int(bool(b))


def _conditional(e: tree.Conditional) -> int | None:
    c = evaluate(e.condition)
    if c is None:
        return None
    if c:
        return c if e.then is None else evaluate(e.then)
    return evaluate(e.otherwise)


def _pointer_add(e: tree.PointerAdd) -> int | None:
    base, index = evaluate(e.pointer), evaluate(e.index)
    if base is None or index is None:
        return None
    target = strip(e.pointer.type)
    each = (size_of(target.target) or 1) if isinstance(target, Pointer) else 1
    return reduce(base + (-index if e.negative else index) * each, e.type)


def _address_of(e: tree.AddressOf) -> int | None:
    return _lvalue(e.operand)  # &((struct s *)0)->m


def _lvalue(e: tree.Expr) -> int | None:
    if isinstance(e, tree.Deref):
        return evaluate(e.pointer)
    if isinstance(e, tree.Member) and not e.field.bit_size:
        base = _lvalue(e.base)
        return None if base is None else base + e.field.bit_offset // 8
    if isinstance(e, tree.ElementOf):
        base, index = _lvalue(e.base), evaluate(e.index)
        return None if base is None or index is None else base + index * (size_of(e.type) or 0)
    return None


def _builtin(e: tree.Builtin) -> int | None:
    if e.name == "expect":
        return evaluate(e.args[0])
    if e.name.startswith("bswap"):
        value = evaluate(e.args[0])
        size = int(e.name[5:]) // 8
        return (
            None if value is None else int.from_bytes((value & ((1 << 8 * size) - 1)).to_bytes(size, "little"), "big")
        )
    return None


_EVALUATE: dict[type, Callable[[Any], int | None]] = {
    tree.Convert: _convert,
    tree.Unary: _unary,
    tree.Binary: _binary,
    tree.Logical: _logical,
    tree.Conditional: _conditional,
    tree.PointerAdd: _pointer_add,
    tree.AddressOf: _address_of,
    tree.Builtin: _builtin,
    tree.Comma: lambda e: evaluate(e.right) if evaluate(e.left) is not None else None,
}


# ------------------------------------------------------------------------------------------------ address constants


def address(e: tree.Expr) -> tuple[tree.Expr, int] | None:
    """What a constant pointer points to, as (``VarRef`` | ``FunctionRef`` | ``StringConst`` | ``CompoundLiteral``,
    bytes after its start), or None.
    """
    if isinstance(e, tree.Convert):
        if e.kind in ("pointer", "same", "pointer_to_int", "int_to_pointer") or (
            e.kind == "int" and size_of(e.type) == size_of(e.operand.type)
        ):
            return address(e.operand)
        if e.kind in ("decay", "function"):
            return _place(e.operand)
        return None
    if isinstance(e, tree.AddressOf):
        return _place(e.operand)
    if isinstance(e, tree.PointerAdd):
        base, index = address(e.pointer), evaluate(e.index)
        target = strip(e.pointer.type)
        if base is None or index is None or not isinstance(target, Pointer):
            return None
        return base[0], base[1] + (-index if e.negative else index) * (size_of(target.target) or 1)
    if isinstance(e, tree.Binary) and e.op in "+-":
        base, index = address(e.left), evaluate(e.right)
        return None if base is None or index is None else (base[0], base[1] + (index if e.op == "+" else -index))
    if isinstance(e, tree.Conditional) and e.then is not None:
        c = evaluate(e.condition)
        return None if c is None else address(e.then if c else e.otherwise)
    return None


def _place(e: tree.Expr) -> tuple[tree.Expr, int] | None:
    if isinstance(e, tree.VarRef):
        return (e, 0) if e.variable.kind in ("global", "extern") else None
    if isinstance(e, tree.CompoundLiteral):
        return (e, 0) if e.variable.kind == "global" else None
    if isinstance(e, (tree.FunctionRef, tree.StringConst)):
        return e, 0
    if isinstance(e, tree.Deref):
        return address(e.pointer)
    if isinstance(e, tree.Member) and not e.field.bit_size:
        base = _place(e.base)
        return None if base is None else (base[0], base[1] + e.field.bit_offset // 8)
    if isinstance(e, tree.ElementOf):
        base, index = _place(e.base), evaluate(e.index)
        return None if base is None or index is None else (base[0], base[1] + index * (size_of(e.type) or 0))
    return None


def constant(e: tree.Expr) -> tree.Expr | None:
    """``e`` in the form that a global's initialiser has (see `tree.Initializer`), or None where it is not constant."""
    value = evaluate(e)
    if value is not None:
        return tree.IntConst(e.type, e.loc, e.end, reduce(value, e.type))
    found = address(e)
    if found is None:
        return None
    base, offset = found
    if isinstance(base, tree.FunctionRef):
        out: tree.Expr = tree.Convert(Pointer(base.type), e.loc, e.end, "function", base)
    elif isinstance(base, tree.StringConst):
        element = strip(base.type)
        assert isinstance(element, Array)
        out = tree.Convert(Pointer(element.element), e.loc, e.end, "decay", base)
    else:
        out = tree.AddressOf(Pointer(base.type), e.loc, e.end, base)
    if offset:
        text = tree.Convert(Pointer(CHAR), e.loc, e.end, "pointer", out)
        out = tree.PointerAdd(text.type, e.loc, e.end, text, tree.IntConst(LONG, e.loc, e.end, offset))
    wanted = strip(e.type)
    if isinstance(wanted, Pointer):
        return out if out.type is e.type else tree.Convert(e.type, e.loc, e.end, "pointer", out)
    if isinstance(wanted, Record):
        return None
    return tree.Convert(e.type, e.loc, e.end, "pointer_to_int", out)
