"""`Btf`: types out of the bytes of ``/sys/kernel/btf/*``, a ``.BTF`` section, or `Builder`.

Nothing is decoded before it is asked for, and whatever is decoded is kept. Anything wrong with the bytes is a
`BtfError` with the offset, raised when the damaged part is reached.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from functools import partial
from struct import Struct as Layout
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ebpf.btf import index as indexes, types as T
from ebpf.btf.types import Kind
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from mmap import mmap

    from ebpf.btf.index import Index, IndexStore, Scan
    from ebpf.btf.types import Type

MAGIC = 0xEB9F
#: Longest chain of typedefs, qualifiers and arrays that is followed; the kernel's own limit (MAX_RESOLVE_DEPTH).
MAX_DEPTH = 32
_MAX_FLAT_MEMBERS = 1 << 17
# So many names may be searched for without an index, at half a millisecond each; an index takes 50 ms.
_MAX_SEARCHES = 64


class Field(NamedTuple):
    """A member as seen from an outer struct: ``bit_offset`` from its start; ``bit_size`` is 0 for a flexible array."""

    bit_offset: int
    bit_size: int
    type: int
    is_bitfield: bool


class Btf:
    """The types of one BTF blob, on top of ``base``'s if it is a module's ("split" BTF). Made by `Btf.parse`.

    Ids count from 1; 0 is ``void``; ids below ``first_id`` are the base's.
    """

    __slots__ = ("_data", "_fields", "_identity", "_index", "_names", "_offsets", "_scan", "_searched", "_searches",
                 "_store", "_string_at", "_string_len", "_type_at", "_types", "_words", "base", "codecs", "core_cache",
                 "first_id", "first_string", "little_endian")

    def __init__(self, data: bytes | mmap, words: Sequence[int], type_at: int, string_at: int, string_len: int,
                 base: Btf | None, little_endian: bool, store: IndexStore | None, identity: str | None) -> None:
        self._data = data
        self._words = words
        self._type_at = type_at
        self._string_at = string_at
        self._string_len = string_len
        self._store = store
        self._identity = identity
        self._offsets: Sequence[int] | None = None
        self._index: Index | None = None
        self._scan: Scan | None = None
        self._searched = b""
        self._searches: dict[bytes, list[int]] = {}
        self._names: dict[int, str] = {0: ""}
        self._types: dict[int, Type] = {0: T.Void()}
        self._fields: dict[int, Mapping[str, Field]] = {}
        self.base = base
        self.first_id = len(base) if base is not None else 1
        self.first_string = base.string_end if base is not None else 0
        self.little_endian = little_endian
        #: Kept by `ebpf.btf.values` and `ebpf.btf.core`.
        self.codecs: dict[int, object] = {}
        self.core_cache: dict[object, Any] = {}

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview | mmap, base: Btf | None = None, *,
              store: IndexStore | None = None, identity: str | None = None) -> Btf:
        """Check the header of ``data`` and return its types, yet unread.

        ``store`` keeps the index between runs; ``identity`` names the content cheaply (for a kernel's BTF its build
        id), else it is hashed (2 ms for 5 MB). A ``mmap`` must stay open as long as the result is used.
        Raises `BtfError` if the header is not that of BTF or doesn't fit the size.
        """
        if isinstance(data, (bytearray, memoryview)):
            data = bytes(data)
        head = data[:24]
        little = head[:2] != b"\xeb\x9f"
        if head[:2] not in (b"\xeb\x9f", b"\x9f\xeb"):
            raise BtfError(f"not BTF: it starts with {head[:2].hex(' ') or 'nothing'} instead of 9f eb", offset=0)
        if len(head) < 24:
            raise BtfError(f"BTF header is cut off after {len(head)} of 24 bytes", offset=len(head))
        order = "<" if little else ">"
        _, version, _, header_len, type_off, type_len, string_off, string_len = Layout(order + "HBBIIIII").unpack(head)
        if version != 1:
            raise BtfError(f"BTF version {version} is unknown (1 is known)", offset=2)
        if header_len < 24 or header_len > len(data):
            raise BtfError(f"BTF header length {header_len} does not fit {len(data)} bytes", offset=4)
        for what, off, size, at in (("type", type_off, type_len, 8), ("string", string_off, string_len, 16)):
            if header_len + off + size > len(data):
                raise BtfError(f"BTF {what} section (offset {off}, {size} bytes) ends after the data "
                               f"({len(data) - header_len} bytes behind the header)", offset=at)
        if type_off % 4 or type_len % 4:
            raise BtfError(f"BTF type section is not aligned to 4 bytes (offset {type_off}, {type_len} bytes)",
                           offset=8)
        type_at, string_at = header_len + type_off, header_len + string_off
        if string_len and data[string_at + string_len - 1:string_at + string_len] != b"\0":
            raise BtfError("BTF string section does not end with NUL", offset=string_at + string_len - 1)
        if base is None and data[string_at:string_at + 1] != b"\0":
            raise BtfError("BTF string section does not start with the empty string"
                           if string_len else "BTF has no string section", offset=string_at if string_len else 20)
        words: Sequence[int]
        if little == (sys.byteorder == "little"):
            words = memoryview(data)[type_at:type_at + type_len].cast("I")
        else:
            swapped = array("I", data[type_at:type_at + type_len])
            swapped.byteswap()
            words = swapped
        if base is not None and base.little_endian != little:
            raise BtfError("split BTF and its base have different byte orders", offset=0)
        return cls(data, words, type_at, string_at, string_len, base, little, store, identity)

    # -- sizes and raw parts

    def __len__(self) -> int:
        """The number of ids: types including ``void`` and those of the base; the next free id."""
        return self.first_id + len(self.offsets)

    def __repr__(self) -> str:
        known = f"{len(self) - self.first_id} types" if self._offsets is not None else f"{len(self._data)} bytes"
        return f"<Btf {known}{' on a base' if self.base is not None else ''}>"

    @property
    def identity(self) -> str | None:
        """The name of the content that `parse` was given: a kernel's build id."""
        return self._identity

    @property
    def data(self) -> bytes:
        """The blob as it was parsed."""
        return bytes(self._data)

    @property
    def string_end(self) -> int:
        """The first string offset behind this blob's strings."""
        return self.first_string + self._string_len

    @property
    def words(self) -> Sequence[int]:
        """The type section as 32-bit words in this machine's byte order."""
        return self._words

    @property
    def strings(self) -> bytes:
        """The string section (without the base's)."""
        return self._data[self._string_at:self._string_at + self._string_len]

    @property
    def offsets(self) -> Sequence[int]:
        """Where each type starts, in words; number 0 is type ``first_id``."""
        if self._offsets is None:
            tables = self._scan.tables() if self._scan is not None and self._index is None else None
            if tables is not None:
                self._offsets = tables.offsets
            elif self._store is not None:
                self._offsets = self._load_index().offsets
            else:
                self._offsets, _ = indexes.scan(self._words, self._type_at)
        return self._offsets

    def offset_of(self, id: int) -> int:
        """Where type ``id`` (not one of the base's) starts, in bytes from the start of the blob."""
        return self._type_at + 4 * self.offsets[id - self.first_id]

    @property
    def has_index(self) -> bool:
        """Whether names can be looked up at once: the index is at hand, or was kept by an earlier process."""
        return self._index is not None or self._kept_index() is not None

    def expect(self, scan: Scan) -> None:
        """Somebody scans the types meanwhile: take that, instead of scanning here.

        Only for types whose strings are shared as wholes, as pahole (and so the kernel) does: the few names that are
        looked for before there is an index are looked for as whole strings.
        """
        self._scan = scan

    @property
    def _key(self) -> str:
        identity = self._identity or indexes.content_identity(self._data)  # type: ignore[arg-type]
        return f"btf-{identity}" if self.base is None else f"btf-{identity}-on-{self.first_id}-{self.first_string}"

    def keep(self, what: str, make: Callable[[], bytes]) -> bytes:
        """What ``make`` finds out of the bytes, kept under the name ``what`` beside the index."""
        key = f"{self._key}-{what}" if self._store is not None else ""
        found = self._store.get(key) if self._store is not None else None
        if found is None:
            found = make()
            if self._store is not None:
                self._store.put(key, found)
        return found

    def _kept_index(self) -> Index | None:
        """The index out of the store."""
        kept = self._store.get(self._key) if self._store is not None else None
        if kept is not None:
            self._index = indexes.load(kept, self.first_id, 4 * len(self._words), self._string_len)
        return self._index

    def make_index(self, offsets: Sequence[int] | None = None, enums: Sequence[int] = ()) -> Index:
        """Build the index (from what `index.scan` found, if given) and put it into the store."""
        if offsets is None:
            offsets, enums = indexes.scan(self._words, self._type_at)
        index = self._index = indexes.build(self._words, offsets, enums, self.strings, self.first_string,
                                            self._raw_name, self.first_id)
        if self._store is not None:
            self._store.put(self._key, index.data)
        index.data = b""
        return index

    def _load_index(self) -> Index:
        if self._index is not None:
            return self._index
        if self._scan is not None:
            self._scan.finish()
        return self._kept_index() or self.make_index()

    # -- names

    def _raw_name(self, offset: int) -> bytes:
        at = offset - self.first_string
        if at < 0 and self.base is not None:
            return self.base._raw_name(offset)
        if not 0 <= at < self._string_len:
            raise BtfError(f"name offset {offset} is outside of the string section ({self.string_end} bytes)")
        start = self._string_at + at
        return self._data[start:self._data.find(b"\0", start)]

    def name(self, offset: int) -> str:
        """The string at ``offset`` of the string section (a base's strings come first)."""
        found = self._names.get(offset)
        if found is None:
            found = self._names[offset] = self._raw_name(offset).decode("utf-8", "surrogateescape")
        return found

    def _entries(self, name: str) -> Iterator[int]:
        raw = name.encode("utf-8", "surrogateescape")
        if self._index is None and self._scan is not None and (found := self._search(raw)) is not None:
            yield from found
            return
        words = self._words
        for position in self._load_index().entries(raw):
            try:
                if self._raw_name(words[position]) == raw:
                    yield position
            except BtfError:
                continue

    def _search(self, name: bytes) -> list[int] | None:
        """The entries called ``name``, found in a scan's tables; None where the index will serve better, or must."""
        found = self._searches.get(name)
        if found is None and len(self._searches) < _MAX_SEARCHES:
            tables = self._scan.tables() if self._scan is not None else None
            if tables is None:
                self._scan = None
                return None
            # A copy, because to find something in an `mmap` takes three times as long as in bytes.
            strings = self._searched = self._searched or self.strings
            at = strings.find(b"\0%s\0" % name)
            found = self._searches[name] = tables.entries(self.first_string + at + 1) if at >= 0 else []
        return found

    def find_all(self, name: str, kind: Kind | None = None, *, own: bool = False) -> list[int]:
        """Ids of the types called ``name`` (of one kind), the base's first, or ``own`` ones only."""
        if not name:
            return []
        out = self.base.find_all(name, kind) if self.base is not None and not own else []
        words, offsets = self._words, self.offsets
        for position in self._entries(name):
            at = bisect_right(offsets, position) - 1
            if offsets[at] == position and (kind is None or words[position + 1] >> 24 & 31 == kind):
                out.append(self.first_id + at)
        return out

    def find(self, name: str, kind: Kind | None = None) -> int | None:
        """The first type called ``name`` (of one kind), or None."""
        found = self.find_all(name, kind)
        return found[0] if found else None

    def find_enumerator(self, name: str) -> tuple[int, int] | None:
        """(id of the enum, value) of the enumerator ``name``, or None. The first, if several enums have one."""
        if not name:
            return None
        if self.base is not None and (found := self.base.find_enumerator(name)) is not None:
            return found
        offsets = self.offsets
        for position in self._entries(name):
            at = bisect_right(offsets, position) - 1
            if offsets[at] != position:
                enum = self.type(self.first_id + at)
                if isinstance(enum, (T.Enum, T.Enum64)):
                    step = 2 if isinstance(enum, T.Enum) else 3
                    return enum.id, enum.values[(position - offsets[at] - 3) // step].value
        return None

    def iter_names(self, kind: Kind | None = None) -> Iterator[tuple[str, int]]:
        """(name, id) of every type (of one kind) of this blob that has a name."""
        words = self._words
        for id, position in enumerate(self.offsets, self.first_id):
            if words[position] and (kind is None or words[position + 1] >> 24 & 31 == kind):
                yield self.name(words[position]), id

    def similar(self, name: str, kind: Kind | None = None) -> Sequence[str]:
        """Up to three names of types that someone who wrote ``name`` may have meant. Slow (up to 0.1 s): for errors."""
        from ebpf.diagnostics import did_you_mean

        head, tail = name[:2], name[-3:]
        pool = {n for n, _ in self.iter_names(kind)
                if abs(len(n) - len(name)) <= 3 and (n.startswith(head) or n.endswith(tail))}
        if self.base is not None:
            pool.update(self.base.similar(name, kind))
        return did_you_mean(name, sorted(pool)[:4000])

    def format(self, name: str) -> str:
        """The C text of a type named as C names it: ``"struct task_struct"``, ``"enum pid_type"``, ``"u32"``.

        Raises `UnknownName`, which names similar types.
        """
        from ebpf.btf.format import format_type
        from ebpf.errors import UnknownName

        word, _, tag = name.partition(" ")
        kind = {"struct": Kind.STRUCT, "union": Kind.UNION, "enum": Kind.ENUM}.get(word) if tag else None
        found = self.find(tag or name, kind)
        if found is None and kind == Kind.ENUM:
            found = self.find(tag, Kind.ENUM64)
        if found is None:
            raise UnknownName(f"there is no type {name!r} here", name=name, similar=self.similar(tag or name, kind))
        return format_type(self, found)

    # -- types

    def type(self, id: int) -> Type:
        """The type with that id. Raises `BtfError` if there is none or if it is damaged."""
        found = self._types.get(id)
        if found is not None:
            return found
        if id < self.first_id:
            if self.base is None or id < 0:
                raise BtfError(f"type id {id} does not exist (there are {len(self)})")
            return self.base.type(id)
        offsets, words = self.offsets, self._words
        try:
            position = offsets[id - self.first_id]
            info = words[position + 1]
            found = _DECODERS[info >> 24 & 31](self, id, words, position, info & 0xFFFF, info >> 31)
        except IndexError:
            if id - self.first_id >= len(offsets):
                raise BtfError(f"type id {id} does not exist (there are {len(self)})") from None
            raise BtfError(f"type {id} is cut off or of unknown kind",
                           offset=self._type_at + 4 * offsets[id - self.first_id]) from None
        except BtfError as error:
            if error.offset is None:
                raise BtfError(f"type {id}: {error.message}", offset=self.offset_of(id)) from None
            raise
        self._types[id] = found
        return found

    def kind(self, id: int) -> Kind:
        """The kind of a type, without decoding it."""
        if id == 0:
            return Kind.VOID
        if id < self.first_id and self.base is not None:
            return self.base.kind(id)
        try:
            if id < self.first_id:
                raise IndexError
            return Kind(self._words[self.offsets[id - self.first_id] + 1] >> 24 & 31)
        except IndexError:
            raise BtfError(f"type id {id} does not exist (there are {len(self)})") from None

    def __iter__(self) -> Iterator[Type]:
        """All types of this blob in order of their ids, without ``void`` and the base's."""
        for id in range(self.first_id, len(self)):
            yield self.type(id)

    def resolve(self, id: int) -> int:
        """The id behind typedefs, qualifiers and type tags. Raises `BtfError` if they go in circles."""
        for _ in range(MAX_DEPTH):
            t = self.type(id)
            if not isinstance(t, T.MODIFIERS):
                return id
            id = t.type
        raise self._too_deep(id)

    def resolved(self, id: int) -> Type:
        """The type behind typedefs, qualifiers and type tags."""
        return self.type(self.resolve(id))

    def _too_deep(self, id: int) -> BtfError:
        return BtfError(f"type {id} is part of a chain of more than {MAX_DEPTH} typedefs, qualifiers or arrays",
                        offset=self.offset_of(id) if id >= self.first_id else None)

    @property
    def pointer_size(self) -> int:
        """Bytes of a pointer: the size of ``long`` where the blob has one, else 8."""
        size = self.core_cache.get("pointer_size")
        if size is None:
            if self.base is not None:
                size = self.base.pointer_size
            else:
                size = 8
                for name in ("long unsigned int", "long int", "unsigned long", "long"):  # compilers' words, then ours
                    id = self.find(name, Kind.INT)
                    if id is not None and (t := self.type(id)) and isinstance(t, T.Int) and t.size in (4, 8):
                        size = t.size
                        break
            self.core_cache["pointer_size"] = size
        return cast("int", size)

    def size_of(self, id: int) -> int:
        """Bytes that a value of the type occupies. Raises `BtfError` for types without size (void, functions)."""
        count = 1
        for _ in range(MAX_DEPTH):
            t = self.type(id)
            if isinstance(t, (T.Int, T.Struct, T.Union, T.Enum, T.Enum64, T.Float, T.DataSec)):
                return count * t.size
            if isinstance(t, T.Ptr):
                return count * self.pointer_size
            if isinstance(t, T.Array):
                count *= t.nelems
            elif not isinstance(t, (*T.MODIFIERS, T.Var)):
                raise BtfError(f"type {id} ({t.kind.name} {t.name!r}) has no size")
            id = t.type
        raise self._too_deep(id)

    def align_of(self, id: int) -> int:
        """The alignment of the type in bytes, as a compiler would lay it out: of a struct the largest of its members'.

        BTF doesn't record alignment: ``aligned`` attributes are unknown, and a struct whose members are not where their
        alignment would put them is packed (1).
        """
        return self._align_of(id, 0)

    def _align_of(self, id: int, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise self._too_deep(id)
        t = self.type(id)
        if isinstance(t, (T.Int, T.Enum, T.Enum64, T.Float)):
            return max(1, min(self.pointer_size, t.size))
        if isinstance(t, T.Ptr):
            return self.pointer_size
        if isinstance(t, (*T.MODIFIERS, T.Array, T.Var)):
            return self._align_of(t.type, depth + 1)
        if isinstance(t, (T.Struct, T.Union)):
            key = ("align", id)
            known = self.core_cache.get(key)
            if isinstance(known, int):
                return known
            self.core_cache[key] = 1  # what a struct inside of itself (damaged BTF) would see
            align = 1
            for m in t.members:
                inner = self._align_of(m.type, depth + 1)
                if inner > align:
                    align = inner
                if not m.bit_size and m.bit_offset % (8 * inner):
                    align = 1
                    break
            else:
                if t.size % align:
                    align = 1
            self.core_cache[key] = align
            return align
        raise BtfError(f"type {id} ({t.kind.name} {t.name!r}) has no alignment")

    def members(self, id: int) -> Mapping[str, Field]:
        """The named members of a struct or union (behind typedefs), those of anonymous members in their places.

        In declaration order. Raises `BtfError` if the type isn't a struct or union.
        """
        id = self.resolve(id)
        found = self._fields.get(id)
        if found is not None:
            return found
        fields: dict[str, Field] = {}
        seen = 0
        # A stack of iterators instead of recursion: damaged BTF may nest as deep as it likes.
        top = self.type(id)
        if not isinstance(top, (T.Struct, T.Union)):
            raise BtfError(f"type {id} ({top.kind.name} {top.name!r}) has no members")
        stack = [(0, iter(top.members))]
        while stack:
            base, rest = stack[-1]
            for m in rest:
                seen += 1
                if seen > _MAX_FLAT_MEMBERS or len(stack) > MAX_DEPTH:
                    raise BtfError(f"type {id} has too many or too deeply nested anonymous members")
                if m.name:
                    fields.setdefault(m.name, self._field(m, base))
                    continue
                inner = self.resolved(m.type)
                if isinstance(inner, (T.Struct, T.Union)):
                    stack.append((base + m.bit_offset, iter(inner.members)))
                    break
            else:
                stack.pop()
        self._fields[id] = fields
        return fields

    def _field(self, m: T.Member, base: int) -> Field:
        if m.bit_size:
            return Field(base + m.bit_offset, m.bit_size, m.type, True)
        t = self.resolved(m.type)
        if isinstance(t, T.Int) and (t.bits != 8 * t.size or t.bit_offset):  # bit-field of the old style
            return Field(base + m.bit_offset + t.bit_offset, t.bits, m.type, True)
        return Field(base + m.bit_offset, 8 * self.size_of(m.type), m.type, False)


# -- one decoder per kind: (btf, id, words, position, vlen, kind_flag) -> type


def _signed32(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


def _int(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    data, size = w[p + 3], w[p + 2]
    bits, offset = data & 0xFF, data >> 16 & 0xFF
    if not size or size > 16 or size & (size - 1) or not 0 < bits <= 8 * size or bits + offset > 128:
        raise BtfError(f"an integer of {size} bytes with {bits} bits at bit {offset} is impossible")
    return T.Int(id, b.name(w[p]), size, data >> 24 & 15, offset, bits)


def _array(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    return T.Array(id, w[p + 3], w[p + 4], w[p + 5])


def _composite(cls: Callable[[int, str, int, tuple[T.Member, ...]], Type], b: Btf, id: int, w: Sequence[int], p: int,
               vlen: int, flag: int) -> Type:
    name, Member = b.name, T.Member
    start = p + 3
    entries = w[start:start + 3 * vlen]
    if len(entries) < 3 * vlen:
        raise IndexError
    if flag:
        members = tuple([Member(name(entries[i]), entries[i + 1], entries[i + 2] & 0xFFFFFF, entries[i + 2] >> 24)
                         for i in range(0, 3 * vlen, 3)])
    else:
        members = tuple([Member(name(entries[i]), entries[i + 1], entries[i + 2], 0) for i in range(0, 3 * vlen, 3)])
    return cls(id, name(w[p]), w[p + 2], members)


def _enum(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    if w[p + 2] not in (1, 2, 4, 8):
        raise BtfError(f"an enum of {w[p + 2]} bytes is impossible")
    # The flag (6.0) says "signed"; older blobs lack it and then, as for libbpf, negative values show as large ones.
    raw = [(b.name(w[i]), w[i + 1]) for i in range(p + 3, p + 3 + 2 * vlen, 2)]
    signed = bool(flag)
    return T.Enum(id, b.name(w[p]), w[p + 2], signed,
                  tuple([T.Enumerator(n, _signed32(v) if signed else v) for n, v in raw]))


def _enum64(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    if w[p + 2] not in (1, 2, 4, 8):
        raise BtfError(f"an enum of {w[p + 2]} bytes is impossible")
    values = []
    for i in range(p + 3, p + 3 + 3 * vlen, 3):
        value = w[i + 1] | w[i + 2] << 32
        values.append(T.Enumerator(b.name(w[i]), value - (1 << 64) if flag and value >> 63 else value))
    return T.Enum64(id, b.name(w[p]), w[p + 2], bool(flag), tuple(values))


def _func_proto(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    return T.FuncProto(id, w[p + 2], tuple([T.Param(b.name(w[i]), w[i + 1])
                                            for i in range(p + 3, p + 3 + 2 * vlen, 2)]))


def _datasec(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    return T.DataSec(id, b.name(w[p]), w[p + 2], tuple([T.SecVar(w[i], w[i + 1], w[i + 2])
                                                        for i in range(p + 3, p + 3 + 3 * vlen, 3)]))


def _float(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    if w[p + 2] not in (2, 4, 8, 12, 16):
        raise BtfError(f"a float of {w[p + 2]} bytes is impossible")
    return T.Float(id, b.name(w[p]), w[p + 2])


def _unknown(b: Btf, id: int, w: Sequence[int], p: int, vlen: int, flag: int) -> Type:
    raise BtfError("kind 0 is no kind of type")


_DECODERS: tuple[Callable[[Btf, int, Sequence[int], int, int, int], Type], ...] = (
    _unknown,
    _int,
    lambda b, id, w, p, vlen, flag: T.Ptr(id, w[p + 2]),
    _array,
    partial(_composite, T.Struct),
    partial(_composite, T.Union),
    _enum,
    lambda b, id, w, p, vlen, flag: T.Fwd(id, b.name(w[p]), bool(flag)),
    lambda b, id, w, p, vlen, flag: T.Typedef(id, b.name(w[p]), w[p + 2]),
    lambda b, id, w, p, vlen, flag: T.Volatile(id, w[p + 2]),
    lambda b, id, w, p, vlen, flag: T.Const(id, w[p + 2]),
    lambda b, id, w, p, vlen, flag: T.Restrict(id, w[p + 2]),
    lambda b, id, w, p, vlen, flag: T.Func(id, b.name(w[p]), w[p + 2], vlen),
    _func_proto,
    lambda b, id, w, p, vlen, flag: T.Var(id, b.name(w[p]), w[p + 2], w[p + 3]),
    _datasec,
    _float,
    lambda b, id, w, p, vlen, flag: T.DeclTag(id, b.name(w[p]), w[p + 2], _signed32(w[p + 3]), bool(flag)),
    lambda b, id, w, p, vlen, flag: T.TypeTag(id, b.name(w[p]), w[p + 2], bool(flag)),
    _enum64,
)

__all__ = ["MAGIC", "MAX_DEPTH", "Btf", "Field"]
