"""CO-RE: libbpf's bpf_core_read.h and the compiler builtins under it, as tree nodes.

``BPF_CORE_READ(task, mm, exe_file, f_inode)`` becomes nested probe reads of relocatable places; questions become
`tree.CoreInfo`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.builtins import Handler, member_path, pointer_arg, take, type_arg
from ebpf.compiler.c.constexpr import evaluate
from ebpf.compiler.c.conversions import (
    POISON,
    bit_size_of,
    cast,
    int_of,
    is_integer,
    is_pointer,
    is_record,
    is_scalar,
    target_of,
    unqualified,
)
from ebpf.compiler.c.scopes import EnumConstant

if TYPE_CHECKING:
    from ebpf.compiler.c.checker_expr import ExprChecker
    from ebpf.compiler.c.types import CType

PROBE_READ, PROBE_READ_STR = 4, 45
PROBE_READ_USER, PROBE_READ_KERNEL, PROBE_READ_USER_STR, PROBE_READ_KERNEL_STR = 112, 113, 114, 115


def read_value(c: ExprChecker, place: tree.Expr, helper: int, node: ast.Node) -> tree.Expr:
    """The value at the lvalue ``place``, read by a helper; of an array its address."""
    if isinstance(C.strip(place.type), C.Array):
        return (
            c.rvalue(place)
            if c.bcc is None
            else tree.Convert(C.Pointer(_element(place.type)), node.loc, node.end, "decay", place)
        )
    if bit_size_of(place):
        assert isinstance(place, tree.Member)
        unit = C.size_of(place.field.type) or 8
        if place.relocatable:
            return tree.CoreBitfield(unqualified(place.type), node.loc, node.end, place, helper)
        at = cast(c.address(place.base), C.Pointer(C.CHAR))
        first = place.field.bit_offset // (8 * unit) * unit
        address = tree.PointerAdd(at.type, node.loc, node.end, at, c.int_const(node, first, C.LONG))
        return tree.ProbeRead(unqualified(place.type), node.loc, node.end, helper, address, place.field, unit)
    return tree.ProbeRead(unqualified(place.type), node.loc, node.end, helper, c.address(place))


def _element(t: CType) -> CType:
    inner = C.strip(t)
    assert isinstance(inner, C.Array)
    return inner.element


def _chain(
    c: ExprChecker, node: ast.Call, source: ast.Expr, path: list[ast.Expr], helper: int, core: bool
) -> tree.Expr:
    """The place that ``source->path[0]->path[1]…`` leads to; every arrow but the last is a read."""
    pointer = c.value(source)
    place: tree.Expr | None = None
    c.preserve += core
    try:
        for step in path:
            if place is not None:
                pointer = read_value(c, place, helper, node)
            if pointer.type is POISON:
                place = None
                raise_poison(c, node)
            if not is_pointer(pointer.type) or not is_record(target_of(pointer.type)):
                c.refuse("C0353", step, f"{c.words(pointer.type)} is no pointer to a struct, so it has no members")
            target = target_of(pointer.type)
            place = tree.Deref(target, node.loc, node.end, pointer)
            for d in member_path(c, step):
                inner = C.strip(place.type)
                if isinstance(d, str):
                    if not isinstance(inner, C.Record):
                        c.refuse("C0303", step, f"{c.words(place.type)} has no members, so there is no `{d}`")
                    place = c.select(place, inner, d, step)
                elif isinstance(inner, C.Array):
                    index = c.index64(c.integer(d, "an index"))
                    place = tree.ElementOf(inner.element, node.loc, node.end, place, index, core)
                else:
                    c.refuse("C0305", step, f"{c.words(place.type)} has no elements")
    finally:
        c.preserve -= core
    assert place is not None
    return place


def raise_poison(c: ExprChecker, node: ast.Node) -> None:
    from ebpf.compiler.c.checker_base import Refused

    raise Refused


def _read(helper: int, core: bool) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        args = take(c, node, 2, 99)
        return read_value(c, _chain(c, node, args[0], args[1:], helper, core), helper, node)

    return handle


def _read_into(helper: int, core: bool, string: bool) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        args = take(c, node, 3, 99)
        target = pointer_arg(c, args[0], "the first argument")
        place = _chain(c, node, args[1], args[2:], _PLAIN.get(helper, helper), core)
        if bit_size_of(place):
            c.refuse("C0353", node, "a bit-field cannot be read so", helps=["use `BPF_CORE_READ_BITFIELD_PROBED`"])
        wanted = c.expr(ast.Unary(args[0].loc, args[0].end, "*", args[0])).type
        inner = args[0]
        if isinstance(inner, ast.Unary) and inner.op == "&":
            wanted = c.expr(inner.operand).type
        elif isinstance((named := c.expr(inner)).type, C.Array) or isinstance(C.strip(named.type), C.Array):
            wanted = named.type
        size = C.size_of(wanted) or 1
        return _helper(c, helper, node, target, c.int_const(node, size, C.UINT), c.address(place))

    return handle


_PLAIN = {PROBE_READ_KERNEL_STR: PROBE_READ_KERNEL, PROBE_READ_USER_STR: PROBE_READ_USER, PROBE_READ_STR: PROBE_READ}
_NAMES = {
    PROBE_READ: "bpf_probe_read",
    PROBE_READ_STR: "bpf_probe_read_str",
    PROBE_READ_USER: "bpf_probe_read_user",
    PROBE_READ_KERNEL: "bpf_probe_read_kernel",
    PROBE_READ_USER_STR: "bpf_probe_read_user_str",
    PROBE_READ_KERNEL_STR: "bpf_probe_read_kernel_str",
}


def _helper(c: ExprChecker, helper: int, node: ast.Node, *args: tree.Expr) -> tree.Expr:
    return c.call_helper(_NAMES[helper], list(args), node)


def _core_read(helper: int) -> Handler:
    """``bpf_core_read(dst, size, src)``: the address of ``src`` is relocatable."""

    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        dst, size, src = take(c, node, 3)
        target = pointer_arg(c, dst, "the first argument")
        count = c.fit(c.value(size), C.UINT, size, "passed as")
        c.preserve += 1
        try:
            source = pointer_arg(c, src, "the third argument")
        finally:
            c.preserve -= 1
        return _helper(c, helper, node, target, count, source)

    return handle


def _preserve(c: ExprChecker, node: ast.Call) -> tree.Expr:
    (a,) = take(c, node, 1)
    c.preserve += 1
    try:
        return c.value(a)
    finally:
        c.preserve -= 1


def field_place(c: ExprChecker, node: ast.Call, args: list[ast.Expr]) -> tree.Expr:
    """The relocatable lvalue of ``p->a.b``, or of (type, member)."""
    c.preserve += 1
    try:
        if len(args) == 2:
            place = c.designated(type_arg(c, args[0], "type"), member_path(c, args[1]), node)
        else:
            place = c.expr(args[0])
    finally:
        c.preserve -= 1
    if place.type is POISON:
        raise_poison(c, node)
    if not isinstance(place, (tree.Member, tree.ElementOf)):
        c.refuse(
            "C0351", args[0], "this names no member of a struct", helps=["write `p->member`, or `struct s, member`"]
        )
    return place


def _field_info(kind: str, t: CType = C.UINT) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        args = take(c, node, 1, 2)
        if kind == "field_exists" and (absent := _absent(c, node, args)) is not None:
            return absent
        return tree.CoreInfo(t, node.loc, node.end, kind, field_place(c, node, args))

    return handle


def _absent(c: ExprChecker, node: ast.Call, args: list[ast.Expr]) -> tree.Expr | None:
    """0 where the kernel that we compile for has no such member: types come from its BTF, so it cannot be asked
    there.
    """
    if len(args) == 2 and isinstance(args[1], ast.Name):
        record = C.strip(type_arg(c, args[0], "type"))
        name = args[1].name
    elif len(args) == 1 and isinstance(args[0], ast.Member):
        base = c.unevaluated(args[0].base)
        t = C.strip(base.type)
        record = C.strip(t.target) if isinstance(t, C.Pointer) else t
        name = args[0].name
    else:
        return None
    if isinstance(record, C.Record) and record.from_btf and record.ensure_complete() and record.find(name) is None:
        return c.int_const(node, 0)
    return None


_FIELD_KINDS = (
    "field_byte_offset",
    "field_byte_size",
    "field_exists",
    "field_signed",
    "field_lshift_u64",
    "field_rshift_u64",
)
_TYPE_KINDS = ("type_exists", "type_size", "type_matches")


def _numbered(c: ExprChecker, node: ast.Expr, kinds: tuple[str, ...]) -> str:
    number = evaluate(c.value(node))
    if number is None or not 0 <= number < len(kinds):
        c.refuse("C0351", node, f"this has to be a constant from 0 to {len(kinds) - 1}")
    return kinds[number]


def _builtin_field_info(c: ExprChecker, node: ast.Call) -> tree.Expr:
    a, b = take(c, node, 2)
    return tree.CoreInfo(C.UINT, node.loc, node.end, _numbered(c, b, _FIELD_KINDS), field_place(c, node, [a]))


def _type_info(kind: str, t: CType) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        (a,) = take(c, node, 1)
        about = type_arg(c, a, "type")
        inner = C.strip(about)
        if isinstance(inner, C.Record) and inner.from_btf and not inner.ensure_complete():
            # Named by the program, unknown to this kernel: that is the answer.
            if kind == "type_exists" or kind == "type_matches":
                return c.int_const(node, 0)
        return tree.CoreInfo(t, node.loc, node.end, kind, about=about)

    return handle


def _through_null(c: ExprChecker, node: ast.Expr) -> CType:
    """The type in ``*(T *)0``, the form that libbpf's macros give to a builtin."""
    return c.unevaluated(node).type


def _builtin_type_info(c: ExprChecker, node: ast.Call) -> tree.Expr:
    a, b = take(c, node, 2)
    return tree.CoreInfo(C.UINT, node.loc, node.end, _numbered(c, b, _TYPE_KINDS), about=_through_null(c, a))


def _builtin_type_id(c: ExprChecker, node: ast.Call) -> tree.Expr:
    a, b = take(c, node, 2)
    return tree.CoreInfo(
        C.ULLONG, node.loc, node.end, _numbered(c, b, ("type_id_local", "type_id_target")), about=_through_null(c, a)
    )


def _enum_value(kind: str) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        a, b = take(c, node, 2)
        t = C.strip(type_arg(c, a, "type"))
        if not isinstance(t, C.Enum):
            c.refuse("C0351", a, f"{c.words(t)} is no enum")
        if not isinstance(b, ast.Name):
            c.refuse("C0351", b, "the name of an enumerator is wanted here")
        if b.name not in t.values:
            symbol = c.scope.find(b.name)
            if not (isinstance(symbol, EnumConstant) and symbol.enum is t):
                if kind == "enumval_exists":
                    return c.int_const(node, 0)
                c.refuse("C0351", b, f"`enum {t.tag}` has no enumerator `{b.name}`", helps=c.suggest(b.name, t.values))
        result = C.INT if kind == "enumval_exists" else C.ULLONG
        return tree.CoreInfo(result, node.loc, node.end, kind, about=t, enumerator=b.name)

    return handle


def _builtin_enum_value(c: ExprChecker, node: ast.Call) -> tree.Expr:
    """``__builtin_preserve_enum_value(*(enum e *)ENUMERATOR, kind)``."""
    a, b = take(c, node, 2)
    kind = _numbered(c, b, ("enumval_exists", "enumval_value"))
    e = c.unevaluated(a)
    t = C.strip(e.type)
    inner = a.operand if isinstance(a, ast.Unary) else a
    while isinstance(inner, ast.Cast):
        inner = inner.operand
    if not isinstance(t, C.Enum) or not isinstance(inner, ast.Name):
        c.refuse(
            "C0351", a, "an enumerator of an enum is wanted here", helps=["use `bpf_core_enum_value(enum e, NAME)`"]
        )
    return tree.CoreInfo(C.ULLONG, node.loc, node.end, kind, about=t, enumerator=inner.name)


def _bitfield(helper: int) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        base, member = take(c, node, 2)
        pointer = pointer_arg(c, base, "the first argument")
        place: tree.Expr = tree.Deref(target_of(pointer.type), node.loc, node.end, pointer)
        c.preserve += 1
        try:
            for d in member_path(c, member):
                inner = C.strip(place.type)
                if not isinstance(d, str) or not isinstance(inner, C.Record):
                    c.refuse("C0353", member, "the name of a member is wanted here")
                place = c.select(place, inner, d, member)
        finally:
            c.preserve -= 1
        if not is_integer(place.type):
            c.refuse("C0353", member, f"{c.words(place.type)} is no integer")
        wide = C.LLONG if int_of(place.type).signed else C.ULLONG
        return cast(tree.CoreBitfield(unqualified(place.type), node.loc, node.end, place, helper), wide)

    return handle


def _core_cast(c: ExprChecker, node: ast.Call) -> tree.Expr:
    """``bpf_core_cast(ptr, type)``: the kfunc bpf_rdonly_cast with the kernel's id of the type."""
    p, t = take(c, node, 2)
    pointer = c.value(p)
    about = type_arg(c, t, "type")
    kfunc = c.file_scope.names.get("bpf_rdonly_cast")
    if not isinstance(kfunc, tree.FunctionDecl):
        type = C.Function(
            C.Pointer(C.VOID), (C.Pointer(C.Qualified(C.VOID, const=True)), C.UINT), False, ("obj", "btf_id")
        )
        kfunc = tree.FunctionDecl("bpf_rdonly_cast", type, node.loc, node.end, section=".ksyms", linkage="extern")
        c.file_scope.names["bpf_rdonly_cast"] = kfunc
        c.unit.functions.append(kfunc)
    id = cast(tree.CoreInfo(C.ULLONG, node.loc, node.end, "type_id_target", about=about), C.UINT)
    if not is_scalar(pointer.type):
        c.refuse("C0306", p, "a pointer is wanted here")
    call = tree.CallFunction(
        kfunc.type.result, node.loc, node.end, kfunc, [cast(pointer, kfunc.type.parameters[0]), id]
    )
    return cast(call, C.Pointer(about))


CORE: dict[str, Handler] = {
    "BPF_CORE_READ": _read(PROBE_READ_KERNEL, True),
    "BPF_CORE_READ_USER": _read(PROBE_READ_USER, True),
    "BPF_PROBE_READ": _read(PROBE_READ_KERNEL, False),
    "BPF_PROBE_READ_USER": _read(PROBE_READ_USER, False),
    "BPF_CORE_READ_INTO": _read_into(PROBE_READ_KERNEL, True, False),
    "BPF_CORE_READ_USER_INTO": _read_into(PROBE_READ_USER, True, False),
    "BPF_PROBE_READ_INTO": _read_into(PROBE_READ_KERNEL, False, False),
    "BPF_PROBE_READ_USER_INTO": _read_into(PROBE_READ_USER, False, False),
    "BPF_CORE_READ_STR_INTO": _read_into(PROBE_READ_KERNEL_STR, True, True),
    "BPF_CORE_READ_USER_STR_INTO": _read_into(PROBE_READ_USER_STR, True, True),
    "BPF_PROBE_READ_STR_INTO": _read_into(PROBE_READ_KERNEL_STR, False, True),
    "BPF_PROBE_READ_USER_STR_INTO": _read_into(PROBE_READ_USER_STR, False, True),
    "bpf_core_read": _core_read(PROBE_READ_KERNEL),
    "bpf_core_read_user": _core_read(PROBE_READ_USER),
    "bpf_core_read_str": _core_read(PROBE_READ_KERNEL_STR),
    "bpf_core_read_user_str": _core_read(PROBE_READ_USER_STR),
    "__builtin_preserve_access_index": _preserve,
    "__builtin_preserve_field_info": _builtin_field_info,
    "__builtin_preserve_type_info": _builtin_type_info,
    "__builtin_preserve_enum_value": _builtin_enum_value,
    "__builtin_btf_type_id": _builtin_type_id,
    "bpf_core_field_exists": _field_info("field_exists", C.INT),
    "bpf_core_field_size": _field_info("field_byte_size"),
    "bpf_core_field_offset": _field_info("field_byte_offset"),
    "bpf_core_type_exists": _type_info("type_exists", C.INT),
    "bpf_core_type_size": _type_info("type_size", C.UINT),
    "bpf_core_type_matches": _type_info("type_matches", C.INT),
    "bpf_core_type_id_local": _type_info("type_id_local", C.UINT),
    "bpf_core_type_id_kernel": _type_info("type_id_target", C.UINT),
    "bpf_core_enum_value": _enum_value("enumval_value"),
    "bpf_core_enum_value_exists": _enum_value("enumval_exists"),
    "BPF_CORE_READ_BITFIELD": _bitfield(0),
    "BPF_CORE_READ_BITFIELD_PROBED": _bitfield(PROBE_READ_KERNEL),
    "bpf_core_cast": _core_cast,
}
