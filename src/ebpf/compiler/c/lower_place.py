"""Lvalues: where they are, reading and writing them, bit-fields, context accesses, CO-RE paths.

A `Place` is an address with what is known of it. Two kinds of access go through an intrinsic before they become an
address:

- through a program's context: ``llvm.preserve.static.offset``. Without it the optimiser merges the accesses of two
branches
  into one at a computed address, and the kernel refuses it ("dereference of modified ctx ptr").
- relocatable ones: ``llvm.preserve.*.access.index``, from which the back end makes CO-RE records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_int import resize
from ebpf.compiler.c.lower_types import CONTEXT_RECORDS, bits_of, in_memory, ir_type, is_signed, is_volatile
from ebpf.compiler.c.types import Array, CType, Field, Pointer, Record, align_of, size_of, strip

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.c.lower_function import FunctionLowering

_ACCESS_ATTRIBUTES = "nocallback nofree nosync nounwind willreturn memory(none)"
# BPF has no wider store; LLVM unrolls a copy into at most 128 of them and would call memcpy beyond.
_MAX_STORES = 128


class Place:
    """``field`` is set for a bit-field: ``ptr`` is then its record's address and ``record_bytes`` the record's size.
    ``root`` is the address before the first relocatable step, ``core`` the address after the last."""

    __slots__ = ("align", "core", "field", "ptr", "record_bytes", "root", "volatile")

    def __init__(self, ptr: str, align: int, volatile: bool = False) -> None:
        self.ptr = ptr
        self.align = align
        self.volatile = volatile
        self.field: Field | None = None
        self.record_bytes = 0
        self.root: str | None = None
        self.core: str | None = None

    def at(self, f: FunctionLowering, offset: int) -> Place:
        """The place ``offset`` bytes further."""
        return Place(f.offset(self.ptr, offset), _align_at(self.align, offset), self.volatile)


def place(f: FunctionLowering, e: tree.Expr) -> Place:
    """Where the lvalue ``e`` is; evaluates what leads there."""
    return _PLACES[type(e)](f, e)


def _variable(f: FunctionLowering, e: tree.VarRef) -> Place:
    v = e.variable
    return Place(f.address_of(v), max(v.align, align_of(v.type)), is_volatile(v.type))


def _deref(f: FunctionLowering, e: tree.Deref) -> Place:
    pointer = f.value(e.pointer)
    record = strip(e.type)
    # Not both: the pass behind static.offset would fix the offsets that relocatable accesses leave to the loader.
    if not f.unit.host and f.is_context(e.pointer) and not (isinstance(record, Record) and record.preserve_access):
        pointer = f.w.emit(f"call ptr {f.module.intrinsic('llvm.preserve.static.offset', 'ptr (ptr)')}(ptr {pointer})")
    return Place(pointer, align_of(e.type), e.volatile or is_volatile(e.type))


def _member(f: FunctionLowering, e: tree.Member) -> Place:
    base = place(f, e.base)
    record = strip(e.base.type)
    assert isinstance(record, Record)
    field = e.field
    volatile = base.volatile or is_volatile(field.type)
    if e.relocatable and not f.unit.host:
        f.debug.touch(record, field)
        pointer = _access(f, record, field, base.ptr)
        out = Place(pointer, _align_at(base.align, field.bit_offset // 8), volatile)
        out.root, out.core = base.root or base.ptr, pointer
    elif field.bit_size:
        out = Place(base.ptr, base.align, volatile)
    else:
        out = Place(f.offset(base.ptr, field.bit_offset // 8), _align_at(base.align, field.bit_offset // 8), volatile)
    if field.bit_size:
        out.field, out.record_bytes = field, record.size
    return out


def _access(f: FunctionLowering, record: Record, field: Field, pointer: str) -> str:
    """The CO-RE step from a record to its member. The member's index is known when all used members are."""
    debug, node = f.debug, f.debug.composite(record)
    if record.kind == "union":
        name = f.module.intrinsic("llvm.preserve.union.access.index.p0.p0", "ptr (ptr, i32 immarg)", _ACCESS_ATTRIBUTES)
        return f.w.emit_late(
            lambda: (
                f"call ptr {name}(ptr {pointer}, i32 {debug.position(record, field)}), "
                f"!llvm.preserve.access.index {node}"
            )
        )
    name = f.module.intrinsic(
        "llvm.preserve.struct.access.index.p0.p0", "ptr (ptr, i32 immarg, i32 immarg)", _ACCESS_ATTRIBUTES
    )

    def text() -> str:
        # The element type only has to have that many members: the byte offset comes from the debug information.
        index = debug.position(record, field)
        shape = f"{{ {', '.join(['i8'] * (index + 1))} }}"
        return (
            f"call ptr {name}(ptr elementtype({shape}) {pointer}, i32 {index}, i32 {index}), "
            f"!llvm.preserve.access.index {node}"
        )

    return f.w.emit_late(text)


def _element(f: FunctionLowering, e: tree.ElementOf) -> Place:
    base = place(f, e.base)
    array = strip(e.base.type)
    assert isinstance(array, Array)
    size = size_of(array.element) or 1
    align = _align_at(base.align, size)
    volatile = base.volatile or is_volatile(array.element)
    index = f.index(e.index)
    if e.relocatable and not f.unit.host and isinstance(e.index, tree.IntConst) and 0 <= e.index.value < 1 << 31:
        name = f.module.intrinsic(
            "llvm.preserve.array.access.index.p0.p0", "ptr (ptr, i32 immarg, i32 immarg)", _ACCESS_ATTRIBUTES
        )
        pointer = f.w.emit(
            f"call ptr {name}(ptr elementtype([{array.count or 0} x [{size} x i8]]) {base.ptr}, i32 1, "
            f"i32 {index}), !llvm.preserve.access.index {f.debug.composite(array)}"
        )
        out = Place(pointer, align, volatile)
        out.root, out.core = base.root or base.ptr, pointer
        return out
    if isinstance(e.index, tree.IntConst):
        signed = e.index.value - (1 << 64) if e.index.value >> 63 else e.index.value
        return Place(f.offset(base.ptr, signed * size), _align_at(base.align, signed * size), volatile)
    if size < 8 and not f.unit.host and on_stack(e.base):
        index = f.stack_index(index)
    return Place(f.w.emit(f"getelementptr [{size} x i8], ptr {base.ptr}, i64 {index}"), align, volatile)


def on_stack(e: tree.Expr) -> bool:
    """Whether the lvalue lies in a local variable."""
    while isinstance(e, (tree.Member, tree.ElementOf)):
        e = e.base
    return isinstance(e, tree.VarRef) and e.variable.kind in ("local", "parameter")


def _string(f: FunctionLowering, e: tree.StringConst) -> Place:
    return Place(f.module.string(e.value), 1)


def _literal(f: FunctionLowering, e: tree.CompoundLiteral) -> Place:
    v = e.variable
    address = f.address_of(v)
    out = Place(address, align_of(v.type), is_volatile(v.type))
    if v.kind != "global" and v.init is not None:
        f.begin_life(address)
        f.initialize(Place(address, f.stack_align(v)), v.init)
    return out


def _value_in_memory(f: FunctionLowering, e: tree.Expr) -> Place:
    """A record value used where an lvalue is wanted (the base of a member)."""
    return Place(f.value(e), align_of(e.type))


def _unwrap(f: FunctionLowering, e: tree.Convert) -> Place:
    if e.kind in ("same", "load") and in_memory(e.type):
        return place(f, e.operand) if type(e.operand) in _PLACES else _value_in_memory(f, e.operand)
    return _value_in_memory(f, e)


_PLACES: dict[type, Callable[[Any, Any], Place]] = {
    tree.VarRef: _variable,
    tree.Deref: _deref,
    tree.Member: _member,
    tree.ElementOf: _element,
    tree.StringConst: _string,
    tree.CompoundLiteral: _literal,
    tree.Convert: _unwrap,
    tree.Temporary: _value_in_memory,
    tree.StatementExpr: _value_in_memory,
    tree.CallFunction: _value_in_memory,
    tree.ProbeRead: _value_in_memory,
    tree.Conditional: _value_in_memory,
    tree.Comma: _value_in_memory,
    tree.Assign: _value_in_memory,
    tree.RecordValueMember: _value_in_memory,
}


def is_context_target(pointer: CType) -> bool:
    p = strip(pointer)
    if not isinstance(p, Pointer):
        return False
    target = strip(p.target)
    return isinstance(target, Record) and target.tag in CONTEXT_RECORDS


# -------------------------------------------------------------------------------------------------- reading, writing


def load(f: FunctionLowering, p: Place, t: CType) -> str:
    """The value at a place; a record's or array's is its address."""
    if p.field is not None:
        return _load_bits(f, p, t)
    if in_memory(t):
        return p.ptr
    return f.w.emit(f"load {'volatile ' if p.volatile else ''}{ir_type(t)}, ptr {p.ptr}, align {p.align}")


def store(f: FunctionLowering, p: Place, t: CType, value: str) -> str:
    """Puts a value at a place; gives the value that a reader would find there."""
    if p.field is not None:
        return _store_bits(f, p, t, value)
    if in_memory(t):
        copy(f, p, value, align_of(t), size_of(t) or 0)
        return p.ptr
    f.w.do(f"store {'volatile ' if p.volatile else ''}{ir_type(t)} {value}, ptr {p.ptr}, align {p.align}")
    return value


def copy(f: FunctionLowering, target: Place, source: str, source_align: int, size: int, *, move: bool = False) -> None:
    """``size`` bytes from one address to another, in pieces that LLVM makes loads and stores of."""
    if source == target.ptr or size == 0:
        return
    name = "llvm.memmove" if move else "llvm.memcpy"
    signature = "void (ptr, ptr, i64, i1 immarg)"
    function = f.module.intrinsic(f"{name}.p0.p0.i64", signature)
    unit = min(target.align, source_align, 8)
    piece = size if move else _MAX_STORES * unit
    for at in range(0, size, piece):
        f.w.do(
            f"call void {function}(ptr align {_align_at(target.align, at)} {f.offset(target.ptr, at)}, "
            f"ptr align {_align_at(source_align, at)} {f.offset(source, at)}, i64 {min(piece, size - at)}, "
            f"i1 {'true' if target.volatile else 'false'})"
        )


def fill(f: FunctionLowering, target: Place, byte: str, size: int) -> None:
    """``size`` bytes of one value, in pieces that LLVM makes stores of."""
    function = f.module.intrinsic("llvm.memset.p0.i64", "void (ptr, i8, i64, i1 immarg)")
    piece = _MAX_STORES * min(target.align, 8)
    for at in range(0, size, piece):
        if at:  # or LLVM would put the pieces together again
            f.w.do('call void asm sideeffect "", "~{memory}"()')
        f.w.do(
            f"call void {function}(ptr align {_align_at(target.align, at)} {f.offset(target.ptr, at)}, i8 {byte}, "
            f"i64 {min(piece, size - at)}, i1 false)"
        )


def _align_at(align: int, offset: int) -> int:
    """The alignment ``offset`` bytes after an address aligned to ``align``."""
    return min(align, offset & -offset) if offset else align


# -------------------------------------------------------------------------------------------------------- bit-fields


def storage_unit(field: Field, record_bytes: int) -> tuple[int, int] | None:
    """(byte offset, bytes) of the smallest aligned word inside the record that holds the bit-field; None if it crosses
    all of them."""
    first, last = field.bit_offset, field.bit_offset + field.bit_size
    for size in (1, 2, 4, 8):
        start = first // (8 * size) * size
        if 8 * (start + size) >= last and start + size <= max(record_bytes, (last + 7) // 8):
            return start, size
    return None


def _load_bits(f: FunctionLowering, p: Place, t: CType) -> str:
    field = p.field
    assert field is not None
    if p.core is not None and p.root is not None:
        from ebpf.compiler.c.lower_core import load_relocated

        return load_relocated(f, p, t, 0)
    raw, bits, shift = _gather(f, p, field)
    return extract(f, raw, bits, shift, field, t)


def extract(f: FunctionLowering, raw: str, bits: int, shift: int, field: Field, t: CType) -> str:
    """The bit-field at ``shift`` of the ``bits``-wide word ``raw``, as a value of type ``t``."""
    signed = is_signed(field.type)
    left = bits - shift - field.bit_size
    if left:
        raw = f.w.emit(f"shl i{bits} {raw}, {left}")
    if bits != field.bit_size:
        raw = f.w.emit(f"{'ashr' if signed else 'lshr'} i{bits} {raw}, {bits - field.bit_size}")
    return resize(f, raw, bits, bits_of(t), signed)


def _gather(f: FunctionLowering, p: Place, field: Field) -> tuple[str, int, int]:
    """(word, its width, shift of the bit-field in it)."""
    unit = storage_unit(field, p.record_bytes)
    volatile = "volatile " if p.volatile else ""
    if unit is not None:
        start, size = unit
        raw = f.w.emit(
            f"load {volatile}i{8 * size}, ptr {f.offset(p.ptr, start)}, align {_align_at(min(p.align, size), start)}"
        )
        return raw, 8 * size, field.bit_offset - 8 * start
    # Packed, over a word's edge: byte by byte.
    first, last = field.bit_offset // 8, (field.bit_offset + field.bit_size + 7) // 8
    raw = ""
    for i in range(first, last):
        byte = f.w.emit(f"load {volatile}i8, ptr {f.offset(p.ptr, i)}, align 1")
        wide = f.w.emit(f"zext i8 {byte} to i128")
        if i > first:
            wide = f.w.emit(f"shl i128 {wide}, {8 * (i - first)}")
        raw = f.w.emit(f"or i128 {raw}, {wide}") if raw else wide
    return raw, 128, field.bit_offset - 8 * first


def _store_bits(f: FunctionLowering, p: Place, t: CType, value: str) -> str:
    field = p.field
    assert field is not None
    raw, bits, shift = _gather(f, p, field)
    mask = (1 << field.bit_size) - 1
    new = resize(f, value, bits_of(t), bits, False)
    new = f.w.emit(f"and i{bits} {new}, {mask}")
    placed = f.w.emit(f"shl i{bits} {new}, {shift}") if shift else new
    rest = f.w.emit(f"and i{bits} {raw}, {~(mask << shift) & ((1 << bits) - 1)}")
    word = f.w.emit(f"or i{bits} {rest}, {placed}")
    volatile = "volatile " if p.volatile else ""
    unit = storage_unit(field, p.record_bytes)
    if unit is not None:
        start, size = unit
        f.w.do(
            f"store {volatile}i{bits} {word}, ptr {f.offset(p.ptr, start)}, "
            f"align {_align_at(min(p.align, size), start)}"
        )
    else:
        first, last = field.bit_offset // 8, (field.bit_offset + field.bit_size + 7) // 8
        for i in range(first, last):
            part = f.w.emit(f"lshr i128 {word}, {8 * (i - first)}") if i > first else word
            byte = f.w.emit(f"trunc i128 {part} to i8")
            f.w.do(f"store {volatile}i8 {byte}, ptr {f.offset(p.ptr, i)}, align 1")
    return extract(f, new, bits, 0, field, t)
