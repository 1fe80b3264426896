"""``.BTF.ext``: which instruction belongs to which function and source line, and what CO-RE must relocate.

Three tables, each grouped by ELF section. Offsets of instructions are in bytes from the start of that section.
Source: Documentation/bpf/btf.rst, "4.2 .BTF.ext section"; ``bpf_core_relo_kind`` in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from ebpf.btf.reader import MAGIC
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ebpf.btf.reader import Btf


class CoreKind(IntEnum):
    """``BPF_CORE_*``: what a relocation asks about the target's type."""

    FIELD_BYTE_OFFSET = 0
    FIELD_BYTE_SIZE = 1
    FIELD_EXISTS = 2
    FIELD_SIGNED = 3
    FIELD_LSHIFT_U64 = 4
    FIELD_RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUMVAL_EXISTS = 10
    ENUMVAL_VALUE = 11
    TYPE_MATCHES = 12


class FuncInfo(NamedTuple):
    """The function that starts at ``insn_off`` is the `Func` ``type_id``."""

    insn_off: int
    type_id: int


class LineInfo(NamedTuple):
    """From ``insn_off`` on, code comes from ``file``:``line``:``column`` (from 1), whose whole text is ``text``.

    ``file_off`` and ``text_off`` are the strings' offsets in the BTF blob that it was read with.
    """

    insn_off: int
    file: str
    text: str
    line: int
    column: int
    file_off: int = 0
    text_off: int = 0


class CoreRelo(NamedTuple):
    """``access`` is a path like ``"0:3:1"``: array index, then member numbers; an enumerator's number; or ``"0"``."""

    insn_off: int
    type_id: int
    access: str
    kind: int


class BtfExt(NamedTuple):
    """The three tables, by name of the section."""

    func_info: Mapping[str, tuple[FuncInfo, ...]]
    line_info: Mapping[str, tuple[LineInfo, ...]]
    core_relos: Mapping[str, tuple[CoreRelo, ...]]

    @classmethod
    def parse(cls, data: bytes, btf: Btf) -> BtfExt:
        """Read a ``.BTF.ext`` section; ``btf`` is the ``.BTF`` that holds its strings.

        Records longer than known are read as far as known. Raises `BtfError`.
        """
        order = "<" if data[:1] == b"\x9f" else ">"
        if len(data) < 24 or struct.unpack_from(order + "H", data)[0] != MAGIC:
            raise BtfError("not BTF.ext: no header of 24 bytes that starts with eb9f", offset=0)
        _, version, _, header_len = struct.unpack_from(order + "HBBI", data)
        if version != 1 or not 24 <= header_len <= len(data):
            raise BtfError(f"BTF.ext version {version} with a header of {header_len} bytes is unknown", offset=2)
        count = 6 if header_len >= 32 else 4
        bounds = struct.unpack_from(f"{order}{count}I", data, 8)
        name = btf.name

        def line(insn_off: int, file_off: int, text_off: int, line_col: int) -> LineInfo:
            return LineInfo(insn_off, name(file_off), name(text_off), line_col >> 10, line_col & 0x3FF,
                            file_off, text_off)

        funcs = {s: tuple([FuncInfo(*r) for r in records])
                 for s, records in _table(data, order, header_len, bounds[0], bounds[1], 2, name)}
        lines = {s: tuple([line(*r) for r in records])
                 for s, records in _table(data, order, header_len, bounds[2], bounds[3], 4, name)}
        relos = {}
        if count == 6:
            relos = {s: tuple([CoreRelo(o, t, name(a), k) for o, t, a, k in records])
                     for s, records in _table(data, order, header_len, bounds[4], bounds[5], 4, name)}
        return cls(funcs, lines, relos)

    def emit(self, add_string: Callable[[str], int], *, little_endian: bool = True) -> bytes:
        """The section's bytes; ``add_string`` is that of the `Builder` that makes the ``.BTF`` beside it."""
        s = add_string
        order = "<" if little_endian else ">"
        tables: list[tuple[int, dict[str, list[tuple[int, ...]]]]] = [
            (8, {n: [tuple(r) for r in v] for n, v in self.func_info.items()}),
            (16, {n: [(r.insn_off, s(r.file), s(r.text), min(r.line, 0x3FFFFF) << 10 | min(r.column, 0x3FF)) for r in v]
                  for n, v in self.line_info.items()}),
            (16, {n: [(r.insn_off, r.type_id, s(r.access), r.kind) for r in v] for n, v in self.core_relos.items()}),
        ]
        body, bounds = b"", []
        for size, table in tables:
            start = len(body)
            if any(table.values()):
                body += struct.pack(order + "I", size)
                for section, records in table.items():
                    if records:
                        flat = [n for r in records for n in r]
                        body += struct.pack(f"{order}{2 + len(flat)}I", s(section), len(records), *flat)
            bounds += [start, len(body) - start]
        return struct.pack(order + "HBBI6I", MAGIC, 1, 0, 32, *bounds) + body


def _table(data: bytes, order: str, header_len: int, offset: int, length: int, known: int,
           name: Callable[[int], str]) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    """The sections of one table: (name, records cut to their first ``known`` words)."""
    if not length:
        return
    start, end = header_len + offset, header_len + offset + length
    if end > len(data) or offset % 4 or length < 4:
        raise BtfError(f"BTF.ext table (offset {offset}, {length} bytes) does not fit the section", offset=8)
    (size,) = struct.unpack_from(order + "I", data, start)
    if size < 4 * known or size % 4:
        raise BtfError(f"BTF.ext records of {size} bytes are shorter than the {4 * known} that are needed",
                       offset=start)
    layout = struct.Struct(f"{order}{known}I{size - 4 * known}x")
    at = start + 4
    found: dict[str, list[tuple[int, ...]]] = {}
    while at < end:
        if at + 8 > end:
            raise BtfError("BTF.ext section header is cut off", offset=at)
        name_off, count = struct.unpack_from(order + "II", data, at)
        at += 8
        if not count or at + count * size > end:
            raise BtfError(f"BTF.ext section has {count} records of {size} bytes, but {end - at} bytes are left",
                           offset=at)
        found.setdefault(name(name_off), []).extend(layout.iter_unpack(data[at:at + count * size]))
        at += count * size
    yield from found.items()
