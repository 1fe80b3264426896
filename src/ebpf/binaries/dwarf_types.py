"""Functions and types of a program as BTF, out of its DWARF: so that nobody needs a second notion of C types.

What is asked for is translated with everything that lies in it; structs with a name behind pointers become forward
declarations, to be asked for in their turn. A big program's types hang together, and a script reads three of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ebpf.binaries import dwarf as D
from ebpf.btf import types as B
from ebpf.btf.writer import Builder
from ebpf.errors import BtfError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.binaries.dwarf import Dwarf, Entry, Ref, Unit

_RECORDS = {D.STRUCTURE: "struct", D.CLASS: "struct", D.UNION: "union", D.ENUMERATION: "enum", D.TYPEDEF: "typedef"}
_BOOLEAN, _FLOAT, _SIGNED, _SIGNED_CHAR, _UNSIGNED_CHAR, _UTF = 2, 4, 5, 6, 8, 0x10
_BY_REFERENCE = 4  # DW_CC_pass_by_reference: classes with a copy constructor of their own
_DEFAULTED_IN_CLASS = 1
_PLUS_CONSTANT = 0x23  # DW_OP_plus_uconst
_MOST_DEEP = 100
_SKIPPED = frozenset((D.CONST, D.VOLATILE, D.RESTRICT, D.ATOMIC))


class DebugTypes:
    """What a file's debug information says of its functions and types. `ElfError` from every method: it is damaged."""

    def __init__(self, dwarf: Dwarf) -> None:
        self.dwarf = dwarf
        self._scanned: dict[tuple[int, int], _Names] = {}

    @property
    def is_split(self) -> bool:
        """Whether the program says that its types are in other files (.dwo)."""
        return any(unit.is_split for unit in self.dwarf.units)

    def btf(self, name: str, near: str = "") -> bytes | None:
        """BTF with the function ``name()``, ``struct name``, ``union name``, ``enum name`` or typedef ``name``; None
        where there is none. Of several of one name the one in the unit of the function ``near``.
        """
        entry = self.function(name[:-2]) if name.endswith("()") else self._type(name, near)
        return None if entry is None else self._translate({name: entry})

    def functions_btf(self, names: frozenset[str]) -> bytes:
        """BTF with those of the functions ``names`` that there are."""
        found: dict[str, Entry] = {}
        for unit in self.dwarf.units:
            for key, offset in self._names(unit).items():
                if key.endswith("()") and key[:-2] in names:
                    found.setdefault(key, self.dwarf.entry(offset))
        return self._translate(found)

    def _translate(self, entries: dict[str, Entry]) -> bytes:
        translation = Translation()
        for name, entry in entries.items():
            try:
                if name.endswith("()"):
                    translation.function(entry, name[:-2])
                else:
                    translation.type(D.Ref(entry.unit.dwarf, entry.offset))
            except (BtfError, UsageError, RecursionError, OverflowError):
                raise self.dwarf._damaged(entry.offset) from None
        return translation.builder.emit()

    def function(self, name: str) -> Entry | None:
        """The entry of the function ``name`` (or of that linker's name)."""
        return next(self._iter_named(f"{name}()", ""), None)

    def _type(self, name: str, near: str) -> Entry | None:
        return next(self._iter_named(name if " " in name else f"typedef {name}", near), None)

    def _iter_named(self, key: str, near: str) -> Iterator[Entry]:
        if not self.dwarf.mentions(key.partition(" ")[2] or key.removesuffix("()")):
            return
        first = self.function(near) if near else None
        unit = first.unit if first is not None else None
        for dwarf in (self.dwarf, self.dwarf.shared):
            if dwarf is None:
                continue
            for one in ([unit] if unit is not None and unit.dwarf is dwarf else []) + [
                    u for u in dwarf.units if u is not unit]:
                offset = self._names(one).get(key)
                if offset is not None:
                    yield dwarf.entry(offset)

    def _names(self, unit: Unit) -> _Names:
        key = id(unit.dwarf), unit.start
        known = self._scanned.get(key)
        if known is None:
            known = self._scanned[key] = {}
            top = unit.dwarf.top(unit)
            if top is not None:
                _scan(top, known, 0)
        return known


_Names = dict[str, int]


def _scan(parent: Entry, into: _Names, depth: int) -> None:
    """Note the definitions among an entry's children by name: ``f()``, ``struct x``, ``typedef t``; a C++ function also
    by the linker's.
    """
    unit, dwarf = parent.unit, parent.unit.dwarf
    if not parent.abbreviation.has_children:
        return
    at = parent.after
    while at < unit.end:
        found = dwarf.skip_entry(unit, at)
        if found is None:
            return
        abbreviation, after = found
        tag = abbreviation.tag
        if tag not in _RECORDS and tag not in (D.SUBPROGRAM, D.NAMESPACE) and not abbreviation.has_children:
            at = after
            continue
        entry = dwarf.read_entry(unit, at)
        assert entry is not None
        if tag == D.SUBPROGRAM:
            _note_function(entry, into)
        elif tag in _RECORDS:
            if entry.name and not entry.get(D.AT_DECLARATION):
                into.setdefault(f"{_RECORDS[tag]} {entry.name}", entry.offset)
            if tag == D.CLASS or tag == D.STRUCTURE:
                if depth < 8:
                    _scan(entry, into, depth + 1)
        elif tag == D.NAMESPACE and depth < 8:
            _scan(entry, into, depth + 1)
        at = dwarf.behind(entry)


def _note_function(entry: Entry, into: _Names) -> None:
    if entry.get(D.AT_DECLARATION):
        return
    origin: Entry | None = entry
    for _ in range(4):  # a definition refers to its declaration, a copy of an inlined one to the pattern
        if origin is None:
            return
        for attribute in (D.AT_NAME, D.AT_LINKAGE_NAME, D.AT_MIPS_LINKAGE_NAME):
            name = origin.get(attribute)
            if isinstance(name, str) and name:
                into.setdefault(f"{name}()", entry.offset)
        origin = origin.follow(D.AT_ABSTRACT_ORIGIN) or origin.follow(D.AT_SPECIFICATION)


class Translation:
    """Entries to the types of one `Builder`."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._known: dict[Ref, int] = {}
        self._declared: dict[tuple[str, bool], int] = {}
        self._index_type = 0
        self._depth = 0

    def function(self, entry: Entry, name: str) -> int:
        """The function with its prototype; parameters by value of classes that are passed by reference are pointers."""
        params = [(p.name, self._passed(p)) for p in _parameters(entry)]
        result = _attribute(entry, D.AT_TYPE)
        returns = self.type(result) if isinstance(result, D.Ref) else 0
        if isinstance(result, D.Ref) and _is_by_reference(result):
            params.insert(0, ("", self.builder.add_ptr(returns)))
        if any(True for _ in _of_tag(entry, D.UNSPECIFIED_PARAMETERS)):
            params.append(("", 0))
        return self.builder.add_func(name, self.builder.add_func_proto(returns, params))

    def _passed(self, parameter: Entry) -> int:
        ref = _attribute(parameter, D.AT_TYPE)
        if not isinstance(ref, D.Ref):
            return 0
        made = self.type(ref)
        return self.builder.add_ptr(made) if _is_by_reference(ref) else made

    def type(self, ref: object, *, behind_pointer: bool = False) -> int:
        """The id of the type that ``ref`` leads to; 0 (void) for none."""
        if not isinstance(ref, D.Ref):
            return 0
        entry = ref.dwarf.entry(ref.offset)
        if behind_pointer and entry.name and entry.tag in (D.STRUCTURE, D.CLASS, D.UNION):
            return self._declaration(entry)
        # What stands between a pointer and its target is not kept: elsewhere the target may lie there by value.
        between = behind_pointer and (entry.tag in _SKIPPED or entry.tag == D.TYPEDEF)
        known = None if between else self._known.get(ref)
        if known is not None:
            return known
        self._depth += 1
        if self._depth > _MOST_DEEP:
            raise ref.dwarf._damaged(ref.offset)
        try:
            signed = entry.get(D.AT_SIGNATURE)
            if isinstance(signed, D.Ref):
                return self.type(signed, behind_pointer=behind_pointer)
            if between:
                return self._qualify(entry, self.type(entry.get(D.AT_TYPE), behind_pointer=True))
            make = _MAKERS.get(entry.tag)
            made = make(self, ref, entry) if make is not None else 0
        finally:
            self._depth -= 1
        self._known[ref] = made
        return made

    def _declaration(self, entry: Entry) -> int:
        key = entry.name, entry.tag == D.UNION
        made = self._declared.get(key)
        if made is None:
            made = self._declared[key] = self.builder.add_fwd(entry.name, is_union=entry.tag == D.UNION)
        return made

    def _base(self, ref: Ref, entry: Entry) -> int:
        size, encoding = _number(entry, D.AT_BYTE_SIZE), _number(entry, D.AT_ENCODING)
        if encoding == _FLOAT and size in (2, 4, 8, 12, 16):
            return self.builder.add_float(entry.name, size)
        if size not in (1, 2, 4, 8, 16):
            return self._bytes(entry.name, size)
        if encoding in (_BOOLEAN, _SIGNED, _SIGNED_CHAR, 7, _UNSIGNED_CHAR, _UTF):
            return self.builder.add_int(entry.name, size, signed=encoding in (_SIGNED, _SIGNED_CHAR),
                                        is_bool=encoding == _BOOLEAN)
        return self._bytes(entry.name, size)

    def _bytes(self, name: str, size: int) -> int:
        """What has a size and nothing that BTF could say: complex and decimal numbers."""
        return self.builder.add_struct(name, size & 0xFFFFFFFF, ())

    def _pointer(self, ref: Ref, entry: Entry) -> int:
        made = self.builder.reserve()
        self._known[ref] = made
        self.builder.define(made, B.Ptr(0, self.type(entry.get(D.AT_TYPE), behind_pointer=True)))
        return made

    def _qualified(self, ref: Ref, entry: Entry) -> int:
        return self._qualify(entry, self.type(entry.get(D.AT_TYPE)))

    def _qualify(self, entry: Entry, made: int) -> int:
        if entry.tag == D.TYPEDEF:
            return self.builder.add_typedef(entry.name or "unnamed", made)
        if entry.tag == D.CONST:
            return self.builder.add_const(made)
        return self.builder.add_volatile(made) if entry.tag == D.VOLATILE else made

    def _array(self, ref: Ref, entry: Entry) -> int:
        made = self.type(entry.get(D.AT_TYPE))
        if not self._index_type:
            self._index_type = self.builder.add_int("__ARRAY_SIZE_TYPE__", 4)
        for range_ in reversed(list(_of_tag(entry, D.SUBRANGE))):
            count, upper = range_.get(D.AT_COUNT), range_.get(D.AT_UPPER_BOUND)
            length = count if isinstance(count, int) else upper + 1 if isinstance(upper, int) else 0
            if not 0 <= length < 1 << 32:  # `[0]` is written as an upper bound of -1
                length = 0
            made = self.builder.add_array(made, length, self._index_type)
        return made

    def _record(self, ref: Ref, entry: Entry) -> int:
        if entry.get(D.AT_DECLARATION):
            return self._declaration(entry)
        made = self.builder.reserve()
        self._known[ref] = made
        members = []
        for child in entry.children():
            if child.tag == D.MEMBER or child.tag == D.INHERITANCE:
                member = self._member(child)
                if member is not None:
                    members.append(member)
        kind = B.Union if entry.tag == D.UNION else B.Struct
        size = _number(entry, D.AT_BYTE_SIZE)
        if size >> 32 or len(members) > 0xFFFF:
            raise ref.dwarf._damaged(ref.offset)
        self.builder.define(made, kind(0, entry.name, size, tuple(members)))
        return made

    def _member(self, entry: Entry) -> B.Member | None:
        """A member; of a base class without name, so that its members count as the derived one's. None: it has no place
        in the record (static members, virtual bases).
        """
        where = entry.get(D.AT_LOCATION)
        if isinstance(where, bytes):
            if where[:1] != bytes((_PLUS_CONSTANT,)):
                return None
            where, _ = D._uleb(where + b"\0", 1)
        bits = entry.get(D.AT_BIT_SIZE)
        at = entry.get(D.AT_DATA_BIT_OFFSET)
        if not isinstance(at, int):
            at = 8 * (where if isinstance(where, int) else 0)
            old = entry.get(D.AT_BIT_OFFSET)
            if isinstance(old, int) and isinstance(bits, int):  # DWARF 3: counted from the storage unit's high end
                size = _number(entry, D.AT_BYTE_SIZE) or _storage_bytes(entry)
                at += old if entry.unit.dwarf.order == ">" else 8 * size - old - bits
        if entry.get(D.AT_DECLARATION) or not 0 <= at < 1 << 32:
            return None
        width = bits if isinstance(bits, int) and 0 < bits < 256 else 0
        if width and at >> 24:
            return None
        name = "" if entry.tag == D.INHERITANCE else entry.name
        return B.Member(name, self.type(entry.get(D.AT_TYPE)), at, width)

    def _enum(self, ref: Ref, entry: Entry) -> int:
        if entry.get(D.AT_DECLARATION):
            return self.builder.add_int("int", 4, signed=True)
        values = []
        for one in _of_tag(entry, D.ENUMERATOR):
            value = one.get(D.AT_CONST_VALUE)
            if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
                values.append((one.name, value))
        size = _number(entry, D.AT_BYTE_SIZE) or 4
        if size not in (1, 2, 4, 8) or len(values) > 0xFFFF:
            raise ref.dwarf._damaged(ref.offset)
        return self.builder.add_enum(entry.name, values, size=size)

    def _prototype(self, ref: Ref, entry: Entry) -> int:
        made = self.builder.reserve()
        self._known[ref] = made
        params = tuple([B.Param(p.name, self.type(p.get(D.AT_TYPE))) for p in _of_tag(entry, D.PARAMETER)])
        self.builder.define(made, B.FuncProto(0, self.type(entry.get(D.AT_TYPE)), params))
        return made


_MAKERS: dict[int, Callable[[Translation, Ref, Entry], int]] = {
    D.BASE: Translation._base, D.POINTER: Translation._pointer, D.REFERENCE: Translation._pointer,
    D.RVALUE_REFERENCE: Translation._pointer, D.TYPEDEF: Translation._qualified, D.CONST: Translation._qualified,
    D.VOLATILE: Translation._qualified, D.RESTRICT: Translation._qualified, D.ATOMIC: Translation._qualified,
    D.ARRAY: Translation._array, D.STRUCTURE: Translation._record, D.CLASS: Translation._record,
    D.UNION: Translation._record, D.ENUMERATION: Translation._enum, D.SUBROUTINE: Translation._prototype,
}


def _number(entry: Entry, attribute: int) -> int:
    value = entry.get(attribute)
    return value if isinstance(value, int) and value >= 0 else 0


def _of_tag(entry: Entry, tag: int) -> Iterator[Entry]:
    return (child for child in entry.children() if child.tag == tag)


def _attribute(entry: Entry, attribute: int) -> object:
    """The attribute, the entry's own or that of what it is an instance of."""
    origin: Entry | None = entry
    for _ in range(4):
        if origin is None:
            return None
        if attribute in origin.attributes:
            return origin.get(attribute)
        origin = origin.follow(D.AT_ABSTRACT_ORIGIN) or origin.follow(D.AT_SPECIFICATION)
    return None


def _parameters(entry: Entry) -> Iterator[Entry]:
    """A function's parameters in order, with their names: those of the declaration where the definition has none."""
    found = list(_of_tag(entry, D.PARAMETER))
    if not found:
        origin = entry.follow(D.AT_ABSTRACT_ORIGIN) or entry.follow(D.AT_SPECIFICATION)
        found = list(_of_tag(origin, D.PARAMETER)) if origin is not None else []
    for one in found:
        name = _attribute(one, D.AT_NAME)
        one.attributes[D.AT_NAME] = name if isinstance(name, str) else ""
        yield one


def _is_by_reference(ref: Ref, depth: int = 0) -> bool:
    """Whether a parameter of this type is an address where it says a value: a C++ class that is not copied as bytes.

    Clang says so; of GCC's classes it shows in what they declare (Itanium C++ ABI, "non-trivial for the purposes of
    calls").
    """
    if depth > 8:
        return False
    entry = ref.dwarf.entry(ref.offset)
    target = entry.get(D.AT_TYPE)
    if entry.tag in _SKIPPED or entry.tag in (D.TYPEDEF, D.ARRAY):
        return isinstance(target, D.Ref) and _is_by_reference(target, depth + 1)
    if entry.tag not in (D.STRUCTURE, D.CLASS, D.UNION):
        return False
    if isinstance(signed := entry.get(D.AT_SIGNATURE), D.Ref):
        return _is_by_reference(signed, depth + 1)
    if entry.get(D.AT_DECLARATION):
        return True  # defined elsewhere, as Clang leaves the library's templates: `std::string`
    convention = _number(entry, D.AT_CALLING_CONVENTION)
    if convention:
        return convention == _BY_REFERENCE
    own_name = entry.name.partition("<")[0]
    for child in entry.children():
        if child.get(D.AT_VIRTUALITY):
            return True
        if child.tag == D.SUBPROGRAM and child.get(D.AT_DEFAULTED) != _DEFAULTED_IN_CLASS:
            if child.name.startswith("~") or (child.name.partition("<")[0] == own_name and _copies(child, entry)):
                return True
        elif child.tag in (D.MEMBER, D.INHERITANCE) and not child.get(D.AT_DECLARATION):
            inner = child.get(D.AT_TYPE)
            if isinstance(inner, D.Ref) and _is_by_reference(inner, depth + 1):
                return True
    return False


def _copies(constructor: Entry, record: Entry) -> bool:
    """Whether it makes one of ``record`` from another."""
    given = [p for p in _of_tag(constructor, D.PARAMETER) if not p.get(D.AT_ARTIFICIAL)]
    if not given:
        return False
    at: Entry | None = given[0].follow(D.AT_TYPE)
    if at is None or at.tag not in (D.REFERENCE, D.RVALUE_REFERENCE):
        return False
    while at is not None and (at.tag in _SKIPPED or at.tag in (D.REFERENCE, D.RVALUE_REFERENCE)):
        at = at.follow(D.AT_TYPE)
    return at is not None and at.offset == record.offset


def _storage_bytes(entry: Entry) -> int:
    """The size of the type that a bit-field is declared with."""
    at: Entry | None = entry
    for _ in range(8):
        at = at.follow(D.AT_TYPE) if at is not None else None
        if at is not None and (size := _number(at, D.AT_BYTE_SIZE)):
            return size
    return 4


def debug_types(path: str) -> DebugTypes | None:
    """The types of the file at ``path``, kept until it changes; None where it has no debug information.

    `ElfError` where the file or its debug information is damaged.
    """
    import os

    try:
        stat = os.stat(path)
    except OSError:
        return None
    return _debug_types(path, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4)
def _debug_types(path: str, mtime_ns: int, inode: int) -> DebugTypes | None:
    from ebpf.binaries.elf import Binary

    found = D.open_dwarf(Binary(path))
    return DebugTypes(found) if found else None
