"""A context built from its fields' names: ``{"ingress_ifindex": 3}``, ``{"parm1": 4711}``, ``{"args": (257, 0)}``.

Names are looked for where a programmer would: in the struct that the program's own first parameter points to (as the
machine's kernel types lay it out, where CO-RE has adapted the program to them), then in the table of contexts. Fields
that are not named are zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.context_layouts import context_layout
from ebpf.abi.programs import ProgType
from ebpf.abi.registers import REGISTERS
from ebpf.diagnostics import unknown_name
from ebpf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ebpf.btf import Btf
    from ebpf.object import Object, ProgramSpec

    Target = tuple[Btf, int]

_ARCH = "x86_64"


def encode_context(obj: Object, spec: ProgramSpec, type: int, fields: Mapping[str, Any], btf: Btf | None) -> bytes:
    """The context of one event of the program ``spec``. `UnknownName` lists the fields that there are; `UsageError`
    for a value that does not fit. ``btf``: the types that the program was relocated to.
    """
    if type == ProgType.KPROBE:
        fields = _registers(fields)
    found = _parameter(obj, spec)
    if found is not None:
        return _by_type(spec, _as_relocated(found, btf), fields)
    return _by_table(spec, type, fields)


def _registers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """``parm1`` … ``parm6`` and ``rc`` are the registers of PT_REGS_PARM1(ctx) … and PT_REGS_RC(ctx)."""
    row = REGISTERS[_ARCH]
    names = {f"parm{n}": name for n, name in enumerate(row.args, 1)} | {"rc": row.rc}
    return {names.get(name, name): value for name, value in fields.items()}


def _parameter(obj: Object, spec: ProgramSpec) -> Target | None:
    """The struct that the program's first parameter points to; None for ``void *`` and words."""
    from ebpf.btf.types import Func, FuncProto, Ptr, Struct

    btf = obj.btf
    if btf is None or not spec.func_infos:
        return None
    function = btf.type(spec.func_infos[0].type_id)
    proto = btf.type(function.type) if isinstance(function, Func) else None
    if not isinstance(proto, FuncProto) or not proto.params:
        return None
    pointer = btf.resolved(proto.params[0].type)
    pointee = btf.resolved(pointer.type) if isinstance(pointer, Ptr) and pointer.type else None
    # The kernel's own structs stand there by name and size alone.
    return (btf, pointee.id) if isinstance(pointee, Struct) and pointee.members else None


def _as_relocated(found: Target, btf: Btf | None) -> Target:
    """The kernel's struct of that name, if CO-RE relocations were answered from its types."""
    from ebpf.btf.types import Kind

    own, id = found
    name = own.type(id).name
    there = btf.find(name, Kind.STRUCT) if btf is not None and name else None
    return found if btf is None or there is None else (btf, there)


def _by_type(spec: ProgramSpec, target: Target, fields: Mapping[str, Any]) -> bytes:
    from ebpf.btf import codec

    btf, id = target
    known = btf.members(id)
    for name in fields:
        if name not in known:
            raise unknown_name("field", name, known, where=f" in the context of {spec.name!r}")
    return codec(btf, id).encode(dict(fields))


def _by_table(spec: ProgramSpec, type: int, fields: Mapping[str, Any]) -> bytes:
    layout = context_layout(type)
    known = {field.name: field for field in layout.fields if not field.name.startswith("pad")} if layout else {}
    data = bytearray(layout.size if layout is not None else 0)
    end = 0
    for name, value in fields.items():
        field = known.get(name)
        if field is None:
            raise unknown_name("field", name, known, where=f" in the context of {spec.name!r}")
        data[field.offset:field.end] = _bytes(spec, name, value, field.unit, field.end - field.offset)
        end = max(end, field.end)
    # A tracepoint's record is as long as its event, not as the table's longest.
    return bytes(data if type != ProgType.TRACEPOINT else data[:end])


def _bytes(spec: ProgramSpec, name: str, value: Any, unit: int, size: int) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        if unit > 1 and len(raw) != size:
            raise UsageError(f"{spec.name!r}: context field {name} holds numbers; {raw!r} is not its {size} bytes")
    else:
        values = [value] if isinstance(value, int) else list(value)
        try:
            raw = b"".join((v % (1 << 8 * unit) if -(1 << 8 * unit - 1) <= v < 0 else v).to_bytes(unit, "little")
                           for v in values)
        except OverflowError:
            raise UsageError(f"{spec.name!r}: context field {name} has {unit}-byte elements; {value!r} does not fit"
                             ) from None
    if len(raw) > size:
        raise UsageError(f"{spec.name!r}: context field {name} has {size} bytes, {len(raw)} were given")
    return raw.ljust(size, b"\0")
