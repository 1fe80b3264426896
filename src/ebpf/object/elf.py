"""ELF64 relocatable objects, as BPF compilers write them: sections, symbols, relocations; read, changed, written.

A small reader of our own because it starts in microseconds, checks every offset against the file, and can write: the
compiler drops, replaces and adds sections of what LLVM gives it. Section contents are views of the input, not copies.
Source of the layout: System V ABI, chapters 4 and 5; BPF's relocations: the kernel's Documentation/bpf/llvm_reloc.rst.
"""

from __future__ import annotations

from struct import Struct

from ebpf.errors import ElfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EM_BPF = 247
ET_REL = 1
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS, SHT_REL, SHT_GROUP, SHT_SYMTAB_SHNDX = 1, 2, 3, 8, 9, 17, 18
SHT_RELA = 4
SHT_LLVM_ADDRSIG = 0x6FFF4C03
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_INFO_LINK = 1, 2, 4, 0x40
SHN_UNDEF, SHN_LORESERVE, SHN_ABS, SHN_COMMON = 0, 0xFF00, 0xFFF1, 0xFFF2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_FILE = range(5)
STB_LOCAL, STB_GLOBAL, STB_WEAK = range(3)
STV_DEFAULT, STV_INTERNAL, STV_HIDDEN = range(3)

R_BPF_64_64, R_BPF_64_ABS64, R_BPF_64_ABS32, R_BPF_64_NODYLD32, R_BPF_64_32 = 1, 2, 3, 4, 10

_EHDR = Struct("<16sHHIQQQIHHHHHH")
_SHDR = Struct("<IIQQQQIIQQ")
_SYM = Struct("<IBBHQQ")
_REL = Struct("<QQ")
_RELA = Struct("<QQq")


class Section:
    """One section. ``data`` may be shorter than ``size`` only for `SHT_NOBITS` (``.bss``), where it is empty."""

    __slots__ = ("align", "data", "entry_size", "flags", "index", "info", "link", "name", "size", "type")

    def __init__(self, index: int, name: str, type: int, flags: int, data: bytes | memoryview, size: int, link: int,
                 info: int, align: int, entry_size: int) -> None:
        self.index = index
        self.name = name
        self.type = type
        self.flags = flags
        self.data = data
        self.size = size
        self.link = link
        self.info = info
        self.align = align
        self.entry_size = entry_size

    @property
    def executable(self) -> bool:
        return bool(self.flags & SHF_EXECINSTR) and self.type == SHT_PROGBITS

    def __repr__(self) -> str:
        return f"Section({self.index}, {self.name!r}, type={self.type}, {self.size} bytes)"


class Symbol:
    """One symbol; ``section`` is the index of the section it lies in, or one of the ``SHN_`` numbers."""

    __slots__ = ("binding", "index", "name", "section", "size", "type", "value", "visibility")

    def __init__(self, index: int, name: str, type: int, binding: int, visibility: int, section: int, value: int,
                 size: int) -> None:
        self.index = index
        self.name = name
        self.type = type
        self.binding = binding
        self.visibility = visibility
        self.section = section
        self.value = value
        self.size = size

    @property
    def is_local(self) -> bool:
        """Seen only inside this object: static, or hidden from others."""
        return self.binding == STB_LOCAL or self.visibility in (STV_HIDDEN, STV_INTERNAL)

    def __repr__(self) -> str:
        place = f"section={self.section}, {self.value:#x}+{self.size}"
        return f"Symbol({self.index}, {self.name!r}, type={self.type}, {place})"


class Rel:
    """One relocation of a section: patch ``offset`` (bytes) with symbol number ``symbol`` by rule ``type``."""

    __slots__ = ("addend", "offset", "symbol", "type")

    def __init__(self, offset: int, type: int, symbol: int, addend: int = 0) -> None:
        self.offset = offset
        self.type = type
        self.symbol = symbol
        self.addend = addend

    def __repr__(self) -> str:
        return f"Rel({self.offset:#x}, type={self.type}, symbol={self.symbol}, addend={self.addend})"


class ElfImage:
    """The sections, symbols and relocations of an object file.

    ``sections[0]`` is the empty section that ELF wants there. `drop`, `replace` and `add` change the image; `emit`
    writes it.
    """

    __slots__ = ("_by_name", "_relocated_by", "_symbols", "flags", "sections")

    def __init__(self, sections: list[Section], flags: int = 0) -> None:
        self.sections = sections
        self.flags = flags
        self._by_name: dict[str, Section] | None = None
        self._symbols: list[Symbol] | None = None
        self._relocated_by: dict[int, list[Section]] | None = None

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> ElfImage:
        """Read an object file; raises `ElfError` with an offset for anything that is not a BPF object or is damaged."""
        view = memoryview(data).toreadonly()
        head = _header(view)
        (_, _, _, _, _, _, table, flags, _, _, _, entry_bytes, count, names_index) = head
        if not table:
            raise ElfError("the object has no sections", offset=40)
        if entry_bytes != _SHDR.size:
            raise ElfError(f"section headers of {entry_bytes} bytes, expected {_SHDR.size}", offset=58)
        if count == 0 or names_index == 0xFFFF:
            # More than 65,279 sections: the numbers stand in section 0.
            first = _SHDR.unpack(_cut(view, table, _SHDR.size, "section header 0"))
            count = count or first[5]
            names_index = first[6] if names_index == 0xFFFF else names_index
        headers = _cut(view, table, count * _SHDR.size, "the section header table")
        if names_index >= count:
            raise ElfError(f"section names are said to be in section {names_index}, there are {count}", offset=62)
        (_, names_type, _, _, names_at, names_bytes, *_) = _SHDR.unpack_from(headers, names_index * _SHDR.size)
        if names_type != SHT_STRTAB:
            raise ElfError(f"section {names_index} should hold the section names but is no string table", offset=62)
        names = _Strings(bytes(_cut(view, names_at, names_bytes, "the section name table")))
        sections: list[Section] = []
        total = 0
        for name, type_, sh_flags, _, offset, size, link, info, align, entry in _SHDR.iter_unpack(headers):
            index = len(sections)
            where = table + index * _SHDR.size
            text = names.get(name, where)
            body: memoryview | bytes = b""
            if type_ in (SHT_NOBITS, 0):
                if size > 1 << 32:
                    raise ElfError(f"section {index} `{text}` claims {size} bytes", offset=where + 32)
            elif size:
                body = _cut(view, offset, size, f"section {index} `{text}`")
                total += size
                if total > len(view):
                    # Contents are copied further on: a small file must not become a large one in memory.
                    raise ElfError(f"section {index} `{text}` overlaps with others", offset=where + 24)
            sections.append(Section(index, text, type_, sh_flags, body, size, link, info, align, entry))
        return cls(sections, flags)

    def get(self, name: str) -> Section | None:
        """The first section of that name, or ``None``."""
        if self._by_name is None:
            self._by_name = {}
            for section in self.sections[1:]:
                self._by_name.setdefault(section.name, section)
        return self._by_name.get(name)

    def section(self, name: str) -> Section:
        """The first section of that name; raises `ElfError` if there is none."""
        found = self.get(name)
        if found is None:
            raise ElfError(f"the object has no section `{name}`")
        return found

    @property
    def symbols(self) -> Sequence[Symbol]:
        """The symbol table, in order; number 0 is the empty symbol. Read on first use."""
        if self._symbols is None:
            self._symbols = self._read_symbols()
        return self._symbols

    def _read_symbols(self) -> list[Symbol]:
        tables = [s for s in self.sections if s.type == SHT_SYMTAB]
        if not tables:
            return []
        if len(tables) > 1:
            raise ElfError("the object has more than one symbol table")
        table = tables[0]
        if table.size % _SYM.size:
            raise ElfError(f"symbol table of {table.size} bytes is not a multiple of {_SYM.size}")
        if not 0 < table.link < len(self.sections) or self.sections[table.link].type != SHT_STRTAB:
            raise ElfError(f"symbol names are said to be in section {table.link}, which is no string table")
        names = _Strings(bytes(self.sections[table.link].data))
        extended = next((s for s in self.sections if s.type == SHT_SYMTAB_SHNDX and s.link == table.index), None)
        numbers = memoryview(bytes(extended.data[: extended.size & ~3])) if extended else None
        out = []
        for index, (name, info, other, section, value, size) in enumerate(_SYM.iter_unpack(table.data)):
            if section == 0xFFFF and numbers is not None and index * 4 + 4 <= len(numbers):
                section = int.from_bytes(numbers[index * 4:index * 4 + 4], "little")
            elif section >= SHN_LORESERVE and section not in (SHN_ABS, SHN_COMMON):
                raise ElfError(f"symbol {index} lies in reserved section {section:#x}")
            if section < SHN_LORESERVE and section >= len(self.sections):
                raise ElfError(f"symbol {index} lies in section {section}, there are {len(self.sections)}")
            out.append(Symbol(index, names.get(name, None), info & 15, info >> 4, other & 3, section, value, size))
        return out

    def relocations(self, section: Section) -> list[Rel]:
        """What is to be patched in ``section``, by offset."""
        if self._relocated_by is None:
            self._relocated_by = {}
            for table in self.sections:
                if table.type in (SHT_REL, SHT_RELA):
                    self._relocated_by.setdefault(table.info, []).append(table)
        out = []
        for table in self._relocated_by.get(section.index, ()):
            form = _REL if table.type == SHT_REL else _RELA
            if table.size % form.size:
                raise ElfError(f"relocations `{table.name}` of {table.size} bytes are not a multiple of {form.size}")
            count = len(self.symbols)
            for offset, info, *addend in form.iter_unpack(table.data):
                symbol = info >> 32
                if symbol >= count:
                    raise ElfError(f"`{table.name}` refers to symbol {symbol}, there are {count}")
                if offset >= section.size:
                    raise ElfError(f"`{table.name}` patches offset {offset:#x} of `{section.name}`, which has "
                                   f"{section.size} bytes")
                out.append(Rel(offset, info & 0xFFFFFFFF, symbol, addend[0] if addend else 0))
        out.sort(key=_offset)
        return out

    # -- changing -----------------------------------------------------------------------------------------------------

    def replace(self, name: str, data: bytes) -> None:
        """Give the section ``name`` other contents. Its relocations are kept if they still fit, else refused."""
        section = self.section(name)
        if any(rel.offset >= len(data) for rel in self.relocations(section)):
            raise ElfError(f"relocations of `{name}` reach behind its new end; drop `.rel{name}` first")
        section.data, section.size = data, len(data)

    def rename(self, name: str, to: str) -> None:
        """Call the section ``name``, and the relocations that apply to it, ``to``."""
        self.section(name)
        for section in self.sections:
            if section.name in (name, f".rel{name}"):
                section.name = section.name[: -len(name)] + to
        self._by_name = None

    def add(self, name: str, data: bytes, *, type: int = SHT_PROGBITS, flags: int = 0, align: int = 1) -> Section:
        """Append a section."""
        section = Section(len(self.sections), name, type, flags, data, len(data), 0, 0, align, 0)
        self.sections.append(section)
        self._by_name = self._relocated_by = None
        return section

    def add_events(self, events: Mapping[str, int]) -> None:
        """Append the section ``.ebpf``: map name → BTF type id of the records sent through it (`Object.events`)."""
        import json

        # As a string table of one string: libbpf passes over string tables, of any other section it tells its user.
        self.add(".ebpf", json.dumps({"events": dict(events)}).encode() + b"\0", type=SHT_STRTAB)

    def drop(self, *names: str) -> None:
        """Remove sections by name, with the relocations that apply to them and symbols that nothing else needs.

        A name may end in ``*``. Sections that are not there are no mistake. Raises `ElfError` if what remains refers
        to a symbol inside a removed section.
        """
        prefixes = tuple(n[:-1] for n in names if n.endswith("*"))
        gone = {s.index for s in self.sections[1:] if s.name in names or (prefixes and s.name.startswith(prefixes))}
        if not gone:
            return
        gone |= {s.index for s in self.sections if s.type in (SHT_REL, SHT_RELA) and s.info in gone}
        # Address-significance tables and groups list symbols and sections by number; nothing that reads BPF wants them.
        gone |= {s.index for s in self.sections if s.type in (SHT_LLVM_ADDRSIG, SHT_GROUP, SHT_SYMTAB_SHNDX)}
        symbols = list(self.symbols)
        used = {rel.symbol for s in self.sections if s.index not in gone for rel in self.relocations(s)}
        kept = [s for s in symbols if s.index == 0 or s.section not in gone or s.section == SHN_UNDEF]
        for symbol in symbols:
            if symbol.index in used and symbol.section in gone and symbol.index:
                section_name = self.sections[symbol.section].name
                raise ElfError(f"cannot drop `{section_name}`: `{symbol.name}` in it is still used")
        table = next((s for s in self.sections if s.type == SHT_SYMTAB), None)
        if table is not None and table.index in gone:
            if used:
                raise ElfError("cannot drop the symbol table: relocations need it")
            table, kept = None, []
        new_section = {old.index: new for new, old in enumerate(s for s in self.sections if s.index not in gone)}
        new_symbol = {s.index: i for i, s in enumerate(kept)}
        sections = [s for s in self.sections if s.index not in gone]
        renumbered = {s.index: _renumber(s, new_symbol) for s in sections if s.type in (SHT_REL, SHT_RELA)}
        # Nothing has been changed so far: an error leaves the image as it was.
        for section in sections:
            if section.type in (SHT_REL, SHT_RELA):
                section.data = renumbered[section.index]
                section.info = new_section.get(section.info, 0)
            if section.link:
                section.link = new_section.get(section.link, 0)
        for section in sections:
            section.index = new_section[section.index]
        for symbol in kept:
            symbol.index = new_symbol[symbol.index]
            if 0 < symbol.section < SHN_LORESERVE:
                symbol.section = new_section[symbol.section]
        self.sections, self._symbols = sections, kept if table is not None else None
        self._by_name = self._relocated_by = None
        if table is not None:
            self._write_symbols(table, kept)

    def _write_symbols(self, table: Section, symbols: list[Symbol]) -> None:
        # LLVM keeps section and symbol names in one table; `emit` gives the section names one of their own.
        strtab = self.sections[table.link]
        table.data, strtab.data, table.info = symbol_table(symbols)
        table.size, strtab.size = len(table.data), len(strtab.data)

    def emit(self) -> bytes:
        """The image as a file."""
        if len(self.sections) + 1 >= SHN_LORESERVE:
            raise ElfError(f"{len(self.sections)} sections are more than this writer supports")
        sections = list(self.sections)
        linked = {s.link for s in sections}
        # A table of section names alone is made anew in its place; one that symbols use too is left to them.
        at = next((s.index for s in sections
                   if s.type == SHT_STRTAB and s.name == ".shstrtab" and s.index not in linked), len(sections))
        names, strings = _strings([*(s.name for s in sections), ".shstrtab"])
        if at == len(sections):
            sections.append(Section(at, ".shstrtab", SHT_STRTAB, 0, strings, len(strings), 0, 0, 1, 0))
        out = bytearray(_EHDR.size)
        headers = []
        for i, s in enumerate(sections):
            data: bytes | memoryview = strings if i == at else s.data
            size = len(strings) if i == at else s.size
            align = max(1, s.align)
            if i and s.type != SHT_NOBITS:
                out += bytes(-len(out) % min(align, 64))
            offset = len(out) if i else 0
            if i and s.type != SHT_NOBITS:
                out += data
            headers.append(_SHDR.pack(names[s.name] if i else 0, s.type, s.flags, 0, offset, size, s.link, s.info,
                                      s.align, s.entry_size))
        out += bytes(-len(out) % 8)
        _EHDR.pack_into(out, 0, b"\x7fELF\x02\x01\x01" + bytes(9), ET_REL, EM_BPF, 1, 0, 0, len(out), self.flags,
                        _EHDR.size, 0, 0, _SHDR.size, len(headers), at)
        return bytes(out) + b"".join(headers)


def symbol_table(symbols: Sequence[Symbol]) -> tuple[bytes, bytes, int]:
    """The bytes of a symbol table, of its string table, and the number of the first symbol that is not local.

    ``symbols`` in order, the empty one and the local ones first (ELF wants them so).
    """
    names, strings = _strings(s.name for s in symbols)
    data = b"".join(_SYM.pack(names[s.name], s.binding << 4 | s.type, s.visibility, s.section, s.value, s.size)
                    for s in symbols)
    return data, strings, next((i for i, s in enumerate(symbols) if s.binding != STB_LOCAL), len(symbols))


def relocation_table(relocations: Iterable[Rel]) -> bytes:
    """The bytes of a relocation section (`SHT_REL`: what is added stands in the place itself)."""
    return b"".join(_REL.pack(r.offset, r.symbol << 32 | r.type) for r in relocations)


def _header(view: memoryview) -> tuple[bytes, int, int, int, int, int, int, int, int, int, int, int, int, int]:
    if bytes(view[:4]) != b"\x7fELF":
        raise ElfError("this is not an ELF file", offset=0,
                       notes=(f"it begins with {bytes(view[:4]).hex(' ')}",) if len(view) else ("it is empty",))
    if len(view) < _EHDR.size:
        raise ElfError(f"the ELF header is cut off after {len(view)} bytes", offset=len(view))
    if view[4] != 2:
        raise ElfError("a 32-bit ELF file; BPF objects are 64-bit", offset=4)
    if view[5] != 1:
        raise ElfError("a big-endian object; this package loads little-endian BPF only", offset=5,
                       helps=("compile with `-target bpfel` (or `-target bpf` on a little-endian machine)",))
    head = _EHDR.unpack_from(view)
    if head[2] not in (EM_BPF, 0):
        raise ElfError(f"machine {head[2]} is not BPF (247)", offset=18, helps=("compile with `-target bpf`",))
    if head[1] != ET_REL:
        raise ElfError(f"not a relocatable object (ELF type {head[1]})", offset=16, helps=("compile with `-c`",))
    return head


def _cut(view: memoryview, offset: int, size: int, what: str) -> memoryview:
    if offset + size > len(view):
        raise ElfError(f"{what} reaches to byte {offset + size}, the file has {len(view)}",
                       offset=min(offset, len(view)))
    return view[offset:offset + size]


class _Strings:
    """A string table. Names may share their tails: what is taken out is counted, so that it cannot grow forever."""

    __slots__ = ("_known", "_left", "_table")

    def __init__(self, table: bytes) -> None:
        self._table = table
        self._known: dict[int, str] = {0: ""}
        self._left = 4 * len(table) + 4096

    def get(self, offset: int, where: int | None) -> str:
        found = self._known.get(offset)
        if found is None:
            end = self._table.find(b"\0", offset)
            if end < 0:
                raise ElfError(f"a name at offset {offset} lies outside its string table of {len(self._table)} bytes",
                               offset=where)
            self._left -= end - offset
            if self._left < 0:
                raise ElfError(f"names overlap again and again in a string table of {len(self._table)} bytes",
                               offset=where)
            found = self._known[offset] = self._table[offset:end].decode("utf-8", "surrogateescape")
        return found


def _strings(texts: Iterable[str]) -> tuple[dict[str, int], bytes]:
    out, at = bytearray(b"\0"), {"": 0}
    for text in texts:
        if text not in at:
            at[text] = len(out)
            out += text.encode("utf-8", "surrogateescape") + b"\0"
    return at, bytes(out)


def _renumber(section: Section, new_symbol: dict[int, int]) -> bytes:
    out = bytearray(section.data)
    form = _REL if section.type == SHT_REL else _RELA
    for at in range(0, len(out) - len(out) % form.size, form.size):
        info = int.from_bytes(out[at + 8:at + 16], "little")
        symbol = new_symbol.get(info >> 32)
        if symbol is None:
            raise ElfError(f"`{section.name}` refers to symbol {info >> 32}, which does not exist or is dropped")
        out[at + 8:at + 16] = (symbol << 32 | info & 0xFFFFFFFF).to_bytes(8, "little")
    return bytes(out)


def _offset(rel: Rel) -> int:
    return rel.offset
