"""Compiler builtins: memory, bits, atomics, barriers, packet loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_int import binary, convert, resize
from ebpf.compiler.c.lower_place import Place, copy, fill, load, place, store
from ebpf.compiler.c.lower_types import bits_of, in_memory, ir_type, is_signed
from ebpf.compiler.c.types import INT128, Enum, Int, Pointer, Void, align_of, size_of, strip

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.c.lower_function import FunctionLowering

# Copies and fills longer than this are loops: 4096 stores and more would be most of a program.
_MAX_UNROLLED_BYTES = 4096
_LEGACY_LOADS = {"load_byte": 8, "load_half": 16, "load_word": 32}


def builtin(f: FunctionLowering, e: tree.Builtin, *, used: bool = True) -> str:
    handler = _BUILTINS.get(e.name)
    if handler is not None:
        return handler(f, e)
    if e.name.startswith("atomic_"):
        return _atomic(f, e, used)
    f.error("C0502", f"`{e.name}` has no form in BPF", e.loc, e.end)
    return "0"


def discard_builtin(f: FunctionLowering, e: tree.Builtin) -> None:
    builtin(f, e, used=False)


# ------------------------------------------------------------------------------------------------------------ memory


def _pointee_align(e: tree.Expr) -> int:
    """What is known of the alignment behind a pointer, through conversions to ``void *``."""
    while isinstance(e, tree.Convert) and e.kind in ("pointer", "same"):
        e = e.operand
    if isinstance(e, tree.AddressOf) or (isinstance(e, tree.Convert) and e.kind == "decay"):
        known = _lvalue_align(e.operand)
        if known:
            return known
    t = strip(e.type)
    return align_of(t.target) if isinstance(t, Pointer) and not isinstance(strip(t.target), Void) else 1


def _lvalue_align(e: tree.Expr) -> int:
    """What is known of an lvalue's alignment from what it is part of; 0 where nothing is."""
    if isinstance(e, tree.VarRef):
        return max(e.variable.align, align_of(e.variable.type))
    if isinstance(e, tree.Deref):
        return align_of(e.type)
    if isinstance(e, tree.Member) and not e.field.bit_size:
        base, offset = _lvalue_align(e.base), e.field.bit_offset // 8
        return min(base, offset & -offset) if offset else base
    if isinstance(e, tree.ElementOf):
        base, size = _lvalue_align(e.base), size_of(e.type) or 1
        return min(base, size & -size)
    return 0


def _target_of(f: FunctionLowering, e: tree.Expr) -> Place:
    """The place behind a pointer argument; a local is known to be aligned for whole words."""
    align = _pointee_align(e)
    inner = e
    while isinstance(inner, tree.Convert) and inner.kind in ("pointer", "same"):
        inner = inner.operand
    operand = (
        inner.operand
        if isinstance(inner, tree.AddressOf) or (isinstance(inner, tree.Convert) and inner.kind == "decay")
        else None
    )
    if isinstance(operand, tree.VarRef) and operand.variable.kind == "local":
        align = max(align, f.stack_align(operand.variable))
    return Place(f.value(e), align)


def _memory(f: FunctionLowering, e: tree.Builtin) -> str:
    target = _target_of(f, e.args[0])
    is_set = e.name == "memset"
    if len(e.args) > 3:
        target = Place(target.ptr, max(target.align, _constant(e.args[3]) or 1))
    if is_set:
        source_align, source = 1, resize(f, f.value(e.args[1]), bits_of(e.args[1].type), 8, False)
    else:
        from_place = _target_of(f, e.args[1])
        source_align, source = from_place.align, from_place.ptr
    length = _constant(e.args[2])
    f.at(e.loc)
    if length is not None and length <= _MAX_UNROLLED_BYTES:
        if is_set:
            fill(f, target, source, length)
        elif e.name == "memmove" and length > 128 * min(target.align, source_align, 8):
            f.error(
                "C0504",
                f"memmove of {length} bytes is too long to be done in registers",
                e.loc,
                e.end,
                helps=("use memcpy if the two do not overlap",),
            )
        else:
            copy(f, target, source, source_align, length, move=e.name == "memmove")
        return target.ptr
    if e.name == "memmove":
        f.error(
            "C0504", "memmove needs a constant length", e.loc, e.end, helps=("use memcpy if the two do not overlap",)
        )
        return target.ptr
    unit = min(target.align, source_align if not is_set else 8, 8) if length is not None else 1
    if length is not None and length % unit:
        unit = 1
    count = (
        str(length // unit)
        if length is not None
        else resize(f, f.value(e.args[2]), bits_of(e.args[2].type), 64, is_signed(e.args[2].type))
    )
    value = source
    if is_set and unit > 1:
        wide = resize(f, source, 8, 8 * unit, False)
        value = f.w.emit(f"mul i{8 * unit} {wide}, {int.from_bytes(bytes([1] * unit), 'little')}")

    def body(index: str) -> None:
        to = f.w.emit(f"getelementptr i{8 * unit}, ptr {target.ptr}, i64 {index}")
        what = value
        if not is_set:
            where = f.w.emit(f"getelementptr i{8 * unit}, ptr {source}, i64 {index}")
            what = f.w.emit(f"load i{8 * unit}, ptr {where}, align {unit}")
        f.w.do(f"store i{8 * unit} {what}, ptr {to}, align {unit}")

    _loop(f, count, body)
    return target.ptr


def _loop(f: FunctionLowering, count: str, body: Callable[[str], None]) -> None:
    """``for (i = 0; i < count; i++)``, never turned into a call (functions carry "no-builtins")."""
    w = f.w
    counter = w.alloca("i64", 8)
    test, inside, done = w.label("mem.test"), w.label("mem.body"), w.label("mem.done")
    w.do(f"store i64 0, ptr {counter}, align 8")
    w.block(test)
    index = w.emit(f"load i64, ptr {counter}, align 8")
    w.branch(w.emit(f"icmp ult i64 {index}, {count}"), inside, done)
    w.block(inside)
    body(index)
    following = w.emit(f"add i64 {index}, 1")
    w.do(f"store i64 {following}, ptr {counter}, align 8")
    w.jump(test)
    w.block(done)


def _memcmp(f: FunctionLowering, e: tree.Builtin) -> str:
    w = f.w
    left, right = f.value(e.args[0]), f.value(e.args[1])
    length = _constant(e.args[2])
    count = (
        str(length)
        if length is not None
        else resize(f, f.value(e.args[2]), bits_of(e.args[2].type), 64, is_signed(e.args[2].type))
    )
    f.at(e.loc)
    result = w.alloca("i32", 4)
    w.do(f"store i32 0, ptr {result}, align 4")
    done = w.label("memcmp.done")

    def body(index: str) -> None:
        a = w.emit(f"load i8, ptr {w.emit(f'getelementptr i8, ptr {left}, i64 {index}')}, align 1")
        b = w.emit(f"load i8, ptr {w.emit(f'getelementptr i8, ptr {right}, i64 {index}')}, align 1")
        differ, equal = w.label("memcmp.differ"), w.label("memcmp.equal")
        w.branch(w.emit(f"icmp eq i8 {a}, {b}"), equal, differ)
        w.block(differ)
        difference = w.emit(f"sub i32 {resize(f, a, 8, 32, False)}, {resize(f, b, 8, 32, False)}")
        w.do(f"store i32 {difference}, ptr {result}, align 4")
        w.jump(done)
        w.block(equal)

    _loop(f, count, body)
    w.block(done)
    return resize(f, w.emit(f"load i32, ptr {result}, align 4"), 32, bits_of(e.type) or 32, True)


# -------------------------------------------------------------------------------------------------------------- bits


def _bswap(f: FunctionLowering, e: tree.Builtin) -> str:
    bits = int(e.name[5:])
    value = resize(f, f.value(e.args[0]), bits_of(e.args[0].type), bits, False)
    out = f.w.emit(f"call i{bits} {f.module.intrinsic(f'llvm.bswap.i{bits}', f'i{bits} (i{bits})')}(i{bits} {value})")
    return resize(f, out, bits, bits_of(e.type), False)


def _count_bits(f: FunctionLowering, e: tree.Builtin) -> str:
    t = e.args[0].type
    bits, value = bits_of(t), f.value(e.args[0])
    if e.name == "popcount":
        name = f.module.intrinsic(f"llvm.ctpop.i{bits}", f"i{bits} (i{bits})")
        out = f.w.emit(f"call i{bits} {name}(i{bits} {value})")
    else:
        word = "ctlz" if e.name == "clz" else "cttz"
        name = f.module.intrinsic(f"llvm.{word}.i{bits}", f"i{bits} (i{bits}, i1 immarg)")
        out = f.w.emit(f"call i{bits} {name}(i{bits} {value}, i1 false)")
        if e.name == "ffs":
            one_more = f.w.emit(f"add i{bits} {out}, 1")
            out = f.w.emit(f"select i1 {f.w.emit(f'icmp eq i{bits} {value}, 0')}, i{bits} 0, i{bits} {one_more}")
    return resize(f, out, bits, bits_of(e.type), False)


def _overflow(f: FunctionLowering, e: tree.Builtin) -> str:
    """``a op b`` in unlimited precision, stored; whether it did not fit."""
    left, right, pointer = e.args
    target = strip(pointer.type)
    assert isinstance(target, Pointer)
    types = [left.type, right.type, target.target]
    widths = [bits_of(t) for t in types]
    if max(widths) > 64:
        f.error("C0502", f"`__builtin_{e.name}` on 128-bit integers has no form in BPF", e.loc, e.end)
        return "0"
    wide = 64 if max(widths) <= 32 else 128
    a = resize(f, f.value(left), widths[0], wide, is_signed(left.type))
    b = resize(f, f.value(right), widths[1], wide, is_signed(right.type))
    at = f.value(pointer)
    op = {"add": "+", "sub": "-", "mul": "*"}[e.name[:3]]
    exact = binary(f, op, INT128 if wide == 128 else _WIDE, a, b)
    kept = resize(f, exact, wide, widths[2], False)
    store(f, Place(at, align_of(target.target)), target.target, kept)
    back = resize(f, kept, widths[2], wide, is_signed(target.target))
    return f.w.emit(f"zext i1 {f.w.emit(f'icmp ne i{wide} {exact}, {back}')} to {ir_type(e.type)}")


_WIDE = Int("long", 8, True, 4)


# ----------------------------------------------------------------------------------------------------------- atomics

_ORDER = "seq_cst"
# C's memory orders; consume is acquire.
_ORDERS = ("monotonic", "acquire", "acquire", "release", "acq_rel", "seq_cst")
_COMBINE = {"add": "+", "sub": "-", "and": "&", "or": "|", "xor": "^"}


def _atomic(f: FunctionLowering, e: tree.Builtin, used: bool) -> str:
    name = e.name[7:]
    pointer = strip(e.args[0].type)
    assert isinstance(pointer, Pointer)
    kind = ir_type(pointer.target)
    bits = 64 if kind == "ptr" else bits_of(pointer.target)
    if (
        not isinstance(strip(pointer.target), (Int, Enum, Pointer))
        or bits > 64
        or (bits < 32 and name not in ("load", "store") and not f.unit.host)
    ):
        f.error(
            "C0506",
            "BPF's atomic operations work on 4 and 8 bytes",
            e.loc,
            e.end,
            label=f"this is on {bits // 8} byte{'s' if bits != 8 else ''}",
            helps=("use a u32 or u64",),
        )
        return "0"
    at = f.value(e.args[0])
    align = bits // 8
    if name in ("load", "store") and f.unit.host:
        if name == "load":
            return f.w.emit(f"load atomic {kind}, ptr {at} {_order(e, 1)}, align {align}")
        f.w.do(f"store atomic {kind} {f.value(e.args[1])}, ptr {at} {_order(e, 2)}, align {align}")
        return ""
    if name in ("load", "store"):
        # Aligned words are read and written whole; volatile keeps the compiler out.
        if name == "load":
            return f.w.emit(f"load volatile {kind}, ptr {at}, align {align}")
        f.w.do(f"store volatile {kind} {f.value(e.args[1])}, ptr {at}, align {align}")
        return ""
    value = f.value(e.args[1])
    f.at(e.loc)
    if name == "compare_exchange":
        new = f.value(e.args[2])
        pair = f.w.emit(f"cmpxchg ptr {at}, {kind} {value}, {kind} {new} {_order(e, 3)} {_order(e, 4)}")
        return f.w.emit(f"extractvalue {{ {kind}, i1 }} {pair}, 0")
    if name == "exchange":
        return f.w.emit(f"atomicrmw xchg ptr {at}, {kind} {value} {_order(e, 2)}")
    word = name.removesuffix("_fetch")
    if word == "nand":
        return _atomic_nand(f, at, kind, align, value, after=word != name)
    # Where nobody wants the old value: the form without fetch, which every kernel has (5.10 has no other).
    old = f.w.emit(f"atomicrmw {word} ptr {at}, {kind} {value} {_order(e, 2) if used or f.unit.host else 'monotonic'}")
    if word == name or not used:
        return old
    return binary(f, _COMBINE[word], pointer.target, old, value)


def _order(e: tree.Builtin, at: int) -> str:
    """The memory order that argument ``at`` names, for hosts; BPF's operations come without."""
    order = e.args[at] if at < len(e.args) else None
    return _ORDERS[order.value] if isinstance(order, tree.IntConst) else _ORDER


def _atomic_nand(f: FunctionLowering, at: str, kind: str, align: int, value: str, *, after: bool) -> str:
    w = f.w
    start = w.emit(f"load volatile {kind}, ptr {at}, align {align}")
    slot = w.alloca(kind, align)
    w.do(f"store {kind} {start}, ptr {slot}, align {align}")
    again, done = w.label("nand"), w.label("nand.done")
    w.block(again)
    old = w.emit(f"load {kind}, ptr {slot}, align {align}")
    new = w.emit(f"xor {kind} {w.emit(f'and {kind} {old}, {value}')}, -1")
    pair = w.emit(f"cmpxchg ptr {at}, {kind} {old}, {kind} {new} {_ORDER} {_ORDER}")
    seen = w.emit(f"extractvalue {{ {kind}, i1 }} {pair}, 0")
    w.do(f"store {kind} {seen}, ptr {slot}, align {align}")
    w.branch(w.emit(f"extractvalue {{ {kind}, i1 }} {pair}, 1"), done, again)
    w.block(done)
    return new if after else old


# -------------------------------------------------------------------------------------------------------------- rest


def _expect(f: FunctionLowering, e: tree.Builtin) -> str:
    kind = ir_type(e.args[0].type)
    value, expected = f.value(e.args[0]), f.value(e.args[1])
    if not kind.startswith("i") or not expected.lstrip("-").isdigit():
        return convert(f, value, e.args[0].type, e.type)
    name = f.module.intrinsic(f"llvm.expect.{kind}", f"{kind} ({kind}, {kind})")
    out = f.w.emit(f"call {kind} {name}({kind} {value}, {kind} {expected})")
    return convert(f, out, e.args[0].type, e.type)


def _constant_p(f: FunctionLowering, e: tree.Builtin) -> str:
    t = e.args[0].type
    kind = "ptr" if in_memory(t) else ir_type(t)
    suffix = "p0" if kind == "ptr" else kind
    name = f.module.intrinsic(f"llvm.is.constant.{suffix}", f"i1 ({kind})")
    return f.w.emit(f"zext i1 {f.w.emit(f'call i1 {name}({kind} {f.value(e.args[0])})')} to {ir_type(e.type)}")


def _unreachable(f: FunctionLowering, e: tree.Builtin) -> str:
    f.w.end("unreachable")
    return "0"


def _trap(f: FunctionLowering, e: tree.Builtin) -> str:
    if f.unit.host:
        f.w.do(f"call void {f.module.intrinsic('llvm.trap', 'void ()', 'noreturn')}()")
        f.w.end("unreachable")
        return "0"
    # BPF cannot trap: the program returns 0 at once. LLVM's own form calls a kernel function that only the newest have.
    kind = "void" if in_memory(f.result) else ir_type(f.result)
    f.w.end("ret void" if kind == "void" else f"ret {kind} {'null' if kind == 'ptr' else '0'}")
    return "0"


def _barrier(f: FunctionLowering, e: tree.Builtin) -> str:
    f.w.do('call void asm sideeffect "", "~{memory}"()')
    return ""


def _fence(f: FunctionLowering, e: tree.Builtin) -> str:
    if not f.unit.host:
        return _barrier(f, e)
    order = _order(e, 0)
    if order != "monotonic":
        f.w.do(f"fence {order}")
    return ""


def _prefetch(f: FunctionLowering, e: tree.Builtin) -> str:
    name = f.module.intrinsic("llvm.prefetch.p0", "void (ptr, i32 immarg, i32 immarg, i32 immarg)")
    f.w.do(f"call void {name}(ptr {f.value(e.args[0])}, i32 0, i32 3, i32 1)")
    return ""


def _barrier_var(f: FunctionLowering, e: tree.Builtin) -> str:
    target = place(f, e.args[0])
    kind = ir_type(e.args[0].type)
    value = load(f, target, e.args[0].type)
    store(f, target, e.args[0].type, f.w.emit(f'call {kind} asm sideeffect "", "=r,0"({kind} {value})'))
    return ""


def _legacy_load(f: FunctionLowering, e: tree.Builtin) -> str:
    word = e.name[5:]
    name = f.module.intrinsic(f"llvm.bpf.load.{word}", "i64 (ptr, i64)", "nounwind memory(read)")
    offset = resize(f, f.value(e.args[-1]), bits_of(e.args[-1].type), 64, is_signed(e.args[-1].type))
    context = f.value(e.args[0]) if len(e.args) > 1 else f.context_value(e.loc, e.end)
    return resize(f, f.w.emit(f"call i64 {name}(ptr {context}, i64 {offset})"), 64, bits_of(e.type), False)


def _frame_address(f: FunctionLowering, e: tree.Builtin) -> str:
    name = f.module.intrinsic("llvm.frameaddress.p0", "ptr (i32 immarg)")
    return f.w.emit(f"call ptr {name}(i32 0)")


def _assume(f: FunctionLowering, e: tree.Builtin) -> str:
    from ebpf.compiler.c.lower_expr import condition

    f.w.do(f"call void {f.module.intrinsic('llvm.assume', 'void (i1)')}(i1 {condition(f, e.args[0])})")
    return ""


def _constant(e: tree.Expr) -> int | None:
    while isinstance(e, tree.Convert) and e.kind in ("int", "same"):
        e = e.operand
    return e.value if isinstance(e, tree.IntConst) else None


_BUILTINS: dict[str, Callable[[Any, Any], str]] = {
    "memcpy": _memory,
    "memmove": _memory,
    "memset": _memory,
    "memcmp": _memcmp,
    "bswap16": _bswap,
    "bswap32": _bswap,
    "bswap64": _bswap,
    "ctz": _count_bits,
    "clz": _count_bits,
    "popcount": _count_bits,
    "ffs": _count_bits,
    "add_overflow": _overflow,
    "sub_overflow": _overflow,
    "mul_overflow": _overflow,
    "expect": _expect,
    "constant_p": _constant_p,
    "unreachable": _unreachable,
    "trap": _trap,
    "barrier": _barrier,
    "fence": _fence,
    "prefetch": _prefetch,
    "barrier_var": _barrier_var,
    "frame_address": _frame_address,
    "assume": _assume,
    **dict.fromkeys(_LEGACY_LOADS, _legacy_load),
}
