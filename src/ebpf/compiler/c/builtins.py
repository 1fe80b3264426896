"""Compiler builtins: ``__builtin_*``, ``__sync_*``, ``__atomic_*``, one row each; and the door to macros with meaning.

A handler takes the checker and the call, and gives the tree for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_base import SIZE_T, Refused
from ebpf.compiler.c.checker_expr import ExprChecker
from ebpf.compiler.c.constexpr import address, evaluate
from ebpf.compiler.c.conversions import (
    POISON,
    cast,
    identical,
    is_integer,
    is_lvalue,
    is_pointer,
    is_scalar,
    promote,
    target_of,
    unqualified,
)

if TYPE_CHECKING:
    from ebpf.compiler.c.types import CType

Handler = Callable[[ExprChecker, ast.Call], tree.Expr]


def find_builtin(name: str) -> Handler | None:
    """The handler for a builtin or macro with meaning, or None."""
    found = BUILTINS.get(name)
    if found is not None:
        return found
    if name.startswith(("__sync_", "__atomic_", "__c11_atomic_")):
        return _atomic_handler(name)
    if name.startswith("__builtin_"):
        return _suffixed(name)
    # The macro tables are imported when one of their names may be meant.
    if name.startswith(("BPF_CORE", "bpf_core", "BPF_PROBE_READ", "__builtin_preserve")):
        from ebpf.compiler.c.builtins_core import CORE

        return CORE.get(name)
    from ebpf.compiler.c.builtins_trace import TRACE

    return TRACE.get(name)


def builtin_names() -> list[str]:
    """Every name, for suggestions."""
    from ebpf.compiler.c.builtins_core import CORE
    from ebpf.compiler.c.builtins_trace import TRACE

    return [*BUILTINS, *CORE, *TRACE, *(f"__sync_{n}" for n in _SYNC), *(f"__atomic_{n}" for n in _ATOMIC)]


def take(checker: ExprChecker, node: ast.Call, count: int, most: int | None = None) -> list[ast.Expr]:
    """The call's arguments, whose number is checked."""
    most = count if most is None else most
    if not count <= len(node.args) <= most:
        name = node.function.name if isinstance(node.function, ast.Name) else "this"
        wanted = str(count) if most == count else f"{count} to {most}" if most < 99 else f"at least {count}"
        checker.refuse(
            "C0309", node, f"`{name}` takes {wanted} argument{'' if wanted == '1' else 's'}, not {len(node.args)}"
        )
    return node.args


def pointer_arg(checker: ExprChecker, node: ast.Expr, what: str) -> tree.Expr:
    """A pointer value."""
    e = checker.value(node)
    if e.type is POISON:
        raise Refused
    if not is_pointer(e.type):
        helps = []
        if isinstance(node, ast.Name) and is_scalar(e.type):
            helps = [f"write `&{node.name}`"]
        checker.refuse("C0306", node, f"{what} has to be a pointer, not {checker.words(e.type)}", helps=helps)
    return e


def type_arg(checker: ExprChecker, node: ast.Expr, what: str) -> CType:
    """A type, or the type of an expression."""
    if isinstance(node, ast.TypeArg):
        t = checker.type_of(node.type)
    else:
        t = checker.unevaluated(node).type
    if t is POISON:
        raise Refused
    return t


def _memory(name: str) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        a, b, n = take(c, node, 3)
        first = pointer_arg(c, a, f"the first argument of `{name}`")
        second = (
            c.fit(c.value(b), C.INT, b, "passed as")
            if name == "memset"
            else pointer_arg(c, b, f"the second argument of `{name}`")
        )
        size = c.fit(c.value(n), SIZE_T, n, "passed as")
        if evaluate(size) is not None:
            size = c.int_const(n, evaluate(size) or 0, SIZE_T)
        if (
            c.bcc is not None
            and name in ("memcpy", "memmove", "memcmp")
            and c.bcc.external_depth(second) == 0
            and name != "memcmp"
        ):
            return c.bcc.copy_from_kernel(c, first, second, size, node)
        return tree.Builtin(
            C.INT if name == "memcmp" else C.Pointer(C.VOID), node.loc, node.end, name, [first, second, size]
        )

    return handle


def _bswap(bits: int) -> Handler:
    t = {16: C.USHORT, 32: C.UINT, 64: C.ULLONG}[bits]

    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        (a,) = take(c, node, 1)
        e = tree.Builtin(t, node.loc, node.end, f"bswap{bits}", [c.fit(c.value(a), t, a, "passed as")])
        known = evaluate(e)
        return e if known is None else c.int_const(node, known, t)

    return handle


def _expect(c: ExprChecker, node: ast.Call) -> tree.Expr:
    a, b = take(c, node, 2, 3)[:2]
    value = c.fit(c.value(a), C.LONG, a, "passed as")
    return tree.Builtin(C.LONG, node.loc, node.end, "expect", [value, c.fit(c.value(b), C.LONG, b, "passed as")])


def _constant_p(c: ExprChecker, node: ast.Call) -> tree.Expr:
    (a,) = take(c, node, 1)
    e = c.value(a)
    if evaluate(e) is not None or (address(e) is not None and isinstance(a, ast.StringLiteral)):
        return c.int_const(node, 1)
    if not is_integer(e.type):
        return c.int_const(node, 0)
    return tree.Builtin(C.INT, node.loc, node.end, "constant_p", [e])


def _nothing(name: str) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        take(c, node, 0)
        return tree.Builtin(C.VOID, node.loc, node.end, name, [])

    return handle


def _count(name: str, t: CType, wide: CType | None = None) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        (a,) = take(c, node, 1)
        return tree.Builtin(C.INT, node.loc, node.end, name, [c.fit(c.value(a), t, a, "passed as")])

    return handle


def _overflow(name: str) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        a, b, p = take(c, node, 3)
        values = []
        for n in (a, b):
            e = c.value(n)
            if not is_integer(e.type):
                c.refuse("C0305", n, f"`__builtin_{name}` wants integers, not {c.words(e.type)}")
            values.append(promote(e))
        pointer = pointer_arg(c, p, "the third argument")
        if not is_integer(target_of(pointer.type)):
            c.refuse("C0306", p, "the third argument has to point to an integer")
        return tree.Builtin(C.BOOL, node.loc, node.end, name, [*values, pointer])

    return handle


def _types_compatible(c: ExprChecker, node: ast.Call) -> tree.Expr:
    a, b = take(c, node, 2)
    return c.int_const(node, int(identical(type_arg(c, a, "type"), type_arg(c, b, "type"))))


def _choose(c: ExprChecker, node: ast.Call) -> tree.Expr:
    condition, a, b = take(c, node, 3)
    known = evaluate(c.value(condition))
    if known is None:
        c.refuse("C0308", condition, "the condition of `__builtin_choose_expr` has to be a constant")
    return c.expr(a if known else b)


def _assume(c: ExprChecker, node: ast.Call) -> tree.Expr:
    (a,) = take(c, node, 1)
    return tree.Builtin(C.VOID, node.loc, node.end, "assume", [c.scalar(a, "an assumption")])


def _first(c: ExprChecker, node: ast.Call) -> tree.Expr:
    args = take(c, node, 1, 9)
    for a in args[1:]:
        c.value(a)
    return c.value(args[0])


def _prefetch(c: ExprChecker, node: ast.Call) -> tree.Expr:
    at = c.value(take(c, node, 1, 3)[0])
    if c.options.target == "host":
        return tree.Builtin(C.VOID, node.loc, node.end, "prefetch", [at])
    return tree.Convert(C.VOID, node.loc, node.end, "void", at)


def _frame(name: str) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        take(c, node, 1)
        return tree.Builtin(C.Pointer(C.VOID), node.loc, node.end, name, [])

    return handle


def _object_size(c: ExprChecker, node: ast.Call) -> tree.Expr:
    return c.int_const(node, -1, SIZE_T)


def _barrier_var(c: ExprChecker, node: ast.Call) -> tree.Expr:
    (a,) = take(c, node, 1)
    e = c.lvalue(a)
    if not is_lvalue(e):
        raise Refused
    return tree.Builtin(C.VOID, node.loc, node.end, "barrier_var", [e])


def _offsetof(c: ExprChecker, node: ast.Call) -> tree.Expr:
    t, m = take(c, node, 2)
    place = c.designated(type_arg(c, t, "type"), member_path(c, m), node)
    known = evaluate(c.address(place))
    if known is None:
        c.refuse("C0308", node, "this offset is not a constant")
    return c.int_const(node, known, SIZE_T)


def member_path(c: ExprChecker, node: ast.Expr) -> list[str | ast.Expr]:
    """``a.b[2].c`` as written in place of a member: its designators."""
    if isinstance(node, ast.Name):
        return [node.name]
    if isinstance(node, ast.Member):
        return [*member_path(c, node.base), node.name]
    if isinstance(node, ast.Index):
        return [*member_path(c, node.base), node.index]
    c.refuse("C0353", node, "the name of a member is wanted here")


def _container_of(c: ExprChecker, node: ast.Call) -> tree.Expr:
    p, t, m = take(c, node, 3)
    pointer = pointer_arg(c, p, "the first argument of `container_of`")
    outer = type_arg(c, t, "type")
    place = c.designated(outer, member_path(c, m), node)
    offset = evaluate(c.address(place))
    if offset is None:
        c.refuse("C0308", m, "the offset of this member is not a constant")
    count: tree.Expr = c.int_const(node, offset, C.LONG)
    if isinstance(place, tree.Member) and place.relocatable:
        count = cast(tree.CoreInfo(C.UINT, node.loc, node.end, "field_byte_offset", place), C.ULONG)
    text = cast(pointer, C.Pointer(C.CHAR))
    at = tree.PointerAdd(text.type, node.loc, node.end, text, count, negative=True)
    return cast(at, C.Pointer(outer))


# ----------------------------------------------------------------------------------------------------------- atomics

# __sync name → (our name, has a value). A row of arguments is (pointer, value...).
_SYNC = {
    "fetch_and_add": "atomic_add",
    "fetch_and_sub": "atomic_sub",
    "fetch_and_and": "atomic_and",
    "fetch_and_or": "atomic_or",
    "fetch_and_xor": "atomic_xor",
    "fetch_and_nand": "atomic_nand",
    "nand_and_fetch": "atomic_nand_fetch",
    "add_and_fetch": "atomic_add_fetch",
    "sub_and_fetch": "atomic_sub_fetch",
    "and_and_fetch": "atomic_and_fetch",
    "or_and_fetch": "atomic_or_fetch",
    "xor_and_fetch": "atomic_xor_fetch",
    "lock_test_and_set": "atomic_exchange",
    "val_compare_and_swap": "atomic_compare_exchange",
    "bool_compare_and_swap": "bool",
    "synchronize": "fence",
    "lock_release": "release",
}
_ATOMIC = {
    "fetch_add": "atomic_add",
    "fetch_sub": "atomic_sub",
    "fetch_and": "atomic_and",
    "fetch_or": "atomic_or",
    "fetch_xor": "atomic_xor",
    "fetch_nand": "atomic_nand",
    "nand_fetch": "atomic_nand_fetch",
    "add_fetch": "atomic_add_fetch",
    "sub_fetch": "atomic_sub_fetch",
    "and_fetch": "atomic_and_fetch",
    "or_fetch": "atomic_or_fetch",
    "xor_fetch": "atomic_xor_fetch",
    "exchange_n": "atomic_exchange",
    "load_n": "atomic_load",
    "store_n": "atomic_store",
    "compare_exchange_n": "compare",
    "exchange": "through atomic_exchange",
    "load": "through atomic_load",
    "store": "through atomic_store",
    "compare_exchange": "through compare",
    "thread_fence": "fence",
    "signal_fence": "fence",
}


def _atomic_handler(name: str) -> Handler | None:
    orders = 0
    if name.startswith("__sync_"):
        kind = _SYNC.get(name[7:].rstrip("0123456789").removesuffix("_") if name[-1].isdigit() else name[7:])
    else:
        kind = _ATOMIC.get(name.partition("atomic_")[2])
        orders = 1
    if kind is None:
        return None

    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        if kind == "fence":
            return tree.Builtin(C.VOID, node.loc, node.end, "fence", _order(c, node.args, 0) if orders else [])
        if kind.startswith("through "):
            return _through_pointers(c, node, kind.partition(" ")[2], name)
        if kind in ("bool", "compare"):
            return _compare_exchange(c, node, kind == "compare")
        # The order's place in the arguments is behind the values.
        wanted = {"atomic_load": 1, "release": 1, "atomic_compare_exchange": 3}.get(kind, 2)
        args = take(c, node, wanted, wanted + orders if orders else 99)
        pointer, t = _atomic_pointer(c, args[0], name)
        if kind == "atomic_load":
            return tree.Builtin(t, node.loc, node.end, kind, [pointer, *_order(c, args, wanted)])
        if kind == "release":
            return tree.Builtin(
                C.VOID, node.loc, node.end, "atomic_store", [pointer, c.fit(c.int_const(node, 0), t, node, "stored as")]
            )
        values = []
        for a in args[1:wanted]:
            e = c.value(a)
            if is_pointer(t) and is_integer(e.type) or is_pointer(e.type):
                e = cast(e, t)
            values.append(c.fit(e, t, a, "combined with"))
        order = _order(c, args, wanted) if orders else []
        return tree.Builtin(C.VOID if kind == "atomic_store" else t, node.loc, node.end, kind,
                            [pointer, *values, *order])

    return handle


def _order(c: ExprChecker, args: Sequence[ast.Expr], at: int) -> list[tree.Expr]:
    """The memory order that argument ``at`` asks for, as C numbers them. BPF has one order for each operation."""
    if c.options.target != "host" or at >= len(args):
        return []
    number = evaluate(c.value(args[at]))
    if number is None or not 0 <= number <= 5:
        c.refuse("C0305", args[at], "a memory order is one of the constants `__ATOMIC_RELAXED` to `__ATOMIC_SEQ_CST`")
    return [c.int_const(args[at], number)]


def _atomic_pointer(c: ExprChecker, node: ast.Expr, name: str) -> tuple[tree.Expr, CType]:
    pointer = pointer_arg(c, node, f"the first argument of `{name}`")
    t = unqualified(target_of(pointer.type))
    if not is_scalar(t) or (C.size_of(t) or 0) > 8:
        c.refuse("C0305", node, f"`{name}` works on integers and pointers of up to 64 bits, not on {c.words(t)}")
    return pointer, t


def _through_pointers(c: ExprChecker, node: ast.Call, kind: str, name: str) -> tree.Expr:
    """The forms without ``_n``: operands are read, and the result stored, where pointers lead."""
    if kind == "compare":
        return _compare_exchange(c, node, True, desired_at=True)
    args = take(c, node, 3 if kind == "atomic_exchange" else 2, 4 if kind == "atomic_exchange" else 3)
    pointer, t = _atomic_pointer(c, args[0], name)
    places = []
    for a in args[1 : 3 if kind == "atomic_exchange" else 2]:
        at = c.fit(pointer_arg(c, a, "an operand here"), C.Pointer(t), a, "used as a place")
        places.append(tree.Deref(t, a.loc, a.end, at))
    values = [] if kind == "atomic_load" else [tree.Convert(t, node.loc, node.end, "load", places[0])]
    if kind == "atomic_store":
        return tree.Builtin(C.VOID, node.loc, node.end, kind, [pointer, *values])
    done = tree.Builtin(t, node.loc, node.end, kind, [pointer, *values])
    return cast(tree.Assign(t, node.loc, node.end, places[-1], done), C.VOID)


def _compare_exchange(
    c: ExprChecker, node: ast.Call, through_pointer: bool, *, desired_at: bool = False
) -> tree.Expr:
    args = take(c, node, 3, 6)
    pointer, t = _atomic_pointer(c, args[0], "compare and exchange")
    if desired_at:
        at = c.fit(pointer_arg(c, args[2], "the third argument"), C.Pointer(t), args[2], "used as a place")
        new: tree.Expr = tree.Convert(t, node.loc, node.end, "load", tree.Deref(t, node.loc, node.end, at))
    else:
        new = c.fit(c.value(args[2]), t, args[2], "stored as")
    if not through_pointer:
        expected: tree.Expr = c.fit(c.value(args[1]), t, args[1], "compared with")
        wanted = c.new_local("", t, node)
        old = tree.Builtin(t, node.loc, node.end, "atomic_compare_exchange", [pointer, c.load_of(wanted, node), new])
        result = tree.Binary(C.INT, node.loc, node.end, "==", old, c.load_of(wanted, node))
        return c.statements(node, [c.declare(wanted, expected)], cast(result, C.BOOL))
    # *expected is compared, and gets the value that was found if that was another.
    where = pointer_arg(c, args[1], "the second argument")
    place = c.new_local("", where.type, node)
    wanted, found = c.new_local("", t, node), c.new_local("", t, node)
    at = tree.Deref(t, node.loc, node.end, c.load_of(place, node))
    before = tree.Convert(t, node.loc, node.end, "load", at)
    orders = [*_order(c, args, 4), *_order(c, args, 5)]
    old = tree.Builtin(t, node.loc, node.end, "atomic_compare_exchange",
                       [pointer, c.load_of(wanted, node), new, *orders])
    same = tree.Binary(C.INT, node.loc, node.end, "==", c.load_of(found, node), c.load_of(wanted, node))
    store = tree.Evaluate(node.loc, node.end, tree.Assign(t, node.loc, node.end, at, c.load_of(found, node)))
    return c.statements(
        node,
        [
            c.declare(place, where),
            c.declare(wanted, before),
            c.declare(found, old),
            tree.If(node.loc, node.end, tree.Unary(C.INT, node.loc, node.end, "!", same), store, None),
        ],
        cast(same, C.BOOL),
    )


def _suffixed(name: str) -> Handler | None:
    if name.startswith("__builtin_preserve") or name == "__builtin_btf_type_id":
        from ebpf.compiler.c.builtins_core import CORE

        return CORE.get(name)
    for op in ("add", "sub", "mul"):  # __builtin_uaddl_overflow and the like
        if name.endswith("_overflow") and op in name[10:14]:
            return _overflow(f"{op}_overflow")
    return None


def _noop(c: ExprChecker, node: ast.Call) -> tree.Expr:
    for a in node.args:
        c.expr(a)
    return tree.Convert(C.VOID, node.loc, node.end, "void", c.int_const(node, 0))


BUILTINS: dict[str, Handler] = {
    **{f"__builtin_{n}": _memory(n) for n in ("memcpy", "memmove", "memset", "memcmp")},
    "__builtin_bcmp": _memory("memcmp"),
    "memcpy": _memory("memcpy"),
    "memset": _memory("memset"),
    "memmove": _memory("memmove"),
    "memcmp": _memory("memcmp"),
    "__memcpy": _memory("memcpy"),
    **{f"__builtin_bswap{n}": _bswap(n) for n in (16, 32, 64)},
    "__builtin_expect": _expect,
    "__builtin_expect_with_probability": _expect,
    "__builtin_constant_p": _constant_p,
    "__builtin_unreachable": _nothing("unreachable"),
    "__builtin_trap": _nothing("trap"),
    "__builtin_debugtrap": _nothing("trap"),
    "__builtin_ctz": _count("ctz", C.UINT),
    "__builtin_ctzl": _count("ctz", C.ULONG),
    "__builtin_ctzll": _count("ctz", C.ULLONG),
    "__builtin_clz": _count("clz", C.UINT),
    "__builtin_clzl": _count("clz", C.ULONG),
    "__builtin_clzll": _count("clz", C.ULLONG),
    "__builtin_popcount": _count("popcount", C.UINT),
    "__builtin_popcountl": _count("popcount", C.ULONG),
    "__builtin_popcountll": _count("popcount", C.ULLONG),
    "__builtin_ffs": _count("ffs", C.INT),
    "__builtin_ffsl": _count("ffs", C.LONG),
    "__builtin_ffsll": _count("ffs", C.LLONG),
    **{f"__builtin_{n}_overflow": _overflow(f"{n}_overflow") for n in ("add", "sub", "mul")},
    "__builtin_types_compatible_p": _types_compatible,
    "__builtin_choose_expr": _choose,
    "__builtin_assume": _assume,
    "__builtin_assume_aligned": _first,
    "__builtin_prefetch": _prefetch,
    "__builtin_frame_address": _frame("frame_address"),
    "__builtin_return_address": _frame("return_address"),
    "__builtin_object_size": _object_size,
    "__builtin_dynamic_object_size": _object_size,
    "barrier_var": _barrier_var,
    "barrier": _nothing("barrier"),
    "__builtin_offsetof": _offsetof,
    "offsetof": _offsetof,
    "container_of": _container_of,
    "__builtin_dump_struct": _noop,
}
