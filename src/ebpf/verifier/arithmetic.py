"""Arithmetic: on numbers by `ranges`, on pointers only as far as they stay pointers into the same thing.

A pointer's offset is kept within 2**29 of its origin and its variable part within signed bounds, so that every sum that
a later bounds
check forms is exact. All other arithmetic on pointers is refused, or gives a number, through which nothing can be
reached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.verifier import ranges as r
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.stack import MAX_OFFSET
from ebpf.verifier.values import (
    ARENA,
    BTF,
    BUFFER,
    CTX,
    FLOW_KEYS,
    KIND_NAMES,
    KIND_WORDS,
    MAP_KEY,
    MAP_PTR,
    MAP_VALUE,
    MEM,
    PACKET,
    PACKET_KINDS,
    PACKET_META,
    RECORD,
    SCALAR,
    STACK,
    Pointer,
    Scalar,
    Value,
    anything,
    mark_precise,
)

if TYPE_CHECKING:
    from typing import Any

    from ebpf.verifier.explore import Explorer

ADD, SUB = 0x00, 0x10
_MOVABLE = frozenset((CTX, STACK, MAP_VALUE, MAP_KEY, PACKET, PACKET_META, BUFFER, BTF, MEM, RECORD, ARENA))


def combine(x: Explorer, dst: int, src: int, op: int, extra: tuple[Any, ...]) -> Value:
    """The result of ``dst op= src`` (``src`` -1: the constant in ``extra``)."""
    fn, is32, constant, sign, _ = extra
    a = x.regs[dst]
    if a is None:
        raise Refuse("V0206", f"R{dst} is read before it has a value", row="register", register=dst)
    if src >= 0:
        b = x.regs[src]
        if b is None:
            raise Refuse("V0206", f"R{src} is read before it has a value", row="register", register=src)
    else:
        b = None
    if isinstance(a, Scalar) and (b is None or isinstance(b, Scalar)):
        other = constant if b is None else b.range
        known = x.combined.get(x.slot)
        if known is not None and known[0] is a.range and known[1] is other:
            value = known[2]  # the path before came here with the very same numbers
        else:
            value = fn(a.range, other)
            if is32:
                value = r.zext32(value)
            x.combined[x.slot] = a.range, other, value
        if b is None:
            new = Scalar(value, (a,))
        else:
            new = Scalar(value, (a, b))
        if x.track_bases and (op == ADD or op == SUB) and other.umin == other.umax:
            _follow_base(a, new, other, op, bool(is32))
        return new
    if is32:
        if op == SUB and (a.kind != SCALAR or (b is not None and b.kind != SCALAR)):
            return Scalar(r.U32)
        raise Refuse("V0212", "only 32 of a pointer's 64 bits would take part", row="pointer-32", register=dst)
    if a.kind != SCALAR and b is not None and b.kind != SCALAR:
        if op == SUB:
            return anything()
        raise Refuse(
            "V0212",
            f"`{sign}` of two pointers means nothing",
            row="pointer-kind",
            register=dst,
            kind=KIND_NAMES[a.kind],
        )
    if isinstance(a, Pointer):
        if b is None:
            return move(dst, a, constant, op, str(sign), x)
        assert isinstance(b, Scalar)
        mark_precise(b)
        return move(dst, a, b.range, op, str(sign), x)
    assert isinstance(b, Pointer)
    if op != ADD:
        raise Refuse(
            "V0212",
            f"a pointer allows only + and - with a number, not number `{sign}` pointer",
            row="operator",
            register=dst,
            operator=sign,
        )
    mark_precise(a)
    return move(src, b, a.range, op, str(sign), x)


def _follow_base(a: Scalar, new: Scalar, other: r.Range, op: int, is32: bool) -> None:
    """Keep "loop counter plus a constant" as long as no sum on the way can wrap (see `loops`)."""
    if not a.base:
        return
    step = other.smin if op == ADD else -other.smin
    if is32:
        step = r.signed32(other.u32min) if op == ADD else -r.signed32(other.u32min)
        good = a.range.umax <= r.M32 and 0 <= a.range.umin + step and a.range.umax + step <= r.M32
    else:
        good = r.S64_MIN <= a.range.smin + step and a.range.smax + step <= r.S64_MAX
    if good:
        new.base, new.delta = a.base, a.delta + step


def move(register: int, pointer: Pointer, by: r.Range, op: int, sign: str, x: Explorer) -> Pointer:
    """The pointer moved by a number."""
    kind = pointer.kind
    if pointer.nullable:
        raise Refuse(
            "V0201",
            f"R{register} may be NULL, and arithmetic on it comes before the check",
            row="null-arithmetic",
            register=register,
            kind=KIND_NAMES[kind].rstrip("_"),
        )
    if op not in (ADD, SUB):
        raise Refuse(
            "V0212",
            f"a pointer allows only + and - with a bounded number, not `{sign}`",
            row="operator",
            register=register,
            operator=sign,
        )
    known = by.umin == by.umax
    if kind == ARENA:
        return pointer
    if kind not in _MOVABLE and not (kind == MAP_PTR and known and by.umin == 0) and not (kind == FLOW_KEYS and known):
        raise Refuse(
            "V0212", f"{KIND_WORDS[kind]} cannot be moved", row="pointer-kind", register=register, kind=KIND_NAMES[kind]
        )
    if kind == STACK and op == SUB:
        raise Refuse(
            "V0212",
            "a number is subtracted from a stack pointer; add a negative one instead",
            row="pointer-kind",
            register=register,
            kind=KIND_NAMES[kind],
        )
    if known:
        step = by.smin if op == ADD else -by.smin
        off = pointer.off + step
        if not -MAX_OFFSET < step < MAX_OFFSET or not -MAX_OFFSET < off < MAX_OFFSET:
            raise _too_far(register, kind, step)
        return pointer.moved(off, pointer.var)
    if by.smin == r.S64_MIN or by.smin <= -MAX_OFFSET or by.smin >= MAX_OFFSET:
        raise _too_far(register, kind, by.smin)
    var = (r.add if op == ADD else r.sub)(pointer.var, by)
    if var.smin == r.S64_MIN or not -MAX_OFFSET < var.smin < MAX_OFFSET:
        raise _too_far(register, kind, var.smin)
    new = pointer.moved(pointer.off, var)
    if kind in PACKET_KINDS:
        # A new variable part: what was proven holds for the old one only. (Moving back by at most nothing keeps it.)
        new.id = x.new_id()
        if op == ADD or by.smin < 0:
            new.bound = 0
    return new


def _too_far(register: int, kind: int, value: int) -> Refuse:
    words = "a value that may be negative without bound" if value == r.S64_MIN else f"{value}"
    return Refuse(
        "V0211", f"{words} is added to {KIND_WORDS[kind]}", row="math", register=register, kind=KIND_NAMES[kind]
    )
