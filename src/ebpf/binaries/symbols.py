"""The functions of a program or library, as uprobes and stack traces want them."""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ebpf.binaries.elf import Binary
from ebpf.diagnostics import did_you_mean
from ebpf.errors import TargetNotFound

if TYPE_CHECKING:
    from collections.abc import Iterator


class ElfSymbol(NamedTuple):
    """A function of an ELF file; `offset` is its place in the *file*, what uprobes want."""

    name: str
    offset: int
    size: int
    address: int  #: virtual address in the file


class ElfSymbols(Binary):
    """The functions of one program or shared library: its .symtab and .dynsym, and where it is stripped what
    `debug_files` finds."""

    def __init__(self, path: str, data: bytes | None = None) -> None:
        super().__init__(path, data)
        self._functions: dict[str, ElfSymbol] | None = None
        self._rows: tuple[list[int], list[tuple[int, str, int]]] | None = None

    @property
    def functions(self) -> dict[str, ElfSymbol]:
        """Functions by name. Of a versioned name (``memcpy@@GLIBC_2.14``) the bare name is kept."""
        if self._functions is None:
            found: dict[str, ElfSymbol] = {}
            for text, kind, value, extent in self._iter_defined():
                # STT_FUNC, STT_GNU_IFUNC (its code is the resolver's)
                where = self.file_offset(value) if kind in (2, 10) else None
                if where is not None and text not in found:
                    found[text] = ElfSymbol(text, where, extent, value)
            self._functions = found
        return self._functions

    def at(self, offset: int) -> tuple[str, int]:
        """(function, offset into it) at an offset in the *file*; ``("", 0)`` where there is none.

        Static functions of one name are told apart here, unlike in `functions`. Of several names of one function the
        public one is said (``malloc``, not ``__libc_malloc``). What has no size (assembly) goes on until the next.
        """
        if self._rows is None:
            best: dict[int, tuple[str, int]] = {}
            for name, kind, value, size in self._iter_defined():
                where = self.file_offset(value) if kind in (2, 10) else None
                if where is None:
                    continue
                known = best.get(where)
                if known is None or _obscurity(name) < _obscurity(known[0]):
                    best[where] = (name, size or (known[1] if known is not None else 0))
            rows = sorted((where, name, size) for where, (name, size) in best.items())
            self._rows = ([row[0] for row in rows], rows)
        starts, rows = self._rows
        index = bisect_right(starts, offset) - 1
        if index < 0:
            return "", 0
        start, name, size = rows[index]
        return ("", 0) if size and offset >= start + size else (name, offset - start)

    def address_of(self, name: str) -> int | None:
        """The virtual address of a function or a variable in the file, None where it has neither."""
        wanted = (1, 2, 10)  # STT_OBJECT, STT_FUNC, STT_GNU_IFUNC
        return next((value for text, kind, value, _ in self._iter_defined() if text == name and kind in wanted), None)

    def _iter_defined(self) -> Iterator[tuple[str, int, int, int]]:
        """(name, type, address, size) of each symbol that is defined here."""
        yield from _iter_table(self)
        if all(section.type != 2 for section in self.sections):  # SHT_SYMTAB: it is stripped
            from ebpf.binaries.debug_files import iter_symbol_files

            for other in iter_symbol_files(self):
                yield from _iter_table(other)

    def find(self, name: str) -> ElfSymbol:
        """The function `name`; `TargetNotFound` with similar names."""
        symbol = self.functions.get(name)
        if symbol is None:
            similar = did_you_mean(name, self.functions)
            notes = () if self.functions else ("it has no symbols at all: stripped?",)
            raise TargetNotFound(f"no function {name!r} in {self.path}", name=name, similar=similar, notes=notes,
                                 helps=(f"similar functions: {', '.join(similar)}",) if similar else ())
        return symbol


def _obscurity(name: str) -> tuple[int, int, str]:
    return len(name) - len(name.lstrip("_")), len(name), name


def _iter_table(binary: Binary) -> Iterator[tuple[str, int, int, int]]:
    """The same, of one file's own tables."""
    for section in binary.sections:
        if section.type not in (2, 11) or not section.entry_size:  # SHT_SYMTAB, SHT_DYNSYM
            continue
        table = binary.contents(section)
        names = binary.contents(binary.sections[section.link]) if section.link < len(binary.sections) else b""
        layout = struct.Struct(binary.order + ("IBBHQQ" if binary.wide else "IIIBBH"))
        for fields in layout.iter_unpack(table[:len(table) // layout.size * layout.size]):
            if binary.wide:
                name, info, _, defined, value, extent = fields
            else:
                name, value, extent, info, _, defined = fields
            end = names.find(b"\0", name)
            if defined and value and end >= 0:  # 0 is "defined elsewhere"
                yield names[name:end].decode(errors="replace").partition("@")[0], info & 15, value, extent


@lru_cache(maxsize=16)
def _elf_symbols(path: str, mtime_ns: int, inode: int) -> ElfSymbols:
    return ElfSymbols(path)


def elf_symbols(path: str) -> ElfSymbols:
    """The symbols of the file at `path`; kept until it changes."""
    try:
        stat = os.stat(path)
    except OSError as error:
        raise TargetNotFound(f"cannot read {path}: {error.strerror}", name=path) from None
    return _elf_symbols(path, stat.st_mtime_ns, stat.st_ino)
