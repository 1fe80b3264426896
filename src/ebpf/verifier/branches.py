"""What a conditional jump tells of the two numbers it compares.

`decide` says whether the condition holds for all pairs of numbers (1), for none (0), or for some (-1). `refine` gives,
for one outcome,
ranges without the numbers that cannot lead to it; a number is only dropped if no partner on the other side satisfies
the condition, so
every pair that takes this way is kept.
"""

from __future__ import annotations

from ebpf.verifier.ranges import M32, M64, Range, const, make

JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, JLT, JLE, JSLT, JSLE = (
    0x10,
    0x20,
    0x30,
    0x40,
    0x50,
    0x60,
    0x70,
    0xA0,
    0xB0,
    0xC0,
    0xD0,
)
NEGATED = {JEQ: JNE, JNE: JEQ, JGT: JLE, JLE: JGT, JGE: JLT, JLT: JGE, JSGT: JSLE, JSLE: JSGT, JSGE: JSLT, JSLT: JSGE}
SWAPPED = {
    JEQ: JEQ,
    JNE: JNE,
    JSET: JSET,
    JGT: JLT,
    JLT: JGT,
    JGE: JLE,
    JLE: JGE,
    JSGT: JSLT,
    JSLT: JSGT,
    JSGE: JSLE,
    JSLE: JSGE,
}
_NOT_SET = -1  # the negation of JSET, for `refine` alone


def decide(op: int, a: Range, b: Range, is32: bool) -> int:
    """1: the condition always holds, 0: never, -1: it depends."""
    if is32:
        amin, amax, bmin, bmax = a.u32min, a.u32max, b.u32min, b.u32max
        samin, samax, sbmin, sbmax = a.s32min, a.s32max, b.s32min, b.s32max
        mask = M32
    else:
        amin, amax, bmin, bmax = a.umin, a.umax, b.umin, b.umax
        samin, samax, sbmin, sbmax = a.smin, a.smax, b.smin, b.smax
        mask = M64
    if op == JEQ or op == JNE:
        if amin == amax and bmin == bmax:
            equal = amin == bmin
            return int(equal == (op == JEQ))
        # Disjoint by any reading, or by a bit known to differ: never equal.
        if amax < bmin or amin > bmax or samax < sbmin or samin > sbmax or (a.tv ^ b.tv) & ~a.tm & ~b.tm & mask:
            return int(op == JNE)
        return -1
    if op == JGT:
        return 1 if amin > bmax else 0 if amax <= bmin else -1
    if op == JGE:
        return 1 if amin >= bmax else 0 if amax < bmin else -1
    if op == JLT:
        return 1 if amax < bmin else 0 if amin >= bmax else -1
    if op == JLE:
        return 1 if amax <= bmin else 0 if amin > bmax else -1
    if op == JSGT:
        return 1 if samin > sbmax else 0 if samax <= sbmin else -1
    if op == JSGE:
        return 1 if samin >= sbmax else 0 if samax < sbmin else -1
    if op == JSLT:
        return 1 if samax < sbmin else 0 if samin >= sbmax else -1
    if op == JSLE:
        return 1 if samax <= sbmin else 0 if samin > sbmax else -1
    # JSET: a bit known to be set in both decides it, and so does having no bit that may be set in both.
    if a.tv & b.tv & mask:
        return 1
    return 0 if not (a.tv | a.tm) & (b.tv | b.tm) & mask else -1


def refine(op: int, a: Range, b: Range, is32: bool, taken: bool) -> tuple[Range, Range] | None:
    """Both operands' ranges where the jump is (not) taken; ``None`` if it cannot be."""
    if not taken:
        op = NEGATED.get(op, _NOT_SET)
    if op in (JGT, JGE, JSGT, JSGE):
        found = _less(SWAPPED[op], b, a, is32)
        return (found[1], found[0]) if found else None
    if op in (JLT, JLE, JSLT, JSLE):
        return _less(op, a, b, is32)
    if op == JEQ:
        both = _intersect32(a, b) if is32 else _intersect(a, b)
        return both
    if op == JNE:
        new_a, new_b = _without(a, b, is32), _without(b, a, is32)
        return (new_a, new_b) if new_a is not None and new_b is not None else None
    if op == JSET:
        new = _with_bit(a, b, is32)
        other = _with_bit(b, a, is32)
    else:
        new, other = _without_bits(a, b, is32), _without_bits(b, a, is32)
    return (new, other) if new is not None and other is not None else None


def _less(op: int, a: Range, b: Range, is32: bool) -> tuple[Range, Range] | None:
    """a < b or a <= b: a is at most b's greatest (less 1 if strict), b at least a's least (more 1 if strict)."""
    strict = 1 if op in (JLT, JSLT) else 0
    new_a, new_b = _below(a, b, op in (JSLT, JSLE), is32, strict), _above(b, a, op in (JSLT, JSLE), is32, strict)
    return (new_a, new_b) if new_a is not None and new_b is not None else None


def _below(a: Range, b: Range, is_signed: bool, is32: bool, strict: int) -> Range | None:
    """``a`` without what is above b's greatest."""
    umax, smax, u32max, s32max = a.umax, a.smax, a.u32max, a.s32max
    if is32:
        if is_signed:
            s32max = min(s32max, b.s32max - strict)
        else:
            u32max = min(u32max, b.u32max - strict)
    elif is_signed:
        smax = min(smax, b.smax - strict)
    else:
        umax = min(umax, b.umax - strict)
    if a.umin == a.umax == umax and smax == a.smax and u32max == a.u32max and s32max == a.s32max:
        return a  # a constant has no part that could be tightened
    return make(a.umin, umax, a.smin, smax, a.u32min, u32max, a.s32min, s32max, a.tv, a.tm)


def _above(b: Range, a: Range, is_signed: bool, is32: bool, strict: int) -> Range | None:
    """``b`` without what is below a's least."""
    umin, smin, u32min, s32min = b.umin, b.smin, b.u32min, b.s32min
    if is32:
        if is_signed:
            s32min = max(s32min, a.s32min + strict)
        else:
            u32min = max(u32min, a.u32min + strict)
    elif is_signed:
        smin = max(smin, a.smin + strict)
    else:
        umin = max(umin, a.umin + strict)
    if b.umax == b.umin == umin and smin == b.smin and u32min == b.u32min and s32min == b.s32min:
        return b
    return make(umin, b.umax, smin, b.smax, u32min, b.u32max, s32min, b.s32max, b.tv, b.tm)


def _intersect(a: Range, b: Range) -> tuple[Range, Range] | None:
    """Equal numbers are in both sets."""
    if (a.tv ^ b.tv) & ~a.tm & ~b.tm:
        return None
    tm = a.tm & b.tm
    both = make(
        max(a.umin, b.umin),
        min(a.umax, b.umax),
        max(a.smin, b.smin),
        min(a.smax, b.smax),
        max(a.u32min, b.u32min),
        min(a.u32max, b.u32max),
        max(a.s32min, b.s32min),
        min(a.s32max, b.s32max),
        (a.tv | b.tv) & ~tm,
        tm,
    )
    return (both, both) if both is not None else None


def _intersect32(a: Range, b: Range) -> tuple[Range, Range] | None:
    """Equal low halves are in both sets of low halves; the upper halves stay as they are."""
    if (a.tv ^ b.tv) & ~a.tm & ~b.tm & M32:
        return None
    low, high = max(a.u32min, b.u32min), min(a.u32max, b.u32max)
    slow, shigh = max(a.s32min, b.s32min), min(a.s32max, b.s32max)
    tm = a.tm & b.tm & M32
    tv = (a.tv | b.tv) & M32 & ~tm
    new_a = make(a.umin, a.umax, a.smin, a.smax, low, high, slow, shigh, a.tv & ~M32 | tv, a.tm & ~M32 | tm)
    new_b = make(b.umin, b.umax, b.smin, b.smax, low, high, slow, shigh, b.tv & ~M32 | tv, b.tm & ~M32 | tm)
    return (new_a, new_b) if new_a is not None and new_b is not None else None


def _without(a: Range, b: Range, is32: bool) -> Range | None:
    """a != b with b a constant: a bound that equals it moves by one."""
    umin, umax, smin, smax = a.umin, a.umax, a.smin, a.smax
    u32min, u32max, s32min, s32max = a.u32min, a.u32max, a.s32min, a.s32max
    if is32:
        if b.u32min != b.u32max:
            return a
        u, s = b.u32min, b.s32min
        u32min, u32max = u32min + (u32min == u), u32max - (u32max == u)
        s32min, s32max = s32min + (s32min == s), s32max - (s32max == s)
        if (u32min, u32max, s32min, s32max) == (a.u32min, a.u32max, a.s32min, a.s32max):
            return a
    else:
        if b.umin != b.umax:
            return a
        u, s = b.umin, b.smin
        umin, umax = umin + (umin == u), umax - (umax == u)
        smin, smax = smin + (smin == s), smax - (smax == s)
        if (umin, umax, smin, smax) == (a.umin, a.umax, a.smin, a.smax):
            return a
    if umin > umax or smin > smax or u32min > u32max or s32min > s32max:
        return None
    return make(umin, umax, smin, smax, u32min, u32max, s32min, s32max, a.tv, a.tm)


def _with_bit(a: Range, b: Range, is32: bool) -> Range | None:
    """a & b != 0 with b a constant of one bit: a has it."""
    value = b.u32min if is32 else b.umin
    if (b.u32min != b.u32max) if is32 else (b.umin != b.umax):
        return a
    if value & (value - 1) or not value:
        return a if value else None
    if not (a.tv | a.tm) & value:
        return None
    return make(a.umin, a.umax, a.smin, a.smax, a.u32min, a.u32max, a.s32min, a.s32max, a.tv | value, a.tm & ~value)


def _without_bits(a: Range, b: Range, is32: bool) -> Range | None:
    """a & b == 0: a has no bit that b is known to have."""
    bits = b.tv & M32 if is32 else b.tv
    if a.tv & bits:
        return None
    if not a.tm & bits:
        return a
    return make(a.umin, a.umax, a.smin, a.smax, a.u32min, a.u32max, a.s32min, a.s32max, a.tv, a.tm & ~bits)


def zero() -> Range:
    """The constant 0, which conditions on pointers compare with."""
    return const(0)
