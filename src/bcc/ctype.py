"""ctypes classes for BTF types: BCC's tables hand out and take ctypes values.

A struct becomes a `ctypes.Structure` with the same members at the same offsets; where ctypes would lay it out otherwise
(packed structs, wider alignment) padding members called ``__pad_1``… keep every member in its place, as BCC's do.
"""

from __future__ import annotations

import ctypes as ct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ebpf import Btf

# The numbers of BTF's kinds (include/uapi/linux/btf.h).
_INT, _PTR, _ARRAY, _STRUCT, _UNION, _ENUM = 1, 2, 3, 4, 5, 6
_FLOAT, _ENUM64 = 16, 19

_SIGNED = {1: ct.c_byte, 2: ct.c_short, 4: ct.c_int, 8: ct.c_long}
_UNSIGNED = {1: ct.c_ubyte, 2: ct.c_ushort, 4: ct.c_uint, 8: ct.c_ulong}
_FLOATS: dict[int, Any] = {4: ct.c_float, 8: ct.c_double, 16: ct.c_longdouble}


class Classes:
    """The ctypes classes of one object's types, made when they are first wanted."""

    def __init__(self, btf: Btf) -> None:
        self._btf = btf
        self._made: dict[tuple[int, bool], Any] = {}

    def get(self, type_id: int, *, event: bool = False) -> Any:
        """The class for a type.

        ``event``: as `event()` has it, where ``signed char`` is a character and pointers are ``void *``.
        """
        btf = self._btf
        resolved = btf.resolve(type_id)
        key = (resolved, event)
        found = self._made.get(key)
        if found is None:
            found = self._made[key] = self._make(btf.type(resolved), event)
        return found

    def _make(self, t: Any, event: bool) -> Any:
        kind = int(t.kind)
        if kind == _INT:
            return _integer(t, event)
        if kind == _PTR:
            return ct.c_void_p if event else ct.c_ulong
        if kind == _ARRAY:
            element: Any = self._btf.type(self._btf.resolve(t.type))
            if int(element.kind) == _INT and element.is_char:
                return ct.c_char * t.nelems
            return self.get(t.type, event=event) * t.nelems
        if kind in (_ENUM, _ENUM64):
            return (_SIGNED if event or t.signed else _UNSIGNED)[t.size]
        if kind == _FLOAT:
            return _FLOATS[t.size]
        if kind in (_STRUCT, _UNION):
            return self._composite(t, kind == _UNION, event)
        return ct.c_ubyte * 0  # void, functions, undefined structs: nothing that a map could hold

    def _composite(self, t: Any, union: bool, event: bool) -> Any:
        members: list[tuple[str, Any, int, int]] = []
        anonymous: list[str] = []
        for member in t.members:
            name = member.name
            if not name:
                name = f"__anon{len(anonymous)}"
                anonymous.append(name)
            members.append((name, self.get(member.type, event=event), member.bit_offset, member.bit_size))
        base = ct.Union if union else ct.Structure
        name = t.name or ("union" if union else "struct")
        plain: dict[str, Any] = {"_anonymous_": anonymous,
                                 "_fields_": [(n, c, bits) if bits else (n, c) for n, c, _, bits in members]}
        made = type(name, (base,), plain)
        if ct.sizeof(made) == t.size and all(
                bits or getattr(made, n).offset * 8 == offset for n, _, offset, bits in members):
            return made
        # Everything in its place by hand: no alignment of ctypes' own, gaps filled.
        fields: list[Any] = []
        at = pads = 0
        for n, c, offset, bits in members:
            start = offset // 8 if not bits else None
            if start is not None and not union:
                if start > at:
                    pads += 1
                    fields.append((f"__pad_{pads}", ct.c_char * (start - at)))
                at = start + ct.sizeof(c)
            fields.append((n, c, bits) if bits else (n, c))
        packed = type(name, (base,), {"_anonymous_": anonymous, "_pack_": 1, "_fields_": list(fields)})
        missing = t.size - ct.sizeof(packed)
        if missing > 0:
            fields.append((f"__pad_{pads + 1}", ct.c_char * (t.size if union else missing)))
            packed = type(name, (base,), {"_anonymous_": anonymous, "_pack_": 1, "_fields_": fields})
        return packed


def _integer(t: Any, event: bool) -> Any:
    if t.size == 16:
        return (ct.c_int64 if t.signed else ct.c_uint64) * 2
    if t.is_bool:
        return ct.c_bool
    if t.size == 1 and (t.is_char or (event and t.signed)):
        return ct.c_char
    return (_SIGNED if t.signed else _UNSIGNED)[t.size]


def unknown(size: int) -> Any:
    """The class for ``size`` bytes whose type nobody knows."""
    return _UNSIGNED.get(size) or ct.c_ubyte * size
