"""The lowest layer: nodes of the typed tree, statements in order, memory, helpers, messages with Python's places."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any, NoReturn

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.constexpr import reduce
from ebpf.compiler.c.conversions import cast, unqualified
from ebpf.compiler.py.values import BOOL, Int, IntTy

if TYPE_CHECKING:
    from ebpf.compiler.py.state import SourceFile, State

VOID_POINTER = C.Pointer(C.VOID)


class Refused(Exception):
    """A statement or expression was refused and reported."""


class Emitter:
    """State while one program is made."""

    def __init__(self, state: State, source: SourceFile, node: ast.AST) -> None:
        self.state = state
        self.c = state.checker
        self.source = source
        self.out: list[tree.Stmt] = []
        self.scratch_variables: list[tree.Stmt] = []
        self._free: dict[tuple[int, int], list[tree.Variable]] = {}
        self._taken: list[tuple[tuple[int, int], tree.Variable]] = []
        self.loc = self.end = 0
        self.at(node)

    # ---------------------------------------------------------------------------------------------------- messages

    def at(self, node: ast.AST) -> None:
        """What is made from now on comes from ``node``."""
        self.loc, self.end = self.place(node)

    def place(self, node: ast.AST) -> tuple[int, int]:
        line = getattr(node, "lineno", None)
        if line is None:
            return self.loc, self.end
        start = self.source.loc(line, node.col_offset)  # type: ignore[attr-defined]
        return start, self.source.loc(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def error(self, code: str, node: ast.AST, message: str, **more: Any) -> None:
        loc, end = self.place(node)
        if isinstance(node, ast.FunctionDef):  # its name says it; the body would be much
            loc = self.source.loc(node.lineno, node.col_offset) + len("def ")
            end = loc + len(node.name)
        self.state.diagnostics.error(code, message, loc, end, **more)

    def refuse(self, code: str, node: ast.AST, message: str, **more: Any) -> NoReturn:
        self.error(code, node, message, **more)
        raise Refused

    def warn(self, code: str, node: ast.AST, message: str, **more: Any) -> None:
        self.state.diagnostics.warning(code, message, *self.place(node), **more)

    # ------------------------------------------------------------------------------------------------------- nodes

    def const(self, value: int, type: C.CType = C.LONG) -> tree.IntConst:
        return tree.IntConst(type, self.loc, self.end, reduce(value, type))

    def binary(self, op: str, left: tree.Expr, right: tree.Expr) -> tree.Expr:
        """Arithmetic of two operands of one type."""
        return tree.Binary(left.type, self.loc, self.end, op, left, right)

    def compare(self, op: str, left: tree.Expr, right: tree.Expr) -> tree.Expr:
        return tree.Binary(C.INT, self.loc, self.end, op, left, right)

    def negate(self, e: tree.Expr) -> tree.Expr:
        """``not e``, of a scalar."""
        return tree.Unary(C.INT, self.loc, self.end, "!", e)

    def truth_of(self, e: tree.Expr) -> Int:
        return Int(BOOL, cast(e, C.BOOL))

    def convert(self, v: Int, ty: IntTy) -> tree.Expr:
        return cast(v.e, ty.ctype)

    def ref(self, v: tree.Variable) -> tree.Expr:
        return tree.VarRef(v.type, self.loc, self.end, v)

    def load(self, lvalue: tree.Expr) -> tree.Expr:
        return tree.Convert(unqualified(lvalue.type), self.loc, self.end, "load", lvalue)

    def get(self, v: tree.Variable) -> tree.Expr:
        return self.load(self.ref(v))

    def deref(self, pointer: tree.Expr, t: C.CType) -> tree.Expr:
        """The lvalue of type ``t`` at an address; what an address was taken of, if that is it."""
        if isinstance(pointer, tree.AddressOf) and pointer.operand.type is t:
            return pointer.operand
        return tree.Deref(t, self.loc, self.end, cast(pointer, C.Pointer(t)))

    def address(self, lvalue: tree.Expr) -> tree.Expr:
        if isinstance(lvalue, tree.Deref):
            return lvalue.pointer
        return tree.AddressOf(C.Pointer(lvalue.type), self.loc, self.end, lvalue)

    def plus(self, pointer: tree.Expr, bytes_: tree.Expr) -> tree.Expr:
        base = cast(pointer, C.Pointer(C.UCHAR))
        return tree.PointerAdd(base.type, self.loc, self.end, base, cast(bytes_, C.LONG))

    def select(self, base: tree.Expr, record: C.Record, name: str) -> tree.Expr | None:
        """The lvalue ``base.name``, through anonymous records; None where there is no such member."""
        path = record.find(name)
        if path is None:
            return None
        for f in path:
            inner = C.strip(base.type)
            assert isinstance(inner, C.Record)
            base = tree.Member(f.type, self.loc, self.end, base, f, inner.preserve_access)
        return base

    # -------------------------------------------------------------------------------------------------- statements

    def evaluate(self, e: tree.Expr) -> None:
        self.out.append(tree.Evaluate(self.loc, self.end, e))

    def store(self, lvalue: tree.Expr, value: tree.Expr) -> None:
        self.evaluate(tree.Assign(lvalue.type, self.loc, self.end, lvalue, value))

    def set(self, v: tree.Variable, value: tree.Expr) -> None:
        self.store(self.ref(v), value)

    def local(self, t: C.CType, name: str = "", init: tree.Initializer | None = None) -> tree.Variable:
        """A variable that comes to life here."""
        v = tree.Variable(name, t, "local", self.loc, self.end, align=aligned(t))
        self.out.append(tree.Declare(self.loc, self.end, v, init))
        return v

    def temp(self, e: tree.Expr) -> tree.Expr:
        """``e``, evaluated here and now, as something that can be used any number of times."""
        if isinstance(e, tree.IntConst) or _is_fixed(e):
            return e
        return self.get(self.local(e.type, "", tree.Initializer(e.type, [tree.InitPart(0, e)])))

    def memory(self, t: C.CType, name: str = "") -> tree.Expr:
        """The lvalue of new memory on the stack, all zeroes."""
        return self.ref(self.local(t, name, tree.Initializer(t, [])))

    def raw_memory(self, t: C.CType) -> tree.Expr:
        """The lvalue of new memory on the stack that somebody else fills in."""
        return self.ref(self.local(t))

    def scratch(self, t: C.CType, *, clean: bool = False) -> tree.Expr:
        """The lvalue of memory on the stack for the statement at hand (keys, values on their way); others have it
        afterwards. ``clean``: all zeroes.
        """
        size, align = C.size_of(t) or 1, C.align_of(t)
        words = max(align, 4 if size <= 4 else 8)
        key = -(-size // words) * words, words
        free = self._free.get(key)
        if free:
            v = free.pop()
        else:
            unit = C.ULONG if words == 8 else C.UINT
            v = tree.Variable("", C.Array(unit, key[0] // words), "local", self.loc, self.end)
            self.scratch_variables.append(tree.Declare(self.loc, self.end, v, None))
        self._taken.append((key, v))
        place = self.deref(cast(self.address(self.ref(v)), C.Pointer(t)), t)
        if clean:
            args = [cast(self.address(self.ref(v)), VOID_POINTER), self.const(0, C.INT), self.const(size, C.ULONG)]
            self.evaluate(tree.Builtin(VOID_POINTER, self.loc, self.end, "memset", args))
        return place

    def mark(self) -> int:
        return len(self._taken)

    def release(self, mark: int) -> None:
        """Give back the scratch memory that was taken since."""
        for key, v in self._taken[mark:]:
            self._free.setdefault(key, []).append(v)
        del self._taken[mark:]

    def block(self, items: list[tree.Stmt]) -> tree.Block:
        return tree.Block(self.loc, self.end, items)

    def branch(self, condition: tree.Expr, then: list[tree.Stmt], otherwise: list[tree.Stmt] | None = None) -> None:
        self.out.append(
            tree.If(self.loc, self.end, condition, self.block(then), self.block(otherwise) if otherwise else None)
        )

    def nested(self) -> Nested:
        """``with self.nested() as statements:`` collects what is emitted inside."""
        return Nested(self)

    # ----------------------------------------------------------------------------------------------------- helpers

    def call(self, name: str, *args: tree.Expr) -> tree.Expr:
        """A call of a helper with values that fit already, as an expression."""
        found = self.c.helper_type(name)
        assert found is not None, name
        number, t = found
        values = [cast(a, p) for a, p in zip(args, t.parameters, strict=False)] + list(args[len(t.parameters) :])
        return tree.CallHelper(unqualified(t.result), self.loc, self.end, number, name, values)

    def helper(self, name: str, *args: tree.Expr) -> tree.Expr:
        """A call, made here; its result."""
        return self.temp(self.call(name, *args))

    def effect(self, name: str, *args: tree.Expr) -> None:
        """A call, made here for what it does."""
        self.evaluate(self.call(name, *args))

    def map_address(self, v: tree.Variable) -> tree.Expr:
        return cast(tree.AddressOf(C.Pointer(v.type), self.loc, self.end, self.ref(v)), VOID_POINTER)

    def pointer(self, lvalue: tree.Expr) -> tree.Expr:
        return cast(self.address(lvalue), VOID_POINTER)


def aligned(t: C.CType) -> int:
    """The alignment of a variable, so that what is larger than a word is filled and copied by words; 0: its type's."""
    return 8 if isinstance(C.strip(t), (C.Array, C.Record)) and (C.size_of(t) or 0) >= 8 else 0


def _is_fixed(e: tree.Expr) -> bool:
    """Whether ``e`` gives the same whenever it is evaluated: the address of a variable."""
    while isinstance(e, tree.Convert) and e.kind in ("pointer", "same"):
        e = e.operand
    return isinstance(e, tree.AddressOf) and isinstance(e.operand, tree.VarRef)


class Nested:
    def __init__(self, emitter: Emitter) -> None:
        self._emitter = emitter

    def __enter__(self) -> list[tree.Stmt]:
        self._outer, self._emitter.out = self._emitter.out, []
        return self._emitter.out

    def __exit__(self, *_: object) -> None:
        self._emitter.out = self._outer
