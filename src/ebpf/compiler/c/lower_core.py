"""CO-RE questions: what the loader answers from the running kernel's types, as LLVM's BPF intrinsics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_int import resize
from ebpf.compiler.c.lower_place import Place, place
from ebpf.compiler.c.lower_types import bits_of, is_signed
from ebpf.compiler.c.types import CType, Enum, size_of, strip

if TYPE_CHECKING:
    from ebpf.compiler.c.lower_function import FunctionLowering

# Numbers of the intrinsics' last argument (LLVM's BPFCORE.h).
_FIELD = {
    "field_byte_offset": 0,
    "field_byte_size": 1,
    "field_exists": 2,
    "field_signed": 3,
    "field_lshift_u64": 4,
    "field_rshift_u64": 5,
}
_TYPE = {"type_exists": 0, "type_size": 1, "type_matches": 2}
_TYPE_ID = {"type_id_local": 0, "type_id_target": 1}
_ENUMERATOR = {"enumval_exists": 0, "enumval_value": 1}
_PURE = "nounwind memory(none)"


def core_info(f: FunctionLowering, e: tree.CoreInfo) -> str:
    want = bits_of(e.type)
    if e.kind in _FIELD:
        assert e.operand is not None
        p = place(f, e.operand)
        return resize(f, field_info(f, p.core or p.ptr, e.kind), 32, want, False)
    assert e.about is not None
    if e.kind == "type_matches":
        f.debug.whole(e.about)
    node = f.debug.type(e.about)
    f.unit.questions += 1
    number = f.unit.questions  # keeps two equal questions apart until each has its record
    if e.kind in _TYPE:
        name = f.module.intrinsic("llvm.bpf.preserve.type.info", "i32 (i32, i64)", _PURE)
        answer, have = f"call i32 {name}(i32 {number}, i64 {_TYPE[e.kind]})", 32
    elif e.kind in _TYPE_ID:
        name = f.module.intrinsic("llvm.bpf.btf.type.id", "i64 (i32, i64)", _PURE)
        answer, have = f"call i64 {name}(i32 {number}, i64 {_TYPE_ID[e.kind]})", 64
    else:
        enum = strip(e.about)
        assert isinstance(enum, Enum) and e.enumerator is not None
        text = f.module.string(f"{e.enumerator}:{enum.values[e.enumerator]}\0".encode())
        name = f.module.intrinsic("llvm.bpf.preserve.enum.value", "i64 (i32, ptr, i64)", _PURE)
        answer, have = f"call i64 {name}(i32 {number}, ptr {text}, i64 {_ENUMERATOR[e.kind]})", 64
    return resize(f, f.w.emit(f"{answer}, !llvm.preserve.access.index {node}"), have, want, False)


def field_info(f: FunctionLowering, access: str, kind: str) -> str:
    """An i32 about the field that the access chain ``access`` ends in."""
    name = f.module.intrinsic("llvm.bpf.preserve.field.info.p0", "i32 (ptr, i64 immarg)", _PURE)
    return f.w.emit(f"call i32 {name}(ptr {access}, i64 {_FIELD[kind]})")


def core_bitfield(f: FunctionLowering, e: tree.CoreBitfield) -> str:
    return load_relocated(f, place(f, e.operand), e.type, e.helper)


def load_relocated(f: FunctionLowering, p: Place, t: CType, helper: int) -> str:
    """A field read by the size, offset and shifts that the loader fills in; unused sizes become dead code then."""
    assert p.core is not None and p.root is not None
    w = f.w
    offset = w.emit(f"zext i32 {field_info(f, p.core, 'field_byte_offset')} to i64")
    # Opaque to the optimiser: with a merged address the load would lose its record.
    address = w.emit(f"getelementptr i8, ptr {p.root}, i64 {offset}")
    size = field_info(f, p.core, "field_byte_size")
    slot = f.scratch("i64", 8)
    w.do(f"store i64 0, ptr {slot}, align 8")
    if helper:
        w.emit(f"call i64 inttoptr (i64 {helper} to ptr)(ptr {slot}, i32 {size}, ptr {address})")
    else:
        done = w.label("field.done")
        labels = {n: w.label(f"field.{n}.") for n in (1, 2, 4, 8)}
        w.end(
            f"switch i32 {size}, label %{done} [ " + " ".join(f"i32 {n}, label %{b}" for n, b in labels.items()) + " ]"
        )
        for n, label in labels.items():
            w.block(label)
            raw = w.emit(f"load {'volatile ' if p.volatile else ''}i{8 * n}, ptr {address}, align {n}")
            w.do(f"store i64 {resize(f, raw, 8 * n, 64, False)}, ptr {slot}, align 8")
            w.jump(done)
        w.block(done)
    word = w.emit(f"load i64, ptr {slot}, align 8")
    left = w.emit(f"zext i32 {field_info(f, p.core, 'field_lshift_u64')} to i64")
    right = w.emit(f"zext i32 {field_info(f, p.core, 'field_rshift_u64')} to i64")
    word = w.emit(f"shl i64 {word}, {left}")
    signed = is_signed(p.field.type) if p.field is not None else is_signed(t)
    word = w.emit(f"{'ashr' if signed else 'lshr'} i64 {word}, {right}")
    return resize(f, word, 64, bits_of(t) or 8 * (size_of(t) or 8), signed)
