"""Types of values in scripts, and how they are told to the runtime.

Integers are 64 bits wide wherever a script holds them; ``size`` keeps what they were declared as, for `bswap` and
`sizeof`. In memory every part begins at a multiple of 8 and integers take 8 bytes. Strings in the program's own memory
are ended by NUL and filled up with zeroes to a multiple of 8: so they can be keys, and be compared by words.
"""

from __future__ import annotations

from typing import Any

from ebpf.compiler.c import types as C
from ebpf.compiler.trace.plan import Type

SCALARS = frozenset(
    ("int", "bool", "pointer", "enum", "kstack", "ksym", "username", "timestamp", "cgroup_path", "strerror", "probe")
)
"""Kinds whose values are one 64-bit word."""
AGGREGATES = {"count": 8, "sum": 8, "min": 16, "max": 16, "avg": 16, "stats": 16, "hist": 8, "lhist": 8, "tseries": 16}
"""Kinds of a map's value that come from a function of that name → bytes in the kernel's map."""
PER_CPU = frozenset(AGGREGATES)
_NAMES = {
    "int": "an integer",
    "bool": "a boolean",
    "str": "a string",
    "buf": "a buffer",
    "kstack": "a kernel stack",
    "ustack": "a user stack",
    "ksym": "a kernel symbol",
    "usym": "a user symbol",
    "inet": "an IP address",
    "mac": "a MAC address",
    "username": "a user's name",
    "timestamp": "a formatted time",
    "tuple": "a tuple",
    "cgroup_path": "a control group's path",
    "strerror": "an error's text",
    "probe": "a probe's name",
    "none": "no value",
    "unknown": "a value not known yet",
}


class Ty:
    """``kind`` as in `plan.Type`, or ``none``, ``unknown``. ``size``: declared bytes of integers, bytes in memory of
    others. ``ctype``: of pointers the target, of records, arrays and enums the C type. ``space``: where a pointer
    leads: ``kernel``, ``user``, ``any``, ``bpf`` (the program's own memory), ``ctx``. ``args`` as in `plan.Type`, of
    tuples (name, `Ty`) pairs.
    """

    __slots__ = ("args", "ctype", "kind", "signed", "size", "space")

    def __init__(
        self,
        kind: str,
        size: int = 8,
        signed: bool = False,
        args: tuple[Any, ...] = (),
        ctype: C.CType | None = None,
        space: str = "any",
    ) -> None:
        self.kind, self.size, self.signed, self.args, self.ctype, self.space = kind, size, signed, args, ctype, space

    def __repr__(self) -> str:
        return f"Ty({self.kind} {self.size})"


INT = Ty("int", 8, True)
UINT = Ty("int", 8, False)
UINT32 = Ty("int", 4, False)
BOOL = Ty("bool", 1, False)
NONE = Ty("none", 0)
UNKNOWN = Ty("unknown", 8, True)
KSYM = Ty("ksym")
USYM = Ty("usym", 16)


def string(size: int) -> Ty:
    """A string of at most ``size`` - 1 bytes."""
    return Ty("str", size)


def aligned(size: int) -> int:
    return (size + 7) & ~7


def stored_size(t: Ty) -> int:
    """Bytes that a value takes in the program's memory and in records, a multiple of 8."""
    return 8 if t.kind in SCALARS or t.kind == "unknown" else aligned(t.size)


def is_number(t: Ty) -> bool:
    return t.kind in ("int", "bool", "enum", "unknown")


def is_scalar(t: Ty) -> bool:
    return t.kind in SCALARS or t.kind == "unknown"


def pointer(target: C.CType, space: str) -> Ty:
    return Ty("pointer", 8, False, ctype=target, space=space)


def tuple_type(items: list[tuple[str, Ty]], kind: str = "tuple") -> Ty:
    return Ty(kind, sum(stored_size(t) for _, t in items), args=tuple(items))


def words(t: Ty) -> str:
    """The type as messages show it."""
    if t.kind == "pointer":
        assert t.ctype is not None
        return f"a pointer, `{C.format_ctype(C.Pointer(t.ctype))}`"
    if t.kind in ("record", "array", "enum") and t.ctype is not None:
        return f"`{C.format_ctype(t.ctype)}`"
    if t.kind == "tuple":
        return f"a tuple of {len(t.args)}"
    if t.kind in AGGREGATES:
        return f"`{t.kind}()`"
    return _NAMES.get(t.kind, t.kind)


def merge(a: Ty, b: Ty) -> Ty | None:
    """The type that holds values of both, None where there is none."""
    if a is b or b.kind == "unknown":
        return a
    if a.kind == "unknown":
        return b
    if is_number(a) and is_number(b):
        if a.kind == b.kind and (a.kind != "int" or a.signed == b.signed) and a.size == b.size:
            return a
        return a if a.kind == "int" else b if b.kind == "int" else INT
    if a.kind != b.kind:
        if {a.kind, b.kind} == {"int", "pointer"}:
            return a
        return None
    if a.kind in ("str", "buf"):
        return a if a.size >= b.size else b
    if a.kind in ("tuple",) or (a.kind == "record" and a.ctype is None and b.ctype is None):
        if len(a.args) != len(b.args):
            return None
        items = []
        for (name, x), (other, y) in zip(a.args, b.args, strict=True):
            both = merge(x, y)
            if both is None or name != other:
                return None
            items.append((name, both))
        return tuple_type(items, a.kind)
    if a.kind in ("record", "array"):
        return a if a.size == b.size else None
    if a.kind in ("lhist", "hist", "tseries", "kstack", "ustack"):
        return a if a.args == b.args else None
    return a


def same(a: Ty, b: Ty) -> bool:
    """Whether two types take the same memory and print the same."""
    return plan_type(a) == plan_type(b)


def plan_type(t: Ty, depth: int = 0) -> Type:
    """How the runtime is told."""
    kind = t.kind
    if kind in ("int", "bool", "unknown"):
        return Type("bool" if kind == "bool" else "int", 8, t.signed)
    if kind == "enum":
        enum = C.strip(t.ctype) if t.ctype is not None else None
        values = tuple((v, n) for n, v in enum.values.items()) if isinstance(enum, C.Enum) else ()
        return Type("enum", 8, t.signed, values)
    if kind == "pointer":
        return Type("pointer", 8, False, (C.format_ctype(C.Pointer(t.ctype or C.VOID)),))
    if kind == "tuple" or (kind == "record" and t.ctype is None):
        at, parts = 0, []
        for name, item in t.args:
            parts.append((name, at, plan_type(item)))
            at += stored_size(item)
        return Type(kind, t.size, False, tuple(parts))
    if kind in ("record", "array") and t.ctype is not None:
        return c_plan_type(t.ctype, depth)
    return Type(kind, t.size, t.signed, t.args)


def c_plan_type(t: C.CType, depth: int = 0) -> Type:
    """A C type as it lies in memory; nested ones to a depth of 4, bit-fields left out."""
    inner = C.strip(t)
    size = C.size_of(inner) or 0
    if isinstance(inner, C.Record):
        fields = []
        if depth < 4:
            for f in inner.fields:
                if f.bit_size or f.bit_offset % 8:
                    continue
                if f.name is None:
                    part = c_plan_type(f.type, depth)
                    fields += [(n, at + f.bit_offset // 8, x) for n, at, x in part.args]
                else:
                    fields.append((f.name, f.bit_offset // 8, c_plan_type(f.type, depth + 1)))
        return Type("record", size, False, tuple(fields))
    if isinstance(inner, C.Array):
        if is_char(inner.element):
            return Type("str", size)
        return Type("array", size, False, (inner.count or 0, c_plan_type(inner.element, depth + 1)))
    if isinstance(inner, C.Pointer):
        return Type("pointer", 8, False, (C.format_ctype(inner),))
    if isinstance(inner, C.Enum):
        return Type("enum", size, inner.underlying.signed, tuple((v, n) for n, v in inner.values.items()))
    if isinstance(inner, C.Int):
        return Type("bool" if inner.name == "_Bool" else "int", size, inner.signed)
    return Type("int", size)


def is_char(t: C.CType) -> bool:
    inner = C.strip(t)
    return isinstance(inner, C.Int) and inner.name == "char"
