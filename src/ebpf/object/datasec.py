"""Completing an object's BTF: where variables lie is known to the ELF file, compilers leave it open in the types.

clang writes data sections of size 0 with every global variable at offset 0 and lets the loader fill them in from the
symbol table (libbpf does the same); the kernel refuses BTF in which that has not been done.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ebpf.btf.reader import Btf
from ebpf.btf.types import LINKAGE_GLOBAL, LINKAGE_STATIC, DataSec, Kind, Var
from ebpf.errors import BtfError, ElfError
from ebpf.object.elf import SHN_UNDEF, STB_LOCAL, STT_FUNC

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebpf.object.elf import ElfImage, Symbol

_DATASEC = 15


def data_sections(btf: Btf) -> list[DataSec]:
    """The data sections among the types."""
    words, first = btf.words, btf.first_id
    ids = [first + i for i, at in enumerate(btf.offsets) if words[at + 1] >> 24 & 31 == _DATASEC]
    return [t for t in map(btf.type, ids) if isinstance(t, DataSec)]


def complete(data: bytes, image: ElfImage) -> Btf:
    """The types in ``data`` (a ``.BTF`` section) with sizes and offsets of data sections filled in.

    Raises `BtfError` if they are damaged, `ElfError` if they do not fit the symbols.
    """
    btf = Btf.parse(data)
    if not btf.little_endian:
        raise BtfError("the object's BTF is big-endian", offset=0)
    sections = data_sections(btf)
    out = bytearray(data)
    symbols = {(s.section, s.name): s for s in image.symbols if s.name}
    changed = _hide_functions(btf, image, out)
    cuts: list[tuple[int, int]] = []  # (offset, bytes) to be left out
    for section in sections:
        if section.name == ".ksyms":
            continue  # functions and variables of the kernel's: they have no place here
        if section.name == ".kconfig":
            size, places = _place_configuration(btf, section, out)
        else:
            found = image.get(section.name)
            if found is not None:
                size, places = found.size, _places(btf, section, found.index, found.size, symbols)
                gone = len(section.variables) - len(places)
                if gone:
                    at = btf.offset_of(section.id)
                    struct.pack_into("<I", out, at + 4, _DATASEC << 24 | len(places))
                    cuts.append((at + 12 + 12 * len(places), 12 * gone))
            elif section.size:
                continue
            else:
                # clang -O2 may move constants to a mergeable section (`.rodata.cst16`) and leave these types behind.
                size, places = _places_of_nothing(section)
        raw = struct.pack("<I", size) + b"".join(struct.pack("<III", *place) for place in places)
        at = btf.offset_of(section.id) + 8
        if out[at:at + len(raw)] != raw:
            out[at:at + len(raw)] = raw
            changed = True
    if cuts:
        changed = True
        for at, length in sorted(cuts, reverse=True):
            del out[at:at + length]
        removed = sum(length for _, length in cuts)
        types_at, types_len, strings_at = struct.unpack_from("<III", out, 8)
        struct.pack_into("<III", out, 8, types_at, types_len - removed,
                         strings_at - removed if strings_at > types_at else strings_at)
    return Btf.parse(bytes(out)) if changed else btf


def _places(btf: Btf, section: DataSec, index: int, size: int,
            symbols: dict[tuple[int, str], Symbol]) -> list[tuple[int, int, int]]:
    """Where the variables are. Left out is what the optimiser has moved elsewhere: a constant that nobody writes may
    come to lie in a mergeable section (``.rodata.cst32``), and its type stays behind.
    """
    places = []
    for type_id, offset, var_size in section.variables:
        var = btf.type(type_id)
        # Functions appear in `.text`-like sections of some compilers; statics have their offset already.
        if isinstance(var, Var) and var.linkage != LINKAGE_STATIC:
            symbol = symbols.get((index, var.name))
            if symbol is None:
                raise ElfError(f"variable `{var.name}` has a type in `{section.name}` but no symbol there")
            offset = symbol.value
        elif isinstance(var, Var) and (index, var.name) not in symbols and offset + var_size > size:
            continue
        if offset + var_size > size:
            name = getattr(var, "name", "")
            raise ElfError(f"`{name}` reaches to byte {offset + var_size} of `{section.name}`, which has {size}")
        places.append((type_id, offset, var_size))
    places.sort(key=lambda place: place[1])
    return places


def _places_of_nothing(section: DataSec) -> tuple[int, Iterable[tuple[int, int, int]]]:
    """Variables one behind the other: what the kernel wants to see of types that no map uses."""
    places, at = [], 0
    for type_id, _, size in section.variables:
        places.append((type_id, at, size))
        at += size
    return at, places


def _place_configuration(btf: Btf, section: DataSec, out: bytearray) -> tuple[int, Iterable[tuple[int, int, int]]]:
    """``.kconfig`` has no contents in the file: lay its variables out, widest alignment first, as libbpf does."""
    rows = []
    for type_id, _, _ in section.variables:
        var = btf.type(type_id)
        if not isinstance(var, Var):
            raise ElfError(f"`{var.name or type_id}` in `.kconfig` is not a variable")
        rows.append((-btf.align_of(var.type), btf.size_of(var.type), var.name, type_id))
        struct.pack_into("<I", out, btf.offset_of(type_id) + 12, LINKAGE_GLOBAL)
    rows.sort()
    places, at = [], 0
    for minus_align, size, _, type_id in rows:
        at += -at % -minus_align
        places.append((type_id, at, size))
        at += size
    return at, places


def _hide_functions(btf: Btf, image: ElfImage, out: bytearray) -> bool:
    """Make hidden functions static in the types: the kernel then verifies them with their callers, as was meant."""
    changed = False
    for symbol in image.symbols:
        if symbol.type == STT_FUNC and symbol.binding != STB_LOCAL and symbol.is_local and symbol.section != SHN_UNDEF:
            for id in btf.find_all(symbol.name, Kind.FUNC):
                out[btf.offset_of(id) + 4:btf.offset_of(id) + 6] = b"\0\0"  # linkage
                changed = True
    return changed
