"""Operators on numbers: types of results, wrap-around, Python's division, exact comparisons.

Both operands are converted to one type, `values.joined`, the operation happens there and wraps; a literal takes the
other operand's type, and has to fit. ``//`` and ``%`` round down as Python's do, also where C's do not. Division by
zero gives 0, its remainder the dividend, as BPF's instructions have it. Comparisons are exact whatever the signs.
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py.memory import Memory
from ebpf.compiler.py.values import I32, I64, U32, U64, Const, Int, IntTy, Ref, Value, int_ty, joined, words

if TYPE_CHECKING:
    from collections.abc import Callable

SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.Div: "/",
    ast.Pow: "**",
    ast.MatMult: "@",
}
COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_FOLD: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "//": operator.floordiv,
    "%": operator.mod,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "**": operator.pow,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MIRRORED = {"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_HELPS = {
    "/": ["write `//`: programs have no floating point"],
    "**": ["write the product, or `1 << n` for powers of two"],
    "@": [],
}


class Arithmetic(Memory):
    def operation(self, op: str, left: Value, right: Value, node: ast.AST, nodes: tuple[ast.AST, ast.AST]) -> Value:
        """``left op right``."""
        if isinstance(left, Const) and isinstance(right, Const):
            return self._folded(op, left, right, node)
        if op in ("/", "@") or (op == "**" and not isinstance(right, Const)):
            self.refuse("P0102", node, f"programs have no `{op}`", helps=_HELPS[op])
        if op == "**":
            return self._power(left, right, node)
        if op in ("<<", ">>"):
            return self._shift(op, left, right, node, nodes)
        a, b = self._pair(op, left, right, nodes)
        ty = a.ty
        if op in ("//", "%"):
            return self._divide(op, a, b, node)
        bits = _bits_of(op, a, b)
        return Int(ty, self.binary(op, a.e, b.e), bits, a.soft and b.soft)

    def _folded(self, op: str, left: Const, right: Const, node: ast.AST) -> Const:
        if op == "/":
            self.refuse("P0102", node, "programs have no `/`", helps=_HELPS["/"])
        try:
            if op == "<<" and right.value > 64 or op == "**" and right.value > 64:
                self.refuse("P0205", node, "this is more than 64 bits hold")
            return Const(_FOLD[op](left.value, right.value))
        except ZeroDivisionError:
            self.refuse("P0207", node, "this divides by zero")
        except (TypeError, ValueError, KeyError):
            self.refuse("P0207", node, f"`{op}` does not go with {words(left)} and {words(right)}")

    def _power(self, left: Value, right: Value, node: ast.AST) -> Value:
        assert isinstance(right, Const)
        times = right.value
        if not isinstance(times, int) or not 0 <= times <= 8:
            self.refuse("P0102", node, "programs have `**` with a constant from 0 to 8 alone", helps=_HELPS["**"])
        base = self.number(left, node)
        e = self.temp(base.e)
        result: tree.Expr = self.const(1, base.ty.ctype)
        for i in range(times):
            result = e if not i else self.binary("*", result, e)
        return Int(base.ty, result)

    def _pair(self, op: str, left: Value, right: Value, nodes: tuple[ast.AST, ast.AST]) -> tuple[Int, Int]:
        """Both operands in the type of the operation."""
        left, right = self.plain(left, nodes[0]), self.plain(right, nodes[1])
        if isinstance(right, Const):
            a = self.number(left, nodes[0])
            return self._with_literal(op, a, right, nodes[1])
        if isinstance(left, Const):
            b = self.number(right, nodes[1])
            b, a = self._with_literal(op, b, left, nodes[0])
            return a, b
        a, b = self.number(left, nodes[0]), self.number(right, nodes[1])
        if a.ty.boolean and b.ty.boolean and op in ("&", "|", "^"):
            return a, b
        ty = joined(a.ty, b.ty)
        return Int(ty, cast(a.e, ty.ctype), a.bits, a.soft), Int(ty, cast(b.e, ty.ctype), b.bits, b.soft)

    def plain(self, v: Value, node: ast.AST) -> Value:
        """What an operator can take; `Entry`s are read."""
        from ebpf.compiler.py.values import Entry

        return self.entry_value(v, node) if isinstance(v, Entry) else v

    def _with_literal(self, op: str, a: Int, literal: Const, node: ast.AST) -> tuple[Int, Int]:
        if not isinstance(literal.value, int):
            self.refuse("P0207", node, f"`{op}` does not go with {words(a)} and {words(literal)}")
        value = int(literal.value)
        ty = a.ty if not a.ty.boolean else I32
        least = -(1 << 8 * ty.size - 1)
        allowed = ty.holds(value) or (op in ("&", "|", "^", "+", "-") and least <= value <= ty.maximum)
        if not allowed and a.soft and U64.holds(value):
            ty, allowed = U64, True
        if not allowed:
            self.refuse(
                "P0205",
                node,
                f"{value} does not fit in {ty}, the type of the other operand",
                helps=[f"make that wider first: `{_wider(ty, value)}(…) {op} {value}`"],
            )
        number = self.const(value, ty.ctype)
        return (
            Int(ty, cast(a.e, ty.ctype), a.bits, a.soft),
            Int(ty, number, value.bit_length() if value >= 0 else None, a.soft),
        )

    def _shift(self, op: str, left: Value, right: Value, node: ast.AST, nodes: tuple[ast.AST, ast.AST]) -> Value:
        a = self.number(self.plain(left, nodes[0]), nodes[0])
        ty = I32 if a.ty.boolean else a.ty
        work = ty if ty.size >= 4 else (I32 if ty.signed else U32)
        e = cast(a.e, work.ctype)
        width = 8 * work.size
        right = self.plain(right, nodes[1])
        if isinstance(right, Const) and isinstance(right.value, int):
            count = int(right.value)
            if not 0 <= count < 8 * ty.size:
                self.refuse(
                    "P0205",
                    nodes[1],
                    f"a shift by {count} leaves nothing of {ty}",
                    helps=[f"make it wider first: `u64(…) {op} {count}`"] if ty.size < 8 <= 64 > count else [],
                )
            bits = None
            if a.bits is not None:
                bits = max(a.bits - count, 0) if op == ">>" else a.bits + count
                bits = None if bits > 8 * ty.size - ty.signed else bits
            amount: tree.Expr = self.const(count, work.ctype)
        else:
            n = self.number(right, nodes[1])
            bits = a.bits if op == ">>" else None
            amount = self.binary("&", cast(n.e, work.ctype), self.const(width - 1, work.ctype))
        shifted = tree.Binary(work.ctype, self.loc, self.end, op, e, amount)
        return Int(ty, cast(shifted, ty.ctype), bits, a.soft and isinstance(right, Const))

    # ---------------------------------------------------------------------------------------------------- division

    def _divide(self, op: str, a: Int, b: Int, node: ast.AST) -> Int:
        ty, c_op = a.ty, "/" if op == "//" else "%"
        soft = a.soft and b.soft
        if isinstance(b.e, tree.IntConst):
            divisor = b.e.value
            if not divisor:
                self.refuse("P0207", node, "this divides by zero")
            bits = None
            if divisor > 0:
                bits = (divisor - 1).bit_length() if op == "%" else a.bits
                if a.bits is not None and op == "//":
                    bits = max(a.bits - (divisor.bit_length() - 1), 0)
            if not ty.signed:
                return Int(ty, self.binary(c_op, a.e, b.e), bits, soft)
            if divisor > 0 and not divisor & (divisor - 1):  # a power of two rounds down by itself
                if op == "%":
                    return Int(ty, self.binary("&", a.e, self.const(divisor - 1, ty.ctype)), bits, soft)
                count = self.const(divisor.bit_length() - 1, ty.ctype)
                return Int(ty, tree.Binary(ty.ctype, self.loc, self.end, ">>", a.e, count), bits, soft)
            if divisor == -1:
                zero = self.const(0, ty.ctype)
                return Int(ty, zero if op == "%" else self.binary("-", zero, a.e), None, soft)
            if a.bits is not None and divisor > 0:
                unsigned = int_ty(ty.size, False).ctype
                e = self.binary(c_op, cast(a.e, unsigned), cast(b.e, unsigned))
                return Int(ty, cast(e, ty.ctype), bits, soft)
            return Int(ty, self._floor(op, ty, a.e, b.e), bits, soft)
        # What LLVM says of a division by zero is "undefined"; here it is what BPF's instruction does.
        left, right = self.temp(a.e), self.temp(b.e)
        result = self.local(ty.ctype)
        self.set(result, self.const(0, ty.ctype) if op == "//" else left)
        with self.nested() as divides:
            if ty.signed and a.bits is None:
                value = self._floor(op, ty, left, right)
            else:
                value = self.binary(c_op, left, right)
                if ty.signed and b.bits is None:
                    value = self._floor(op, ty, left, right)
            self.set(result, value)
        self.branch(self.compare("!=", right, self.const(0, ty.ctype)), divides)
        bits = a.bits if op == "//" and not ty.signed else None
        return Int(ty, self.get(result), bits, soft)

    def _floor(self, op: str, ty: IntTy, a: tree.Expr, b: tree.Expr) -> tree.Expr:
        """Signed division that rounds down: C's, corrected where the remainder has not the divisor's sign."""
        t = I32.ctype if ty.size < 4 else ty.ctype
        a, b = self.temp(cast(a, t)), self.temp(cast(b, t))
        zero = self.const(0, t)
        remainder = self.temp(self.binary("%", a, b))
        opposite = self.compare("<", self.binary("^", remainder, b), zero)
        uneven = tree.Logical(C.INT, self.loc, self.end, "&&", self.compare("!=", remainder, zero), opposite)
        if op == "%":
            corrected = self.binary("+", remainder, b)
            plain = remainder
        else:
            plain = self.temp(self.binary("/", a, b))
            corrected = self.binary("-", plain, self.const(1, t))
        return cast(tree.Conditional(t, self.loc, self.end, uneven, corrected, plain), ty.ctype)

    # ----------------------------------------------------------------------------------------------------- compare

    def comparison(self, op: str, left: Value, right: Value, node: ast.AST, nodes: tuple[ast.AST, ast.AST]) -> Value:
        """``left op right`` of two numbers, by their values."""
        left, right = self.plain(left, nodes[0]), self.plain(right, nodes[1])
        if isinstance(left, Const) and isinstance(right, Const):
            return self._folded(op, left, right, node)
        if isinstance(left, Const):
            return self.comparison(_MIRRORED[op], right, left, node, (nodes[1], nodes[0]))
        if isinstance(left, Ref) and left.pointer and isinstance(right, Ref) and right.pointer:
            return self.truth_of(self.compare(op, cast(left.e, C.ULONG), cast(right.e, C.ULONG)))
        a = self.number(left, nodes[0])
        if isinstance(right, Const) and isinstance(right.value, int):
            value = int(right.value)
            ty = a.ty if not a.ty.boolean else I32
            if not ty.holds(value):
                always = _FOLD[op](ty.minimum, value) if op not in ("==", "!=") else op == "!="
                helps = [f"`{ty}({value})` is {ty.wrap(value)}, if that is meant"] if ty.size >= 4 or value < 0 else []
                self.refuse("P0205", node, f"this is always {bool(always)}: {_range(ty)}, never {value}", helps=helps)
            return self.truth_of(self.compare(op, cast(a.e, ty.ctype), self.const(value, ty.ctype)))
        b = self.number(right, nodes[1])
        ty = joined(a.ty, b.ty)
        if ty is not U64 or a.ty.signed == b.ty.signed:
            return self.truth_of(self.compare(op, cast(a.e, ty.ctype), cast(b.e, ty.ctype)))
        signed, unsigned = (a, b) if a.ty.signed else (b, a)
        if signed.bits is not None:
            return self.truth_of(self.compare(op, cast(a.e, C.ULONG), cast(b.e, C.ULONG)))
        if unsigned.bits is not None and unsigned.bits < 64:
            return self.truth_of(self.compare(op, cast(a.e, C.LONG), cast(b.e, C.LONG)))
        x, y = (
            self.temp(cast(a.e, I64.ctype if a.ty.signed else C.ULONG)),
            self.temp(cast(b.e, I64.ctype if b.ty.signed else C.ULONG)),
        )
        negative = self.compare("<", x if a.ty.signed else y, self.const(0, C.LONG))
        same = self.compare(op, cast(x, C.ULONG), cast(y, C.ULONG))
        below = op in ("<", "<=", "!=") if a.ty.signed else op in (">", ">=", "!=")
        if below:
            return self.truth_of(tree.Logical(C.INT, self.loc, self.end, "||", negative, same))
        return self.truth_of(tree.Logical(C.INT, self.loc, self.end, "&&", self.negate(negative), same))

    def unary(self, node: ast.UnaryOp, v: Value) -> Value:
        """``-x``, ``~x``, ``+x``."""
        op = {ast.USub: "-", ast.Invert: "~", ast.UAdd: "+"}[type(node.op)]
        v = self.plain(v, node.operand)
        if isinstance(v, Const) and isinstance(v.value, int):
            return Const(-v.value if op == "-" else ~v.value if op == "~" else +v.value)
        a = self.number(v, node.operand)
        ty = I32 if a.ty.boolean else a.ty
        if op == "+":
            return a
        return Int(ty, tree.Unary(ty.ctype, self.loc, self.end, op, cast(a.e, ty.ctype)), None, a.soft)

    def converted(self, ty: IntTy, v: Value, node: ast.AST) -> Value:
        """``u8(x)``: the lowest bits of any number."""
        v = self.plain(v, node)
        if isinstance(v, Const) and isinstance(v.value, int):
            return Int(ty, self.const(ty.wrap(int(v.value)), ty.ctype), _const_bits(ty.wrap(int(v.value))))
        number = self.number(v, node)
        return Int(
            ty,
            cast(number.e, ty.ctype),
            number.bits if number.bits and number.bits <= 8 * ty.size - ty.signed else None,
        )

    def is_true(self, number: Int) -> tree.Expr:
        return self.compare("!=", number.e, self.const(0, number.ty.ctype)) if not number.ty.boolean else number.e


def _const_bits(value: int) -> int | None:
    return value.bit_length() if value >= 0 else None


def _bits_of(op: str, a: Int, b: Int) -> int | None:
    if op == "&":
        for literal, other in ((b, a), (a, b)):
            if isinstance(literal.e, tree.IntConst) and other.soft and literal.bits is not None:
                return literal.bits  # also where the other is a variable whose bits are not settled yet
        known = [n for n in (a.bits, b.bits) if n is not None]
        return min(known) if known else None
    if a.bits is None or b.bits is None:
        return None
    most = 8 * a.ty.size - a.ty.signed
    bits = {"|": max(a.bits, b.bits), "^": max(a.bits, b.bits), "+": max(a.bits, b.bits) + 1, "*": a.bits + b.bits}.get(
        op
    )
    return bits if bits is not None and bits <= most else None


def _wider(ty: IntTy, value: int) -> str:
    for t in (int_ty(n, ty.signed or value < 0) for n in (2, 4, 8)):
        if t.size > ty.size and t.holds(value):
            return t.name
    return "u64"


def _range(ty: IntTy) -> str:
    return f"{ty} goes from {ty.minimum} to {ty.maximum}"
