"""Kernel objects: what a typed context argument is, and what lies at an offset of a structure (by the kernel's own
BTF).

A read through such a pointer cannot crash, even if the object is gone (the kernel recovers from the fault, the machine
reads through a
checked channel); types only say what a read gives. So a read must lie inside the structure, and writes are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.programs import AttachType, ProgType
from ebpf.btf.types import Array, Func, FuncProto, Kind, Ptr, Struct, Typedef, Union
from ebpf.verifier.ranges import BY_SIZE
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.values import BTF, Pointer, Scalar, Value

if TYPE_CHECKING:
    from ebpf.btf import Btf
    from ebpf.verifier.explore import Explorer
    from ebpf.verifier.program import Program


def prototype(program: Program) -> FuncProto | None:
    """The prototype of the kernel function or tracepoint that the program is for, if the kernel's types are known."""
    btf, name = program.kernel_btf, program.attach_to
    if btf is None or not name:
        return None
    if (
        program.type == ProgType.TRACING
        and program.attach_type == AttachType.TRACE_RAW_TP
        or program.type == ProgType.RAW_TRACEPOINT
    ):
        id = btf.find(f"btf_trace_{name}", kind=Kind.TYPEDEF)
        found = btf.type(id) if id is not None else None
        if isinstance(found, Typedef):
            pointer = btf.resolved(found.type)
            inner = btf.resolved(pointer.type) if isinstance(pointer, Ptr) else None
            if isinstance(inner, FuncProto):
                return inner._replace(params=inner.params[1:])  # the first is the tracepoint's own data
        return None
    if program.type == ProgType.LSM:
        name = f"bpf_lsm_{name}"
    elif program.attach_type == AttachType.TRACE_ITER:
        name = f"bpf_iter_{name}"
    id = btf.find(name, kind=Kind.FUNC)
    if id is None:
        return None
    func = btf.type(id)
    found = btf.type(func.type) if isinstance(func, Func) else None
    return found if isinstance(found, FuncProto) else None


def context_argument(x: Explorer, register: int, pointer: Pointer, off: int, size: int) -> Value | None:
    """What an 8-byte read of a traced function's argument gives; ``None`` if its type is not known."""
    at = pointer.off + off
    proto = x.prototype
    if proto is None or not pointer.var.is_const or x.program.kernel_btf is None:
        return None
    if at % 8:
        raise Refuse(
            "V0207", "arguments are read from multiples of 8", row="context", register=register, offset=at, size=size
        )
    index = at // 8
    btf = x.program.kernel_btf
    if index < len(proto.params):
        type_id = proto.params[index].type
    elif (
        index == len(proto.params)
        and proto.type
        and x.program.attach_type in (AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN, AttachType.LSM_MAC)
    ):
        type_id = proto.type
    else:
        raise Refuse(
            "V0207",
            f"`{x.program.attach_to}` has {len(proto.params)} arguments; there is no number {index + 1}",
            row="context",
            register=register,
            offset=at,
            size=size,
        )
    target = pointed_struct(btf, type_id)
    if target is None:
        return Scalar(BY_SIZE[size])
    if size != 8:
        raise Refuse(
            "V0207", "a pointer argument is read as 8 bytes", row="context", register=register, offset=at, size=size
        )
    nullable = x.program.attach_type == AttachType.TRACE_ITER and index > 0
    return Pointer(BTF, target=(btf, target), nullable=nullable, id=x.new_id() if nullable else 0)


def pointed_struct(btf: Btf, type_id: int) -> int | None:
    """The struct that a pointer type points to; ``None`` if it is no pointer to a struct."""
    found = btf.resolved(type_id)
    if isinstance(found, Ptr) and found.type:
        inner = btf.resolve(found.type)
        if inner and btf.kind(inner) in (Kind.STRUCT, Kind.UNION):
            return inner
    return None


def load(x: Explorer, register: int, pointer: Pointer, off: int, size: int) -> Value:
    """What a read at an offset of a kernel object gives: a pointer to another object, or a number."""
    if not pointer.var.is_const:
        raise Refuse(
            "V0216",
            "a kernel object is read at an offset that is not a constant",
            row="kernel-variable",
            register=register,
        )
    at = pointer.off + off + pointer.var.smin
    if pointer.target is None:
        if pointer.bound and not 0 <= at <= pointer.bound - size:
            raise Refuse(
                "V0216",
                f"{size} bytes at offset {at} of a kernel variable of {pointer.bound}",
                row="kernel-bounds",
                register=register,
                struct="a kernel variable",
                offset=at,
                size=size,
            )
        x.note_access(pointer, at, size)
        return Scalar(BY_SIZE[size])
    btf, type_id = pointer.target
    name = getattr(btf.type(type_id), "name", "")
    end = btf.size_of(type_id)
    if at < 0 or (at + size > end and not _flexible(btf, type_id, at)):
        raise Refuse(
            "V0216",
            f"access beyond the end of `struct {name}`: {size} bytes at offset {at} of {end}",
            row="kernel-bounds",
            register=register,
            struct=name,
            offset=at,
            size=size,
        )
    x.note_access(pointer, at, size)
    if size == 8:
        found = _pointer_at(btf, type_id, at, 0)
        if found is not None:
            target, certain = found
            return Pointer(BTF, target=(btf, target), trusted=pointer.trusted and certain)
    return Scalar(BY_SIZE[size])


def _flexible(btf: Btf, type_id: int, at: int) -> bool:
    """Whether the offset is in an array without a length at the struct's end."""
    found = btf.resolved(type_id)
    if not isinstance(found, Struct) or not found.members:
        return False
    last = found.members[-1]
    inner = btf.resolved(last.type)
    return isinstance(inner, Array) and inner.nelems == 0 and at >= last.bit_offset // 8


def _pointer_at(btf: Btf, type_id: int, at: int, depth: int) -> tuple[int, bool] | None:
    """The struct that a pointer member at exactly this offset points to, and whether that is certain: of a union's
    members nobody knows which it is, so such a pointer may be read through (that cannot crash) and not passed on."""
    found = btf.resolved(type_id)
    if depth > 16:
        return None
    if isinstance(found, Ptr):
        inner = pointed_struct(btf, btf.resolve(type_id)) if at == 0 else None
        return (inner, True) if inner is not None else None
    if isinstance(found, Array):
        length = btf.size_of(found.type) if found.type else 0
        return _pointer_at(btf, found.type, at % length, depth + 1) if length else None
    if isinstance(found, Struct):
        for member in found.members:
            start = member.bit_offset // 8
            if member.bit_size or start > at:
                continue
            if at < start + btf.size_of(member.type):
                return _pointer_at(btf, member.type, at - start, depth + 1)
    if isinstance(found, Union):
        for member in found.members:
            inside = _pointer_at(btf, member.type, at, depth + 1) if at < btf.size_of(member.type) else None
            if inside is not None:  # a union of one is a pointer padded to 64 bits: bpf_iter_meta.seq
                return inside[0], inside[1] and len(found.members) == 1
    return None


def is_type(pointer: Pointer, name: str) -> bool:
    """Whether the object, or the first member of it (and so on), is a ``struct name``."""
    if pointer.target is None:
        return True
    btf, type_id = pointer.target
    at = pointer.off + pointer.var.smin
    for _ in range(8):
        found = btf.resolved(type_id)
        if not isinstance(found, Struct):
            return False
        if at == 0 and found.name == name:
            return True
        for member in found.members:
            start = member.bit_offset // 8
            if not member.bit_size and start <= at < start + max(btf.size_of(member.type), 1):
                type_id, at = member.type, at - start
                break
        else:
            return False
    return False
