"""Fields of a map's value that only helpers may touch: spin locks, timers, kernel pointers (`kptr`) and their like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.btf.types import Array, Kind, Ptr, Struct, TypeTag

if TYPE_CHECKING:
    from ebpf.btf import Btf

# struct name → (kind, size in bytes)
_STRUCTS = {
    "bpf_spin_lock": ("lock", 4),
    "bpf_timer": ("timer", 16),
    "bpf_list_head": ("list", 16),
    "bpf_list_node": ("node", 24),
    "bpf_rb_root": ("root", 16),
    "bpf_rb_node": ("node", 32),
    "bpf_refcount": ("refcount", 4),
    "bpf_wq": ("wq", 16),
    "bpf_res_spin_lock": ("lock", 8),
    "bpf_task_work": ("wq", 8),
}
_TAGS = {
    "kptr": "kptr_ref",
    "kptr_ref": "kptr_ref",
    "kptr_untrusted": "kptr",
    "percpu_kptr": "kptr_ref",
    "uptr": "kptr",
}


def special_fields(btf: Btf, type_id: int) -> dict[int, tuple[str, int, object]]:
    """Offset in bytes → (kind, size, detail); detail is a kptr's (Btf, type id of the struct)."""
    out: dict[int, tuple[str, int, object]] = {}
    _collect(btf, type_id, 0, out, 0)
    return out


def _collect(btf: Btf, type_id: int, base: int, out: dict[int, tuple[str, int, object]], depth: int) -> None:
    found = btf.resolved(type_id)
    if depth > 8:
        return
    if isinstance(found, Array):
        if 0 < found.nelems <= 64 and btf.kind(btf.resolve(found.type)) in (Kind.STRUCT, Kind.PTR):
            size = btf.size_of(found.type)
            for i in range(found.nelems):
                _collect(btf, found.type, base + i * size, out, depth + 1)
        return
    if isinstance(found, Ptr):
        tag = _tag(btf, found.type)
        if tag is not None:
            out[base] = (tag, 8, (btf, btf.resolve(found.type)))
        return
    if not isinstance(found, Struct):
        return
    special = _STRUCTS.get(found.name)
    if special is not None:
        out[base] = (special[0], special[1], None)
        return
    for member in found.members:
        if member.bit_offset % 8 == 0:
            _collect(btf, member.type, base + member.bit_offset // 8, out, depth + 1)


def _tag(btf: Btf, type_id: int) -> str | None:
    seen = 0
    while seen < 8:
        found = btf.type(type_id)
        if isinstance(found, TypeTag):
            if found.name in _TAGS:
                return _TAGS[found.name]
            type_id = found.type
        elif found.kind in (Kind.CONST, Kind.VOLATILE, Kind.RESTRICT):
            type_id = found.type  # type: ignore[union-attr]
        else:
            return None
        seen += 1
    return None
