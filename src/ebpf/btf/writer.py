"""`Builder`: BTF from nothing, or an existing blob with more types behind its own."""

from __future__ import annotations

import struct
import sys
from array import array
from typing import TYPE_CHECKING

from ebpf.btf import types as T
from ebpf.btf.reader import MAGIC, MAX_DEPTH, Btf
from ebpf.btf.types import Kind
from ebpf.errors import BtfError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ebpf.btf.types import Type

_HEADER = "HBBIIIII"
_MAX_VLEN = 0xFFFF
_QUALIFIERS = (T.Const, T.Volatile, T.Restrict, T.TypeTag)


class Builder:
    """Collects types; each ``add_*`` returns the id of the new one. Ids can be had before their types (`reserve`).

    ``existing``: its types keep their ids and come first. ``base``: what is built is split BTF on top of it.
    """

    def __init__(self, existing: Btf | None = None, *, base: Btf | None = None) -> None:
        if existing is not None and base is None:
            base = existing.base
        self._base = base
        self._words = array("I", existing.words) if existing is not None else array("I")
        self._first_string = base.string_end if base is not None else 0
        self._strings = bytearray(existing.strings if existing is not None else b"" if base is not None else b"\0")
        self._string_offsets: dict[str, int] = {"": 0}
        self._existing = existing
        self._first_id = len(existing) if existing is not None else len(base) if base is not None else 1
        self._types: list[Type | None] = []

    @property
    def next_id(self) -> int:
        """The id that the next type will get."""
        return self._first_id + len(self._types)

    def add_string(self, text: str) -> int:
        """The offset of ``text`` in the string section; equal strings share one."""
        found = self._string_offsets.get(text)
        if found is None:
            raw = text.encode("utf-8", "surrogateescape")
            if b"\0" in raw:
                raise UsageError(f"a BTF string cannot contain NUL: {text!r}")
            at = -1
            if self._existing is not None:
                at = self._strings.find(b"\0" + raw + b"\0", 0, len(self._existing.strings)) + 1 or -1
            if at < 0:
                at = len(self._strings)
                self._strings += raw + b"\0"
            found = self._string_offsets[text] = self._first_string + at
        return found

    def reserve(self) -> int:
        """An id for a type that is given by `define` later: for types that refer to each other in a circle."""
        self._types.append(None)
        return self._first_id + len(self._types) - 1

    def define(self, id: int, type: Type) -> None:
        """Give a reserved id its type."""
        at = id - self._first_id
        if not 0 <= at < len(self._types) or self._types[at] is not None:
            raise UsageError(f"type id {id} was not reserved, or is defined already")
        self._types[at] = type

    def add(self, type: Type) -> int:
        """Add a type as it is, with a new id; the ids that it refers to are taken as ids of this builder."""
        self._types.append(type)
        return self._first_id + len(self._types) - 1

    # -- one method per kind

    def add_int(self, name: str, size: int, *, signed: bool = False, is_char: bool = False, is_bool: bool = False,
                bits: int | None = None) -> int:
        encoding = signed * T.INT_SIGNED | is_char * T.INT_CHAR | is_bool * T.INT_BOOL
        return self.add(T.Int(0, name, size, encoding, 0, 8 * size if bits is None else bits))

    def add_ptr(self, type: int) -> int:
        return self.add(T.Ptr(0, type))

    def add_array(self, type: int, nelems: int, index_type: int) -> int:
        return self.add(T.Array(0, type, index_type, nelems))

    def add_struct(self, name: str, size: int, members: Iterable[T.Member]) -> int:
        return self.add(T.Struct(0, name, size, tuple(members)))

    def add_union(self, name: str, size: int, members: Iterable[T.Member]) -> int:
        return self.add(T.Union(0, name, size, tuple(members)))

    def add_enum(self, name: str, values: Iterable[tuple[str, int]], *, size: int = 4) -> int:
        """An `Enum`, or an `Enum64` if ``size`` is 8 or a value needs it. Signed if a value is negative."""
        entries = tuple([T.Enumerator(n, v) for n, v in values])
        signed = any(v.value < 0 for v in entries)
        if size == 8 or any(not -(1 << 31) <= v.value < 1 << (31 if signed else 32) for v in entries):
            return self.add(T.Enum64(0, name, 8, signed, entries))
        return self.add(T.Enum(0, name, size, signed, entries))

    def add_fwd(self, name: str, *, is_union: bool = False) -> int:
        return self.add(T.Fwd(0, name, is_union))

    def add_typedef(self, name: str, type: int) -> int:
        return self.add(T.Typedef(0, name, type))

    def add_const(self, type: int) -> int:
        return self.add(T.Const(0, type))

    def add_volatile(self, type: int) -> int:
        return self.add(T.Volatile(0, type))

    def add_restrict(self, type: int) -> int:
        return self.add(T.Restrict(0, type))

    def add_func_proto(self, returns: int, params: Iterable[tuple[str, int]]) -> int:
        return self.add(T.FuncProto(0, returns, tuple([T.Param(n, t) for n, t in params])))

    def add_func(self, name: str, proto: int, linkage: int = T.LINKAGE_GLOBAL) -> int:
        return self.add(T.Func(0, name, proto, linkage))

    def add_var(self, name: str, type: int, linkage: int = T.LINKAGE_GLOBAL) -> int:
        return self.add(T.Var(0, name, type, linkage))

    def add_datasec(self, name: str, size: int, variables: Iterable[tuple[int, int, int]]) -> int:
        """``variables`` are (id of the `Var`, offset, size)."""
        return self.add(T.DataSec(0, name, size, tuple([T.SecVar(*v) for v in variables])))

    def add_float(self, name: str, size: int) -> int:
        return self.add(T.Float(0, name, size))

    def add_decl_tag(self, name: str, type: int, component_idx: int = -1) -> int:
        return self.add(T.DeclTag(0, name, type, component_idx))

    def add_type_tag(self, name: str, type: int) -> int:
        return self.add(T.TypeTag(0, name, type))

    def copy_type(self, source: Btf, id: int, *, memo: dict[int, int] | None = None) -> int:
        """Copy a type and all that it contains from other BTF, and return its id here.

        Structs that are only pointed to become forward declarations, or the copy of one kernel struct would bring
        half of the kernel along. ``memo`` (ids there → ids here) lets several copies share types.
        """
        ids = {0: 0} if memo is None else memo
        ids.setdefault(0, 0)
        forwards: dict[tuple[str, bool], int] = {}
        pending: list[int] = []

        def of(inner: int) -> int:
            if inner not in ids:
                ids[inner] = self.reserve()
                pending.append(inner)
            return ids[inner]

        def pointee(inner: int) -> int:
            """A pointer's target: qualifiers are kept, the struct behind them is only declared."""
            t = source.type(inner)
            if isinstance(t, (T.Struct, T.Union)) and t.name and inner not in ids:
                key = (t.name, isinstance(t, T.Union))
                if key not in forwards:
                    forwards[key] = self.add_fwd(t.name, is_union=key[1])
                return forwards[key]
            if isinstance(t, _QUALIFIERS) and inner not in ids:
                chain, end = [t], t.type
                while isinstance(q := source.type(end), _QUALIFIERS) and len(chain) < MAX_DEPTH:
                    chain.append(q)
                    end = q.type
                behind = source.type(end)
                if isinstance(behind, (T.Struct, T.Union)) and behind.name and end not in ids:
                    target = pointee(end)
                    for q in reversed(chain):
                        target = self.add(q._replace(type=target))
                    return target
            return of(inner)

        result = of(id)
        while pending:
            inner = pending.pop()
            t = source.type(inner)
            self.define(ids[inner], T.moved(t, pointee if isinstance(t, T.Ptr) else of))
        return result

    # -- output

    def emit(self, *, little_endian: bool | None = None) -> bytes:
        """The blob. Byte order is that of the existing or base blob, else this machine's."""
        if little_endian is None:
            model = self._existing or self._base
            little_endian = model.little_endian if model is not None else sys.byteorder == "little"
        words = array("I", self._words)
        for id, t in enumerate(self._types, self._first_id):
            if t is None:
                raise UsageError(f"type id {id} was reserved but never defined")
            try:
                words.extend(_ENCODERS[t.kind](t, self.add_string))
            except OverflowError:
                raise UsageError(
                    f"BTF type {id} ({t.kind.name} {t.name!r}) has a number that does not fit: {t}") from None
        return pack(words, bytes(self._strings), little_endian)

    def build(self) -> Btf:
        """What `emit` gives, parsed."""
        return Btf.parse(self.emit(), self._base)


def pack(words: array[int], strings: bytes, little_endian: bool) -> bytes:
    """A blob from its type section (words in this machine's byte order) and string section."""
    if little_endian != (sys.byteorder == "little"):
        words = array("I", words)
        words.byteswap()
    header = struct.pack("<>"[not little_endian] + _HEADER, MAGIC, 1, 0, 24, 0, 4 * len(words), 4 * len(words),
                         len(strings))
    return b"".join((header, words, strings))


def _info(kind: Kind, vlen: int = 0, flag: bool = False) -> int:
    if vlen > _MAX_VLEN:
        raise BtfError(f"a {kind.name} of {vlen} entries is too long for BTF ({_MAX_VLEN})")
    return flag << 31 | kind << 24 | vlen



def _int(t: T.Int, s: Callable[[str], int]) -> list[int]:
    return [s(t.name), _info(Kind.INT), t.size, t.encoding << 24 | t.bit_offset << 16 | t.bits]


def _reference(t: T.Ptr | T.Typedef | T.Const | T.Volatile | T.Restrict, s: Callable[[str], int]) -> list[int]:
    return [s(t.name), _info(t.kind), t.type]


def _array(t: T.Array, s: Callable[[str], int]) -> list[int]:
    return [0, _info(Kind.ARRAY), 0, t.type, t.index_type, t.nelems]


def _composite(t: T.Struct | T.Union, s: Callable[[str], int]) -> list[int]:
    flag = any(m.bit_size for m in t.members)
    out = [s(t.name), _info(t.kind, len(t.members), flag), t.size]
    for m in t.members:
        if flag and m.bit_offset >> 24:
            raise OverflowError
        out += (s(m.name), m.type, m.bit_size << 24 | m.bit_offset)
    return out


def _enum(t: T.Enum, s: Callable[[str], int]) -> list[int]:
    out = [s(t.name), _info(Kind.ENUM, len(t.values), t.signed), t.size]
    for v in t.values:
        if not -(1 << 31) <= v.value < 1 << 32:
            raise OverflowError
        out += (s(v.name), v.value & 0xFFFFFFFF)
    return out


def _enum64(t: T.Enum64, s: Callable[[str], int]) -> list[int]:
    out = [s(t.name), _info(Kind.ENUM64, len(t.values), t.signed), t.size]
    for v in t.values:
        if not -(1 << 63) <= v.value < 1 << 64:
            raise OverflowError
        out += (s(v.name), v.value & 0xFFFFFFFF, v.value >> 32 & 0xFFFFFFFF)
    return out


def _func_proto(t: T.FuncProto, s: Callable[[str], int]) -> list[int]:
    out = [0, _info(Kind.FUNC_PROTO, len(t.params)), t.type]
    for p in t.params:
        out += (s(p.name), p.type)
    return out


def _datasec(t: T.DataSec, s: Callable[[str], int]) -> list[int]:
    out = [s(t.name), _info(Kind.DATASEC, len(t.variables)), t.size]
    for v in t.variables:
        out += v
    return out


_ENCODERS: dict[Kind, Callable[..., list[int]]] = {
    Kind.INT: _int,
    Kind.PTR: _reference,
    Kind.ARRAY: _array,
    Kind.STRUCT: _composite,
    Kind.UNION: _composite,
    Kind.ENUM: _enum,
    Kind.FWD: lambda t, s: [s(t.name), _info(Kind.FWD, 0, t.is_union), 0],
    Kind.TYPEDEF: _reference,
    Kind.VOLATILE: _reference,
    Kind.CONST: _reference,
    Kind.RESTRICT: _reference,
    Kind.FUNC: lambda t, s: [s(t.name), _info(Kind.FUNC, t.linkage), t.type],
    Kind.FUNC_PROTO: _func_proto,
    Kind.VAR: lambda t, s: [s(t.name), _info(Kind.VAR), t.type, t.linkage],
    Kind.DATASEC: _datasec,
    Kind.FLOAT: lambda t, s: [s(t.name), _info(Kind.FLOAT), t.size],
    Kind.DECL_TAG: lambda t, s: [s(t.name), _info(Kind.DECL_TAG, 0, t.is_attribute), t.type,
                                 t.component_idx & 0xFFFFFFFF],
    Kind.TYPE_TAG: lambda t, s: [s(t.name), _info(Kind.TYPE_TAG, 0, t.is_attribute), t.type],
    Kind.ENUM64: _enum64,
}
