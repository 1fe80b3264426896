"""CO-RE: a program's instructions adjusted to the kernel's layout of the types that it reads.

The compiler leaves a record for each access ("the offset of ``mm`` in ``struct task_struct``") together with its own
idea of the answer. `relocate` finds the type in the kernel's BTF by name, the member by name, and writes the kernel's
answer into the instruction. The rules are those of libbpf (relo_core.c), since programs are written for them.

A question without answer does not stop the program from loading as long as the instruction is never reached: it is
replaced by a call that no verifier accepts (`POISON_IMM`), and `CoreResult.problem` keeps what was missing, so that a
later refusal can be explained.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

from ebpf.btf import types as T
from ebpf.btf.ext import CoreKind, CoreRelo, CoreRelos
from ebpf.btf.format import format_decl
from ebpf.btf.match import (
    Spec,
    essential_name,
    find_candidates,
    match_field,
    parse_field_path,
    types_compatible,
    types_match,
)
from ebpf.errors import BtfError, RelocationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ebpf.btf.reader import Btf

#: The helper number of a poisoned instruction; the verifier says ``invalid func unknown#195896080``.
POISON_IMM = 195896080

_FIELD_KINDS = frozenset((CoreKind.FIELD_BYTE_OFFSET, CoreKind.FIELD_BYTE_SIZE, CoreKind.FIELD_EXISTS,
                          CoreKind.FIELD_SIGNED, CoreKind.FIELD_LSHIFT_U64, CoreKind.FIELD_RSHIFT_U64))
_ENUM_KINDS = frozenset((CoreKind.ENUMVAL_EXISTS, CoreKind.ENUMVAL_VALUE))
_U64 = (1 << 64) - 1
_LD_IMM64 = 0x18
_WORD = struct.Struct("@Q")
# Instruction classes by the low three bits of the opcode (RFC 9669, section 3).
_LD, _LDX, _ST, _STX, _ALU, _ALU64 = 0, 1, 2, 3, 4, 7
_SIZE_BITS = {4: 0x00, 2: 0x08, 1: 0x10, 8: 0x18}
_SIZES = {bits: size for size, bits in _SIZE_BITS.items()}


class CoreResult(NamedTuple):
    """What became of one relocation.

    ``what`` describes it (``"offset of struct task_struct.mm"``); ``target`` is the position in ``targets`` of the BTF
    that answered and ``target_type`` the type there, or None; ``problem`` is None unless the instruction was poisoned.
    """

    relo: CoreRelo
    what: str
    old: int
    new: int
    target: int | None
    target_type: int | None
    problem: str | None

    @property
    def poisoned(self) -> bool:
        return self.problem is not None


class _Answer(NamedTuple):
    value: int
    validate: bool = True  # the compiler's value must be what we compute from its types
    size: int = 0  # bytes of the field, if a load or store of it may have to change its width
    type: int = 0


class _Unanswerable(Exception):
    pass


class _Known:
    """What is known of all relocations that ask the same: the first one's result, and instructions before → after."""

    __slots__ = ("answers", "patched", "result")

    def __init__(self, result: CoreResult, answers: tuple[_Answer, _Answer]) -> None:
        self.result = result
        self.answers = answers
        self.patched: dict[int, int] = {}


class CoreResults(Sequence[CoreResult]):
    """What became of each relocation, in order: a `CoreResult` is made when it is looked at."""

    __slots__ = ("_found", "_relos")

    def __init__(self, relos: Sequence[CoreRelo], found: list[_Known]) -> None:
        self._relos = relos
        self._found = found

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, at: int) -> CoreResult: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[CoreResult, ...]: ...
    def __getitem__(self, at: int | slice) -> CoreResult | tuple[CoreResult, ...]:
        if isinstance(at, slice):
            return tuple([self[i] for i in range(len(self))[at]])
        return CoreResult(self._relos[at], *self._found[at].result[1:])

    def __repr__(self) -> str:
        return repr(tuple(self))

    def problems(self) -> list[str]:
        """What was missing, each once, sorted."""
        return sorted({known.result.problem for known in set(self._found) if known.result.problem})


def relocate(code: bytes | bytearray, relos: Iterable[CoreRelo], local: Btf, targets: Sequence[Btf], *,
             start: int = 0) -> tuple[bytes, CoreResults]:
    """Apply ``relos`` to ``code``, which starts ``start`` bytes into the section that the relocations count from.

    ``local`` is the program's BTF. ``targets`` are the kernel's: ``vmlinux`` first, then modules, which are looked at
    only for types that ``vmlinux`` lacks. Raises `RelocationError` if types disagree or a value doesn't fit.
    """
    out = bytearray(code)
    finder: _Finder | None = local.core_cache.get(_Finder)
    if finder is None or finder.targets != targets:  # the programs of an object ask the same again and again
        finder = local.core_cache[_Finder] = _Finder(local, targets)
    order = "<" if local.little_endian else ">"
    rows: Iterable[tuple[int, int, Any, int]]
    each: Sequence[CoreRelo] = relos if isinstance(relos, CoreRelos) else tuple(relos)
    if isinstance(each, CoreRelos) and each.btf is local:  # as words: a path is a string's offset
        words = each.words
        rows = zip([at - each.start for at in words[::4]], words[1::4], words[2::4], words[3::4], strict=True)
    else:
        rows = each
    whole = len(out) & ~7
    insns = memoryview(out)[:whole].cast("Q")
    known, results = finder.known, []
    for insn_off, type_id, access, kind in rows:
        at = insn_off - start
        if at & 7 or not 0 <= at < whole:
            raise RelocationError(
                f"CO-RE relocation at byte {insn_off} is outside of the program's {len(out)} bytes")
        found = known.get((type_id, access, kind))
        after = found.patched.get(insns[at >> 3]) if found is not None else None
        if found is None or after is None:
            path = access if isinstance(access, str) else local.name(access)
            found = known[type_id, access, kind] = _relocate_one(
                out, at, order, CoreRelo(insn_off, type_id, path, kind), finder)
        else:
            insns[at >> 3] = after
        results.append(found)
    return bytes(out), CoreResults(each, results)


def _relocate_one(out: bytearray, at: int, order: str, relo: CoreRelo, finder: _Finder) -> _Known:
    """One relocation, by the rules. What becomes of an instruction like this one is remembered."""
    try:
        found = finder.resolve(relo)
        before = _WORD.unpack_from(out, at)[0]
        wide = out[at] == _LD_IMM64
        if found.result.problem is not None:
            _poison(out, at, order)
        else:
            _patch(out, at, order, found.result._replace(relo=relo), *found.answers, finder)
    except BtfError as error:
        raise RelocationError(f"CO-RE relocation of {describe(finder.local, relo)}: {error.message}") from error
    if not wide:
        found.patched[before] = _WORD.unpack_from(out, at)[0]
    return found


def describe(local: Btf, relo: CoreRelo) -> str:
    """The relocation in words: ``"offset of struct task_struct.mm"``."""
    try:
        kind = CoreKind(relo.kind)
    except ValueError:
        return f"unknown kind {relo.kind}"
    return f"{_WORDS[kind]} {_describe_path(local, relo, kind)}"


_WORDS = {
    CoreKind.FIELD_BYTE_OFFSET: "offset of",
    CoreKind.FIELD_BYTE_SIZE: "size of",
    CoreKind.FIELD_EXISTS: "existence of",
    CoreKind.FIELD_SIGNED: "signedness of",
    CoreKind.FIELD_LSHIFT_U64: "left shift of",
    CoreKind.FIELD_RSHIFT_U64: "right shift of",
    CoreKind.TYPE_ID_LOCAL: "local id of",
    CoreKind.TYPE_ID_TARGET: "id of",
    CoreKind.TYPE_EXISTS: "existence of",
    CoreKind.TYPE_SIZE: "size of",
    CoreKind.TYPE_MATCHES: "match of",
    CoreKind.ENUMVAL_EXISTS: "existence of",
    CoreKind.ENUMVAL_VALUE: "value of",
}


def _describe_path(local: Btf, relo: CoreRelo, kind: CoreKind) -> str:
    try:
        t = local.type(relo.type_id)
        name = format_decl(local, relo.type_id) if t.name else f"type {relo.type_id}"
        if kind in _ENUM_KINDS:
            enum = local.resolved(relo.type_id)
            if isinstance(enum, (T.Enum, T.Enum64)):
                return f"{name}::{enum.values[int(relo.access)].name}"
        elif kind in _FIELD_KINDS:
            spec = parse_field_path(local, relo.type_id, _path(relo))
            name += "".join(f".{s.name}" if s.name is not None else f"[{s.number}]" for s in spec.steps[1:])
        return name
    except (BtfError, ValueError, IndexError):
        return f"type {relo.type_id}, path {relo.access!r}"


def _path(relo: CoreRelo) -> list[int]:
    parts = relo.access.split(":")
    if len(parts) > 64 or not all(p.isascii() and p.isdigit() and len(p) < 10 for p in parts):
        raise BtfError(f"access path {relo.access!r} is not a list of numbers")
    return [int(p) for p in parts]


class _Finder:
    """Answers relocations; remembers the candidates for each local type."""

    def __init__(self, local: Btf, targets: Sequence[Btf]) -> None:
        self.local = local
        self.targets = targets
        self._candidates: dict[int, list[tuple[int, int]]] = {}
        #: (type, access, kind) → what was found; the access as text, or as the offset of that string
        self.known: dict[tuple[int, str | int, int], _Known] = {}

    def resolve(self, relo: CoreRelo) -> _Known:
        """The relocation's result, and the answers of both sides."""
        key = (relo.type_id, relo.access, relo.kind)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = _Known(*self._resolve(relo))
        return found

    def _resolve(self, relo: CoreRelo) -> tuple[CoreResult, tuple[_Answer, _Answer]]:
        local = self.local
        try:
            kind = CoreKind(relo.kind)
        except ValueError:
            raise RelocationError(f"CO-RE relocation kind {relo.kind} is unknown (0 to 12 are known)") from None
        what = describe(local, relo)
        if kind == CoreKind.TYPE_ID_LOCAL:
            answer = _Answer(relo.type_id, False)
            return CoreResult(relo, what, relo.type_id, relo.type_id, None, None, None), (answer, answer)
        root = local.type(relo.type_id)
        if not root.name:
            raise RelocationError(f"CO-RE relocation of {what}: a type without name cannot be found in the kernel")
        path = _path(relo)
        if kind in _FIELD_KINDS:
            spec = parse_field_path(local, relo.type_id, path)
        elif len(path) != 1:
            raise BtfError(f"access path {relo.access!r} should be one number")
        else:
            spec = Spec(local, relo.type_id, (), 0)
            if kind in _ENUM_KINDS:
                enum = local.resolved(relo.type_id)
                if not isinstance(enum, (T.Enum, T.Enum64)) or path[0] >= len(enum.values):
                    raise BtfError(f"{enum.kind.name} {enum.name!r} has no enumerator number {path[0]}")
        try:
            old = _answer(kind, spec, path[0])
        except _Unanswerable as error:
            raise BtfError(str(error)) from None
        matches: list[tuple[int, int, Spec, _Answer]] = []
        unusable = ""
        candidates = self._find(relo.type_id, root)
        for target, id in candidates:
            found = self._match(kind, spec, path[0], self.targets[target], id)
            if found is None:
                continue
            try:
                answer = _answer(kind, found[0], found[1])
            except _Unanswerable as error:
                unusable = str(error)
                continue
            if matches and (matches[0][2].bit_offset != found[0].bit_offset or matches[0][3].value != answer.value):
                raise RelocationError(
                    f"CO-RE relocation of {what} is ambiguous: types {matches[0][1]} and {id} of the kernel's BTF "
                    f"answer {matches[0][3].value} and {answer.value}")
            matches.append((target, id, found[0], answer))
        if matches:
            # Later relocations of the same type keep to the candidates that fitted this one.
            self._candidates[relo.type_id] = [(t, i) for t, i, _, _ in matches]
            target, id, _, new = matches[0]
            return CoreResult(relo, what, old.value, new.value, target, id, None), (old, new)
        try:
            new = _answer(kind, None, 0)
        except _Unanswerable:
            problem = unusable or f"{_describe_path(local, relo, kind)} is not in the kernel's BTF"
            if not candidates:
                problem += f" (there is no type called {essential_name(root.name)!r})"
            return CoreResult(relo, what, old.value, 0, None, None, problem), (old, old)
        return CoreResult(relo, what, old.value, new.value, None, None, None), (old, new)

    def _find(self, id: int, root: T.Type) -> list[tuple[int, int]]:
        found = self._candidates.get(id)
        if found is None:
            name = essential_name(root.name)
            found = []
            for n in range(len(self.targets)):
                found += [(n, i) for i in find_candidates(self.targets[n], name, root.kind)]
                if found and not n:
                    break
            self._candidates[id] = found
        return found

    def _match(self, kind: CoreKind, spec: Spec, index: int, target: Btf, id: int) -> tuple[Spec, int] | None:
        local = self.local
        if kind in _FIELD_KINDS:
            found = match_field(spec, target, id)
            return None if found is None else (found, 0)
        if kind in _ENUM_KINDS:
            mine, theirs = local.resolved(spec.root), target.resolved(id)
            assert isinstance(mine, (T.Enum, T.Enum64))
            if not isinstance(theirs, (T.Enum, T.Enum64)):
                return None
            wanted = essential_name(mine.values[index].name)
            for n, v in enumerate(theirs.values):
                if essential_name(v.name) == wanted:
                    return Spec(target, id, (), 0), n
            return None
        compare = types_match if kind == CoreKind.TYPE_MATCHES else types_compatible
        return (Spec(target, id, (), 0), 0) if compare(local, spec.root, target, id) else None


def _answer(kind: CoreKind, spec: Spec | None, index: int) -> _Answer:
    """The relocation's value in one blob, or for a type or field that isn't there (``spec`` None).

    Raises `_Unanswerable` if that has no value.
    """
    if kind in (CoreKind.FIELD_EXISTS, CoreKind.TYPE_EXISTS, CoreKind.TYPE_MATCHES, CoreKind.ENUMVAL_EXISTS):
        return _Answer(int(spec is not None))
    if spec is None:
        if kind in (CoreKind.TYPE_SIZE, CoreKind.TYPE_ID_TARGET):
            return _Answer(0)
        raise _Unanswerable
    if kind == CoreKind.TYPE_SIZE:
        return _Answer(spec.btf.size_of(spec.root))
    if kind == CoreKind.TYPE_ID_TARGET:
        return _Answer(spec.root, False)
    if kind == CoreKind.ENUMVAL_VALUE:
        enum = spec.btf.resolved(spec.root)
        assert isinstance(enum, (T.Enum, T.Enum64))
        return _Answer(enum.values[index].value & _U64)
    return _field_answer(kind, spec)


def _field_answer(kind: CoreKind, spec: Spec) -> _Answer:
    btf, step, bits = spec.btf, spec.steps[-1], spec.bit_offset
    if step.name is None:  # an array's element
        size = btf.size_of(step.type)
        if kind == CoreKind.FIELD_BYTE_OFFSET:
            return _Answer(bits // 8, True, size, step.type)
        if kind == CoreKind.FIELD_BYTE_SIZE:
            return _Answer(size)
        raise BtfError("an array's element has no signedness or shift that could be relocated")
    owner = btf.type(step.type)
    assert isinstance(owner, (T.Struct, T.Union))
    member = owner.members[step.number]
    id = btf.resolve(member.type)
    t = btf.type(id)
    bit_size, size = member.bit_size, btf.size_of(id)
    if not bit_size and isinstance(t, T.Int) and (t.bits != 8 * t.size or t.bit_offset):
        bit_size, bits = t.bits, bits + t.bit_offset
    is_bitfield = bit_size > 0
    if is_bitfield:
        if not size:
            raise BtfError(f"bit-field {member.name!r} has a type of no size")
        # The smallest aligned load, at least as wide as the declared type, that covers all bits.
        offset = bits // 8 // size * size
        while bits + bit_size - 8 * offset > 8 * size:
            if size >= 8:
                raise _Unanswerable(f"bit-field {member.name!r} does not fit one load of 8 bytes")
            size *= 2
            offset = bits // 8 // size * size
    else:
        offset, bit_size = bits // 8, 8 * size
    if kind == CoreKind.FIELD_BYTE_OFFSET:
        return _Answer(offset, not is_bitfield, 0 if is_bitfield else size, id)
    if kind == CoreKind.FIELD_BYTE_SIZE:
        return _Answer(size, not is_bitfield)
    if kind == CoreKind.FIELD_SIGNED:
        return _Answer(int(isinstance(t, (T.Int, T.Enum, T.Enum64)) and t.signed))
    if kind == CoreKind.FIELD_LSHIFT_U64:
        shift = 64 - (bits + bit_size - 8 * offset) if btf.little_endian else 8 * (8 - size) + bits - 8 * offset
        return _Answer(shift & _U64, not is_bitfield)
    return _Answer((64 - bit_size) & _U64)


# -- instructions


def _poison(code: bytearray, at: int, order: str) -> None:
    call = struct.pack(order + "BBhi", 0x85, 0, 0, POISON_IMM)
    wide = code[at] == _LD_IMM64 and at + 16 <= len(code)
    code[at:at + 8 * (1 + wide)] = call * (1 + wide)


def _patch(code: bytearray, at: int, order: str, result: CoreResult, old: _Answer, new: _Answer,
           finder: _Finder) -> None:
    opcode, registers, off, imm = struct.unpack_from(order + "BBhi", code, at)
    where = f"CO-RE relocation of {result.what}: instruction {result.relo.insn_off // 8}"
    kind = opcode & 7
    if kind in (_ALU, _ALU64):
        if opcode & 8:
            raise RelocationError(f"{where} takes a register instead of a number")
        if old.validate and imm & 0xFFFFFFFF != old.value & 0xFFFFFFFF:
            raise _unexpected(where, imm, old.value)
        value = new.value if new.value < 1 << 63 else new.value - (1 << 64)
        if not -(1 << 31) <= value < 1 << 32:
            raise RelocationError(f"{where} cannot hold {value}, which needs more than 32 bits")
        struct.pack_into(order + "I", code, at + 4, value & 0xFFFFFFFF)
    elif kind in (_LDX, _ST, _STX):
        if old.validate and off != old.value:
            raise _unexpected(where, off, old.value)
        if new.value > 0x7FFF:
            raise RelocationError(f"{where} cannot hold the offset {new.value} (at most 32767)")
        struct.pack_into(order + "h", code, at + 2, new.value)
        if old.size and new.size and old.size != new.size:
            code[at] = _resized(opcode, where, result, old, new, finder)
    elif opcode == _LD_IMM64:
        if registers >> 4 if order == "<" else registers & 15:
            raise RelocationError(f"{where} is a wide load that another relocation owns")
        if at + 16 > len(code) or any(code[at + 8:at + 12]):
            raise RelocationError(f"{where} is a wide load without its second half")
        (high,) = struct.unpack_from(order + "I", code, at + 12)
        value = imm & 0xFFFFFFFF | high << 32
        if old.validate and value != old.value:
            raise _unexpected(where, value, old.value)
        struct.pack_into(order + "I", code, at + 4, new.value & 0xFFFFFFFF)
        struct.pack_into(order + "I", code, at + 12, new.value >> 32)
    else:
        raise RelocationError(f"{where} (opcode {opcode:#04x}) has no place for a relocated value")


def _resized(opcode: int, where: str, result: CoreResult, old: _Answer, new: _Answer, finder: _Finder) -> int:
    """The opcode for a field that has another width in the kernel. Only pointers and unsigned integers may change."""
    assert result.target is not None
    a, b = finder.local.type(old.type), finder.targets[result.target].type(new.type)
    pointers = isinstance(a, T.Ptr) and isinstance(b, T.Ptr)
    unsigned = isinstance(a, T.Int) and isinstance(b, T.Int) and not a.signed and not b.signed
    if not pointers and not unsigned:
        raise RelocationError(
            f"{where} reads {old.size} bytes, but the field has {new.size} in this kernel",
            notes=("only loads of pointers and unsigned integers can change their width",),
            helps=("read the field with BPF_CORE_READ_BITFIELD() or bpf_core_read() into a variable of its size",))
    if _SIZES[opcode & 0x18] != old.size:
        raise RelocationError(f"{where} accesses {_SIZES[opcode & 0x18]} bytes of a field of {old.size}")
    if new.size not in _SIZE_BITS:
        raise RelocationError(f"{where} cannot access {new.size} bytes at once")
    return opcode & ~0x18 | _SIZE_BITS[new.size]


def _unexpected(where: str, found: int, expected: int) -> RelocationError:
    return RelocationError(f"{where} contains {found}, but by the program's own types it should be {expected}",
                           notes=("the object's code and its .BTF.ext do not belong together",))
