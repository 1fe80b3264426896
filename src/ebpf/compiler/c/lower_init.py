"""Initialisers: of locals as stores, of globals as constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_place import Place, copy, fill, store
from ebpf.compiler.c.lower_types import in_memory, ir_type
from ebpf.compiler.c.types import CType, Record, align_of, size_of, strip
from ebpf.compiler.llvm.ir import bytes_constant
from ebpf.errors import InternalError

if TYPE_CHECKING:
    from ebpf.compiler.c.lower import UnitLowering
    from ebpf.compiler.c.lower_function import FunctionLowering


def extent(init: tree.Initializer) -> int:
    """Where the last value ends: past the type's own size if a flexible array member has elements."""
    return max((p.offset + (size_of(p.value.type) or 0) for p in init.parts if p.field is None), default=0)


def initialize(f: FunctionLowering, target: Place, init: tree.Initializer) -> None:
    """Give a local variable its first value."""
    size = size_of(init.type) or 0
    if not in_memory(init.type):
        if init.parts:
            value = f.value(init.parts[0].value)
            store(f, Place(target.ptr, align_of(init.type), target.volatile), init.type, value)
        else:
            store(f, target, init.type, "null" if ir_type(init.type) == "ptr" else "0")
        return
    parts = init.parts
    if init.whole and len(parts) == 1:
        copy(f, target, f.value(parts[0].value), align_of(parts[0].value.type), size)
        return
    first = parts[0].value if len(parts) == 1 and parts[0].offset == 0 else None
    if isinstance(first, tree.StringConst):
        _store_bytes(f, target, first.value[:size].ljust(size, b"\0"))
        return
    if not init.whole:
        fill(f, target, "0", size)
    for part in parts:
        given = part.value
        if isinstance(given, tree.StringConst):
            room = min(len(given.value), size_of(given.type) or len(given.value), size - part.offset)
            _store_bytes(f, target.at(f, part.offset), given.value[:room])
        elif part.field is not None and part.field.bit_size:
            operand = f.value(given)
            place = target.at(f, part.offset)
            place.field, place.record_bytes = part.field, size - part.offset
            store(f, place, given.type, operand)
        else:
            operand = f.value(given)
            store(f, target.at(f, part.offset), given.type, operand)


def _store_bytes(f: FunctionLowering, target: Place, data: bytes) -> None:
    """Constant bytes. LLVM makes a few wide stores of immediates out of a copy to the stack."""
    if len(data) <= 2 or not any(data):
        for at, byte in enumerate(data):
            f.w.do(f"store i8 {byte}, ptr {f.offset(target.ptr, at)}, align 1")
        return
    copy(f, target, f.module.string(data), 1, len(data))


def constant_initializer(unit: UnitLowering, t: CType, init: tree.Initializer | None) -> tuple[str, str]:
    """(type, constant) of a global: bytes, and pointers where other globals' addresses stand."""
    size = size_of(t) or 0
    if init is None or not init.parts:
        kind = ir_type(t)
        return kind, "null" if kind == "ptr" else "zeroinitializer" if in_memory(t) else "0"
    if not in_memory(t):
        value = init.parts[0].value
        pointer = _address(unit, value)
        if pointer is not None:
            kind = ir_type(t)
            return kind, pointer if kind == "ptr" else f"ptrtoint (ptr {pointer} to {kind})"
        number = _integer(value)
        if ir_type(t) == "ptr":
            return "ptr", "null" if number == 0 else f"inttoptr (i64 {number} to ptr)"
        return ir_type(t), str(number & ((1 << 8 * size) - 1))
    size = max(size, extent(init))
    data = bytearray(size)
    pointers: dict[int, str] = {}
    _collect(unit, init, 0, data, pointers)
    if not pointers:
        return f"[{size} x i8]", bytes_constant(bytes(data))
    kinds, values, at = [], [], 0
    for offset in sorted(pointers):
        if offset > at:
            kinds.append(f"[{offset - at} x i8]")
            values.append(f"{kinds[-1]} {bytes_constant(bytes(data[at:offset]))}")
        kinds.append("ptr")
        values.append(f"ptr {pointers[offset]}")
        at = offset + 8
    if at < size:
        kinds.append(f"[{size - at} x i8]")
        values.append(f"{kinds[-1]} {bytes_constant(bytes(data[at:]))}")
    return f"<{{ {', '.join(kinds)} }}>", f"<{{ {', '.join(values)} }}>"


def _collect(unit: UnitLowering, init: tree.Initializer, base: int, data: bytearray, pointers: dict[int, str]) -> None:
    for part in init.parts:
        at, value = base + part.offset, part.value
        if isinstance(value, tree.StringConst):
            room = min(size_of(value.type) or len(value.value), len(data) - at, len(value.value))
            data[at : at + room] = value.value[:room]
            continue
        if isinstance(value, tree.Convert) and value.kind == "load":
            value = value.operand
        if isinstance(value, tree.CompoundLiteral) and value.variable.init is not None:
            _collect(unit, value.variable.init, at, data, pointers)
            continue
        pointer = _address(unit, value)
        if pointer is not None:
            pointers[at] = pointer
            continue
        number = _integer(value)
        field = part.field
        if field is not None and field.bit_size:
            whole = int.from_bytes(data[at:], "little")
            mask = ((1 << field.bit_size) - 1) << field.bit_offset
            whole = (whole & ~mask) | ((number << field.bit_offset) & mask)
            data[at:] = whole.to_bytes(len(data) - at, "little")
        else:
            size = size_of(value.type) or 0
            data[at : at + size] = (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _integer(e: tree.Expr) -> int:
    while isinstance(e, tree.Convert):
        e = e.operand
    if not isinstance(e, tree.IntConst):
        raise InternalError(f"a global's initialiser is not constant: {type(e).__name__}")
    return e.value


def _address(unit: UnitLowering, e: tree.Expr) -> str | None:
    """The constant address that ``e`` is, or None for an integer."""
    found = _base_and_offset(unit, e)
    if found is None:
        return None
    base, offset = found
    return base if offset == 0 else f"getelementptr (i8, ptr {base}, i64 {offset})"


def _base_and_offset(unit: UnitLowering, e: tree.Expr) -> tuple[str, int] | None:
    if isinstance(e, tree.Convert):
        return _base_and_offset(unit, e.operand) if e.kind != "load" else None
    if isinstance(e, (tree.AddressOf, tree.Temporary)):
        return _base_and_offset(unit, e.operand if isinstance(e, tree.AddressOf) else e.value)
    if isinstance(e, tree.VarRef):
        return unit.global_address(e.variable), 0
    if isinstance(e, tree.FunctionRef):
        return unit.function_address(e.function), 0
    if isinstance(e, tree.StringConst):
        return unit.module.string(e.value), 0
    if isinstance(e, tree.CompoundLiteral):
        return unit.global_address(e.variable), 0
    if isinstance(e, tree.Deref):
        return _base_and_offset(unit, e.pointer)
    if isinstance(e, tree.Member):
        found = _base_and_offset(unit, e.base)
        assert isinstance(strip(e.base.type), Record)
        return found and (found[0], found[1] + e.field.bit_offset // 8)
    if isinstance(e, tree.ElementOf):
        found = _base_and_offset(unit, e.base)
        return found and (found[0], found[1] + _signed(_integer(e.index)) * (size_of(e.type) or 1))
    if isinstance(e, tree.PointerAdd):
        found = _base_and_offset(unit, e.pointer)
        target = strip(e.pointer.type)
        size = size_of(getattr(target, "target", target)) or 1
        step = _signed(_integer(e.index)) * size
        return found and (found[0], found[1] + (-step if e.negative else step))
    return None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
