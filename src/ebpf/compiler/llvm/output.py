"""LLVM's object → ours: without DWARF (unless a debugger wants it), with the types of event records.

What remains is what a loader reads: code, data, maps, ``.BTF``, ``.BTF.ext``, and the section ``.ebpf`` that names, for
each map that carries events, the BTF type of its records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.btf.ext import BtfExt
from ebpf.btf.reader import Btf
from ebpf.btf.types import Kind, Member, Struct, Union
from ebpf.btf.writer import Builder
from ebpf.compiler import variables
from ebpf.compiler.c.types import (
    Array,
    CType,
    Enum,
    Float,
    Function,
    Int,
    Pointer,
    Qualified,
    Record,
    Typedef,
    Void,
)
from ebpf.compiler.llvm.ir import STAND_IN
from ebpf.object.elf import ElfImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_CALLX, _WIDE_LOAD = 0x8D, 0x18
_DROPPED = (".eh_frame", ".llvm_addrsig")
_DWARF = (".debug_*",)


def finish(elf: bytes, *, events: Mapping[str, CType], types: Sequence[CType] = ()) -> bytes:
    """The finished object. ``events`` maps a map's name to its records' type; ``types`` are further ones to carry."""
    image = ElfImage.parse(elf)
    image.drop(*_DROPPED, *(() if variables.is_on() else _DWARF), *_unused_constants(image))
    _restore_names(image)
    if events or types:
        section = image.get(".BTF")
        writer = TypeWriter(Btf.parse(bytes(section.data)) if section is not None else None)
        for t in types:
            writer.add(t)
        ids = {name: writer.add(t) for name, t in events.items()}
        if section is None:
            image.add(".BTF", writer.builder.emit(little_endian=True), align=4)
        else:
            image.replace(".BTF", writer.builder.emit())
        if ids:
            image.add_events(ids)
    return image.emit()


def iter_pointer_calls(elf: bytes) -> Iterator[tuple[str, int, int]]:
    """(file, line, column) of each call through a register, which no kernel executes for a program of its own."""
    if _CALLX not in elf[::8]:  # instructions are aligned, so that nearly every object ends here
        return
    image = ElfImage.parse(elf)
    section, ext = image.get(".BTF"), image.get(".BTF.ext")
    lines = BtfExt.parse(bytes(ext.data), Btf.parse(bytes(section.data))).line_info if section and ext else {}
    for code in image.sections:
        if not code.executable:
            continue
        data = bytes(code.data)
        at = 0
        while at < len(data):
            if data[at] == _CALLX:
                known = [line for line in lines.get(code.name, ()) if line.insn_off <= at]
                yield (known[-1].file, known[-1].line, known[-1].column) if known else ("", 0, 0)
            at += 16 if data[at] == _WIDE_LOAD else 8


def _restore_names(image: ElfImage) -> None:
    """Undo `ir.stand_in`."""
    for section in image.sections:
        if not section.executable or not section.name.startswith(STAND_IN):
            continue
        taken, rest = section.name, section.name[1:]
        name = next(s.name for s in image.symbols if s.name[1:] == rest and s.name[0] != STAND_IN)
        image.rename(taken, name)
        if (btf := image.get(".BTF")) is not None:  # of the same length, so that no offset changes
            image.replace(".BTF", bytes(btf.data).replace(b"\0%s\0" % taken.encode(), b"\0%s\0" % name.encode()))


def _unused_constants(image: ElfImage) -> list[str]:
    """Sections of constants that code no longer refers to: strings that became immediate stores to the stack. Each
    would be a map."""
    symbols = image.symbols
    used = {
        symbols[rel.symbol].section
        for section in image.sections
        if not section.name.startswith(".debug")
        for rel in image.relocations(section)
    }
    return [s.name for s in image.sections if s.name.startswith((".rodata.str", ".rodata.cst")) and s.index not in used]


class TypeWriter:
    """C types as BTF, behind what an object has already; a record that is there whole is used as it is."""

    def __init__(self, existing: Btf | None) -> None:
        self.builder = Builder(existing)
        self._existing = existing
        self._ids: dict[object, int] = {}
        self._index = 0

    def add(self, t: CType) -> int:
        """The type's id (0 for void)."""
        if isinstance(t, Void):
            return 0
        key: object = t.name if isinstance(t, (Int, Float)) else t
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = self._add(t)
        return found

    def _add(self, t: CType) -> int:
        b = self.builder
        if isinstance(t, Int):
            known = self._find(t.name, Kind.INT)
            return known or b.add_int(t.name, t.size, signed=t.signed, is_bool=t.name == "_Bool")
        if isinstance(t, Float):
            return b.add_float(t.name, t.size)
        if isinstance(t, Pointer):
            return b.add_ptr(self._behind_pointer(t.target))
        if isinstance(t, Array):
            return b.add_array(self.add(t.element), t.count or 0, self._index_type())
        if isinstance(t, Typedef):
            return b.add_typedef(t.name, self.add(t.type))
        if isinstance(t, Qualified):
            inner = self.add(t.type)
            if t.volatile:
                inner = b.add_volatile(inner)
            return b.add_const(inner) if t.const else inner
        if isinstance(t, Enum):
            known = self._find(t.tag, Kind.ENUM) if t.tag else 0
            return known or b.add_enum(t.tag or "", t.values.items(), size=t.underlying.size)
        if isinstance(t, Function):
            return b.add_func_proto(self.add(t.result), [("", self.add(p)) for p in t.parameters])
        assert isinstance(t, Record)
        return self._record(t)

    def _record(self, t: Record) -> int:
        if not t.ensure_complete():
            return self.builder.add_fwd(t.tag or "", is_union=t.kind == "union")
        known = self._find(t.tag, Kind.UNION if t.kind == "union" else Kind.STRUCT) if t.tag else 0
        if known and self._existing is not None:
            there = self._existing.type(known)
            fields = [f for f in t.fields if f.name is not None or not f.bit_size]
            # By members too: LLVM was given kernel records with used members only.
            if (
                isinstance(there, (Struct, Union))
                and there.size == t.size
                and [m.name for m in there.members] == [f.name or "" for f in fields]
            ):
                return known
        id = self._ids[t] = self.builder.reserve()
        members = tuple(
            [
                Member(f.name or "", self.add(f.type), f.bit_offset, f.bit_size)
                for f in t.fields
                if f.name is not None or not f.bit_size
            ]
        )
        self.builder.define(id, (Union if t.kind == "union" else Struct)(0, t.tag or "", t.size, members))
        return id

    def _behind_pointer(self, t: CType) -> int:
        """A record behind a pointer is only declared: its contents are not in the bytes that people look at."""
        if isinstance(t, Record) and t.tag and t not in self._ids:
            known = self._find(t.tag, Kind.UNION if t.kind == "union" else Kind.STRUCT)
            return known or self.builder.add_fwd(t.tag, is_union=t.kind == "union")
        return self.add(t)

    def _find(self, name: str, kind: Kind) -> int:
        return (self._existing.find(name, kind) or 0) if self._existing is not None else 0

    def _index_type(self) -> int:
        if not self._index:
            self._index = self._find("__ARRAY_SIZE_TYPE__", Kind.INT) or self.builder.add_int("__ARRAY_SIZE_TYPE__", 4)
        return self._index
