"""``.BTF.ext``: which instruction belongs to which function and source line, and what CO-RE must relocate.

Three tables, each grouped by ELF section. Offsets of instructions are in bytes from the start of that section.
Source: Documentation/bpf/btf.rst, "4.2 .BTF.ext section"; ``bpf_core_relo_kind`` in include/uapi/linux/bpf.h.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, overload

from ebpf.btf.reader import MAGIC
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import ClassVar, Self

    from ebpf.btf.reader import Btf

R = TypeVar("R")


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


class Table(Sequence[R]):
    """Records of one kind, as words: a record is made of them when somebody looks at it.

    An object has one for every line of its code, of which a loader wants the bytes and nobody the values unless a
    program is refused. A record is `width` words in this machine's byte order, the first of them ``insn_off`` plus
    ``start``; names are strings of ``btf``. Equal to any sequence of the same records.
    """

    __slots__ = ("btf", "every", "first", "last", "start")
    width: ClassVar[int] = 4

    def __init__(self, every: array[int], btf: Btf, start: int, first: int, last: int) -> None:
        """Of ``every``, words number ``first`` to ``last`` (not included)."""
        self.every = every
        self.btf = btf
        self.start = start
        self.first = first
        self.last = last

    @classmethod
    def of(cls, words: array[int], btf: Btf) -> Self:
        """All of ``words``."""
        return cls(words, btf, 0, 0, len(words))

    def _record(self, words: Sequence[int]) -> R:
        raise NotImplementedError

    def __len__(self) -> int:
        return (self.last - self.first) // self.width

    @overload
    def __getitem__(self, at: int) -> R: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[R, ...]: ...
    def __getitem__(self, at: int | slice) -> R | tuple[R, ...]:
        where = range(self.first, self.last, self.width)[at]
        if isinstance(where, range):
            return tuple([self._record(self.every[i:i + self.width]) for i in where])
        return self._record(self.every[where:where + self.width])

    def __iter__(self) -> Iterator[R]:
        return iter(self[:])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Table) and self.btf is other.btf and self.start == other.start:
            return self.words == other.words
        return tuple(self) == tuple(other) if isinstance(other, (tuple, Table)) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))

    @property
    def words(self) -> array[int]:
        """The records, one behind the other: what the kernel takes."""
        return self.every[self.first:self.last]

    @property
    def offsets(self) -> array[int]:
        """``insn_off`` of each record, plus ``start``."""
        return self.every[self.first:self.last:self.width]

    @property
    def first_offset(self) -> int:
        """``insn_off`` of the first record."""
        return self.every[self.first] - self.start

    def with_offsets(self, offsets: Sequence[int]) -> Self:
        """The same records for other instructions: a new ``insn_off`` for each."""
        words = self.words
        words[::self.width] = array("I", offsets)
        return self.of(words, self.btf)

    def cut(self, first: int, last: int, start: int) -> Self:
        """Records ``first`` to ``last`` (not included) of a whole table, offsets counted from ``start``."""
        return self.__class__(self.every, self.btf, start, first * self.width, last * self.width)

    def in_order(self) -> Self:
        """Sorted by ``insn_off``."""
        words, width = self.words, self.width
        rows = sorted([words[at:at + width] for at in range(0, len(words), width)], key=_first_word)
        return self.of(array("I", [word for row in rows for word in row]), self.btf)


class FuncInfos(Table[FuncInfo]):
    """`FuncInfo` records; its bytes are ``struct bpf_func_info[]``."""

    __slots__ = ()
    width = 2

    def _record(self, words: Sequence[int]) -> FuncInfo:
        return FuncInfo(words[0] - self.start, words[1])


class LineInfos(Table[LineInfo]):
    """`LineInfo` records; its bytes are ``struct bpf_line_info[]``."""

    __slots__ = ()

    def _record(self, words: Sequence[int]) -> LineInfo:
        at, file, text, place = words
        name = self.btf.name
        return LineInfo(at - self.start, name(file), name(text), place >> 10, place & 0x3FF, file, text)


class CoreRelos(Table[CoreRelo]):
    """`CoreRelo` records."""

    __slots__ = ()

    def _record(self, words: Sequence[int]) -> CoreRelo:
        at, type_id, access, kind = words
        return CoreRelo(at - self.start, type_id, self.btf.name(access), kind)


def _first_word(words: Sequence[int]) -> int:
    return words[0]


class BtfExt(NamedTuple):
    """The three tables, by name of the section."""

    func_info: Mapping[str, Sequence[FuncInfo]]
    line_info: Mapping[str, Sequence[LineInfo]]
    core_relos: Mapping[str, Sequence[CoreRelo]]

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
        def table(at: int, kind: type[Any], *strings: int) -> dict[str, Any]:
            found = {}
            for section, words in _table(data, order, header_len, bounds[at], bounds[at + 1], kind.width, btf.name):
                for which in strings:  # what lies outside is told now; the strings are read when they are wanted
                    btf.name(max(words[which::kind.width]))
                found[section] = kind.of(words, btf)
            return found

        return cls(table(0, FuncInfos), table(2, LineInfos, 1, 2), table(4, CoreRelos, 2) if count == 6 else {})

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
           name: Callable[[int], str]) -> Iterator[tuple[str, array[int]]]:
    """The sections of one table: (name, the first ``known`` words of each record, one behind the other)."""
    if not length:
        return
    start, end = header_len + offset, header_len + offset + length
    if end > len(data) or offset % 4 or length < 4:
        raise BtfError(f"BTF.ext table (offset {offset}, {length} bytes) does not fit the section", offset=8)
    (size,) = struct.unpack_from(order + "I", data, start)
    if size < 4 * known or size % 4:
        raise BtfError(f"BTF.ext records of {size} bytes are shorter than the {4 * known} that are needed",
                       offset=start)
    at = start + 4
    found: dict[str, array[int]] = {}
    while at < end:
        if at + 8 > end:
            raise BtfError("BTF.ext section header is cut off", offset=at)
        name_off, count = struct.unpack_from(order + "II", data, at)
        at += 8
        if not count or at + count * size > end:
            raise BtfError(f"BTF.ext section has {count} records of {size} bytes, but {end - at} bytes are left",
                           offset=at)
        words = array("I", data[at:at + count * size])
        if order != ("<" if sys.byteorder == "little" else ">"):
            words.byteswap()
        if size > 4 * known:
            words = array("I", [word for row in range(0, len(words), size // 4) for word in words[row:row + known]])
        found.setdefault(name(name_off), array("I")).extend(words)
        at += count * size
    yield from found.items()
