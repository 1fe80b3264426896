"""Where the local variables of a program live, as the object's DWARF tells (clang's ``-g``, or our compiler's own)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from ebpf.binaries import dwarf as D, locations as L
from ebpf.binaries.dwarf_types import Translation
from ebpf.binaries.elf import Binary
from ebpf.btf.reader import Btf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.binaries.dwarf import Entry
    from ebpf.object.elf import ElfImage

_ABS64 = 2  # R_BPF_64_ABS64
_HOLD_ADDRESSES = (".debug_info", ".debug_addr", ".debug_loc", ".debug_loclists", ".debug_ranges", ".debug_rnglists")
_SECTION_BITS = 32  # each section of code gets so many bits of addresses


class Variable(NamedTuple):
    """A variable or parameter that is in scope somewhere; ``type`` is its BTF id in `Scopes.btf`, 0 for unknown."""

    name: str
    function: str
    line: int
    type: int
    entry: Entry

    @property
    def is_parameter(self) -> bool:
        return self.entry.tag == D.PARAMETER


class Scopes:
    """The functions of one object with their variables. `ElfError` from every method: the DWARF is damaged."""

    def __init__(self, image: ElfImage, name: str) -> None:
        self._sections = {section.name: section.index for section in image.sections if section.executable}
        binary = Binary(name, _with_addresses(image))
        self._dwarf = D.Dwarf(binary)
        self._lists = L.Lists(binary, self._dwarf)
        self._translation = Translation()
        self._functions = [entry for unit in self._dwarf.units if (top := self._dwarf.top(unit)) is not None
                           for entry in top.children() if entry.tag == D.SUBPROGRAM]
        self._btf: tuple[int, Btf] | None = None

    def address(self, section: str, offset: int) -> int:
        """Of an instruction, ``offset`` bytes into a section."""
        return (self._sections.get(section, 0) << _SECTION_BITS) + offset

    @property
    def btf(self) -> Btf:
        """The types of all variables that were asked for so far."""
        builder = self._translation.builder
        data = builder.emit()
        if self._btf is None or self._btf[0] != len(data):
            self._btf = len(data), Btf.parse(data)
        return self._btf[1]

    def expression(self, variable: Variable, address: int) -> bytes | None:
        """How to find the variable before the instruction at ``address``; None where it cannot be found."""
        return self._lists.expression(variable.entry, address)

    def at(self, address: int) -> list[tuple[str, list[Variable], int]]:
        """Functions that are inlined into each other at an instruction, innermost first: name, what is in scope, and
        the line where the next one in is called (0: none is).
        """
        for entry in self._functions:
            if self._covers(entry, address):
                return list(self._inside(entry, address))[::-1]
        return []

    def _covers(self, entry: Entry, address: int) -> bool:
        return any(low <= address < high for low, high in self._lists.ranges(entry))

    def _inside(self, function: Entry, address: int) -> Iterator[tuple[str, list[Variable], int]]:
        """``function`` (or an inlined one) and those inlined into it there."""
        found: list[Variable] = []
        inlined: list[Entry] = []
        name = _origin(function).name
        blocks = [function]
        while blocks:
            for entry in blocks.pop().children():
                if entry.tag in (D.PARAMETER, L.VARIABLE):
                    found.append(self._variable(entry, name))
                elif entry.tag == L.LEXICAL_BLOCK and (not self._lists.ranges(entry) or self._covers(entry, address)):
                    blocks.append(entry)
                elif entry.tag == L.INLINED_SUBROUTINE and self._covers(entry, address):
                    inlined.append(entry)
        called = next((line for entry in inlined if isinstance(line := entry.get(L.AT_CALL_LINE), int)), 0)
        yield name, [variable for variable in found if variable.name], called
        for entry in inlined:
            yield from self._inside(entry, address)

    def _variable(self, entry: Entry, function: str) -> Variable:
        origin = _origin(entry)
        line = origin.get(L.AT_DECL_LINE)
        return Variable(origin.name, function, line if isinstance(line, int) else 0,
                        self._translation.type(origin.get(D.AT_TYPE)), entry)


def _origin(entry: Entry) -> Entry:
    """Where name and type of an inlined one stand."""
    for attribute in (D.AT_ABSTRACT_ORIGIN, D.AT_SPECIFICATION):
        found = entry.follow(attribute)
        if found is not None:
            return found
    return entry


def _with_addresses(image: ElfImage) -> bytes:
    """The file with addresses that tell sections of code apart: all of an object's begin at 0."""
    patched: dict[str, bytes] = {}
    symbols = image.symbols
    for section in image.sections:
        if section.name not in _HOLD_ADDRESSES:
            continue
        data = bytearray(section.data)
        for rel in image.relocations(section):
            symbol = symbols[rel.symbol]
            code = rel.type == _ABS64 and symbol.section < len(image.sections)
            if code and image.sections[symbol.section].executable:
                (there,) = struct.unpack_from("<Q", data, rel.offset)
                struct.pack_into("<Q", data, rel.offset,
                                 there + symbol.value + (symbol.section << _SECTION_BITS) & (1 << 64) - 1)
        patched[section.name] = bytes(data)
    from ebpf.object.elf import ElfImage

    copy = ElfImage.parse(image.emit())
    for name, contents in patched.items():
        copy.replace(name, contents)
    return copy.emit()
