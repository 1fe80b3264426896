"""Where every type of a BTF blob starts, and which types and enumerators have a name.

BTF has neither: types follow each other with varying lengths, and names can only be found by looking at all of them.
For a kernel with 126,000 types one pass costs 50 ms, so the result can be kept (`IndexStore`) and comes back in a
millisecond. It is one array of 32-bit words in this machine's byte order::

    header    magic, version, first id, types, enumerators, buckets, length of types, length of strings, check sum
    offsets   of each type, in words from the start of the type section
    enums     offset of each enumerator's record, likewise
    heads     for each bucket (crc32 of the name, low bits) the first entry of its chain, or 0
    nexts     for each entry the next one in its chain; entry 1 + i is type i, after the types come the enumerators

Names are compared when a chain is followed, so a wrong index can hide a type but never rename one.

A process that needs a few names only, once, need not wait for all that: a `Scan` beside it gives `Tables`, in which a
name is found by the offset of its string (half a millisecond).
"""

from __future__ import annotations

from array import array
from itertools import chain
from sys import byteorder
from typing import TYPE_CHECKING, Protocol
from zlib import adler32, crc32

from ebpf.btf.types import ENTRY_WORDS, FIXED_WORDS, Kind
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_MAGIC, _VERSION, _HEADER_WORDS = 0x58465442, 3, 9
_MAX_TYPES = 0x7FFFFFFF


class IndexStore(Protocol):
    """A place that keeps bytes under a key between runs: a cache directory that only we can write to.

    Whatever goes wrong in it stays in it: ``get`` answers None and ``put`` gives up silently.
    """

    def get(self, key: str, /) -> bytes | None: ...

    def put(self, key: str, value: bytes, /) -> None: ...


class Scan(Protocol):
    """A scan of the types that somebody else makes meanwhile: another process, say."""

    def tables(self) -> Tables | None:
        """What it found, waited for; None if nothing will come."""

    def finish(self) -> None:
        """Wait until it has put the index into the store, or has given up."""

    def leave(self) -> None:
        """Go on without it: it puts the index into the store when it is ready, for later processes."""


def content_identity(data: bytes) -> str:
    """A cheap name (2 ms for 5 MB) for the bytes of a BTF blob, good against accidents, not against malice."""
    return f"{len(data):x}-{crc32(data):08x}{adler32(data):08x}"


def scan(words: Sequence[int], where: int) -> tuple[array[int], list[int]]:
    """The offset of every type, and those of the enums, in words. ``where`` is the section's place in the file.

    Raises `BtfError` for an unknown kind and a type that is cut off.
    """
    offsets, enums = array("I"), list[int]()
    append = offsets.append
    end = len(words)
    # Nearly all types share a few hundred info words, so their lengths are looked up instead of computed: negative for
    # enums, which saves the caller another pass.
    lengths: dict[int, int] = {}
    get = lengths.get
    position = 0
    try:
        while position < end:
            append(position)
            info = words[position + 1]
            length = get(info)
            if length is None:
                kind = info >> 24 & 31
                length = lengths[info] = FIXED_WORDS[kind] + ENTRY_WORDS[kind] * (info & 0xFFFF)
                if not kind:
                    raise IndexError
                if kind == Kind.ENUM or kind == Kind.ENUM64:
                    length = lengths[info] = -length
            if length > 0:
                position += length
            else:
                enums.append(position)
                position -= length
    except IndexError:
        at = where + 4 * position
        if position + 1 >= end:
            raise BtfError(f"type {len(offsets)} is cut off at the end of the type section", offset=at) from None
        raise BtfError(f"type {len(offsets)} has unknown kind {words[position + 1] >> 24 & 31}", offset=at,
                       notes=("kinds up to 19 (ENUM64) are known",)) from None
    if position > end:
        raise BtfError(f"type {len(offsets)} is cut off at the end of the type section",
                       offset=where + 4 * offsets[-1])
    if len(offsets) > _MAX_TYPES:
        raise BtfError(f"{len(offsets)} types are more than an id can count")
    return offsets, enums


class Tables:
    """A scan in arrays: ``offsets`` of the types and ``enums``, the offsets of enumerators' records, in words; of each
    the names as offsets of strings (``names``, ``enum_names``), raw in this machine's byte order.
    """

    __slots__ = ("enum_names", "enums", "names", "offsets")

    def __init__(self, offsets: Sequence[int], names: bytes, enums: Sequence[int], enum_names: bytes) -> None:
        self.offsets, self.names = offsets, names
        self.enums, self.enum_names = enums, enum_names

    @classmethod
    def make(cls, words: Sequence[int], offsets: Sequence[int], enum_offsets: Sequence[int]) -> Tables:
        """From what `scan` found."""
        enums, name_of = _enumerators(words, enum_offsets), words.__getitem__
        return cls(offsets, array("I", map(name_of, offsets)).tobytes(),
                   enums, array("I", map(name_of, enums)).tobytes())

    def entries(self, string: int) -> list[int]:
        """Offsets of the records (types and enumerators) whose name is the string at that offset, in file order."""
        key = string.to_bytes(4, byteorder)
        out = []
        for places, names in ((self.offsets, self.names), (self.enums, self.enum_names)):
            at = names.find(key)
            while at >= 0:
                if not at % 4:
                    out.append(places[at // 4])
                at = names.find(key, at + 1)
        out.sort()
        return out


class Index:
    """Offsets of the types, and chains of entries by hash of their names."""

    __slots__ = ("_enums", "_heads", "_mask", "_nexts", "data", "offsets")

    def __init__(self, offsets: Sequence[int], enums: Sequence[int], heads: Sequence[int], nexts: Sequence[int],
                 data: bytes) -> None:
        self.offsets = offsets
        self._enums = enums
        self._heads = heads
        self._mask = len(heads) - 1
        self._nexts = nexts
        #: The index as bytes for an `IndexStore`.
        self.data = data

    def entries(self, name: bytes) -> list[int]:
        """Offsets of the records (types and enumerators) whose name has the same hash as ``name``, in file order."""
        out: list[int] = []
        entry = self._heads[crc32(name) & self._mask]
        nexts, types = self._nexts, len(self.offsets)
        while entry:
            out.append(self.offsets[entry - 1] if entry <= types else self._enums[entry - 1 - types])
            following = nexts[entry - 1]
            if following >= entry:  # chains run backwards; anything else would be a loop
                break
            entry = following
        out.sort()
        return out


def build(words: Sequence[int], offsets: Sequence[int], enum_offsets: Sequence[int], strings: bytes, string_base: int,
          raw_name: Callable[[int], bytes], first_id: int) -> Index:
    """Hash the names of all types and enumerators.

    ``strings`` is this blob's own string section, whose first byte has offset ``string_base``; a base blob's names are
    fetched with ``raw_name``.
    """
    enums = _enumerators(words, enum_offsets)
    count = len(offsets) + len(enums)
    buckets = 1 << max(4, (count // 2).bit_length())
    mask = buckets - 1
    heads = array("I", bytes(4 * buckets))
    nexts = array("I", bytes(4 * count))
    # Nearly every name occurs once: to remember hashes by offset costs more than it saves.
    find = strings.find
    entry = 0
    for name in map(words.__getitem__, chain(offsets, enums)):
        entry += 1
        if name:
            start = name - string_base
            end = find(b"\0", start)
            if end >= 0 and start >= 0:
                bucket = crc32(strings[start:end]) & mask
            else:
                try:
                    bucket = crc32(raw_name(name)) & mask
                except BtfError:
                    bucket = 0  # reported when the type itself is looked at
            nexts[entry - 1] = heads[bucket]
            heads[bucket] = entry
    body = array("I", offsets) + enums + heads + nexts
    header = array("I", (_MAGIC, _VERSION, first_id, len(offsets), len(enums), buckets, 4 * len(words), len(strings),
                         crc32(body)))
    return Index(offsets, enums, heads, nexts, b"".join((header, body)))


def _enumerators(words: Sequence[int], enum_offsets: Sequence[int]) -> array[int]:
    """The offset of each enumerator's record, in words."""
    enums = array("I")
    for position in enum_offsets:
        info = words[position + 1]
        step = 2 if info >> 24 & 31 == Kind.ENUM else 3
        enums.extend(range(position + 3, position + 3 + step * (info & 0xFFFF), step))
    return enums


def load(data: bytes, first_id: int, type_len: int, string_len: int) -> Index | None:
    """An index from an `IndexStore`, or None if it is damaged or belongs to other BTF."""
    if len(data) % 4 or len(data) < 4 * _HEADER_WORDS:
        return None
    words = memoryview(data).cast("I")
    magic, version, first, types, enums, buckets, types_length, strings_length, check = words[:_HEADER_WORDS]
    if ((magic, version, first, types_length, strings_length) != (_MAGIC, _VERSION, first_id, type_len, string_len)
            or buckets & (buckets - 1) or not buckets
            or len(words) != _HEADER_WORDS + 2 * (types + enums) + buckets
            or crc32(words[_HEADER_WORDS:]) != check):
        return None
    at = _HEADER_WORDS
    parts = []
    for count in (types, enums, buckets, types + enums):
        parts.append(words[at:at + count])
        at += count
    return Index(parts[0], parts[1], parts[2], parts[3], data)
