"""When a path need not be followed because an earlier one covers it.

If every concrete state of the present path is one of an old state's (at the same instruction, with the same callers),
whatever can happen
from here was examined from there. Three relaxations keep that true: a register that no path reads before writing it is
ignored
(`program` computes that), so is a stack slot that was never read from the old state on, and so is the range of a number
on which nothing
depended (`values.mark_precise`). Relaxations hold only for states whose paths have all been followed; for a state still
being explored
(a loop) everything must be included (``exact``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.verifier.ranges import includes, same
from ebpf.verifier.state import INVALID, MISC, SPILL, ZERO, CallbackInfo, Frame, State
from ebpf.verifier.values import PACKET, PACKET_META, Pointer, Scalar, Value

if TYPE_CHECKING:
    from ebpf.verifier.program import Program

COVERED, WITHIN, EQUAL = range(3)  # relaxed; every place included; every place the same


def states_equal(program: Program, slot: int, old: State, new: State, how: int) -> bool:
    """Whether ``old`` covers ``new`` at instruction ``slot``."""
    frames = old.frames
    if len(frames) != len(new.frames) or len(old.refs) != len(new.refs):
        return False
    if (old.lock is None) != (new.lock is None) or old.sections != new.sections:
        return False
    ids: dict[object, object] = {}
    top = len(frames) - 1
    live = program.live
    for i in range(top, -1, -1):
        a, b = frames[i], new.frames[i]
        if a.callsite != b.callsite or a.subprog != b.subprog or a.is_async != b.is_async:
            return False
        # In a caller, a call's return has overwritten r0 to r5.
        mask = live[slot] if i == top else live[frames[i + 1].callsite + 1] & 0b1111000000
        if a.callback is not b.callback and not _callbacks_equal(a.callback, b.callback, ids):
            return False
        if how == EQUAL:
            mask = 0b1111111111
        ours, theirs = a.regs, b.regs
        for r in range(10):
            if not mask >> r & 1:
                continue
            x, y = ours[r], theirs[r]
            if not (_same_id(x, y, ids) if x is y else _values_equal(x, y, how, ids)):
                return False
        if not _stacks_equal(a, b, how, ids):
            return False
    # References: the same number, and each old one stands for one new one.
    for held, now in zip(old.refs, new.refs, strict=True):
        if ids.setdefault(("ref", held), now) != now:
            return False
    if old.lock is not None and new.lock is not None:
        if old.lock[1] is not new.lock[1] or ids.setdefault(("id", old.lock[0]), new.lock[0]) != new.lock[0]:
            return False
    return True


def _callbacks_equal(a: CallbackInfo | None, b: CallbackInfo | None, ids: dict[object, object]) -> bool:
    """The next round starts with the same arguments: they are kept here and in no register."""
    if a is None or b is None or a.helper != b.helper or a.high != b.high or len(a.refs) != len(b.refs):
        return False
    return all(x is y or _values_equal(x, y, WITHIN, ids) for x, y in zip(a.args, b.args, strict=True))


def _same_id(a: Value | None, b: Value | None, ids: dict[object, object]) -> bool:
    if isinstance(a, Pointer) and isinstance(b, Pointer):
        if a.id and ids.setdefault(("id", a.id), b.id) != b.id:
            return False
        if a.ref and ids.setdefault(("ref", a.ref), b.ref) != b.ref:
            return False
    return True


def _values_equal(a: Value | None, b: Value | None, how: int, ids: dict[object, object]) -> bool:
    if a is None:
        # Nothing was proven with it: reading it would have been refused.
        return how != EQUAL or b is None
    if b is None:
        return False
    if isinstance(a, Scalar):
        if not isinstance(b, Scalar):
            return False
        if a.base and (a.base != b.base or a.delta != b.delta):
            return False  # by how much a loop's counter moved decides whether the loop ends (`loops`)
        if how == COVERED and not a.precise:
            return True
        if how == EQUAL:
            return same(a.range, b.range)
        if not includes(a.range, b.range):
            return False
        # Places that held one number must hold one number still: what was learnt of one was believed of the other.
        if a.range.umin != a.range.umax and ids.setdefault(id(a), b) is not b:
            return False
        return True
    if not isinstance(b, Pointer):
        return False
    if a.kind != b.kind or a.off != b.off or a.nullable != b.nullable or a.map is not b.map or a.frame != b.frame:
        return False
    if a.link and a.link != b.link:
        return False
    if a.kind in (PACKET, PACKET_META):
        # Fewer proven bytes before mean that less was relied on.
        if a.bound > b.bound if how != EQUAL else a.bound != b.bound:
            return False
    elif a.bound != b.bound:
        return False
    if (a.target is not b.target and a.target != b.target) or a.readonly != b.readonly or (a.trusted and not b.trusted):
        return False
    if a.var is not b.var and not (same(a.var, b.var) if how == EQUAL else includes(a.var, b.var)):
        return False
    if bool(a.id) != bool(b.id) or bool(a.ref) != bool(b.ref):
        return False
    return _same_id(a, b, ids)


def _stacks_equal(a: Frame, b: Frame, how: int, ids: dict[object, object]) -> bool:
    theirs = b.stack
    for at, slot in a.stack.items():
        other = theirs.get(at)
        if slot is other:
            if slot.value is not None and not _same_id(slot.value, slot.value, ids):
                return False
            continue
        if not slot.read and how == COVERED and slot.info is None:
            continue
        if slot.types == b"\0\0\0\0\0\0\0\0":
            continue
        if other is None:
            return False
        if slot.info is not None or other.info is not None:
            if slot.info is None or other.info is None or not _infos_equal(slot, other, ids):
                return False
            continue
        x, y = slot.types, other.types
        if x != y:
            for i in range(8):
                p, q = x[i], y[i]
                if p == q or p == INVALID:
                    continue
                # "Some number" covers a zero, and a number that was spilled whole.
                if (
                    p == SPILL
                    and how == COVERED
                    and q in (MISC, ZERO)
                    and isinstance(slot.value, Scalar)
                    and not slot.value.precise
                ):
                    continue
                if p == MISC and how != EQUAL and (q == ZERO or (q == SPILL and isinstance(other.value, Scalar))):
                    continue
                return False
        if x[7] == SPILL or x[0] == SPILL:
            if x[0] == SPILL and y[0] == SPILL and not _values_equal(slot.value, other.value, how, ids):
                return False
    if how == EQUAL:
        return all(at in a.stack or slot.types == b"\0\0\0\0\0\0\0\0" for at, slot in theirs.items())
    return True


def _infos_equal(slot: object, other: object, ids: dict[object, object]) -> bool:
    a, b = slot.info, other.info  # type: ignore[attr-defined]
    if a.kind != b.kind or a.first != b.first or a.state != b.state or a.readonly != b.readonly:
        return False
    if bool(a.ref) != bool(b.ref) or bool(a.id) != bool(b.id):
        return False
    if ids.setdefault(("id", a.id), b.id) != b.id:
        return False
    return not a.ref or ids.setdefault(("ref", a.ref), b.ref) == b.ref
