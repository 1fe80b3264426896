"""A relocatable ELF file of this machine, read strictly: what the loader may put into memory that runs.

Everything is checked here: bounds, types of sections, symbols and relocations. What LLVM never writes for the code that
we give it (writable data, thread-local data, constructors) is refused.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ebpf.errors import ElfError

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")
_IDENT = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
_REL = 1
MACHINES = {"x86_64": 62, "aarch64": 183}

_PROGBITS, _SYMTAB, _RELA_TYPE, _NOBITS, _REL_TYPE = 1, 2, 4, 8, 9
_WRITE, _ALLOC, _EXEC, _TLS = 1, 2, 4, 0x400
_UNDEF, _ABS, _COMMON = 0, 0xFFF1, 0xFFF2
_MAX_ALIGN = 4096


class Section(NamedTuple):
    """A part that goes into memory. ``code``: it is run, otherwise only read."""

    number: int
    name: str
    data: bytes
    align: int
    code: bool


class Symbol(NamedTuple):
    """``section`` is the index of a `Section`; None: somebody else's, found by name."""

    name: str
    section: int | None
    value: int


class Relocation(NamedTuple):
    """At ``offset`` of ``section``: a value made of ``symbol`` and ``addend``, as ``type`` says."""

    section: int
    offset: int
    type: int
    symbol: Symbol
    addend: int


class Relocatable(NamedTuple):
    sections: tuple[Section, ...]
    symbols: tuple[Symbol, ...]  #: those with a name
    relocations: tuple[Relocation, ...]


def read_relocatable(data: bytes, machine: str) -> Relocatable:
    """Read an object file for ``machine`` (``"x86_64"``, ``"aarch64"``). Raises `ElfError`."""
    try:
        return _read(data, machine)
    except (struct.error, IndexError, UnicodeDecodeError):
        raise ElfError("an object of native code is cut short or damaged") from None


def _refuse(what: str) -> ElfError:
    return ElfError(f"an object of native code is not as expected: {what}")


def _slice(data: bytes, start: int, size: int) -> bytes:
    if start + size > len(data):
        raise _refuse("it is cut short")
    return data[start:start + size]


def _text(table: bytes, at: int) -> str:
    end = table.index(0, at) if at < len(table) and 0 in table[at:] else -1
    if end < 0:
        raise _refuse("a name without an end")
    return table[at:end].decode("ascii")


def _read(data: bytes, machine: str) -> Relocatable:
    ident, kind, number, _, _, _, table, _, _, _, _, entry, count, names_index = _HEADER.unpack_from(data)
    if ident[:7] != _IDENT or kind != _REL or number != MACHINES[machine]:
        raise _refuse(f"no relocatable file for {machine}")
    if entry != _SECTION.size or not count:
        raise _refuse("its table of sections")
    headers = [_SECTION.unpack(_slice(data, table + n * entry, entry)) for n in range(count)]
    names = _slice(data, headers[names_index][4], headers[names_index][5])
    sections: dict[int, Section] = {}
    symbols: list[Symbol] = []
    symtab = None
    for index, (name, type, flags, _, start, size, link, _, align, _) in enumerate(headers):
        if type == _SYMTAB:
            if symtab is not None:
                raise _refuse("two tables of symbols")
            symtab = index
            raw = _slice(data, start, size)
            strings = _slice(data, headers[link][4], headers[link][5])
            symbols = [_symbol(row, strings, headers) for row in _SYMBOL.iter_unpack(raw)]
        if not flags & _ALLOC:
            continue
        label = _text(names, name)
        if label == ".eh_frame":  # nothing unwinds through these frames
            continue
        if type != _PROGBITS or flags & (_WRITE | _TLS) or align > _MAX_ALIGN or align & (align - 1):
            raise _refuse(f"its section {label!r} (type {type}, flags {flags:#x})")
        sections[index] = Section(index, label, _slice(data, start, size), max(align, 1), bool(flags & _EXEC))
    relocations = []
    for _, type, _, _, start, size, link, target, _, _ in headers:
        if type == _REL_TYPE:
            raise _refuse("relocations without addends")
        if type != _RELA_TYPE or target not in sections:
            continue
        if link != symtab:
            raise _refuse("relocations of other symbols")
        for offset, info, addend in _RELA.iter_unpack(_slice(data, start, size)):
            if offset >= len(sections[target].data):
                raise _refuse("a relocation outside of its section")
            relocations.append(Relocation(target, offset, info & 0xFFFFFFFF, symbols[info >> 32], addend))
    for symbol in symbols:
        if symbol.section is None:
            continue
        section = sections.get(symbol.section)
        if section is not None and symbol.value > len(section.data):
            raise _refuse(f"symbol {symbol.name!r} outside of its section")
    if any(r.symbol.section is not None and r.symbol.section not in sections for r in relocations):
        raise _refuse("a relocation refers to a section that is not loaded")
    return Relocatable(tuple(sections.values()), tuple(s for s in symbols if s.name), tuple(relocations))


def _symbol(row: tuple[int, ...], strings: bytes, headers: list[tuple[int, ...]]) -> Symbol:
    name, _, _, section, value, _ = row
    text = _text(strings, name) if name else ""
    if section == _UNDEF:
        return Symbol(text, None, 0)
    if section == _ABS and not value:  # the name of the source file
        return Symbol("", -1, 0)
    if section >= len(headers):
        raise _refuse(f"symbol {text!r} is of no section")
    return Symbol(text, section, value)
