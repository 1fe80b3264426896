"""`link_objects`: several objects as one, as ``ebpf link`` and ``bpftool gen object`` make it.

Sections of one name are laid behind each other; their symbols, relocations, types and line records move along. What one
object declares (``extern``) and another defines becomes one symbol; of a weak and a strong definition the strong one
stays. Types are merged (`ebpf.btf.merge`), so that the struct that two objects share is one.

Rules of symbols: the ELF specification, chapter 4, and libbpf's for BPF: ``license`` and ``version`` must agree, hidden
symbols are seen by the objects that are linked and by nobody later, a map that is declared must be the map that is
defined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.btf import types as T
from ebpf.btf.merge import Ids, Merger, equal
from ebpf.btf.reader import Btf
from ebpf.errors import ElfError
from ebpf.object import elf
from ebpf.object.elf import SHN_LORESERVE, SHN_UNDEF, SHT_NOBITS, STB_GLOBAL, STB_LOCAL, STB_WEAK, ElfImage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ebpf.object.elf import Rel, Section, Symbol

_CALL, _LDDW = 0x85, 0x18
#: Sections of which one copy stays, the same in all objects.
_AGREED = ("license", "version")
_MAX_ALIGN = 1 << 16
#: Sections that are made anew, or that nothing that loads BPF wants.
_DROPPED = (".BTF", ".BTF.ext", ".ebpf", ".debug_", ".llvm", ".eh_frame", ".comment", ".note", ".rel.debug_")


def link_objects(inputs: Iterable[tuple[str, bytes]]) -> bytes:
    """The object that holds all of ``inputs``: (name for messages, contents of the object file).

    Raises `ElfError` (or `BtfError`) if one is damaged, if two define the same symbol, or if what one declares is not
    what another defines. What nobody defines stays undefined: it may be the kernel's, or another object's.
    """
    linker = _Linker()
    for name, data in inputs:
        linker.add(name, data)
    if not linker.inputs:
        raise ElfError("no objects to link")
    return linker.emit()


class _Input:
    """One object: where its sections have come to lie, what its symbols and types have become."""

    def __init__(self, name: str, image: ElfImage) -> None:
        self.name = name
        self.image = image
        section = image.get(".BTF")
        self.btf = Btf.parse(bytes(section.data)) if section is not None else None
        #: index of a section → (the section it is part of, offset there in bytes)
        self.places: dict[int, tuple[Section, int]] = {}
        self.symbols: dict[int, Symbol] = {}
        self.types = Ids()


class _Definition(NamedTuple):
    """What is known of a global name: its symbol in the output, and who said so."""

    symbol: Symbol
    input: _Input
    of: Symbol  # in that input


class _Linker:
    def __init__(self) -> None:
        self.inputs: list[_Input] = []
        self.sections: dict[str, Section] = {}
        self.contents: dict[str, bytearray] = {}
        self.globals: dict[str, _Definition] = {}
        self.locals: list[Symbol] = []
        self.section_symbols: dict[str, Symbol] = {}

    def add(self, name: str, data: bytes) -> None:
        this = _Input(name, ElfImage.parse(data))
        for section in this.image.sections[1:]:
            if section.type not in (elf.SHT_PROGBITS, SHT_NOBITS) or section.name.startswith(_DROPPED):
                continue
            self._add_section(this, section)
        used = {r.symbol for s in this.image.sections if s.index in this.places for r in this.image.relocations(s)}
        for symbol in this.image.symbols[1:]:
            self._add_symbol(this, symbol, symbol.index in used)
        self.inputs.append(this)

    # -- sections -----------------------------------------------------------------------------------------------------

    def _add_section(self, this: _Input, section: Section) -> None:
        name = section.name
        whole = self.sections.get(name)
        if whole is None:
            whole = elf.Section(len(self.sections) + 1, name, section.type, section.flags & ~elf.SHF_INFO_LINK, b"", 0,
                                0, 0, section.align, 0)
            self.sections[name], self.contents[name] = whole, bytearray()
        elif name in _AGREED:
            if bytes(section.data) != bytes(self.contents[name]):
                mine, theirs = _shown(self.contents[name]), _shown(section.data)
                raise ElfError(f"the objects have different {name}s: {self.inputs[0].name} says {mine}, "
                               f"{this.name} {theirs}", helps=(f"one program can have one {name} only",))
            this.places[section.index] = whole, 0
            return
        elif whole.type != section.type or whole.executable != section.executable:
            raise ElfError(f"`{name}` of {this.name} is not what it is in the objects before it: code and data, or "
                           f"data with and without contents, cannot be one section")
        if section.align > _MAX_ALIGN:
            raise ElfError(f"`{name}` of {this.name} wants to start at a multiple of {section.align} bytes")
        align = max(section.align, 8 if section.executable else 1)
        start = whole.size + -whole.size % align
        whole.align = max(whole.align, align)
        whole.flags |= section.flags & ~elf.SHF_INFO_LINK
        whole.size = start + section.size
        if whole.size >> 32:
            raise ElfError(f"`{name}` would have {whole.size} bytes, a map or a program can have 4 GiB")
        if section.type != SHT_NOBITS:
            self.contents[name] += bytes(start - len(self.contents[name])) + section.data
        this.places[section.index] = whole, start

    def _section_symbol(self, section: Section) -> Symbol:
        if section.name not in self.section_symbols:
            self.section_symbols[section.name] = elf.Symbol(0, "", elf.STT_SECTION, STB_LOCAL, 0, section.index, 0, 0)
        return self.section_symbols[section.name]

    # -- symbols ------------------------------------------------------------------------------------------------------

    def _add_symbol(self, this: _Input, symbol: Symbol, used: bool) -> None:
        section, value = symbol.section, symbol.value
        if section in this.places:
            whole, start = this.places[section]
            if value > this.image.sections[section].size:
                raise ElfError(f"`{symbol.name}` of {this.name} lies at {value:#x}, behind the end of `{whole.name}`")
            if symbol.type == elf.STT_SECTION:
                this.symbols[symbol.index] = self._section_symbol(whole)
                return
            section, value = whole.index, value + start
        elif section == elf.SHN_COMMON:
            raise ElfError(f"`{symbol.name}` of {this.name} is a common symbol, which BPF has not", helps=(
                "compile with `-fno-common`",))
        elif section != SHN_UNDEF and section < SHN_LORESERVE:
            return  # of a section that is left out
        new = elf.Symbol(0, symbol.name, symbol.type, symbol.binding, symbol.visibility, section, value, symbol.size)
        if symbol.binding == STB_LOCAL:
            # Labels that compilers leave behind, and names of files, are nobody's.
            if used or symbol.type in (elf.STT_FUNC, elf.STT_OBJECT):
                this.symbols[symbol.index] = new
                self.locals.append(new)
            return
        this.symbols[symbol.index] = self._resolve(this, symbol, new)

    def _resolve(self, this: _Input, symbol: Symbol, new: Symbol) -> Symbol:
        """The one symbol of a global name, after ``symbol`` of ``this`` (as ``new`` in the output) has been seen."""
        known = self.globals.get(symbol.name)
        if known is None:
            self.globals[symbol.name] = _Definition(new, this, symbol)
            return new
        one, other = known.symbol, known.input
        self._check_types(known, this, symbol)
        one.visibility = _stricter(one.visibility, new.visibility)
        if new.section == SHN_UNDEF:
            if one.section == SHN_UNDEF and new.binding == STB_GLOBAL:
                one.binding = STB_GLOBAL
            return one
        if one.section != SHN_UNDEF:
            if _section_of(this, symbol) in _AGREED:
                return one
            if STB_WEAK not in (one.binding, new.binding):
                raise ElfError(f"`{symbol.name}` is defined in {other.name} and in {this.name}", helps=(
                    "make one `static`, or `__weak` for a default that the other replaces",))
            if new.binding == STB_WEAK:
                self._outlive(new)
                return one
            self._outlive(elf.Symbol(0, one.name, one.type, STB_LOCAL, 0, one.section, one.value, one.size))
        for field in ("type", "binding", "section", "value", "size"):
            setattr(one, field, getattr(new, field))
        self.globals[symbol.name] = _Definition(one, this, symbol)
        return one

    def _outlive(self, symbol: Symbol) -> None:
        """A weak definition that another one replaces: nothing calls it any more, but its bytes are there."""
        symbol.binding, symbol.visibility = STB_LOCAL, 0
        self.locals.append(symbol)

    def _check_types(self, known: _Definition, this: _Input, symbol: Symbol) -> None:
        """Do two objects mean the same by a name? Judged by their types, where both have them."""
        mine, theirs = known.input, this
        a, b = _type_of(mine, symbol.name), _type_of(theirs, symbol.name)
        if a is None or b is None or mine.btf is None or theirs.btf is None:
            return
        of_maps = ".maps" in (_section_of(mine, known.of), _section_of(theirs, symbol))
        if isinstance(a, T.Func) is isinstance(b, T.Func):
            if isinstance(a, T.Var) and not of_maps and SHN_UNDEF not in (known.of.section, symbol.section):
                return  # weak and strong variables: their sizes are the linker's business, their types C's
            if equal(theirs.btf.type, _bare(theirs.btf, b.type), mine.btf.type, _bare(mine.btf, a.type), names=of_maps):
                return
        from ebpf.btf.format import format_decl

        raise ElfError(f"`{symbol.name}` is not the same in {mine.name} and {theirs.name}", notes=(
            f"{mine.name}: {format_decl(mine.btf, a.type, symbol.name)}",
            f"{theirs.name}: {format_decl(theirs.btf, b.type, symbol.name)}"))

    # -- output -------------------------------------------------------------------------------------------------------

    def emit(self) -> bytes:
        sections = [elf.Section(0, "", 0, 0, b"", 0, 0, 0, 0, 0), *self.sections.values()]
        merged = _merge_types(self)
        symbols = [elf.Symbol(0, "", 0, 0, 0, 0, 0, 0), *self.section_symbols.values(), *self.locals,
                   *(known.symbol for known in self.globals.values())]
        for index, symbol in enumerate(symbols):
            symbol.index = index
        relocations: dict[str, list[Rel]] = {}
        for this in self.inputs:
            for index, (whole, start) in this.places.items():
                for rel in this.image.relocations(this.image.sections[index]):
                    relocations.setdefault(whole.name, []).append(self._relocation(this, rel, whole, start))
        for name, section in self.sections.items():
            section.data = bytes(self.contents[name])
        image = ElfImage(sections)
        for name, data in merged:
            image.add(name, data, align=4)
        symbol_data, strings, first_global = elf.symbol_table(symbols)
        strtab = image.add(".strtab", strings, type=elf.SHT_STRTAB)
        symtab = image.add(".symtab", symbol_data, type=elf.SHT_SYMTAB, align=8)
        symtab.link, symtab.info, symtab.entry_size = strtab.index, first_global, 24
        for name, rels in relocations.items():
            table = image.add(f".rel{name}", elf.relocation_table(rels), type=elf.SHT_REL, flags=elf.SHF_INFO_LINK,
                              align=8)
            table.link, table.info, table.entry_size = symtab.index, self.sections[name].index, 16
        events = _merge_events(self.inputs)
        if events:
            image.add_events(events)
        return image.emit()

    def _relocation(self, this: _Input, rel: Rel, whole: Section, start: int) -> Rel:
        """``rel`` of an input where it is now. What points into a section by distance has moved with that section."""
        old = this.image.symbols[rel.symbol]
        symbol = this.symbols.get(rel.symbol)
        at = start + rel.offset
        if symbol is None:
            raise ElfError(f"`{whole.name}` of {this.name} refers to `{old.name or 'a section'}`, which is left out")
        moved = rel.addend
        if old.type == elf.STT_SECTION and old.section in this.places:
            moved += this.places[old.section][1]
        if at + 4 > len(self.contents[whole.name]):
            raise ElfError(f"a relocation of {this.name} is for byte {rel.offset} of `{whole.name}`, which has no "
                           f"contents there")
        if moved:
            self._shift(self.contents[whole.name], at, rel.type, moved)
        return elf.Rel(at, rel.type, symbol.index)

    @staticmethod
    def _shift(data: bytearray, at: int, type: int, by: int) -> None:
        """Add ``by`` bytes to what the relocation of that type at ``at`` finds in its place."""
        if type == elf.R_BPF_64_ABS64:
            place, size = at, 8
        elif type in (elf.R_BPF_64_ABS32, elf.R_BPF_64_NODYLD32):
            place, size = at, 4
        elif type == elf.R_BPF_64_64:
            place, size = at + 4, 4
        elif type == elf.R_BPF_64_32 and data[at] == _CALL:
            place, size, by = at + 4, 4, by // 8
        else:
            raise ElfError(f"a relocation of unknown type {type}")
        value = int.from_bytes(data[place:place + size], "little") + by
        data[place:place + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _merge_types(linker: _Linker) -> list[tuple[str, bytes]]:
    """``.BTF`` and ``.BTF.ext`` of the whole, if the inputs have any."""
    merger = Merger()
    ids: dict[str, int] = {}  # global functions and variables
    sections: dict[str, dict[int, T.SecVar]] = {}
    for this in linker.inputs:
        if this.btf is not None:
            _merge_symbols(linker, this, merger, ids, sections)
    if len(merger.types) == 1:
        return []
    for name, variables in sections.items():
        whole = linker.sections.get(name)
        ordered = sorted(variables.values(), key=lambda v: v.offset)
        merger.append(T.DataSec(0, name, whole.size if whole is not None else 0, tuple(ordered)))
    builder = merger.builder()
    ext = _merge_records(linker, builder.add_string)
    return [(".BTF", builder.emit(little_endian=True)), (".BTF.ext", ext)]


def _merge_symbols(linker: _Linker, this: _Input, merger: Merger, ids: dict[str, int],
                   sections: dict[str, dict[int, T.SecVar]]) -> None:
    """The types of one object: those that are shared, then its functions and variables, their tags and sections."""
    btf = this.btf
    assert btf is not None
    this.types = merger.add(btf)
    globals_ = {s.name: s for s in this.image.symbols if s.binding != STB_LOCAL}
    tags = []
    for type in btf:
        if isinstance(type, (T.Func, T.Var)):
            here = T.moved(type, lambda id: this.types[id])._replace(id=0)
            symbol = globals_.get(type.name)
            known = linker.globals.get(type.name)
            if symbol is None or known is None or type.linkage == T.LINKAGE_STATIC:
                this.types[type.id] = merger.append(here)
            elif known.input is not this and symbol.section != SHN_UNDEF:  # replaced: what `_outlive` keeps is local
                this.types[type.id] = merger.append(here._replace(linkage=T.LINKAGE_STATIC))
            elif type.name in ids:
                this.types[type.id] = ids[type.name]
                if known.input is this:
                    merger.types[ids[type.name]] = here
            else:
                this.types[type.id] = ids[type.name] = merger.append(here)
        elif isinstance(type, T.DeclTag):
            tags.append(type)
    seen = {t for t in merger.types if isinstance(t, T.DeclTag)}
    for tag in tags:
        new = T.moved(tag, lambda id: this.types[id])._replace(id=0)
        if new not in seen:
            this.types[tag.id] = merger.append(new)
    for type in btf:
        if isinstance(type, T.DataSec):
            _add_places(linker, this, type, sections.setdefault(type.name, {}))


def _add_places(linker: _Linker, this: _Input, section: T.DataSec, out: dict[int, T.SecVar]) -> None:
    """Where the variables of a data section are in the whole: from the symbols, which compilers rely on for globals."""
    assert this.btf is not None
    source = this.image.get(section.name)
    start = this.places[source.index][1] if source is not None and source.index in this.places else 0
    for place in section.variables:
        var = this.btf.type(place.type)
        id = this.types[place.type]
        known = linker.globals.get(var.name)
        linkage = getattr(var, "linkage", T.LINKAGE_GLOBAL)
        offset = start + place.offset
        if known is not None and linkage != T.LINKAGE_STATIC:
            if known.input is not this and known.symbol.section != SHN_UNDEF:
                continue  # a declaration of what another object defines, or a definition that another one replaces
            if known.symbol.section != SHN_UNDEF:
                offset = known.symbol.value
            elif id in out:
                continue
        out[id] = T.SecVar(id, offset if source is not None else 0, place.size)


def _merge_records(linker: _Linker, add_string: object) -> bytes:
    from ebpf.btf.ext import BtfExt, CoreRelo, FuncInfo, LineInfo

    funcs: dict[str, tuple[FuncInfo, ...]] = {}
    lines: dict[str, tuple[LineInfo, ...]] = {}
    cores: dict[str, tuple[CoreRelo, ...]] = {}
    for this in linker.inputs:
        section = this.image.get(".BTF.ext")
        if section is None or this.btf is None:
            continue
        ext = BtfExt.parse(bytes(section.data), this.btf)
        for index, (whole, start) in this.places.items():
            name, size, types = this.image.sections[index].name, this.image.sections[index].size, this.types
            if any(r.insn_off > size for table in ext for r in table.get(name, ())):
                raise ElfError(f"`.BTF.ext` of {this.name} has a record for what is behind the end of `{name}`")
            funcs[whole.name] = funcs.get(whole.name, ()) + tuple([
                r._replace(insn_off=r.insn_off + start, type_id=types[r.type_id])
                for r in ext.func_info.get(name, ())])
            lines[whole.name] = lines.get(whole.name, ()) + tuple([
                r._replace(insn_off=r.insn_off + start) for r in ext.line_info.get(name, ())])
            cores[whole.name] = cores.get(whole.name, ()) + tuple([
                r._replace(insn_off=r.insn_off + start, type_id=types[r.type_id])
                for r in ext.core_relos.get(name, ())])
    return BtfExt(funcs, lines, cores).emit(add_string)  # type: ignore[arg-type]


def _merge_events(inputs: Sequence[_Input]) -> dict[str, int]:
    """The records of maps (`Object.events`) of all objects."""
    from ebpf.object.spec import read_events

    out: dict[str, int] = {}
    for this in inputs:
        notes = this.image.get(".ebpf")
        if notes is not None:
            events = read_events(bytes(notes.data).rstrip(b"\0"), this.btf)
            out |= {name: this.types[id] for name, id in events.items()}
    return out


def _type_of(this: _Input, name: str) -> T.Func | T.Var | None:
    """The function or variable of that name that is not static."""
    if this.btf is not None:
        for kind in (T.Kind.FUNC, T.Kind.VAR):
            for id in this.btf.find_all(name, kind):
                found = this.btf.type(id)
                if isinstance(found, (T.Func, T.Var)) and found.linkage != T.LINKAGE_STATIC:
                    return found
    return None


def _section_of(this: _Input, symbol: Symbol) -> str:
    return this.image.sections[symbol.section].name if 0 < symbol.section < SHN_LORESERVE else ""


def _bare(btf: Btf, id: int) -> int:
    """The type behind const and volatile: a declaration may promise more than the definition."""
    type = btf.type(id)
    while isinstance(type, (T.Const, T.Volatile)):
        id = type.type
        type = btf.type(id)
    return id


def _stricter(a: int, b: int) -> int:
    """Of two visibilities the one that shows less: STV_INTERNAL 1, STV_HIDDEN 2, STV_PROTECTED 3, STV_DEFAULT 0."""
    return min(v for v in (a, b) if v) if a or b else 0


def _shown(data: bytes | bytearray | memoryview) -> str:
    return repr(bytes(data).partition(b"\0")[0].decode("utf-8", "replace"))
