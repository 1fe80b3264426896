"""Members, elements, casts, sizes: ways from one object to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.registers import FOREIGN_MEMBERS
from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_base import SIZE_T, Refused
from ebpf.compiler.c.checker_operators import OperatorChecker
from ebpf.compiler.c.constexpr import evaluate
from ebpf.compiler.c.conversions import (
    POISON,
    bit_size_of,
    cast,
    identical,
    is_integer,
    is_lvalue,
    is_pointer,
    is_record,
    is_scalar,
    is_void,
    qualified,
    qualifiers,
    target_of,
    unqualified,
)
from ebpf.compiler.c.types import CType

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))


class AccessChecker(OperatorChecker):
    """Adds members, elements, casts, sizes and offsets."""

    # ------------------------------------------------------------------------------------------ members, elements

    def index(self, node: ast.Index) -> tree.Expr:
        base = self.expr(node.base)
        if self.bcc is not None and isinstance(base, tree.VarRef) and self.bcc.map_of(base) is not None:
            self.refuse(
                "C0402",
                node,
                f"`{base.variable.name}` is a map and cannot be indexed",
                helps=[f"`{base.variable.name}.lookup(&key)` gives a pointer to the value"],
            )
        if is_lvalue(base) and isinstance(array := C.strip(base.type), C.Array):
            index = self.integer(node.index, "an index")
            if index.type is POISON:
                raise Refused
            const, volatile = qualifiers(base.type)
            number = evaluate(index)
            if number is not None and array.count and not 0 <= number <= array.count and isinstance(base, tree.VarRef):
                self.warn(
                    "C0334",
                    node.index,
                    f"element {number} is outside of `{base.variable.name}`, which has {array.count}",
                )
            return tree.ElementOf(
                qualified(array.element, const, volatile),
                node.loc,
                node.end,
                base,
                self.index64(index),
                _relocatable(base) or self.preserve > 0,
            )
        pointer, index = self.rvalue(base), self.value(node.index)
        if pointer.type is POISON or index.type is POISON:
            raise Refused
        if is_integer(pointer.type) and is_pointer(index.type):
            pointer, index = index, pointer
        if not is_pointer(pointer.type):
            self.refuse(
                "C0305", node, f"only arrays and pointers have elements, and this is {self.words(pointer.type)}"
            )
        if not is_integer(index.type):
            self.refuse("C0305", node.index, f"an index has to be an integer, not {self.words(index.type)}")
        self.sized_target(pointer.type, node)
        at = tree.PointerAdd(pointer.type, node.loc, node.end, pointer, self.index64(index))
        return self.deref(at, node)

    def member(self, node: ast.Member) -> tree.Expr:
        base = self.expr(node.base)
        if base.type is POISON:
            raise Refused
        if node.arrow:
            pointer = self.rvalue(base)
            if not is_pointer(pointer.type):
                helps = [f"write `.{node.name}`"] if is_record(pointer.type) else []
                self.refuse("C0305", node, f"`->` wants a pointer, and this is {self.words(pointer.type)}", helps=helps)
            target = target_of(pointer.type)
            if not is_record(target):
                helps = []
                if is_void(target):
                    helps = ["cast it to a pointer to the struct that is there"]
                self.refuse(
                    "C0303",
                    node,
                    f"{self.words(pointer.type)} points to no struct, so there is no member `{node.name}`",
                    helps=helps,
                )
            base = tree.Deref(target, node.base.loc, node.base.end, pointer, qualifiers(target)[1])
        record = C.strip(base.type)
        if not isinstance(record, C.Record):
            helps = []
            if is_pointer(base.type) and is_record(target_of(base.type)):
                helps = [f"write `->{node.name}`: it is a pointer"]
            self.refuse(
                "C0303", node, f"{self.words(base.type)} has no members, so there is no `{node.name}`", helps=helps
            )
        return self.select(base, record, node.name, node)

    def select(self, base: tree.Expr, record: C.Record, name: str, node: ast.Node) -> tree.Expr:
        """``base.name`` through anonymous records; ``base`` is an lvalue or a record value."""
        path = record.find(name)
        if path is None and self.bcc is not None and (real := self.bcc.member_alias(record, name)):
            for part in real:
                inner = C.strip(base.type)
                assert isinstance(inner, C.Record)
                base = self.select(base, inner, part, node)
            return base
        if path is None:
            if not record.complete:
                self.incomplete(node, record)
            helps = self.suggest(name, member_names(record))
            if record.tag == "pt_regs" and (theirs := FOREIGN_MEMBERS.get(name)) is not None:
                helps = [f"that is {theirs}'s; this machine is {self.facts.arch}: PT_REGS_PARM1(ctx) and its sisters "
                         "are right on both"]
            label = ""
            if isinstance(node, ast.Member) and node.name_loc:
                span_node = ast.Name(node.name_loc, node.name_loc + len(name), name)
                self.refuse(
                    "C0303",
                    span_node,
                    f"`{record.kind} {record.tag or '<anonymous>'}` has no member `{name}`",
                    helps=helps,
                    label=label,
                )
            self.refuse(
                "C0303", node, f"`{record.kind} {record.tag or '<anonymous>'}` has no member `{name}`", helps=helps
            )
        for field in path:
            if field.type is POISON:
                raise Refused
            const, volatile = qualifiers(base.type)
            inner = C.strip(base.type)
            relocatable = self.preserve > 0 or (isinstance(inner, C.Record) and inner.preserve_access)
            t = qualified(field.type, const, volatile)
            if is_lvalue(base):
                base = tree.Member(t, node.loc, node.end, base, field, relocatable)
            elif isinstance(C.strip(field.type), C.Array):
                base = tree.Member(t, node.loc, node.end, self.spill(base), field, False)
            else:
                base = tree.RecordValueMember(unqualified(field.type), node.loc, node.end, base, field)
        return base

    def spill(self, e: tree.Expr) -> tree.Expr:
        """A record value as an lvalue: a fresh variable that holds it."""
        v = self.new_local("", e.type, e)
        v.init = tree.Initializer(e.type, [tree.InitPart(0, e)], whole=True)
        return tree.CompoundLiteral(e.type, e.loc, e.end, v)

    # ---------------------------------------------------------------------------------------- casts, sizes, types

    def cast_expr(self, node: ast.Cast) -> tree.Expr:
        t = self.type_of(node.type)
        e = self.value(node.operand)
        return self.cast_value(e, t, node)

    def cast_value(self, e: tree.Expr, t: CType, node: ast.Node) -> tree.Expr:
        if e.type is POISON or t is POISON:
            raise Refused
        t = unqualified(t)
        source, target = C.strip(e.type), C.strip(t)
        if isinstance(target, C.Void):
            return e if isinstance(source, C.Void) else tree.Convert(t, node.loc, node.end, "void", e)
        if isinstance(target, C.Record) and source is target:
            return e
        if isinstance(target, C.Float) or isinstance(source, C.Float):
            self.refuse("C0315", node, "BPF has no floating-point numbers")
        if not is_scalar(t):
            self.refuse("C0306", node, f"nothing can be cast to {self.words(t)}")
        if not is_scalar(e.type):
            self.refuse("C0306", node, f"a value of type {self.words(e.type)} cannot be cast to {self.words(t)}")
        out = cast(e, t)
        if out is e and type(e) is tree.IntConst:
            return tree.IntConst(t, node.loc, node.end, e.value)
        out.loc, out.end = (node.loc, node.end) if out is not e else (out.loc, out.end)
        return out

    def compound_literal(self, node: ast.CompoundLiteral) -> tree.Expr:
        t = self.type_of(node.type)
        if t is POISON:
            raise Refused
        kind = "local" if self.function is not None else "global"
        v = tree.Variable(".compound" if kind == "global" else "", t, kind, node.loc, node.end, static=kind == "global")
        v.init = self.initializer(t, node.init, constant=kind == "global")
        v.type = v.init.type
        return tree.CompoundLiteral(v.type, node.loc, node.end, v)

    def initializer(self, t: CType, node: ast.Expr | ast.InitList, *, constant: bool) -> tree.Initializer:
        raise NotImplementedError

    def sizeof_type(self, node: ast.SizeofType) -> tree.Expr:
        return self.size_const(self.type_of(node.type), node)

    def sizeof_expr(self, node: ast.SizeofExpr) -> tree.Expr:
        e = self.unevaluated(node.operand)
        if bit_size_of(e) and is_lvalue(e):
            self.refuse("C0305", node, "a bit-field has no size in bytes")
        return self.size_const(e.type, node)

    def size_const(self, t: CType, node: ast.Node) -> tree.Expr:
        if t is POISON:
            raise Refused
        inner = C.strip(t)
        if isinstance(inner, (C.Void, C.Function)):
            return self.int_const(node, 1, SIZE_T)
        size = C.size_of(t)
        if size is None:
            if isinstance(inner, C.Record):
                self.incomplete(node, inner)
            self.refuse("C0311", node, f"the size of {self.words(t)} is not known")
        return self.int_const(node, size, SIZE_T)

    def alignof_type(self, node: ast.AlignofType) -> tree.Expr:
        return self.int_const(node, C.align_of(self.type_of(node.type)), SIZE_T)

    def offsetof(self, node: ast.Offsetof) -> tree.Expr:
        place = self.designated(self.type_of(node.type), node.designators, node)
        if bit_size_of(place):
            self.refuse("C0305", node, "a bit-field has no offset in bytes")
        assert isinstance(place, (tree.Member, tree.ElementOf, tree.Deref))
        offset = evaluate(self.address(place))
        if offset is None:
            return tree.Convert(SIZE_T, node.loc, node.end, "pointer_to_int", self.address(place))
        return self.int_const(node, offset, SIZE_T)

    def designated(self, t: CType, designators: Sequence[str | ast.Expr], node: ast.Node) -> tree.Expr:
        """The lvalue ``((t *)0)->a.b[2]``."""
        if t is POISON:
            raise Refused
        place: tree.Expr = tree.Deref(t, node.loc, node.end, tree.IntConst(C.Pointer(t), node.loc, node.end, 0))
        for d in designators:
            inner = C.strip(place.type)
            if isinstance(d, str):
                if not isinstance(inner, C.Record):
                    self.refuse("C0303", node, f"{self.words(place.type)} has no members, so there is no `{d}`")
                place = self.select(place, inner, d, node)
            else:
                if not isinstance(inner, C.Array):
                    self.refuse("C0305", node, f"{self.words(place.type)} has no elements")
                place = tree.ElementOf(
                    inner.element,
                    node.loc,
                    node.end,
                    place,
                    self.index64(self.integer(d, "an index")),
                    _relocatable(place),
                )
        return place

    def statement_expr(self, node: ast.StmtExpr) -> tree.Expr:
        raise NotImplementedError

    def generic(self, node: ast.Generic) -> tree.Expr:
        control = self.value(node.control)
        default = None
        for wanted, choice in node.choices:
            if wanted is None:
                default = choice
            elif identical(self.type_of(wanted), control.type):
                return self.expr(choice)
        if default is None:
            self.refuse(
                "C0306",
                node,
                f"no choice of this `_Generic` is for {self.words(control.type)}",
                helps=["add a `default:`"],
            )
        return self.expr(default)

    def type_arg(self, node: ast.TypeArg) -> tree.Expr:
        self.refuse("C0305", node, "a type stands where a value is wanted")


def _relocatable(e: tree.Expr) -> bool:
    return isinstance(e, (tree.Member, tree.ElementOf)) and e.relocatable


def member_names(record: C.Record) -> list[str]:
    """All names that can follow a dot, those of anonymous records included."""
    record.ensure_complete()
    out: list[str] = []
    for f in record.fields:
        if f.name is not None:
            out.append(f.name)
        elif isinstance(inner := C.strip(f.type), C.Record):
            out += member_names(inner)
    return out
