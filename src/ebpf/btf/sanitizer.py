"""BTF reduced to what the running kernel takes, with every id unchanged.

Compilers are ahead of kernels: an unknown kind makes ``bpf(BPF_BTF_LOAD)`` refuse the whole blob. Each kind that is
missing is replaced by an older one of the same length, so that nothing moves. The replacements are libbpf's
(bpf_object__sanitize_btf); what every kernel refuses (externs) is mended always, as bpf_object__resolve_externs does.
"""

from __future__ import annotations

from array import array
from enum import Enum
from typing import TYPE_CHECKING

from ebpf.btf.reader import Btf
from ebpf.btf.types import ENTRY_WORDS, FIXED_WORDS, LINKAGE_EXTERN, LINKAGE_GLOBAL, Kind
from ebpf.btf.writer import pack
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Set


class BtfFeature(Enum):
    """What a kernel's BTF may support; the value is the first Linux version that does."""

    FUNC = "4.20"
    DATASEC = "5.2"
    FUNC_GLOBAL = "5.6"
    FLOAT = "5.13"
    DECL_TAG = "5.16"
    TYPE_TAG = "5.17"
    ENUM64 = "6.0"
    QMARK_DATASEC = "6.9"
    ATTRIBUTES = "6.15"


ALL_FEATURES = frozenset(BtfFeature)
_FUNC_PROTO = int(Kind.FUNC_PROTO)


class _Editor:
    """A type section that is changed in place, with room for a few more types and strings at the end."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.words = array("I", btf.words)
        self.strings = bytearray(btf.strings)
        self.offsets = list(btf.offsets)
        self._added: dict[str, int] = {}

    def info(self, position: int) -> tuple[Kind, int]:
        info = self.words[position + 1]
        return Kind(info >> 24 & 31), info & 0xFFFF

    def set_info(self, position: int, kind: Kind, vlen: int = 0, flag: int = 0) -> None:
        self.words[position + 1] = flag << 31 | kind << 24 | vlen

    def string(self, text: str) -> int:
        found = self._added.get(text)
        if found is None:
            found = self._added[text] = self.btf.first_string + len(self.strings)
            self.strings += text.encode() + b"\0"
        return found

    def add(self, *words: int) -> int:
        self.offsets.append(len(self.words))
        self.words.extend(words)
        return self.btf.first_id + len(self.offsets) - 1

    def position(self, id: int) -> int | None:
        at = id - self.btf.first_id
        return self.offsets[at] if 0 <= at < len(self.offsets) else None

    def emit(self) -> bytes:
        return pack(self.words, bytes(self.strings), self.btf.little_endian)


def sanitize(btf: Btf | bytes, features: Set[BtfFeature] = ALL_FEATURES) -> bytes:
    """The blob without what a kernel with ``features`` refuses. Raises `BtfError` if it is damaged."""
    if isinstance(btf, bytes):
        btf = Btf.parse(btf)
    editor = _Editor(btf)
    missing = ALL_FEATURES - features
    own = _by_kind(editor)
    try:
        _mend_externs(editor, own)
        _mend_sections(editor, own)
        if missing:
            for position in list(editor.offsets):
                kind, vlen = editor.info(position)
                _REDUCERS.get(kind, _keep)(editor, position, vlen, missing)
    except OverflowError:
        raise BtfError("a data section of this BTF is larger than 512 MB or has damaged offsets") from None
    return editor.emit()


# -- what every kernel refuses


def _by_kind(editor: _Editor) -> dict[int, list[int]]:
    """Where the types of each kind start."""
    words = editor.words
    found: dict[int, list[int]] = {}
    for position in editor.offsets:
        found.setdefault(words[position + 1] >> 24 & 31, []).append(position)
    return found


def _mend_externs(editor: _Editor, own: dict[int, list[int]]) -> None:
    """Extern variables become global ones, extern functions too; parameters of functions get names.

    In ``.ksyms`` functions give way to a placeholder variable; variables, which may be ``void``, become integers.
    """
    words, btf = editor.words, editor.btf
    integer = placeholder = 0
    for position in own.get(Kind.DATASEC, ()):
        vlen = editor.info(position)[1]
        entries = range(position + 3, position + 3 + 3 * vlen, 3)
        if btf.name(words[position]) != ".ksyms" and all(btf.kind(words[at]) != Kind.FUNC for at in entries):
            continue
        if not placeholder:
            integer = editor.add(editor.string("ksym_placeholder_int"), Kind.INT << 24, 4, 1 << 24 | 32)
            placeholder = editor.add(editor.string("ksym_placeholder"), Kind.VAR << 24, integer, LINKAGE_GLOBAL)
        for i, at in enumerate(entries):
            var = editor.position(words[at])
            if var is None or editor.info(var)[0] != Kind.VAR:
                words[at] = placeholder
            elif words[var + 3] == LINKAGE_EXTERN:
                words[var + 2] = integer
            # Laid out anew: externs take no room in the section, but the kernel wants some.
            words[at + 1], words[at + 2] = 4 * i, 4
        words[position + 2] = 4 * max(1, vlen)
    for position in own.get(Kind.VAR, ()):
        if words[position + 3] == LINKAGE_EXTERN:
            words[position + 3] = LINKAGE_GLOBAL
    prototypes = set()
    for position in own.get(Kind.FUNC, ()):
        if words[position + 1] & 0xFFFF == LINKAGE_EXTERN:
            editor.set_info(position, Kind.FUNC, LINKAGE_GLOBAL)
        prototypes.add(words[position + 2])
    for proto in map(editor.position, sorted(prototypes)):
        if proto is not None and words[proto + 1] >> 24 & 31 == _FUNC_PROTO:
            for i in range(words[proto + 1] & 0xFFFF):
                at = proto + 3 + 2 * i
                if not words[at] and words[at + 1]:
                    words[at] = editor.string(f"arg{i + 1}")


def _mend_sections(editor: _Editor, own: dict[int, list[int]]) -> None:
    """A data section that was never laid out (size 0, as clang writes it) gets its variables one after another."""
    words, btf = editor.words, editor.btf
    for position in own.get(Kind.DATASEC, ()):
        vlen = editor.info(position)[1]
        if words[position + 2]:
            continue
        end = 0
        for at in range(position + 3, position + 3 + 3 * vlen, 3):
            align = 8
            if words[at] < btf.first_id + len(btf.offsets):
                try:
                    align = btf.align_of(words[at])
                except BtfError:
                    align = 8
            words[at + 1] = -(-end // align) * align
            words[at + 2] = words[at + 2] or 4
            end = words[at + 1] + words[at + 2]
        words[position + 2] = end or 1


# -- one reducer per kind that may be missing: (editor, position, vlen, missing features)


def _keep(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    pass


def _var(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    if BtfFeature.DATASEC in missing:
        _become_int(e, p)


def _decl_tag(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    if BtfFeature.DECL_TAG in missing:
        e.words[p] = e.string("decl_tag_placeholder")
        _become_int(e, p)
    elif BtfFeature.ATTRIBUTES in missing:
        e.set_info(p, Kind.DECL_TAG)


def _become_int(e: _Editor, p: int) -> None:
    e.set_info(p, Kind.INT)
    e.words[p + 2], e.words[p + 3] = 1, 8


def _datasec(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    name = e.btf.name(e.words[p])
    if BtfFeature.DATASEC in missing:
        # A struct whose members are the variables; its name must be an identifier.
        e.words[p] = e.string("".join(c if c.isalnum() else "_" for c in name))
        e.set_info(p, Kind.STRUCT, vlen)
        for at in range(p + 3, p + 3 + 3 * vlen, 3):
            type, offset, _ = e.words[at:at + 3]
            place = e.position(type)
            e.words[at] = e.words[place] if place is not None else 0
            e.words[at + 1], e.words[at + 2] = type, 8 * offset
    elif BtfFeature.QMARK_DATASEC in missing and name.startswith("?"):
        e.words[p] = e.string("_" + name[1:])


def _func_proto(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    if BtfFeature.FUNC in missing:
        e.set_info(p, Kind.ENUM, vlen)
        e.words[p + 2] = 4
        for i in range(vlen):  # an enumerator needs a name
            e.words[p + 3 + 2 * i] = e.words[p + 3 + 2 * i] or e.string(f"arg{i + 1}")


def _func(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    if BtfFeature.FUNC in missing:
        e.set_info(p, Kind.TYPEDEF)
    elif BtfFeature.FUNC_GLOBAL in missing:
        e.set_info(p, Kind.FUNC, 0)


def _float(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    if BtfFeature.FLOAT in missing:
        e.words[p] = 0  # `float` is no name for a struct
        e.set_info(p, Kind.STRUCT)


def _type_tag(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    attribute = e.words[p + 1] >> 31 and BtfFeature.ATTRIBUTES in missing
    if BtfFeature.TYPE_TAG in missing or attribute:
        e.words[p] = 0
        e.set_info(p, Kind.CONST)


def _enum(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    if BtfFeature.ENUM64 in missing:  # the sign flag came with it
        e.set_info(p, Kind.ENUM, vlen)


def _enum64(e: _Editor, p: int, vlen: int, missing: Set[BtfFeature]) -> None:
    if BtfFeature.ENUM64 not in missing:
        return
    # A union of the same size with one member per enumerator.
    name = e.string("enum64_placeholder")
    last = e.offsets[-1]
    if e.words[last] == name:
        placeholder = e.btf.first_id + len(e.offsets) - 1
    else:
        placeholder = e.add(name, Kind.INT << 24, 1, 8)
    e.set_info(p, Kind.UNION, vlen)
    for at in range(p + 3, p + 3 + 3 * vlen, 3):
        e.words[at + 1], e.words[at + 2] = placeholder, 0


_REDUCERS = {
    Kind.VAR: _var,
    Kind.DECL_TAG: _decl_tag,
    Kind.DATASEC: _datasec,
    Kind.FUNC_PROTO: _func_proto,
    Kind.FUNC: _func,
    Kind.FLOAT: _float,
    Kind.TYPE_TAG: _type_tag,
    Kind.ENUM: _enum,
    Kind.ENUM64: _enum64,
}
assert FIXED_WORDS[Kind.VAR] == FIXED_WORDS[Kind.INT] == FIXED_WORDS[Kind.DECL_TAG]
assert ENTRY_WORDS[Kind.DATASEC] == ENTRY_WORDS[Kind.STRUCT] == ENTRY_WORDS[Kind.ENUM64]
