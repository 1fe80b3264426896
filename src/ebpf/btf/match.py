"""When does a program's type mean a kernel's type? The rules of CO-RE, which are libbpf's (relo_core.c).

Names are compared without their flavour: ``task_struct___old`` means ``task_struct``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.btf import types as T
from ebpf.btf.reader import MAX_DEPTH
from ebpf.btf.types import Kind
from ebpf.errors import BtfError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.btf.reader import Btf

_ENUMS = frozenset((Kind.ENUM, Kind.ENUM64))
_COMPOSITES = frozenset((Kind.STRUCT, Kind.UNION))


def essential_name(name: str) -> str:
    """The name without its flavour: what follows the last ``___`` that stands between two other characters."""
    at = name.rfind("___")
    while at > 0:
        if name[at - 1] != "_" and at + 3 < len(name) and name[at + 3] != "_":
            return name[:at]
        at = name.rfind("___", 0, at)
    return name


def kinds_compatible(a: Kind, b: Kind) -> bool:
    return a == b or (a in _ENUMS and b in _ENUMS)


def flavours(btf: Btf) -> Mapping[str, list[str]]:
    """Essential name → the flavoured names in a blob's strings. Few, or none; looked for once."""
    found: dict[str, list[str]] | None = btf.core_cache.get("flavours")
    if found is None:
        found = btf.core_cache["flavours"] = {}
        for raw in btf.keep("flavours", lambda: _flavoured(btf.strings)).split(b"\0"):
            name = raw.decode("utf-8", "surrogateescape")
            essential = essential_name(name)
            if essential != name:
                found.setdefault(essential, []).append(name)
    return found


def _flavoured(strings: bytes) -> bytes:
    """Every string with ``___`` in it, NUL between them."""
    out = []
    at = strings.find(b"___")
    while at >= 0:
        end = strings.find(b"\0", at)
        out.append(strings[strings.rfind(b"\0", 0, at) + 1:end])
        at = strings.find(b"___", end)
    return b"\0".join(out)


def find_candidates(target: Btf, name: str, kind: Kind) -> list[int]:
    """Types of ``target`` itself (not its base) that may be meant by a local type of that essential name and kind."""
    out: list[int] = []
    for candidate in (name, *flavours(target).get(name, ())):
        out += [id for id in target.find_all(candidate, own=True) if kinds_compatible(target.kind(id), kind)]
    return out


class Step(NamedTuple):
    """One step of an access path: member number ``number`` of ``type``, or that element if ``name`` is None."""

    type: int
    number: int
    name: str | None


class Spec(NamedTuple):
    """An access path in one blob: the root type, the named steps, and how far into the root they lead."""

    btf: Btf
    root: int
    steps: tuple[Step, ...]
    bit_offset: int


def is_flexible(btf: Btf, step: Step, array: T.Array) -> bool:
    """Whether the array that ``step`` leads to is a struct's last member with 0 or 1 elements, and may be longer."""
    if step.name is None or array.nelems > 1:
        return False
    t = btf.type(step.type)
    return isinstance(t, T.Struct) and step.number == len(t.members) - 1


def parse_field_path(btf: Btf, root: int, path: list[int]) -> Spec:
    """The local side of a field relocation. Raises `BtfError` if the path leaves the type."""
    id = btf.resolve(root)
    steps = [Step(id, path[0], None)]
    bits = path[0] * 8 * btf.size_of(id)
    for index in path[1:]:
        t = btf.resolved(id)
        if isinstance(t, (T.Struct, T.Union)):
            if index >= len(t.members):
                raise BtfError(f"access path asks for member {index} of {t.name!r}, which has {len(t.members)}")
            m = t.members[index]
            bits += m.bit_offset
            if m.name:
                steps.append(Step(t.id, index, m.name))
            id = m.type
        elif isinstance(t, T.Array):
            if index >= t.nelems and not is_flexible(btf, steps[-1], t):
                raise BtfError(f"access path asks for element {index} of an array of {t.nelems}")
            id = btf.resolve(t.type)
            steps.append(Step(id, index, None))
            bits += index * 8 * btf.size_of(id)
        else:
            raise BtfError(f"access path goes into {t.kind.name} {t.name!r}, which has no parts")
    return Spec(btf, root, tuple(steps), bits)


def match_field(local: Spec, target: Btf, id: int) -> Spec | None:
    """The same path, by names, in a candidate type; None if it isn't there or leads to another kind of field."""
    root = id
    steps: list[Step] = []
    bits = 0
    for n, step in enumerate(local.steps):
        id = target.resolve(id)
        if step.name is not None:
            found = _find_member(target, id, step.name, 0)
            if found is None:
                return None
            owner, index, offset = found
            t, mine = target.type(owner), local.btf.type(step.type)
            assert isinstance(t, (T.Struct, T.Union)) and isinstance(mine, (T.Struct, T.Union))
            if not fields_compatible(local.btf, mine.members[step.number].type, target, t.members[index].type):
                return None
            steps.append(Step(owner, index, step.name))
            bits += offset
            id = t.members[index].type
        else:
            if n:
                array = target.type(id)
                if not isinstance(array, T.Array):
                    return None
                if step.number >= array.nelems and not is_flexible(target, steps[-1], array):
                    return None
                id = target.resolve(array.type)
            steps.append(Step(id, step.number, None))
            bits += step.number * 8 * target.size_of(id)
    return Spec(target, root, tuple(steps), bits)


def _find_member(btf: Btf, id: int, name: str, depth: int) -> tuple[int, int, int] | None:
    """(type that holds it, member number, bit offset from ``id``'s start) of a member, maybe of an anonymous one."""
    t = btf.resolved(id)
    if not isinstance(t, (T.Struct, T.Union)) or depth > MAX_DEPTH:
        return None
    # The flattened view says quickly whether it is there at all; the walk says in which inner struct.
    if not depth and name not in btf.members(t.id):
        return None
    for index, m in enumerate(t.members):
        if m.name == name:
            return t.id, index, m.bit_offset
        if not m.name:
            inner = _find_member(btf, m.type, name, depth + 1)
            if inner is not None:
                return inner[0], inner[1], inner[2] + m.bit_offset
    return None


def fields_compatible(local: Btf, local_id: int, target: Btf, target_id: int) -> bool:
    """May a program that expects a field of one type use one of the other? Integers of any size are alike."""
    for _ in range(MAX_DEPTH):
        a, b = local.resolved(local_id), target.resolved(target_id)
        if a.kind in _COMPOSITES and b.kind in _COMPOSITES:
            return True
        if not kinds_compatible(a.kind, b.kind):
            return False
        if isinstance(a, (T.Ptr, T.Float)):
            return True
        if isinstance(a, (T.Fwd, T.Enum, T.Enum64)):
            return not a.name or not b.name or essential_name(a.name) == essential_name(b.name)
        if isinstance(a, T.Int) and isinstance(b, T.Int):
            return not a.bit_offset and not b.bit_offset
        if not isinstance(a, T.Array) or not isinstance(b, T.Array):
            return False
        local_id, target_id = a.type, b.type
    return False


def types_compatible(local: Btf, local_id: int, target: Btf, target_id: int, depth: int = MAX_DEPTH) -> bool:
    """Are two types the same for ``bpf_core_type_exists``: by kinds and the shapes of functions, without members?"""
    while depth > 0:
        depth -= 1
        a, b = local.resolved(local_id), target.resolved(target_id)
        if not kinds_compatible(a.kind, b.kind):
            return False
        if isinstance(a, T.Int) and isinstance(b, T.Int):
            return not a.bit_offset and not b.bit_offset
        if isinstance(a, T.FuncProto) and isinstance(b, T.FuncProto):
            if len(a.params) != len(b.params) or not all(
                    types_compatible(local, p.type, target, q.type, depth) for p, q in zip(a.params, b.params)):
                return False
        elif not isinstance(a, (T.Ptr, T.Array)):
            return isinstance(a, (T.Void, T.Struct, T.Union, T.Enum, T.Enum64, T.Fwd, T.Float))
        assert isinstance(b, (T.Ptr, T.Array, T.FuncProto))
        local_id, target_id = a.type, b.type
    return False


def types_match(local: Btf, local_id: int, target: Btf, target_id: int, behind_pointer: bool = False,
                depth: int = MAX_DEPTH) -> bool:
    """``bpf_core_type_matches``: the target has all members and enumerators of the local type, with matching types."""
    while depth > 0:
        depth -= 1
        a, b = local.resolved(local_id), target.resolved(target_id)
        if not _names_match(a.name, b.name):
            return False
        if isinstance(a, T.Void):
            return isinstance(b, T.Void)
        if isinstance(a, T.Fwd):
            if isinstance(b, T.Fwd):
                return a.is_union == b.is_union
            return behind_pointer and isinstance(b, T.Union if a.is_union else T.Struct)
        if isinstance(a, (T.Enum, T.Enum64)):
            if not isinstance(b, (T.Enum, T.Enum64)):
                return False
            theirs = {essential_name(v.name) for v in b.values}
            return len(a.values) <= len(b.values) and all(essential_name(v.name) in theirs for v in a.values)
        if isinstance(a, (T.Struct, T.Union)):
            if behind_pointer:
                return type(a) is type(b) or (isinstance(b, T.Fwd) and b.is_union == isinstance(a, T.Union))
            if type(a) is not type(b) or not isinstance(b, (T.Struct, T.Union)) or len(a.members) > len(b.members):
                return False
            return all(any(_names_match(m.name, o.name) and types_match(local, m.type, target, o.type, False, depth)
                           for o in b.members) for m in a.members)
        if isinstance(a, T.Int):
            return isinstance(b, T.Int) and a.size == b.size and a.signed == b.signed
        if isinstance(a, T.FuncProto):
            if not isinstance(b, T.FuncProto) or len(a.params) != len(b.params) or not all(
                    types_match(local, p.type, target, q.type, behind_pointer, depth)
                    for p, q in zip(a.params, b.params)):
                return False
        elif isinstance(a, T.Array):
            if not isinstance(b, T.Array) or a.nelems != b.nelems:
                return False
        elif isinstance(a, T.Ptr):
            if not isinstance(b, T.Ptr):
                return False
            behind_pointer = True
        else:
            return False
        local_id, target_id = a.type, b.type
    return False


def _names_match(local: str, target: str) -> bool:
    return essential_name(local) == essential_name(target) if target else not local
