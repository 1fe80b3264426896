"""Expressions: values, conditions, calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_builtin import builtin, discard_builtin
from ebpf.compiler.c.lower_core import core_bitfield, core_info
from ebpf.compiler.c.lower_int import COMPARISONS, binary, compare, convert, resize, shift
from ebpf.compiler.c.lower_place import Place, copy, extract, load, on_stack, place, store
from ebpf.compiler.c.lower_types import (
    bits_of,
    constant,
    extension,
    in_memory,
    ir_type,
    is_signed,
)
from ebpf.compiler.c.types import Array, CType, Int, Pointer, Void, align_of, size_of, strip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.compiler.c.lower_function import FunctionLowering


def discard(f: FunctionLowering, e: tree.Expr) -> None:
    """Evaluate ``e`` for its effects alone."""
    while isinstance(e, tree.Convert) and e.kind in ("void", "same", "int"):
        e = e.operand
    if isinstance(e, tree.Builtin):
        discard_builtin(f, e)
    elif isinstance(e, tree.Comma):
        discard(f, e.left)
        discard(f, e.right)
    elif isinstance(e, (tree.VarRef, tree.StringConst, tree.FunctionRef)):
        pass
    elif isinstance(e, (tree.Deref, tree.Member, tree.ElementOf, tree.CompoundLiteral)):
        place(f, e)
    else:
        f.value(e)


# -------------------------------------------------------------------------------------------------------- conditions


def condition(f: FunctionLowering, e: tree.Expr) -> str:
    """Whether the scalar ``e`` is not zero, as an i1."""
    kind = type(e)
    if kind is tree.Binary and e.op in COMPARISONS:  # type: ignore[attr-defined]
        assert isinstance(e, tree.Binary)
        left = f.value(e.left)
        right = f.value(e.right)
        f.at(e.loc)
        return compare(f, e.op, e.left.type, left, right)
    if isinstance(e, tree.Unary) and e.op == "!":
        return f.w.emit(f"xor i1 {condition(f, e.operand)}, true")
    if isinstance(e, tree.Logical):
        w = f.w
        yes, no, done = w.label("true"), w.label("false"), w.label("join")
        branch(f, e, yes, no)
        w.block(yes)
        w.jump(done)
        w.block(no)
        w.jump(done)
        w.block(done)
        return w.emit(f"phi i1 [ true, %{yes} ], [ false, %{no} ]")
    if isinstance(e, tree.Convert):
        inner = e.operand
        if e.kind in ("bool", "same") or (
            e.kind == "int" and (bits_of(e.type) >= bits_of(inner.type) or _is_truth(inner))
        ):
            if not in_memory(inner.type) and e.kind != "load":
                return condition(f, inner)
    if isinstance(e, tree.Builtin) and e.name == "expect" and isinstance(_plain(e.args[1]), tree.IntConst):
        expected = _plain(e.args[1])
        assert isinstance(expected, tree.IntConst)
        if expected.value in (0, 1):
            name = f.module.intrinsic("llvm.expect.i1", "i1 (i1, i1)")
            return f.w.emit(f"call i1 {name}(i1 {condition(f, e.args[0])}, i1 {'true' if expected.value else 'false'})")
    if isinstance(e, tree.IntConst):
        return "true" if e.value else "false"
    value = f.value(e)
    ty = ir_type(e.type)
    return f.w.emit(f"icmp ne {ty} {value}, {'null' if ty == 'ptr' else '0'}")


def _plain(e: tree.Expr) -> tree.Expr:
    while isinstance(e, tree.Convert) and e.kind in ("int", "same"):
        e = e.operand
    return e


def _is_truth(e: tree.Expr) -> bool:
    """Whether the value can only be 0 or 1."""
    e = _plain(e)
    return (
        isinstance(e, tree.Logical)
        or (isinstance(e, tree.Unary) and e.op == "!")
        or (isinstance(e, tree.Binary) and e.op in COMPARISONS)
        or (isinstance(e, tree.Convert) and e.kind == "bool")
    )


def branch(f: FunctionLowering, e: tree.Expr, yes: str, no: str) -> None:
    """Go to ``yes`` if ``e`` is not zero, else to ``no``."""
    if isinstance(e, tree.Logical):
        middle = f.w.label("and" if e.op == "&&" else "or")
        if e.op == "&&":
            branch(f, e.left, middle, no)
        else:
            branch(f, e.left, yes, middle)
        f.w.block(middle)
        branch(f, e.right, yes, no)
    elif isinstance(e, tree.Unary) and e.op == "!":
        branch(f, e.operand, no, yes)
    else:
        f.w.branch(condition(f, e), yes, no)


def _truth(f: FunctionLowering, e: tree.Expr) -> str:
    """A condition as a value of the expression's integer type."""
    return f.w.emit(f"zext i1 {condition(f, e)} to {ir_type(e.type)}")


# ------------------------------------------------------------------------------------------------------------ values


def _int_const(f: FunctionLowering, e: tree.IntConst) -> str:
    return constant(e.type, e.value)


def _lvalue_as_value(f: FunctionLowering, e: tree.Expr) -> str:
    """A record or array lvalue where its address stands for it."""
    return place(f, e).ptr


def _record_value_member(f: FunctionLowering, e: tree.RecordValueMember) -> str:
    record = strip(e.base.type)
    p = Place(f.value(e.base), align_of(e.base.type))
    if e.field.bit_size:
        p.field, p.record_bytes = e.field, size_of(record) or 0
    else:
        p = p.at(f, e.field.bit_offset // 8)
    return load(f, p, e.type)


def _address_of(f: FunctionLowering, e: tree.AddressOf) -> str:
    operand = e.operand
    if isinstance(operand, tree.FunctionRef):
        return f.unit.function_address(operand.function)
    if isinstance(operand, tree.Deref):
        return f.value(operand.pointer)
    return place(f, operand).ptr


def _convert(f: FunctionLowering, e: tree.Convert) -> str:
    return _CONVERSIONS[e.kind](f, e)


def _load(f: FunctionLowering, e: tree.Convert) -> str:
    p = place(f, e.operand)
    f.at(e.loc)
    return load(f, p, e.type)


def _decay(f: FunctionLowering, e: tree.Convert) -> str:
    operand = e.operand
    if isinstance(operand, tree.Deref):
        return f.value(operand.pointer)
    return place(f, operand).ptr


def _function(f: FunctionLowering, e: tree.Convert) -> str:
    operand = e.operand
    if isinstance(operand, tree.FunctionRef):
        return f.unit.function_address(operand.function)
    if isinstance(operand, tree.Deref):
        return f.value(operand.pointer)
    return f.value(operand)


def _to_int(f: FunctionLowering, e: tree.Convert) -> str:
    if _is_truth(e.operand) and not isinstance(e.operand, tree.Convert):
        return _truth_as(f, e.operand, e.type)
    return convert(f, f.value(e.operand), e.operand.type, e.type)


def _truth_as(f: FunctionLowering, e: tree.Expr, t: CType) -> str:
    return f.w.emit(f"zext i1 {condition(f, e)} to {ir_type(t)}")


def _to_bool(f: FunctionLowering, e: tree.Convert) -> str:
    return _truth_as(f, e.operand, e.type)


def _int_to_pointer(f: FunctionLowering, e: tree.Convert) -> str:
    operand = e.operand
    if isinstance(operand, tree.IntConst):
        return constant(e.type, operand.value & ((1 << 64) - 1))
    value = resize(f, f.value(operand), bits_of(operand.type), 64, is_signed(operand.type))
    return f.w.emit(f"inttoptr i64 {value} to ptr")


def _pointer_to_int(f: FunctionLowering, e: tree.Convert) -> str:
    value = f.w.emit(f"ptrtoint ptr {f.value(e.operand)} to i64")
    if isinstance(strip(e.type), Int) and strip(e.type).name == "_Bool":  # type: ignore[union-attr]
        return f.w.emit(f"zext i1 {f.w.emit(f'icmp ne i64 {value}, 0')} to i8")
    return resize(f, value, 64, bits_of(e.type), False)


def _same(f: FunctionLowering, e: tree.Convert) -> str:
    return f.value(e.operand)


def _void(f: FunctionLowering, e: tree.Convert) -> str:
    discard(f, e.operand)
    return ""


_CONVERSIONS: dict[str, Callable[[Any, Any], str]] = {
    "load": _load,
    "decay": _decay,
    "function": _function,
    "int": _to_int,
    "bool": _to_bool,
    "int_to_pointer": _int_to_pointer,
    "pointer_to_int": _pointer_to_int,
    "pointer": _same,
    "same": _same,
    "void": _void,
}


def _unary(f: FunctionLowering, e: tree.Unary) -> str:
    if e.op == "!":
        return _truth(f, e)
    value, ty = f.value(e.operand), ir_type(e.type)
    if e.op == "-":
        return f.w.emit(f"sub {ty} 0, {value}")
    if e.op == "~":
        return f.w.emit(f"xor {ty} {value}, -1")
    return value


def _binary(f: FunctionLowering, e: tree.Binary) -> str:
    op = e.op
    if op in COMPARISONS:
        return _truth(f, e)
    left = f.value(e.left)
    right = f.value(e.right)
    f.at(e.loc)
    if op in ("<<", ">>"):
        return shift(f, op, e.type, left, right, e.right.type)
    return binary(f, op, e.type, left, right)


def _element_size(t: CType) -> int:
    p = strip(t)
    return (size_of(p.target) or 1) if isinstance(p, Pointer) else 1


def _move(f: FunctionLowering, pointer: str, index: str, size: int, negative: bool) -> str:
    if negative:
        index = str(-int(index)) if index.lstrip("-").isdigit() else f.w.emit(f"sub i64 0, {index}")
    return f.w.emit(
        f"getelementptr [{size} x i8], ptr {pointer}, i64 {index}"
        if size != 1
        else f"getelementptr i8, ptr {pointer}, i64 {index}"
    )


def _pointer_add(f: FunctionLowering, e: tree.PointerAdd) -> str:
    pointer, index = f.value(e.pointer), f.index(e.index)
    size = _element_size(e.pointer.type)
    if size < 8 and not isinstance(e.index, tree.IntConst):
        base = e.pointer
        while isinstance(base, tree.Convert) and base.kind in ("pointer", "same"):
            base = base.operand
        inner = (
            base.operand
            if isinstance(base, tree.AddressOf) or (isinstance(base, tree.Convert) and base.kind == "decay")
            else None
        )
        if inner is not None and on_stack(inner):
            index = f.stack_index(index)
    return _move(f, pointer, index, size, e.negative)


def _pointer_diff(f: FunctionLowering, e: tree.PointerDiff) -> str:
    left = f.w.emit(f"ptrtoint ptr {f.value(e.left)} to i64")
    right = f.w.emit(f"ptrtoint ptr {f.value(e.right)} to i64")
    bytes_ = f.w.emit(f"sub i64 {left}, {right}")
    return bytes_ if e.size == 1 else f.w.emit(f"sdiv exact i64 {bytes_}, {e.size}")


def _conditional(f: FunctionLowering, e: tree.Conditional) -> str:
    w = f.w
    nothing = isinstance(strip(e.type), Void)
    yes, no, done = w.label("cond.true"), w.label("cond.false"), w.label("cond.end")
    if e.then is None:
        first = f.value(e.condition)
        ty = ir_type(e.condition.type)
        w.branch(w.emit(f"icmp ne {ty} {first}, {'null' if ty == 'ptr' else '0'}"), yes, no)
        w.block(yes)
    else:
        branch(f, e.condition, yes, no)
        w.block(yes)
        first = _void_or_value(f, e.then, nothing)
    _reopen(f)
    from_yes = w.block_name
    w.jump(done)
    w.block(no)
    second = _void_or_value(f, e.otherwise, nothing)
    _reopen(f)
    from_no = w.block_name
    w.jump(done)
    w.block(done)
    if nothing:
        return ""
    ty = "ptr" if in_memory(e.type) else ir_type(e.type)
    return w.emit(f"phi {ty} [ {first}, %{from_yes} ], [ {second}, %{from_no} ]")


def _void_or_value(f: FunctionLowering, e: tree.Expr, nothing: bool) -> str:
    if not nothing:
        return f.value(e)
    discard(f, e)
    return ""


def _reopen(f: FunctionLowering) -> None:
    """After an expression that never comes back (a statement expression with a return), a block to stand in."""
    if not f.w.open:
        f.w.block(f.w.label("dead"))


def _comma(f: FunctionLowering, e: tree.Comma) -> str:
    discard(f, e.left)
    if isinstance(strip(e.type), Void):
        discard(f, e.right)
        return ""
    return f.value(e.right)


def _assign(f: FunctionLowering, e: tree.Assign) -> str:
    value = f.value(e.value)
    target = place(f, e.target)
    f.at(e.loc)
    if in_memory(e.target.type):
        copy(f, target, value, align_of(e.value.type), size_of(e.target.type) or 0)
        return target.ptr
    return store(f, target, e.target.type, value)


def _update(f: FunctionLowering, e: tree.Update) -> str:
    target = place(f, e.target)
    operand = f.value(e.value)
    f.at(e.loc)
    old = load(f, target, e.target.type)
    kind = e.target.type
    if isinstance(strip(e.computation), Pointer):
        new = _move(f, old, operand, _element_size(e.computation), e.op == "-")
    else:
        wide = convert(f, old, kind, e.computation)
        if e.op in ("<<", ">>"):
            result = shift(f, e.op, e.computation, wide, operand, e.value.type)
        else:
            result = binary(f, e.op, e.computation, wide, operand)
        stripped = strip(kind)
        if isinstance(stripped, Int) and stripped.name == "_Bool":
            new = f.w.emit(f"zext i1 {f.w.emit(f'icmp ne {ir_type(e.computation)} {result}, 0')} to i8")
        else:
            new = convert(f, result, e.computation, kind)
    stored = store(f, target, kind, new)
    return old if e.postfix else stored


# ------------------------------------------------------------------------------------------------------------- calls


def _arguments(f: FunctionLowering, args: Sequence[tree.Expr]) -> list[str]:
    out = []
    for a in args:
        value = f.value(a)
        if in_memory(a.type):
            own = f.temporary(a.type)
            copy(f, own, value, align_of(a.type), size_of(a.type) or 0)
            out.append(f"ptr {own.ptr}")
        else:
            out.append(f"{ir_type(a.type)}{extension(a.type)} {value}")
    return out


# Helpers that say the same as often as one program asks while it runs: of two calls the second is the first's result.
# The CPU is among them: the kernel keeps a program on its own, even one that sleeps.
_CONSTANT = frozenset(("bpf_get_current_pid_tgid", "bpf_get_current_uid_gid", "bpf_get_smp_processor_id"))
_CONSTANT_CALL = " nounwind willreturn memory(none)"


def _call(f: FunctionLowering, e: tree.Expr, target: str, args: list[str], attributes: str = "") -> str:
    f.at(e.loc)
    if in_memory(e.type):
        result = f.temporary(e.type)
        f.w.do(f"call void {target}({', '.join([f'ptr {result.ptr}', *args])})")
        return result.ptr
    kind = ir_type(e.type)
    if kind == "void":
        f.w.do(f"call void {target}({', '.join(args)})")
        return ""
    return f.w.emit(f"call{extension(e.type)} {kind} {target}({', '.join(args)}){attributes}")


def _call_helper(f: FunctionLowering, e: tree.CallHelper) -> str:
    if len(e.args) > 5:
        f.error("C0501", f"{e.name} is given {len(e.args)} arguments; a BPF call passes at most 5", e.loc, e.end)
        return constant(e.type, 0)
    attributes = _CONSTANT_CALL if e.name in _CONSTANT else ""
    return _call(f, e, f"inttoptr (i64 {e.helper} to ptr)", _arguments(f, e.args), attributes)


def _call_function(f: FunctionLowering, e: tree.CallFunction) -> str:
    return _call(f, e, f.unit.function_address(e.function), _arguments(f, e.args))


def _call_pointer(f: FunctionLowering, e: tree.CallPointer) -> str:
    target = f.value(e.pointer)
    return _call(f, e, target, _arguments(f, e.args))


def _probe_read(f: FunctionLowering, e: tree.ProbeRead) -> str:
    address = f.value(e.address)
    size = e.unit_bytes if e.field is not None else size_of(e.type) or 0
    kind = f"i{8 * size}" if e.field is not None else ir_type(e.type)
    f.at(e.loc)
    if e.field is None and in_memory(e.type):
        from ebpf.compiler.c.lower_place import fill

        target = f.temporary(e.type)
        fill(f, target, "0", size)
        slot = target.ptr
    else:
        slot = f.scratch(kind, size)
        f.w.do(f"store {kind} {'null' if kind == 'ptr' else '0'}, ptr {slot}, align {size}")
    f.w.emit(f"call i64 inttoptr (i64 {e.helper} to ptr)(ptr {slot}, i32 {size}, ptr {address})")
    if e.field is not None:
        raw = f.w.emit(f"load {kind}, ptr {slot}, align {size}")
        return extract(f, raw, 8 * size, e.field.bit_offset % (8 * size), e.field, e.type)
    if in_memory(e.type):
        return slot
    return f.w.emit(f"load {kind}, ptr {slot}, align {size}")


def _statement_expr(f: FunctionLowering, e: tree.StatementExpr) -> str:
    # A record's value is its variable's address: it has to live on after the block.
    f.block(e.body, lives=e.value is None or not isinstance(strip(e.type), (Array,)) and not in_memory(e.type))
    if e.value is None:
        return ""
    if isinstance(strip(e.type), Void):
        discard(f, e.value)
        return ""
    return f.value(e.value)


def _temporary(f: FunctionLowering, e: tree.Temporary) -> str:
    value = f.temporaries.get(id(e))
    if value is None:
        value = f.value(e.value)
        if in_memory(e.type):
            own = f.temporary(e.type)
            copy(f, own, value, align_of(e.type), size_of(e.type) or 0)
            value = own.ptr
        f.temporaries[id(e)] = value
    return value


def _function_ref(f: FunctionLowering, e: tree.FunctionRef) -> str:
    return f.unit.function_address(e.function)


VALUES: dict[type, Callable[[Any, Any], str]] = {
    tree.IntConst: _int_const,
    tree.StringConst: _lvalue_as_value,
    tree.VarRef: _lvalue_as_value,
    tree.FunctionRef: _function_ref,
    tree.Deref: _lvalue_as_value,
    tree.Member: _lvalue_as_value,
    tree.ElementOf: _lvalue_as_value,
    tree.CompoundLiteral: _lvalue_as_value,
    tree.RecordValueMember: _record_value_member,
    tree.AddressOf: _address_of,
    tree.Convert: _convert,
    tree.Unary: _unary,
    tree.Binary: _binary,
    tree.PointerAdd: _pointer_add,
    tree.PointerDiff: _pointer_diff,
    tree.Logical: _truth,
    tree.Conditional: _conditional,
    tree.Comma: _comma,
    tree.Assign: _assign,
    tree.Update: _update,
    tree.CallHelper: _call_helper,
    tree.CallFunction: _call_function,
    tree.CallPointer: _call_pointer,
    tree.ProbeRead: _probe_read,
    tree.Builtin: builtin,
    tree.CoreInfo: core_info,
    tree.CoreBitfield: core_bitfield,
    tree.StatementExpr: _statement_expr,
    tree.Temporary: _temporary,
}
