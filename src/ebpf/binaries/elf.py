"""The frame of an ELF file that runs: segments, sections, notes, build id. Damage: an `ElfError` that names it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from ebpf.errors import ElfError, TargetNotFound

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator

_PT_LOAD = 1
_SHT_NOTE = 7
_SHT_NOBITS = 8
_SHF_COMPRESSED = 0x800
_COMPRESSED_ZLIB, _COMPRESSED_ZSTD = 1, 2
_MOST_BYTES = 1 << 31  # what a section may become
_NT_GNU_BUILD_ID = 3


class Segment(NamedTuple):
    """A part of the file that is mapped: `address` is virtual, `size` in the file."""

    address: int
    offset: int
    size: int
    flags: int  #: 1 executable, 2 writable, 4 readable


class Section(NamedTuple):
    name: str
    type: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int
    flags: int


class Note(NamedTuple):
    section: str
    owner: bytes
    type: int
    description: bytes


class Binary:
    """A program or shared library, mapped into memory, or its ``data``; `TargetNotFound` if it cannot be read."""

    def __init__(self, path: str, data: bytes | None = None) -> None:
        self.path = path
        self.data: bytes | mmap.mmap
        try:
            if data is not None:
                self.data = data
            else:
                with open(path, "rb") as file:
                    import mmap

                    self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise TargetNotFound(f"cannot read {path}: {error.strerror if isinstance(error, OSError) else 'empty'}",
                                 name=path) from None
        try:
            self._read_headers()
        except (struct.error, IndexError):
            raise ElfError(f"{path}: damaged ELF file") from None

    def _read_headers(self) -> None:
        data = self.data
        if data[:4] != b"\x7fELF":
            raise ElfError(f"{self.path}: not an ELF file, so it has no functions to probe",
                           notes=("a script? name its interpreter instead",) if data[:2] == b"#!" else ())
        self.wide = data[4] == 2
        self.order = ">" if data[5] == 2 else "<"
        header = struct.unpack_from(self.order + ("HHIQQQIHHHHHH" if self.wide else "HHIIIIIHHHHHH"), data, 16)
        self.type: int = header[0]
        self.machine: int = header[1]
        self.entry: int = header[3]
        phoff, shoff = header[4], header[5]
        phentsize, phnum, shentsize, shnum, shstrndx = header[8:13]
        self.segments: list[Segment] = []
        for index in range(phnum):
            at = phoff + index * phentsize
            if self.wide:
                kind, flags, offset, address, _, size = struct.unpack_from(self.order + "IIQQQQ", data, at)
            else:
                kind, offset, address, _, size, _, flags = struct.unpack_from(self.order + "IIIIIII", data, at)
            if kind == _PT_LOAD:
                self.segments.append(Segment(address, offset, size, flags))
        layout = self.order + ("IIQQQQIIQQ" if self.wide else "IIIIIIIIII")
        rows = [struct.unpack_from(layout, data, shoff + index * shentsize) for index in range(shnum)]
        names = rows[shstrndx][4] if shstrndx < shnum else 0
        self.sections: list[Section] = [
            Section(self._text(names + row[0]) if names else "", row[1], row[3], row[4], row[5], row[6], row[9], row[2])
            for row in rows]

    def _text(self, at: int) -> str:
        end = self.data.find(b"\0", at)
        return self.data[at:max(end, at)].decode(errors="replace")

    def contents(self, section: Section) -> bytes:
        return b"" if section.type == _SHT_NOBITS else self.data[section.offset:section.offset + section.size]

    def whole_contents(self, section: Section) -> bytes:
        """`contents`, unpacked where the section is compressed. `ElfError` where it cannot be."""
        data = self.contents(section)
        if not section.flags & _SHF_COMPRESSED:
            return data
        import zlib

        layout = self.order + ("IIQQ" if self.wide else "III")
        try:
            kind, *_, size, _ = struct.unpack_from(layout, data)
            if kind == _COMPRESSED_ZLIB:
                return zlib.decompressobj().decompress(data[struct.calcsize(layout):], min(size, _MOST_BYTES) or 1)
        except (struct.error, zlib.error):
            raise ElfError(f"{self.path}: damaged section {section.name}") from None
        how = "zstd" if kind == _COMPRESSED_ZSTD else f"method {kind}"
        raise ElfError(f"{self.path}: section {section.name} is compressed by {how}, which cannot be read here",
                       helps=("`objcopy --decompress-debug-sections` makes a file that can",))

    def file_offset(self, address: int) -> int | None:
        """Where virtual address `address` of the file is in the file; None if no segment holds it."""
        for segment in self.segments:
            if segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        return None

    def virtual_address(self, offset: int) -> int | None:
        """The other way round."""
        for segment in self.segments:
            if segment.offset <= offset < segment.offset + segment.size:
                return offset - segment.offset + segment.address
        return None

    def iter_notes(self) -> Iterator[Note]:
        """All notes of the file. `ElfError` where a note runs past its section."""
        for section in self.sections:
            if section.type != _SHT_NOTE:
                continue
            data = self.contents(section)
            at = 0
            while at + 12 <= len(data):
                name_size, size, kind = struct.unpack_from(self.order + "III", data, at)
                description = at + 12 + (name_size + 3 & ~3)
                if description + size > len(data):
                    raise ElfError(f"{self.path}: damaged note in section {section.name}, byte {at}")
                yield Note(section.name, data[at + 12:at + 12 + name_size].rstrip(b"\0"), kind,
                           data[description:description + size])
                at = description + (size + 3 & ~3)

    @property
    def build_id(self) -> bytes:
        """The linker's fingerprint of the file, empty if it has none."""
        for note in self.iter_notes():
            if note.owner == b"GNU" and note.type == _NT_GNU_BUILD_ID:
                return note.description
        return b""
