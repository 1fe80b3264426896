"""The rules of `tree.py`, checked: what the checker must never break and the lowering may rely on. Tests run it
after the checker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.constexpr import constant, reduce
from ebpf.compiler.c.conversions import (
    POISON,
    int_of,
    is_integer,
    is_lvalue,
    is_pointer,
    is_record,
    is_scalar,
    is_void,
    target_of,
)
from ebpf.compiler.c.types import CType

if TYPE_CHECKING:
    from collections.abc import Callable

_ARITHMETIC = frozenset("+ - * / % & | ^".split())
_COMPARISONS = frozenset("== != < <= > >=".split())


def check(unit: tree.Unit) -> list[str]:
    """Every broken rule, in words; empty for a sound tree."""
    c = _Check()
    for v in unit.globals:
        c.where = v.name
        if v.init is not None and v.kind != "global":
            c.broken("an extern has an initialiser")
        if v.init is not None:
            c.initializer(v.init, v.type, constant_only=True)
    for f in unit.functions:
        c.where = f.name
        c.function(f)
    return c.problems


class _Check:
    def __init__(self) -> None:
        self.problems: list[str] = []
        self.where = ""
        self.result: CType = C.VOID
        self.labels: set[int] = set()
        self.gotos: list[tree.Goto] = []
        self.known: set[int] = set()

    def broken(self, what: str, e: object = None) -> None:
        self.problems.append(
            f"{self.where}: {what}" + (f" ({type(e).__name__} at {getattr(e, 'loc', 0)})" if e is not None else "")
        )

    def function(self, f: tree.FunctionDecl) -> None:
        if f.linkage not in ("program", "static", "inline", "global", "extern"):
            self.broken(f"linkage {f.linkage!r}")
        if f.body is None:
            if f.linkage == "program":
                self.broken("a program without body")
            return
        if len(f.parameters) != len(f.type.parameters):
            self.broken("parameters and type disagree")
        if f.linkage != "inline" and (is_record(f.type.result) or any(is_record(p) for p in f.type.parameters)):
            self.broken("records pass through a call that is not inlined")
        if f.linkage == "program" and not f.section:
            self.broken("a program without section")
        self.result, self.labels, self.gotos = f.type.result, set(), []
        self.known = {id(p) for p in f.parameters}
        self.stmt(f.body)
        for g in self.gotos:
            if id(g.target) not in self.labels:
                self.broken(f"goto to label `{g.target.name}` that is not in the function", g)

    # -------------------------------------------------------------------------------------------------- statements

    def stmt(self, s: tree.Stmt | None) -> None:
        if s is None:
            return
        if isinstance(s, tree.Block):
            for i in s.items:
                self.stmt(i)
        elif isinstance(s, tree.Declare):
            self.known.add(id(s.variable))
            if s.variable.kind != "local":
                self.broken("a declared variable is not local", s)
            if C.size_of(s.variable.type) is None:
                self.broken(f"local `{s.variable.name}` has no size", s)
            if s.init is not None:
                self.initializer(s.init, s.variable.type)
        elif isinstance(s, tree.Evaluate):
            self.expr(s.expr)
            if is_lvalue(s.expr):
                self.broken("an lvalue is evaluated without load", s)
        elif isinstance(s, tree.If):
            self.condition(s.condition)
            self.stmt(s.then)
            self.stmt(s.otherwise)
        elif isinstance(s, tree.Loop):
            self.stmt(s.init)
            if s.condition is not None:
                self.condition(s.condition)
            if s.step is not None:
                self.expr(s.step)
            self.stmt(s.body)
        elif isinstance(s, tree.Switch):
            self.value(s.value)
            if not is_integer(s.value.type):
                self.broken("switch on no integer", s)
            self.stmt(s.body)
        elif isinstance(s, tree.Label):
            self.labels.add(id(s))
        elif isinstance(s, tree.Goto):
            self.gotos.append(s)
        elif isinstance(s, tree.Return):
            if (s.value is None) != is_void(self.result):
                self.broken("return and result disagree", s)
            elif s.value is not None:
                self.value(s.value)
                self.same(s.value.type, self.result, "returned value", s)
        elif isinstance(s, tree.Asm):
            for o in s.outputs:
                self.lvalue(o.expr)
            for o in s.inputs:
                self.value(o.expr)

    def condition(self, e: tree.Expr) -> None:
        self.value(e)
        if not is_scalar(e.type):
            self.broken("a condition is no scalar", e)

    def initializer(self, init: tree.Initializer, t: CType, *, constant_only: bool = False) -> None:
        size = C.size_of(init.type)
        if size is None:
            self.broken("an initialiser without size")
            return
        for part in init.parts:
            self.expr(part.value)
            if is_lvalue(part.value) and not isinstance(part.value, tree.StringConst):
                self.broken("an initial value is an lvalue", part.value)
            end = part.offset + (C.size_of(part.value.type) or 0)
            if part.offset < 0 or (end > size and part.field is None and not _is_flexible(init.type)):
                self.broken(f"an initial value at {part.offset} ends outside of {size} bytes", part.value)
            if constant_only and not isinstance(part.value, tree.StringConst) and constant(part.value) is None:
                self.broken("a global's initial value is not constant", part.value)

    # ------------------------------------------------------------------------------------------------- expressions

    def value(self, e: tree.Expr) -> None:
        self.expr(e)
        if is_lvalue(e) or isinstance(e, tree.FunctionRef):
            self.broken("a value is wanted and this is an lvalue or designator", e)

    def lvalue(self, e: tree.Expr) -> None:
        self.expr(e)
        if not is_lvalue(e):
            self.broken("an lvalue is wanted", e)

    def same(self, a: CType, b: CType, what: str, e: object) -> None:
        if POISON in (C.strip(a), C.strip(b)):
            self.broken(f"{what} has the poisoned type", e)
        elif is_integer(a) and is_integer(b):
            x, y = int_of(a), int_of(b)
            if (x.size, x.signed, x.name == "_Bool") != (y.size, y.signed, y.name == "_Bool"):
                self.broken(f"{what}: {C.format_ctype(a)} is not {C.format_ctype(b)}", e)
        elif is_pointer(a) and is_pointer(b):
            pass  # representation is what counts
        elif not C.same(a, b):
            self.broken(f"{what}: {C.format_ctype(a)} is not {C.format_ctype(b)}", e)

    def expr(self, e: tree.Expr) -> None:
        if C.strip(e.type) is POISON:
            self.broken("an expression has the poisoned type", e)
        handler = _EXPRS.get(type(e))
        if handler is None:
            self.broken("no such node", e)
        else:
            handler(self, e)

    def int_const(self, e: tree.IntConst) -> None:
        if reduce(e.value, e.type) != e.value or not is_scalar(e.type):
            self.broken(f"constant {e.value} is not reduced to {C.format_ctype(e.type)}", e)

    def leaf(self, e: tree.Expr) -> None:
        pass

    def var_ref(self, e: tree.VarRef) -> None:
        if e.variable.kind in ("local", "parameter") and id(e.variable) not in self.known:
            self.broken(f"variable `{e.variable.name}` is used where it is not declared", e)

    def deref(self, e: tree.Deref) -> None:
        self.value(e.pointer)
        if not is_pointer(e.pointer.type):
            self.broken("dereference of no pointer", e)

    def member(self, e: tree.Member) -> None:
        self.lvalue(e.base)
        record = C.strip(e.base.type)
        if not isinstance(record, C.Record) or not any(f is e.field for f in record.fields):
            self.broken("a member of another record", e)

    def record_member(self, e: tree.RecordValueMember) -> None:
        self.value(e.base)

    def element(self, e: tree.ElementOf) -> None:
        self.lvalue(e.base)
        self.index(e.index)
        if not isinstance(C.strip(e.base.type), C.Array):
            self.broken("an element of no array", e)

    def index(self, e: tree.Expr) -> None:
        self.value(e)
        if not is_integer(e.type) or C.size_of(e.type) != 8:
            self.broken("an index is no 64-bit integer", e)

    def address(self, e: tree.AddressOf) -> None:
        if isinstance(e.operand, tree.FunctionRef):
            return
        self.lvalue(e.operand)
        if isinstance(e.operand, tree.Member) and e.operand.field.bit_size:
            self.broken("the address of a bit-field", e)

    def convert(self, e: tree.Convert) -> None:
        source, target = e.operand.type, e.type
        if e.kind in ("load", "decay"):
            self.lvalue(e.operand)
            if e.kind == "decay":
                if not isinstance(C.strip(source), C.Array) or not is_pointer(target):
                    self.broken("decay of no array", e)
            else:
                if isinstance(C.strip(source), (C.Array, C.Function, C.Void)):
                    self.broken(f"load of {C.format_ctype(source)}", e)
                self.same(source, target, "load", e)
            return
        if e.kind == "function":
            if not isinstance(e.operand, tree.FunctionRef):
                self.broken("no designator", e)
            return
        self.expr(e.operand)
        if is_lvalue(e.operand) and e.kind != "void":
            self.broken(f"`{e.kind}` of an lvalue", e)
        ok = {
            "int": is_integer(source) and is_integer(target),
            "bool": is_scalar(source) and is_integer(target),
            "int_to_pointer": is_integer(source) and is_pointer(target) and C.size_of(source) == 8,
            "pointer_to_int": is_pointer(source) and is_integer(target),
            "pointer": is_pointer(source) and is_pointer(target),
            "void": is_void(target),
            "same": C.size_of(source) == C.size_of(target),
        }.get(e.kind, False)
        if not ok:
            self.broken(f"`{e.kind}` from {C.format_ctype(source)} to {C.format_ctype(target)}", e)

    def unary(self, e: tree.Unary) -> None:
        self.value(e.operand)
        if e.op != "!":
            self.same(e.operand.type, e.type, f"operand of `{e.op}`", e)

    def binary(self, e: tree.Binary) -> None:
        self.value(e.left)
        self.value(e.right)
        if e.op in _ARITHMETIC:
            self.same(e.left.type, e.type, f"left of `{e.op}`", e)
            self.same(e.right.type, e.type, f"right of `{e.op}`", e)
        elif e.op in ("<<", ">>"):
            self.same(e.left.type, e.type, f"left of `{e.op}`", e)
        elif e.op in _COMPARISONS:
            self.same(e.left.type, e.right.type, f"operands of `{e.op}`", e)
            self.same(e.type, C.INT, "comparison", e)
        else:
            self.broken(f"operator `{e.op}`", e)

    def pointer_add(self, e: tree.PointerAdd) -> None:
        self.value(e.pointer)
        self.index(e.index)
        if not is_pointer(e.pointer.type) or not is_pointer(e.type):
            self.broken("pointer arithmetic without pointer", e)

    def pointer_diff(self, e: tree.PointerDiff) -> None:
        self.value(e.left)
        self.value(e.right)

    def logical(self, e: tree.Logical) -> None:
        self.condition(e.left)
        self.condition(e.right)

    def conditional(self, e: tree.Conditional) -> None:
        self.condition(e.condition)
        for branch in (e.then, e.otherwise):
            if branch is not None:
                self.value(branch)
                if not is_void(e.type):
                    self.same(branch.type, e.type, "branch of `?:`", e)

    def comma(self, e: tree.Comma) -> None:
        self.expr(e.left)
        self.expr(e.right)

    def assign(self, e: tree.Assign) -> None:
        self.lvalue(e.target)
        self.value(e.value)
        self.same(e.target.type, e.value.type, "assignment", e)

    def update(self, e: tree.Update) -> None:
        self.lvalue(e.target)
        self.value(e.value)
        if is_pointer(e.computation):
            self.index(e.value)
        elif e.op not in ("<<", ">>"):
            self.same(e.value.type, e.computation, f"value of `{e.op}=`", e)

    def helper(self, e: tree.CallHelper) -> None:
        self.arguments(e.args)
        if not 0 < e.helper < 1 << 31:
            self.broken(f"helper {e.helper}", e)

    def arguments(self, args: list[tree.Expr]) -> None:
        for a in args:
            self.value(a)

    def call(self, e: tree.CallFunction) -> None:
        self.arguments(e.args)
        for a, p in zip(e.args, e.function.type.parameters, strict=False):
            self.same(a.type, p, f"argument of {e.function.name}", e)

    def call_pointer(self, e: tree.CallPointer) -> None:
        self.value(e.pointer)
        if not (is_pointer(e.pointer.type) and isinstance(C.strip(target_of(e.pointer.type)), C.Function)):
            self.broken("call of no function pointer", e)
        self.arguments(e.args)

    def probe_read(self, e: tree.ProbeRead) -> None:
        self.value(e.address)
        if C.size_of(e.type) is None or (e.field is not None and not e.unit_bytes):
            self.broken("a probe read without size", e)

    def builtin(self, e: tree.Builtin) -> None:
        for a in e.args:
            if e.name == "barrier_var":
                self.lvalue(a)
            else:
                self.value(a)

    def core_info(self, e: tree.CoreInfo) -> None:
        if e.kind.startswith("field_"):
            if e.operand is None:
                self.broken("a question about no field", e)
            else:
                self.lvalue(e.operand)
        elif e.about is None:
            self.broken("a question about no type", e)

    def core_bitfield(self, e: tree.CoreBitfield) -> None:
        self.lvalue(e.operand)

    def statement_expr(self, e: tree.StatementExpr) -> None:
        self.stmt(e.body)
        if e.value is not None:
            self.value(e.value)

    def compound(self, e: tree.CompoundLiteral) -> None:
        if e.variable.init is None:
            self.broken("a compound literal without value", e)
        else:
            self.initializer(e.variable.init, e.type)

    def temporary(self, e: tree.Temporary) -> None:
        self.value(e.value)


def _is_flexible(t: CType) -> bool:
    """Whether a record ends in ``[]``: its initial value may be longer than itself."""
    inner = C.strip(t)
    if not isinstance(inner, C.Record) or not inner.fields:
        return False
    last = C.strip(inner.fields[-1].type)
    return isinstance(last, C.Array) and not last.count


_EXPRS: dict[type, Callable[[_Check, Any], None]] = {
    tree.IntConst: _Check.int_const,
    tree.StringConst: _Check.leaf,
    tree.VarRef: _Check.var_ref,
    tree.FunctionRef: _Check.leaf,
    tree.Deref: _Check.deref,
    tree.Member: _Check.member,
    tree.RecordValueMember: _Check.record_member,
    tree.ElementOf: _Check.element,
    tree.AddressOf: _Check.address,
    tree.Convert: _Check.convert,
    tree.Unary: _Check.unary,
    tree.Binary: _Check.binary,
    tree.PointerAdd: _Check.pointer_add,
    tree.PointerDiff: _Check.pointer_diff,
    tree.Logical: _Check.logical,
    tree.Conditional: _Check.conditional,
    tree.Comma: _Check.comma,
    tree.Assign: _Check.assign,
    tree.Update: _Check.update,
    tree.CallHelper: _Check.helper,
    tree.CallFunction: _Check.call,
    tree.CallPointer: _Check.call_pointer,
    tree.ProbeRead: _Check.probe_read,
    tree.Builtin: _Check.builtin,
    tree.CoreInfo: _Check.core_info,
    tree.CoreBitfield: _Check.core_bitfield,
    tree.StatementExpr: _Check.statement_expr,
    tree.CompoundLiteral: _Check.compound,
    tree.Temporary: _Check.temporary,
}
