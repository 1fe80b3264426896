"""`read_object`: ELF bytes → `Object`.

The rules are libbpf's (its documentation, "Program types and ELF sections"): a function in a section of its own name
is a program, one in ``.text`` or a static one a subprogram; ``.maps``, data sections and externs are found through
BTF.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from typing import TYPE_CHECKING

from ebpf.errors import ElfError
from ebpf.object.elf import (
    R_BPF_64_32,
    R_BPF_64_64,
    SHN_ABS,
    SHN_UNDEF,
    SHT_NOBITS,
    STB_LOCAL,
    STB_WEAK,
    STT_FUNC,
    STT_NOTYPE,
    STT_SECTION,
    ElfImage,
)
from ebpf.object.spec import Extern, MapSpec, Object, ProgramSpec, Relocation

if TYPE_CHECKING:
    from typing import Any

    from ebpf.btf import Btf
    from ebpf.btf.ext import BtfExt
    from ebpf.btf.types import DataSec
    from ebpf.object.elf import Rel, Section, Symbol

_CALL, _LDDW = 0x85, 0x18
_LOW_BYTE = 0 if sys.byteorder == "little" else 3
_NO_RECORDS: list[Any] = [(), (), ()]
_MULTIPLES_OF_8 = bytes(range(0, 256, 8))
_PSEUDO_CALL = 1


def read_object(data: bytes | bytearray | memoryview, name: str = "object") -> Object:
    """What is in the object file ``data``. ``name`` is what it is called in messages, and the prefix of its data maps.

    Raises `ElfError` or `BtfError` if it is damaged or no BPF object.
    """
    return _Reader(ElfImage.parse(data), name).read()


class _Function:
    """A function's place, before its relocations are understood."""

    __slots__ = ("end", "is_global", "name", "section", "start")

    def __init__(self, name: str, section: Section, start: int, end: int, is_global: bool) -> None:
        self.name = name
        self.section = section
        self.start = start
        self.end = end
        self.is_global = is_global


class _Lines:
    """The records of one table of ``.BTF.ext`` for one section, which functions take their parts of, in order."""

    __slots__ = ("at", "offsets", "place", "table")

    def __init__(self, table: Any, section: str) -> None:
        self.offsets: list[int] = []
        self.place = 0  # up to where, in bytes, functions have taken records; `at` of them
        self.at = 0
        self.table = table
        if table:
            offsets = table.offsets
            # (The lowest byte of each word, taken at once.)
            if offsets.tobytes()[_LOW_BYTE::4].translate(None, _MULTIPLES_OF_8):
                raise ElfError(f"`.BTF.ext` has a record for the middle of an instruction of `{section}`")
            self.offsets = sorted(offsets)
            if self.offsets != offsets.tolist():  # a linker may have put functions in another order
                self.table = table.in_order()

    def cut(self, start: int, end: int) -> Any:
        first = self.at if start == self.place else bisect_left(self.offsets, start)
        self.place, self.at = end, bisect_left(self.offsets, end, first)
        return self.table.cut(first, self.at, start) if first < self.at else ()


class _Reader:
    def __init__(self, image: ElfImage, name: str) -> None:
        self.image = image
        self.name = name
        self.btf: Btf | None = None
        self.ext: BtfExt | None = None
        self.datasecs: dict[str, DataSec] = {}
        self.maps: dict[str, MapSpec] = {}
        #: (section index, offset) → map name
        self.map_at: dict[tuple[int, int], str] = {}
        self.data_sections: dict[int, str] = {}
        self.externs: dict[str, Extern] = {}
        #: (section index, offset) → function name
        self.function_at: dict[tuple[int, int], str] = {}
        # GCC's assembler (seen up to binutils 2.40) adds the symbol's value to what it leaves in the place of a
        # relocation; LLVM, whose rules these are, does not.
        comment = image.get(".comment")
        self.by_gnu_as = comment is not None and b"GCC: " in bytes(comment.data)
        self.tables: dict[str, list[_Lines]] = {}

    def read(self) -> Object:
        image = self.image
        self._read_btf()
        functions = self._functions()
        self._read_maps()
        self._read_externs()
        programs: dict[str, ProgramSpec] = {}
        subprograms: dict[str, ProgramSpec] = {}
        relocations: dict[int, tuple[list[int], list[Rel]]] = {}
        for function in functions:
            index = function.section.index
            if index not in relocations:
                found = image.relocations(function.section)
                relocations[index] = [rel.offset for rel in found], found
            spec = self._function(function, *relocations[index])
            is_program = function.is_global and function.section.name != ".text"
            (programs if is_program else subprograms)[spec.name] = spec
        notes = image.get(".ebpf")
        return Object(self.name, self._text("license"), self._version(), programs, subprograms, self.maps, self.btf,
                      self.externs,
                      {(image.sections[s].name, at): n for (s, at), n in self.function_at.items()},
                      bytes(notes.data).rstrip(b"\0") if notes is not None else None,
                      image if image.get(".debug_info") is not None else None)

    def _read_btf(self) -> None:
        section = self.image.get(".BTF")
        if section is None:
            return
        from ebpf.object.datasec import complete, data_sections

        self.btf = complete(bytes(section.data), self.image)
        self.datasecs = {t.name: t for t in data_sections(self.btf)}
        ext = self.image.get(".BTF.ext")
        if ext is not None:
            from ebpf.btf.ext import BtfExt

            self.ext = BtfExt.parse(bytes(ext.data), self.btf)

    def _text(self, section: str) -> str:
        found = self.image.get(section)
        if found is None:
            return ""
        return bytes(found.data).partition(b"\0")[0].decode("utf-8", "replace")

    def _version(self) -> int:
        found = self.image.get("version")
        if found is None:
            return 0
        if found.size != 4:
            raise ElfError(f"section `version` has {found.size} bytes, expected 4")
        return int.from_bytes(found.data, "little")

    # -- functions ----------------------------------------------------------------------------------------------------

    def _functions(self) -> list[_Function]:
        image = self.image
        by_section: dict[int, dict[int, Symbol]] = {}
        untyped: dict[int, dict[int, Symbol]] = {}
        for symbol in image.symbols:
            if not 0 < symbol.section < len(image.sections):
                continue
            if symbol.type == STT_FUNC:
                by_section.setdefault(symbol.section, {}).setdefault(symbol.value, symbol)
            elif (symbol.type == STT_NOTYPE and symbol.binding != STB_LOCAL
                  and image.sections[symbol.section].executable):
                untyped.setdefault(symbol.section, {}).setdefault(symbol.value, symbol)
        for index, symbols in untyped.items():  # clang before 8, and assemblers, leave the type out
            by_section.setdefault(index, symbols)
        out = []
        # Static functions of several linked objects may share a name, with a global one too, which keeps it.
        names = {s.name: 0 for symbols in by_section.values() for s in symbols.values() if s.binding != STB_LOCAL}
        for index, symbols in sorted(by_section.items()):
            section = image.sections[index]
            if not section.executable:
                first = next(iter(symbols.values()))
                raise ElfError(f"function `{first.name}` lies in `{section.name}`, which holds no code")
            starts = sorted(symbols)
            for start, after in zip(starts, [*starts[1:], section.size], strict=True):
                symbol = symbols[start]
                # Symbols that an assembler wrote have no size: they reach to the next one.
                end = start + symbol.size if symbol.size else after
                if end > after or start % 8 or end % 8 or end <= start:
                    raise ElfError(f"function `{symbol.name}` is said to lie at bytes {start}..{end} of "
                                   f"`{section.name}` ({section.size} bytes), in conflict with the section or with "
                                   f"its neighbours")
                name = symbol.name
                while symbol.binding == STB_LOCAL and name in names:
                    names[symbol.name] += 1
                    name = f"{symbol.name}.{names[symbol.name]}"
                names.setdefault(name, 0)
                self.function_at[index, start] = name
                # A hidden subprogram is verified with its callers (`datasec._hide_functions`); a program stays one.
                is_global = symbol.binding != STB_LOCAL if section.name != ".text" else not symbol.is_local
                out.append(_Function(name, section, start, end, is_global))
        return out

    def _function(self, function: _Function, offsets: list[int], relocations: list[Rel]) -> ProgramSpec:
        section, start, end = function.section, function.start, function.end
        code = bytes(section.data[start:end])
        relocs: list[Relocation] = []
        at = -1
        for rel in relocations[bisect_left(offsets, start):bisect_left(offsets, end)]:
            if rel.offset == at:
                raise ElfError(f"function `{function.name}` has two relocations at byte {at - start}")
            at = rel.offset
            relocs.append(self._relocation(rel, code, function))
        calls = self._plain_calls(code, function, {r.offset for r in relocs})
        if calls:
            relocs += calls
            relocs.sort()
        type_, attach_type, attach_to, sleepable = None, None, "", False
        if function.is_global and section.name != ".text":
            from ebpf.abi.sections import parse_section

            info = parse_section(section.name)
            if info is not None:
                type_, attach_type, attach_to, sleepable = info.type, info.attach_type, info.attach_to, info.sleepable
        funcs, lines, cores = self._debug_records(section.name, start, end)
        return ProgramSpec(function.name, section.name, type_, attach_type, attach_to, sleepable,
                           not section.name.startswith("?"), function.is_global, start, code, tuple(relocs),
                           funcs, lines, cores)

    def _debug_records(self, section: str, start: int, end: int) -> list[Any]:
        """Of each table of ``.BTF.ext`` the records of one function, their offsets made relative to its start."""
        tables = self.tables.get(section)
        if tables is None:
            tables = self.tables[section] = [_Lines(table.get(section), section) for table in self.ext or ()]
        return [table.cut(start, end) for table in tables] or _NO_RECORDS

    def _plain_calls(self, code: bytes, function: _Function, known: set[int]) -> list[Relocation]:
        """Calls within a section, which compilers resolve themselves."""
        out = []
        opcodes = code[::8]
        slot = opcodes.find(_CALL)
        while slot >= 0:
            at = slot * 8
            if code[at + 1] >> 4 == _PSEUDO_CALL and at not in known:
                imm = int.from_bytes(code[at + 4:at + 8], "little", signed=True)
                target = function.start + at + 8 + imm * 8
                name = self.function_at.get((function.section.index, target))
                if name is None:
                    raise ElfError(f"function `{function.name}` calls byte {target} of `{function.section.name}`, "
                                   f"where no function starts", offset=at)
                out.append(Relocation(at, "call", name))
            slot = opcodes.find(_CALL, slot + 1)
        return out

    def _relocation(self, rel: Rel, code: bytes, function: _Function) -> Relocation:
        at = rel.offset - function.start
        symbol = self.image.symbols[rel.symbol]
        where = f"`{function.name}` at byte {at}"
        if at % 8:
            raise ElfError(f"a relocation of {where} is within an instruction")
        if symbol.section == SHN_ABS or symbol.section >= len(self.image.sections):
            raise ElfError(f"relocation of {where} refers to `{symbol.name}`, which lies in no section")
        opcode, imm = code[at], int.from_bytes(code[at + 4:at + 8], "little", signed=True)
        if rel.type == R_BPF_64_32 and opcode == _CALL:
            if symbol.section == SHN_UNDEF:
                kind = "kfunc" if symbol.name in self.externs else "undefined"
                return Relocation(at, kind, symbol.name)  # type: ignore[arg-type]
            return Relocation(at, "call", self._callee(symbol, symbol.value + (imm + 1) * 8, where))
        if rel.type != R_BPF_64_64 or opcode != _LDDW or at + 16 > len(code):
            raise ElfError(f"relocation type {rel.type} of {where} does not fit opcode 0x{opcode:02x}", helps=(
                "calls take R_BPF_64_32, wide loads R_BPF_64_64",))
        imm += rel.addend
        if symbol.section == SHN_UNDEF:
            extern = self.externs.get(symbol.name)
            if extern is None:
                return Relocation(at, "undefined", symbol.name)
            return Relocation(at, "kconfig" if extern.section == ".kconfig" else "ksym", symbol.name, imm)
        section = self.image.sections[symbol.section]
        if section.executable:
            return Relocation(at, "func", self._callee(symbol, symbol.value + imm, where))
        imm &= 0xFFFFFFFF
        if self.by_gnu_as and symbol.type != STT_SECTION and symbol.value <= imm < symbol.value + symbol.size:
            imm -= symbol.value
        offset = symbol.value + imm
        if section.index in self.data_sections:
            if offset > section.size:
                raise ElfError(f"{where} refers to byte {offset} of `{section.name}`, which has {section.size}")
            return Relocation(at, "data", section.name, offset)
        found = self.map_at.get((section.index, offset))
        if found is not None:
            return Relocation(at, "map", found)
        if section.name == ".maps" and self.btf is None:
            raise ElfError(f"{where} uses the map `{symbol.name}`, whose definition needs BTF", helps=(
                "compile with `-g`",))
        raise ElfError(f"{where} refers to `{symbol.name or section.name}` in section `{section.name}`, which is "
                       f"neither code, data nor a map")

    def _callee(self, symbol: Symbol, offset: int, where: str) -> str:
        name = self.function_at.get((symbol.section, offset))
        if name is None:
            section = self.image.sections[symbol.section].name
            raise ElfError(f"{where} refers to byte {offset} of `{section}` (`{symbol.name}`), "
                           f"where no function starts")
        return name

    # -- maps and externs ---------------------------------------------------------------------------------------------

    def _read_maps(self) -> None:
        image, btf = self.image, self.btf
        for section in image.sections[1:]:
            name = section.name
            if name == ".maps" and btf is not None and name in self.datasecs:
                from ebpf.object.maps import btf_maps

                self._add_maps(section, btf_maps(btf, self.datasecs[name], image))
            elif name.endswith("maps"):
                from ebpf.object.maps import is_legacy_section, legacy_maps

                if is_legacy_section(section):
                    self._add_maps(section, legacy_maps(section, image))
            elif name.startswith((".data", ".rodata", ".bss")):
                from ebpf.object.maps import data_map, is_data_section

                if is_data_section(section):
                    if section.type == SHT_NOBITS and section.size > 1 << 32:
                        raise ElfError(f"`{name}` has {section.size} bytes, a map can have 4 GiB")
                    if name in self.maps:
                        raise ElfError(f"two sections are called `{name}`")
                    self.maps[name] = data_map(section, self.datasecs.get(name), btf)
                    self.data_sections[section.index] = name
            elif name in (".struct_ops", ".struct_ops.link", "?.struct_ops", "?.struct_ops.link"):
                from ebpf.object.maps import struct_ops_maps

                self.maps |= struct_ops_maps(section, self.datasecs.get(name), btf,
                                             lambda index, at: self.function_at.get((index, at)), image)
        if ".kconfig" in self.datasecs and btf is not None:
            from ebpf.object.maps import kconfig_map

            self.maps[".kconfig"] = kconfig_map(self.datasecs[".kconfig"], btf)

    def _add_maps(self, section: Section, found: dict[int, MapSpec]) -> None:
        from ebpf.object.maps import by_name

        self.maps |= by_name(found)
        self.map_at |= {(section.index, at): spec.name for at, spec in found.items()}

    def _read_externs(self) -> None:
        if self.btf is None:
            return
        from ebpf.btf.types import Func, Var

        weak = {s.name: s.binding == STB_WEAK for s in self.image.symbols
                if s.section == SHN_UNDEF and s.name and s.type != STT_SECTION}
        for section in (".kconfig", ".ksyms"):
            if section not in self.datasecs:
                continue
            for type_id, offset, size in self.datasecs[section].variables:
                t = self.btf.type(type_id)
                if isinstance(t, Var):
                    self.externs[t.name] = Extern(t.name, section, t.type, False, weak.get(t.name, False), offset, size)
                elif isinstance(t, Func):
                    self.externs[t.name] = Extern(t.name, section, t.id, True, weak.get(t.name, False))
                else:
                    raise ElfError(f"type {type_id} in `{section}` is neither variable nor function")
