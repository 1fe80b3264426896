"""DWARF 2 to 5, as far as types and functions need it: units, abbreviations, and entries with their attributes.

Entries are read where they lie, when somebody asks: a C library's debug information has millions. What is damaged is an
`ElfError`. Source: DWARF 5 (https://dwarfstd.org), sections 7.5 (formats), 7.27 (forms).
"""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.errors import ElfError, TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.binaries.elf import Binary

    Form = Callable[[bytes, int, "Unit"], tuple[Any, int]]  # data, position, unit → value, new position

# Tags.
ARRAY, CLASS, ENUMERATION, PARAMETER, MEMBER, POINTER, REFERENCE = 0x01, 0x02, 0x04, 0x05, 0x0D, 0x0F, 0x10
STRUCTURE, SUBROUTINE, TYPEDEF, UNION, UNSPECIFIED_PARAMETERS, INHERITANCE = 0x13, 0x15, 0x16, 0x17, 0x18, 0x1C
SUBRANGE, BASE, CONST, ENUMERATOR, SUBPROGRAM, VOLATILE, RESTRICT = 0x21, 0x24, 0x26, 0x28, 0x2E, 0x35, 0x37
NAMESPACE, RVALUE_REFERENCE, ATOMIC = 0x39, 0x42, 0x47

# Attributes.
AT_SIBLING, AT_NAME, AT_BYTE_SIZE, AT_BIT_OFFSET, AT_BIT_SIZE, AT_LOW_PC = 0x01, 0x03, 0x0B, 0x0C, 0x0D, 0x11
AT_CONST_VALUE, AT_UPPER_BOUND, AT_ABSTRACT_ORIGIN, AT_CALLING_CONVENTION, AT_COUNT = 0x1C, 0x2F, 0x31, 0x36, 0x37
AT_LOCATION, AT_DECLARATION, AT_ENCODING, AT_SPECIFICATION, AT_TYPE, AT_SIGNATURE = 0x38, 0x3C, 0x3E, 0x47, 0x49, 0x69
AT_ARTIFICIAL, AT_VIRTUALITY, AT_DEFAULTED = 0x34, 0x4C, 0x8B
AT_DATA_BIT_OFFSET, AT_LINKAGE_NAME, AT_MIPS_LINKAGE_NAME = 0x6B, 0x6E, 0x2007
_AT_STR_OFFSETS_BASE, _AT_ADDR_BASE, _AT_DWO_NAME, _AT_GNU_DWO_NAME = 0x72, 0x73, 0x76, 0x2130

_FORM_INDIRECT, _FORM_IMPLICIT_CONST = 0x16, 0x21
_UNIT_TYPE, _UNIT_SKELETON, _UNIT_SPLIT, _UNIT_SPLIT_TYPE = 2, 4, 5, 6
_SECTIONS = ("info", "abbrev", "str", "line_str", "str_offsets", "addr", "types")
_MOST_DEEP = 64


class Ref(NamedTuple):
    """Where an entry is: the file, and the offset in its .debug_info (behind that, in .debug_types)."""

    dwarf: Dwarf
    offset: int


class Abbreviation(NamedTuple):
    """What entries of one code are made of: (attribute, form, implicit constant); ``size`` of all of them, -1 if it
    varies.
    """

    tag: int
    has_children: bool
    specs: tuple[tuple[int, int, int], ...]
    size: int


class Unit:
    """One compilation unit: where its entries are and how they are written."""

    __slots__ = ("abbreviations", "address_base", "address_size", "dwarf", "end", "first", "is_split", "start",
                 "string_base", "version", "wide")

    def __init__(self, dwarf: Dwarf, start: int, end: int, version: int, wide: bool, address_size: int) -> None:
        self.dwarf, self.start, self.end = dwarf, start, end
        self.version, self.wide, self.address_size = version, wide, address_size
        self.first = start
        self.abbreviations: dict[int, Abbreviation] = {}
        self.string_base = self.address_base = 0
        #: its entries are in a file of their own (.dwo)
        self.is_split = False


class Entry:
    """A debugging information entry: ``tag``, and its attributes as `get` finds them."""

    __slots__ = ("abbreviation", "after", "attributes", "offset", "unit")

    def __init__(self, unit: Unit, offset: int, abbreviation: Abbreviation, attributes: dict[int, Any],
                 after: int) -> None:
        self.unit, self.offset, self.abbreviation, self.attributes = unit, offset, abbreviation, attributes
        self.after = after  #: where its children begin, or what follows it

    @property
    def tag(self) -> int:
        return self.abbreviation.tag

    def get(self, attribute: int) -> Any:
        """The attribute's value (int, str, bytes of a block, `Ref`), None where it is not there."""
        return self.attributes.get(attribute)

    @property
    def name(self) -> str:
        name = self.attributes.get(AT_NAME)
        return name if isinstance(name, str) else ""

    def follow(self, attribute: int) -> Entry | None:
        """The entry that ``attribute`` refers to."""
        ref = self.attributes.get(attribute)
        return ref.dwarf.entry(ref.offset) if isinstance(ref, Ref) else None

    def children(self) -> Iterator[Entry]:
        if not self.abbreviation.has_children:
            return
        dwarf, at = self.unit.dwarf, self.after
        while at < self.unit.end:
            child = dwarf.read_entry(self.unit, at)
            if child is None:
                return
            yield child
            at = dwarf.behind(child)


class Dwarf:
    """The debug information of one file. ``other``: finds the file that a dwz-compressed one shares its parts with."""

    def __init__(self, binary: Binary, other: Callable[[], Dwarf | None] | None = None) -> None:
        self.path = binary.path
        self.order = binary.order
        self._other = other
        self._shared: Dwarf | None = None
        contents = {name: _contents(binary, name) for name in _SECTIONS}
        # Type units of DWARF 4 have a section of their own, and are looked up as those of DWARF 5 are.
        self._types_from = len(contents["info"])
        self.data = contents["info"] + contents["types"]
        self._abbreviations, self._strings, self._line_strings = (
            contents["abbrev"], contents["str"], contents["line_str"])
        self._string_offsets, self._addresses = contents["str_offsets"], contents["addr"]
        self._units: list[Unit] | None = None
        self._tables: dict[tuple[int, bool, int, int], dict[int, Abbreviation]] = {}
        self._signatures: dict[int, int] = {}
        self._entries: dict[int, Entry] = {}

    def __bool__(self) -> bool:
        return bool(self.data)

    def mentions(self, name: str) -> bool:
        """Whether the text ``name`` is in it anywhere: no entry is looked at."""
        raw = name.encode("utf-8", "surrogateescape") + b"\0"
        return raw in self._strings or raw in self.data or (self.shared is not None and self.shared.mentions(name))

    @property
    def shared(self) -> Dwarf | None:
        """The file that dwz moved common parts into."""
        if self._other is not None:
            self._shared, self._other = self._other(), None
        return self._shared

    # ---- units ----

    @property
    def units(self) -> list[Unit]:
        """All of the file's, type units too. `ElfError` where a header is damaged."""
        if self._units is None:
            try:
                self._units = list(self._iter_units())
            except (struct.error, IndexError, ValueError):
                raise self._damaged() from None
        return self._units

    def _iter_units(self) -> Iterator[Unit]:
        at, data, order = 0, self.data, self.order
        while at + 11 < len(data):
            start = at
            (length,) = struct.unpack_from(order + "I", data, at)
            at, wide = at + 4, length == 0xFFFFFFFF
            if wide:
                (length,) = struct.unpack_from(order + "Q", data, at)
                at += 8
            end = at + length
            (version,) = struct.unpack_from(order + "H", data, at)
            if end > len(data) or not 2 <= version <= 5:
                raise self._damaged(start)
            at += 2
            word = order + ("Q" if wide else "I")
            size = 8 if wide else 4
            kind = _UNIT_TYPE if start >= self._types_from else 0
            if version >= 5:
                kind, address_size = data[at], data[at + 1]
                (abbreviations,) = struct.unpack_from(word, data, at + 2)
                at += 2 + size
            else:
                (abbreviations,) = struct.unpack_from(word, data, at)
                address_size = data[at + size]
                at += size + 1
            unit = Unit(self, start, end, version, wide, address_size)
            if kind in (_UNIT_SKELETON, _UNIT_SPLIT):
                at += 8
            elif kind in (_UNIT_TYPE, _UNIT_SPLIT_TYPE):
                signature, offset = struct.unpack_from(order + ("QQ" if wide else "QI"), data, at)
                self._signatures[signature] = start + offset
                at += 8 + size
            unit.first = at
            unit.abbreviations = self._table(unit, abbreviations)
            unit.is_split = kind in (_UNIT_SKELETON, _UNIT_SPLIT, _UNIT_SPLIT_TYPE)
            self._take_bases(unit)
            yield unit
            at = end

    def _take_bases(self, unit: Unit) -> None:
        top = self.read_entry(unit, unit.first)
        if top is None:
            return
        unit.string_base = _number(top.get(_AT_STR_OFFSETS_BASE), 16 if unit.wide else 8)
        unit.address_base = _number(top.get(_AT_ADDR_BASE), 16 if unit.wide else 8)
        unit.is_split = unit.is_split or _AT_DWO_NAME in top.attributes or _AT_GNU_DWO_NAME in top.attributes

    def unit_at(self, offset: int) -> Unit:
        from bisect import bisect_right

        units = self.units
        index = bisect_right(units, offset, key=lambda unit: unit.start) - 1
        if index < 0 or not units[index].first <= offset < units[index].end:
            raise self._damaged(offset)
        return units[index]

    def _table(self, unit: Unit, at: int) -> dict[int, Abbreviation]:
        key = at, unit.wide, unit.address_size, unit.version
        known = self._tables.get(key)
        if known is not None:
            return known
        table: dict[int, Abbreviation] = {}
        data, where = self._abbreviations, at
        while where < len(data):
            code, where = _uleb(data, where)
            if not code:
                break
            tag, where = _uleb(data, where)
            has_children = bool(data[where])
            where += 1
            specs = []
            while True:
                attribute, where = _uleb(data, where)
                form, where = _uleb(data, where)
                constant = 0
                if form == _FORM_IMPLICIT_CONST:
                    constant, where = _sleb(data, where)
                if not attribute and not form:
                    break
                specs.append((attribute, form, constant))
            table[code] = Abbreviation(tag, has_children, tuple(specs), _size_of(unit, specs))
        self._tables[key] = table
        return table

    # ---- entries ----

    def entry(self, offset: int) -> Entry:
        """The entry at ``offset``. `ElfError` where none begins."""
        known = self._entries.get(offset)
        if known is None:
            known = self.read_entry(self.unit_at(offset), offset)
            if known is None:
                raise self._damaged(offset)
            self._entries[offset] = known
        return known

    def top(self, unit: Unit) -> Entry | None:
        return self.read_entry(unit, unit.first)

    def read_entry(self, unit: Unit, offset: int) -> Entry | None:
        """The entry at ``offset``; None where a list of children ends."""
        data = self.data
        try:
            code, at = _uleb(data, offset)
            if not code:
                return None
            abbreviation = unit.abbreviations[code]
            attributes: dict[int, Any] = {}
            for attribute, form, constant in abbreviation.specs:
                if form == _FORM_IMPLICIT_CONST:
                    attributes[attribute] = constant
                    continue
                while form == _FORM_INDIRECT:
                    form, at = _uleb(data, at)
                attributes[attribute], at = _FORMS[form](data, at, unit)
        except (KeyError, IndexError, struct.error):
            raise self._damaged(offset) from None
        if at > unit.end:
            raise self._damaged(offset)
        return Entry(unit, offset, abbreviation, attributes, at)

    def behind(self, entry: Entry) -> int:
        """Where what follows ``entry`` and its children begins."""
        if not entry.abbreviation.has_children:
            return entry.after
        sibling = entry.get(AT_SIBLING)
        if isinstance(sibling, Ref) and sibling.dwarf is self and entry.after < sibling.offset <= entry.unit.end:
            return sibling.offset
        at, deep, unit = entry.after, 1, entry.unit
        while deep and at < unit.end:
            found = self.skip_entry(unit, at)
            if found is None:
                at, deep = at + 1, deep - 1
            else:
                abbreviation, at = found
                deep += abbreviation.has_children
        return at

    def skip_entry(self, unit: Unit, offset: int) -> tuple[Abbreviation, int] | None:
        """What the entry at ``offset`` is made of and where it ends; its values are not looked at."""
        data = self.data
        try:
            code, at = _uleb(data, offset)
            if not code:
                return None
            abbreviation = unit.abbreviations[code]
            if abbreviation.size >= 0:
                return abbreviation, at + abbreviation.size
            for _, form, _ in abbreviation.specs:
                size = _FIXED.get(form)
                if size is not None:
                    at += size
                    continue
                while form == _FORM_INDIRECT:
                    form, at = _uleb(data, at)
                if form != _FORM_IMPLICIT_CONST:
                    _, at = _FORMS[form](data, at, unit)
            return abbreviation, at
        except (KeyError, IndexError, struct.error):
            raise self._damaged(offset) from None

    # ---- what forms need of the file ----

    def string(self, section: bytes, at: int) -> str:
        end = section.find(b"\0", at)
        if at < 0 or end < 0:
            raise IndexError
        return section[at:end].decode("utf-8", "replace")

    def indexed_string(self, unit: Unit, index: int) -> str:
        size = 8 if unit.wide else 4
        (at,) = struct.unpack_from(self.order + ("Q" if unit.wide else "I"), self._string_offsets,
                                   unit.string_base + index * size)
        return self.string(self._strings, at)

    def indexed_address(self, unit: Unit, index: int) -> int:
        size = unit.address_size
        at = unit.address_base + index * size
        if at + size > len(self._addresses):
            raise IndexError
        return int.from_bytes(self._addresses[at:at + size], _ENDS[self.order])

    def signed_type(self, signature: int) -> Ref | None:
        if self._units is None:
            return None  # asked while the units' own heads are read: those have no types
        offset = self._signatures.get(signature)
        return None if offset is None else Ref(self, offset)

    def _damaged(self, offset: int | None = None) -> ElfError:
        return ElfError(f"{self.path}: damaged debug information" + ("" if offset is None else f" at {offset:#x}"))


_ENDS: dict[str, Any] = {"<": "little", ">": "big"}


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _contents(binary: Binary, name: str) -> bytes:
    for section in binary.sections:
        if section.name == f".debug_{name}":
            return binary.whole_contents(section)
    return b""


def _uleb(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > _MOST_DEEP + 7:
            raise IndexError


def _sleb(data: bytes, at: int) -> tuple[int, int]:
    start = at
    value, at = _uleb(data, at)
    bits = 7 * (at - start)
    return (value - (1 << bits) if value >> bits - 1 else value), at


# ---- forms: a function each ----

def _fixed(size: int) -> Form:
    def read(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
        raw = data[at:at + size]
        if len(raw) != size:
            raise IndexError
        return int.from_bytes(raw, _ENDS[unit.dwarf.order]), at + size

    return read


def _address(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
    return _fixed(unit.address_size)(data, at, unit)


def _offset(data: bytes, at: int, unit: Unit) -> tuple[int, int]:
    size = 8 if unit.wide else 4
    value: int
    (value,) = struct.unpack_from(unit.dwarf.order + ("Q" if unit.wide else "I"), data, at)
    return value, at + size


def _block(size: Form) -> Form:
    def read(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
        length, at = size(data, at, unit)
        if at + length > len(data):
            raise IndexError
        return data[at:at + length], at + length

    return read


def _leb(data: bytes, at: int, unit: Unit) -> tuple[int, int]:
    return _uleb(data, at)


def _signed_leb(data: bytes, at: int, unit: Unit) -> tuple[int, int]:
    return _sleb(data, at)


def _text(data: bytes, at: int, unit: Unit) -> tuple[str, int]:
    end = data.find(b"\0", at)
    if end < 0:
        raise IndexError
    return data[at:end].decode("utf-8", "replace"), end + 1


def _string_at(section: str) -> Form:
    def read(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
        offset, at = _offset(data, at, unit)
        return unit.dwarf.string(getattr(unit.dwarf, section), offset), at

    return read


def _shared_string(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
    offset, at = _offset(data, at, unit)
    other = unit.dwarf.shared
    return (None if other is None else other.string(other._strings, offset)), at


def _indexed_string(size: Form) -> Form:
    def read(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
        index, at = size(data, at, unit)
        # The unit's own head may name itself before it says where its strings are.
        return (unit.dwarf.indexed_string(unit, index) if unit.string_base else None), at

    return read


def _indexed_address(size: Form) -> Form:
    def read(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
        index, at = size(data, at, unit)
        return (unit.dwarf.indexed_address(unit, index) if unit.address_base else None), at

    return read


def _near(size: Form) -> Form:
    def read(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
        offset, at = size(data, at, unit)
        return Ref(unit.dwarf, unit.start + offset), at

    return read


def _far(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
    # DWARF 2 wrote these as addresses.
    offset, at = _address(data, at, unit) if unit.version == 2 else _offset(data, at, unit)
    return Ref(unit.dwarf, offset), at


def _shared(size: Form) -> Form:
    def read(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
        offset, at = size(data, at, unit)
        other = unit.dwarf.shared
        return (None if other is None else Ref(other, offset)), at

    return read


def _signature(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
    signature, at = _fixed(8)(data, at, unit)
    return unit.dwarf.signed_type(signature), at


def _present(data: bytes, at: int, unit: Unit) -> tuple[Any, int]:
    return 1, at


_FORMS: dict[int, Form] = {
    0x01: _address, 0x03: _block(_fixed(2)), 0x04: _block(_fixed(4)), 0x05: _fixed(2), 0x06: _fixed(4),
    0x07: _fixed(8), 0x08: _text, 0x09: _block(_leb), 0x0A: _block(_fixed(1)), 0x0B: _fixed(1), 0x0C: _fixed(1),
    0x0D: _signed_leb, 0x0E: _string_at("_strings"), 0x0F: _leb, 0x10: _far, 0x11: _near(_fixed(1)),
    0x12: _near(_fixed(2)), 0x13: _near(_fixed(4)), 0x14: _near(_fixed(8)), 0x15: _near(_leb), 0x17: _offset,
    0x18: _block(_leb), 0x19: _present, 0x1A: _indexed_string(_leb), 0x1B: _indexed_address(_leb),
    0x1C: _shared(_fixed(4)), 0x1D: _shared_string, 0x1E: _fixed(16), 0x1F: _string_at("_line_strings"),
    0x20: _signature, 0x22: _leb, 0x23: _leb, 0x24: _shared(_fixed(8)), 0x25: _indexed_string(_fixed(1)),
    0x26: _indexed_string(_fixed(2)), 0x27: _indexed_string(_fixed(3)), 0x28: _indexed_string(_fixed(4)),
    0x29: _indexed_address(_fixed(1)), 0x2A: _indexed_address(_fixed(2)), 0x2B: _indexed_address(_fixed(3)),
    0x2C: _indexed_address(_fixed(4)), 0x1F01: _leb, 0x1F02: _leb, 0x1F20: _shared(_offset), 0x1F21: _shared_string,
}

# Bytes of values that have the same size everywhere; and of those that depend on the unit.
_FIXED = {0x05: 2, 0x06: 4, 0x07: 8, 0x0B: 1, 0x0C: 1, 0x11: 1, 0x12: 2, 0x13: 4, 0x14: 8, 0x19: 0, 0x1C: 4, 0x1E: 16,
          0x20: 8, 0x21: 0, 0x24: 8, 0x25: 1, 0x26: 2, 0x27: 3, 0x28: 4, 0x29: 1, 0x2A: 2, 0x2B: 3, 0x2C: 4}
_OFFSETS = frozenset((0x0E, 0x17, 0x1D, 0x1F, 0x1F20, 0x1F21))


def _size_of(unit: Unit, specs: list[tuple[int, int, int]]) -> int:
    total = 0
    for _, form, _ in specs:
        size = _FIXED.get(form)
        if size is None and form in _OFFSETS:
            size = 8 if unit.wide else 4
        elif form == 0x01:
            size = unit.address_size
        elif form == 0x10:
            size = unit.address_size if unit.version == 2 else 8 if unit.wide else 4
        if size is None:
            return -1
        total += size
    return total


def open_dwarf(binary: Binary) -> Dwarf | None:
    """The debug information of ``binary``, its own or its debug file's; None where there is none."""
    from itertools import chain

    from ebpf.binaries.debug_files import iter_symbol_files

    for file in chain((binary,), iter_symbol_files(binary)):
        if any(section.name == ".debug_info" for section in file.sections):
            return Dwarf(file, partial(_alternate, file))
    return None


def _alternate(file: Binary) -> Dwarf | None:
    """The file that ``.gnu_debugaltlink`` names (dwz -m)."""
    import os

    from ebpf.binaries.elf import Binary

    section = next((s for s in file.sections if s.name == ".gnu_debugaltlink"), None)
    if section is None:
        return None
    name = file.contents(section).partition(b"\0")[0].decode(errors="replace")
    try:
        return Dwarf(Binary(os.path.join(os.path.dirname(os.path.realpath(file.path)), name)))
    except (TargetNotFound, ElfError):
        return None
