"""What is known of a 64-bit number: bounds (unsigned and signed, of all 64 bits and of the low 32) and known bits.

A `Range` stands for the set of the numbers that satisfy all of its bounds at once. Known bits are a *tnum*: ``tv`` has
the bits known to
be 1, ``tm`` marks those not known, so x is possible iff ``x & ~tm == tv``. An operation is sound if its result contains
f(x, y) for every
x and y in its operands; each function below says why it is. `make` tightens each part by the others, which never loses
a member: every
deduction there follows from the parts it uses.

Ranges are immutable and shared, so that copying a state copies references; constants below 4096 are made once.
"""

from __future__ import annotations

M32 = 0xFFFFFFFF
M64 = 0xFFFFFFFFFFFFFFFF
S64_MAX, S64_MIN = (1 << 63) - 1, -(1 << 63)
S32_MAX, S32_MIN = (1 << 31) - 1, -(1 << 31)
SIGN64, SIGN32 = 1 << 63, 1 << 31


class Range:
    """A set of 64-bit numbers (see the module's text). ``umin == umax`` exactly for constants."""

    # A slotted class with positional __init__: 400 ns to make; a NamedTuple of ten costs as much and compares slower by
    # identity.
    __slots__ = ("s32max", "s32min", "smax", "smin", "tm", "tv", "u32max", "u32min", "umax", "umin")

    def __init__(
        self,
        umin: int,
        umax: int,
        smin: int,
        smax: int,
        u32min: int,
        u32max: int,
        s32min: int,
        s32max: int,
        tv: int,
        tm: int,
    ) -> None:
        self.umin = umin
        self.umax = umax
        self.smin = smin
        self.smax = smax
        self.u32min = u32min
        self.u32max = u32max
        self.s32min = s32min
        self.s32max = s32max
        self.tv = tv
        self.tm = tm

    @property
    def is_const(self) -> bool:
        return self.umin == self.umax

    def contains(self, value: int) -> bool:
        """Whether the (unsigned) number is a member."""
        low = value & M32
        return (
            self.umin <= value <= self.umax
            and self.smin <= signed64(value) <= self.smax
            and self.u32min <= low <= self.u32max
            and self.s32min <= signed32(low) <= self.s32max
            and value & ~self.tm & M64 == self.tv
        )

    def __repr__(self) -> str:
        if self.umin == self.umax:
            return f"{signed64(self.umin)}"
        parts = []
        if (self.umin, self.umax) != (0, M64):
            parts.append(f"{self.umin:#x}..{self.umax:#x}")
        if (self.smin, self.smax) != (S64_MIN, S64_MAX) and self.smin < 0:
            parts.append(f"signed {self.smin}..{self.smax}")
        if (self.u32min, self.u32max) != (0, M32) and self.umax > M32:
            parts.append(f"low 32 bits {self.u32min:#x}..{self.u32max:#x}")
        if self.tm != M64:
            parts.append(f"bits {self.tv:#x}/{self.tm:#x}")
        return ", ".join(parts) or "any"


def signed64(value: int) -> int:
    return value - (1 << 64) if value & SIGN64 else value


def signed32(value: int) -> int:
    return value - (1 << 32) if value & SIGN32 else value


def _const(value: int) -> Range:
    low, s = value & M32, signed64(value)
    s32 = signed32(low)
    return Range(value, value, s, s, low, low, s32, s32, value, 0)


_small = [_const(v) for v in range(4096)]


def const(value: int) -> Range:
    """The set of one number (any int; taken modulo 2**64)."""
    value &= M64
    return _small[value] if value < 4096 else _const(value)


def make(
    umin: int, umax: int, smin: int, smax: int, u32min: int, u32max: int, s32min: int, s32max: int, tv: int, tm: int
) -> Range | None:
    """The range with these parts, each tightened by the others; ``None`` if no number satisfies all of them."""
    # (``(x ^ SIGN64) - SIGN64`` is `signed64`, spelled out: this is where a verification spends most of its time.)
    for _ in range(2):
        # Bits and bounds: the least number with these bits is tv, the greatest tv | tm; for signed ones the sign bit
        # counts negatively.
        top = tv | tm
        if tv > umin:
            umin = tv
        if top < umax:
            umax = top
        low = ((tv | tm & SIGN64) ^ SIGN64) - SIGN64
        if low > smin:
            smin = low
        high = ((tv | tm & S64_MAX) ^ SIGN64) - SIGN64
        if high < smax:
            smax = high
        tv32, tm32 = tv & M32, tm & M32
        if tv32 > u32min:
            u32min = tv32
        if tv32 | tm32 < u32max:
            u32max = tv32 | tm32
        low = ((tv32 | tm32 & SIGN32) ^ SIGN32) - SIGN32
        if low > s32min:
            s32min = low
        high = ((tv32 | tm32 & S32_MAX) ^ SIGN32) - SIGN32
        if high < s32max:
            s32max = high
        # The 64-bit bounds fix the upper half: then the low halves are ordered as the whole numbers are.
        if umin >> 32 == umax >> 32:
            if umin & M32 > u32min:
                u32min = umin & M32
            if umax & M32 < u32max:
                u32max = umax & M32
        if smin >= S32_MIN and smax <= S32_MAX:
            # The number is its own low half, sign-extended.
            if smin > s32min:
                s32min = smin
            if smax < s32max:
                s32max = smax
        # Numbers of one sign are ordered alike, signed or not: each pair of bounds serves both readings.
        if (u32min ^ u32max) < SIGN32 and (u32min >= SIGN32) == (u32max >= SIGN32):
            low, high = (u32min ^ SIGN32) - SIGN32, (u32max ^ SIGN32) - SIGN32
            if low > s32min:
                s32min = low
            if high < s32max:
                s32max = high
        if s32min >= 0 or s32max < 0:
            low, high = s32min & M32, s32max & M32
            if low > u32min:
                u32min = low
            if high < u32max:
                u32max = high
        # The low half's bounds under the smallest and the greatest upper half there can be: umin's upper half is the
        # least possible one,
        # so no member is below it with the least low half.
        low = umin & ~M32 | u32min
        if low > umin:
            umin = low
        high = umax & ~M32 | u32max
        if high < umax:
            umax = high
        low = (smin & ~M32) | u32min
        if low > smin:
            smin = low
        high = (smax & ~M32) | u32max
        if high < smax:
            smax = high
        if s32min >= 0 and smin >= S32_MIN and smax <= S32_MAX:
            # A number that is its own low half, sign-extended, is not negative when that half is not.
            if s32min > smin:
                smin = s32min
            if s32max < smax:
                smax = s32max
        if (umin >= SIGN64) == (umax >= SIGN64):
            low, high = (umin ^ SIGN64) - SIGN64, (umax ^ SIGN64) - SIGN64
            if low > smin:
                smin = low
            if high < smax:
                smax = high
        if smin >= 0 or smax < 0:
            low, high = smin & M64, smax & M64
            if low > umin:
                umin = low
            if high < umax:
                umax = high
        if umin > umax or smin > smax or u32min > u32max or s32min > s32max:
            return None
        # Bits that all numbers between two bounds share are known.
        changed = umin ^ umax
        mask = (1 << changed.bit_length()) - 1
        unknown = tm & mask
        value = tv | (umin & ~mask)
        changed = u32min ^ u32max
        mask = ~((1 << changed.bit_length()) - 1) & M32
        unknown &= ~mask
        value = (value | (u32min & mask)) & ~unknown
        if (value ^ tv) & ~tm:
            return None  # a bit known to be 0 would have to be 1
        if value == tv and unknown == tm:
            break
        tv, tm = value, unknown
    if umin == umax:
        return const(umin)
    if not tm:
        return const(tv) if umin <= tv <= umax else None
    return Range(umin, umax, smin, smax, u32min, u32max, s32min, s32max, tv, tm)


UNKNOWN = Range(0, M64, S64_MIN, S64_MAX, 0, M32, S32_MIN, S32_MAX, 0, M64)


def unsigned(low: int, high: int) -> Range:
    """Every number from ``low`` to ``high``, read without sign."""
    made = make(low, high, S64_MIN, S64_MAX, 0, M32, S32_MIN, S32_MAX, 0, M64)
    assert made is not None
    return made


def signed(low: int, high: int) -> Range:
    """Every number from ``low`` to ``high``, read with sign."""
    made = make(0, M64, low, high, 0, M32, S32_MIN, S32_MAX, 0, M64)
    assert made is not None
    return made


U8, U16, U32 = unsigned(0, 0xFF), unsigned(0, 0xFFFF), unsigned(0, M32)
BY_SIZE = {1: U8, 2: U16, 4: U32, 8: UNKNOWN}


def _made(range: Range | None) -> Range:
    # Arithmetic of non-empty sets is non-empty; if rounding ever said otherwise, "anything" is the sound answer.
    return UNKNOWN if range is None else range


def includes(old: Range, new: Range) -> bool:
    """Whether every number of ``new`` is in ``old`` (part by part: sound, and exact for ranges made by `make`)."""
    return old is new or (
        old.umin <= new.umin
        and old.umax >= new.umax
        and old.smin <= new.smin
        and old.smax >= new.smax
        and old.u32min <= new.u32min
        and old.u32max >= new.u32max
        and old.s32min <= new.s32min
        and old.s32max >= new.s32max
        and not new.tm & ~old.tm
        and new.tv & ~old.tm == old.tv
    )


def same(a: Range, b: Range) -> bool:
    """Whether both are the same set, part by part."""
    return a is b or (
        a.umin == b.umin
        and a.umax == b.umax
        and a.tv == b.tv
        and a.tm == b.tm
        and a.smin == b.smin
        and a.smax == b.smax
        and a.u32min == b.u32min
        and a.u32max == b.u32max
        and a.s32min == b.s32min
        and a.s32max == b.s32max
    )


def zext32(a: Range) -> Range:
    """The low half, zero-extended: its unsigned bounds become the whole number's."""
    if a.umax <= M32:
        return a
    if a.u32min == a.u32max:
        return const(a.u32min)
    return _made(make(a.u32min, a.u32max, 0, M32, a.u32min, a.u32max, a.s32min, a.s32max, a.tv & M32, a.tm & M32))


def truncate(a: Range, size: int) -> Range:
    """The low ``size`` bytes, zero-extended."""
    if size == 8:
        return a
    if size == 4:
        return zext32(a)
    mask = (1 << size * 8) - 1
    if a.umax <= mask:
        return a
    # Below the mask only the known bits survive, and the bounds if no number in between changes the bits above.
    low, high = (a.umin & mask, a.umax & mask) if a.umin & ~mask == a.umax & ~mask else (0, mask)
    return _made(make(low, high, 0, S64_MAX, 0, M32, S32_MIN, S32_MAX, a.tv & mask, a.tm & mask))


def sext(a: Range, size: int) -> Range:
    """The low ``size`` bytes, sign-extended to 64 bits."""
    if a.umin == a.umax:
        bits = size * 8
        value = a.umin & ((1 << bits) - 1)
        return const(value - (1 << bits) if value >> (bits - 1) else value)
    if size == 4:
        low, high = a.s32min, a.s32max
    else:
        half = 1 << (size * 8 - 1)
        # A number that fits already is unchanged; else any value of that width is possible.
        low, high = (a.smin, a.smax) if a.smin >= -half and a.smax < half else (-half, half - 1)
    return _made(make(0, M64, low, high, 0, M32, S32_MIN, S32_MAX, 0, M64))


def _add_bounds(amin: int, amax: int, bmin: int, bmax: int, low: int, high: int) -> tuple[int, int]:
    """Bounds of a + b modulo high - low + 1: exact if no sum, or every sum on the same side, leaves the width; else
    anything."""
    smin, smax = amin + bmin, amax + bmax
    if smin >= low and smax <= high:
        return smin, smax
    width = high - low + 1
    if smin > high and smax > high:
        return smin - width, smax - width
    if smin < low and smax < low:
        return smin + width, smax + width
    return low, high


def add(a: Range, b: Range) -> Range:
    if a.umin == a.umax and b.umin == b.umax:
        return const(a.umin + b.umin)
    # Known bits of a sum: a bit is unknown if it is in an operand or if the carry into it is (carries differ between
    # the least and greatest sum).
    sv = a.tv + b.tv
    mu = ((a.tm + b.tm + sv) ^ sv) | a.tm | b.tm
    umin, umax = _add_bounds(a.umin, a.umax, b.umin, b.umax, 0, M64)
    smin, smax = _add_bounds(a.smin, a.smax, b.smin, b.smax, S64_MIN, S64_MAX)
    u32min, u32max = _add_bounds(a.u32min, a.u32max, b.u32min, b.u32max, 0, M32)
    s32min, s32max = _add_bounds(a.s32min, a.s32max, b.s32min, b.s32max, S32_MIN, S32_MAX)
    return _made(make(umin, umax, smin, smax, u32min, u32max, s32min, s32max, sv & ~mu & M64, mu & M64))


def sub(a: Range, b: Range) -> Range:
    """a - b is a + (-b): its bounds pair a's least with b's greatest."""
    if a.umin == a.umax and b.umin == b.umax:
        return const(a.umin - b.umin)
    dv = a.tv - b.tv
    mu = ((dv + a.tm) ^ (dv - b.tm)) | a.tm | b.tm
    umin, umax = _add_bounds(a.umin, a.umax, -b.umax, -b.umin, 0, M64)
    smin, smax = _add_bounds(a.smin, a.smax, -b.smax, -b.smin, S64_MIN, S64_MAX)
    u32min, u32max = _add_bounds(a.u32min, a.u32max, -b.u32max, -b.u32min, 0, M32)
    s32min, s32max = _add_bounds(a.s32min, a.s32max, -b.s32max, -b.s32min, S32_MIN, S32_MAX)
    return _made(make(umin, umax, smin, smax, u32min, u32max, s32min, s32max, dv & ~mu & M64, mu & M64))


def _mul_bits(av: int, am: int, bv: int, bm: int) -> tuple[int, int]:
    """Known bits of a product: the product of the known parts, plus, for each bit of a, what an unknown term could add
    there."""
    value, mv, mm = av * bv, 0, 0
    while av or am:
        if av & 1:
            mv, mm = _bits_add(mv, mm, 0, bm)
        elif am & 1:
            mv, mm = _bits_add(mv, mm, 0, bv | bm)
        av, am = av >> 1, am >> 1
        bv, bm = bv << 1 & M64, bm << 1 & M64
    return _bits_add(value & M64, 0, mv, mm)


def _bits_add(av: int, am: int, bv: int, bm: int) -> tuple[int, int]:
    sv = av + bv
    mu = ((am + bm + sv) ^ sv) | am | bm
    return sv & ~mu & M64, mu & M64


def _mul_unsigned(amin: int, amax: int, bmin: int, bmax: int, high: int) -> tuple[int, int]:
    return (amin * bmin, amax * bmax) if amax * bmax <= high else (0, high)


def _mul_signed(amin: int, amax: int, bmin: int, bmax: int, low: int, high: int) -> tuple[int, int]:
    # A product is greatest and least at corners of the box; if no corner overflows, nothing inside does.
    corners = (amin * bmin, amin * bmax, amax * bmin, amax * bmax)
    lo, hi = min(corners), max(corners)
    return (lo, hi) if lo >= low and hi <= high else (low, high)


def mul(a: Range, b: Range) -> Range:
    if a.umin == a.umax and b.umin == b.umax:
        return const(a.umin * b.umin)
    tv, tm = _mul_bits(a.tv, a.tm, b.tv, b.tm) if a.tm.bit_count() <= 32 or b.tm.bit_count() <= 32 else (0, M64)
    return _made(
        make(
            *_mul_unsigned(a.umin, a.umax, b.umin, b.umax, M64),
            *_mul_signed(a.smin, a.smax, b.smin, b.smax, S64_MIN, S64_MAX),
            *_mul_unsigned(a.u32min, a.u32max, b.u32min, b.u32max, M32),
            *_mul_signed(a.s32min, a.s32max, b.s32min, b.s32max, S32_MIN, S32_MAX),
            tv,
            tm,
        )
    )


def div(a: Range, b: Range) -> Range:
    """Unsigned; x / 0 is 0, so the least quotient is 0 unless the divisor cannot be 0."""
    if a.umin == a.umax and b.umin == b.umax:
        return const(a.umin // b.umin if b.umin else 0)
    return unsigned(a.umin // b.umax, a.umax // b.umin) if b.umin else unsigned(0, a.umax)


def mod(a: Range, b: Range) -> Range:
    """Unsigned; x mod 0 is x: then only x bounds the result, else it is below the divisor too."""
    if a.umin == a.umax and b.umin == b.umax:
        return const(a.umin % b.umin if b.umin else a.umin)
    if b.umin:
        return a if a.umax < b.umin else unsigned(0, min(a.umax, b.umax - 1))
    return unsigned(0, a.umax)


def div32(a: Range, b: Range) -> Range:
    """Of the low halves: the upper ones must not take part (the quotient's low half would be another number)."""
    return div(zext32(a), zext32(b))


def mod32(a: Range, b: Range) -> Range:
    return mod(zext32(a), zext32(b))


def _signed_division(a: Range, b: Range, bits: int, remainder: bool) -> Range:
    """Signed, rounding to zero; only constants are followed, any other result may be anything."""
    if a.umin != a.umax or b.umin != b.umax:
        return UNKNOWN
    x, y = (signed64(a.umin), signed64(b.umin)) if bits == 64 else (signed32(a.u32min), signed32(b.u32min))
    if not y:
        return a if remainder else const(0)
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
    return const(x - quotient * y if remainder else quotient)


def sdiv64(a: Range, b: Range) -> Range:
    return _signed_division(a, b, 64, False)


def smod64(a: Range, b: Range) -> Range:
    return _signed_division(a, b, 64, True)


def sdiv32(a: Range, b: Range) -> Range:
    return _signed_division(a, b, 32, False)


def smod32(a: Range, b: Range) -> Range:
    return _signed_division(a, b, 32, True)


def and_(a: Range, b: Range) -> Range:
    """x & y has only bits that both have, so it is at most either."""
    tv = a.tv & b.tv
    tm = (a.tv | a.tm) & (b.tv | b.tm) & ~tv
    if not tm:
        return const(tv)
    return _made(make(0, min(a.umax, b.umax), S64_MIN, S64_MAX, 0, min(a.u32max, b.u32max), S32_MIN, S32_MAX, tv, tm))


def or_(a: Range, b: Range) -> Range:
    """x | y has every bit of both, so it is at least either."""
    tv = a.tv | b.tv
    tm = (a.tm | b.tm) & ~tv
    if not tm:
        return const(tv)
    return _made(
        make(max(a.umin, b.umin), M64, S64_MIN, S64_MAX, max(a.u32min, b.u32min), M32, S32_MIN, S32_MAX, tv, tm)
    )


def xor(a: Range, b: Range) -> Range:
    """Bit by bit: known where both are."""
    tm = a.tm | b.tm
    tv = (a.tv ^ b.tv) & ~tm
    if not tm:
        return const(tv)
    return _made(make(0, M64, S64_MIN, S64_MAX, 0, M32, S32_MIN, S32_MAX, tv, tm))


def lsh(a: Range, b: Range) -> Range:
    """Counts are taken modulo 64. With a constant count bits move; bounds do too unless a bit falls out."""
    if b.umin != b.umax:
        if b.umax >= 64 or a.umax << b.umax > M64:
            return UNKNOWN
        return unsigned(a.umin << b.umin, a.umax << b.umax)  # monotonic in both
    n = b.umin & 63
    if a.umin == a.umax:
        return const(a.umin << n)
    umin, umax = (a.umin << n, a.umax << n) if a.umax << n <= M64 else (0, M64)
    # Shifted by 32 the low half becomes the upper half, sign and all.
    smin, smax = (a.s32min << 32, a.s32max << 32) if n == 32 else (S64_MIN, S64_MAX)
    return _made(make(umin, umax, smin, smax, 0, M32, S32_MIN, S32_MAX, a.tv << n & M64, a.tm << n & M64))


def rsh(a: Range, b: Range) -> Range:
    if b.umin != b.umax:
        return unsigned(a.umin >> b.umax, a.umax >> b.umin) if b.umax < 64 else unsigned(0, a.umax)
    n = b.umin & 63
    return _made(make(a.umin >> n, a.umax >> n, S64_MIN, S64_MAX, 0, M32, S32_MIN, S32_MAX, a.tv >> n, a.tm >> n))


def arsh(a: Range, b: Range) -> Range:
    """Rounds down, so it is monotonic; the sign bit (known or not) is repeated."""
    if b.umin != b.umax:
        return UNKNOWN
    n = b.umin & 63
    return _made(
        make(
            0,
            M64,
            a.smin >> n,
            a.smax >> n,
            0,
            M32,
            S32_MIN,
            S32_MAX,
            (signed64(a.tv) >> n) & M64 & ~(signed64(a.tm) >> n),
            (signed64(a.tm) >> n) & M64,
        )
    )


def lsh32(a: Range, b: Range) -> Range:
    if b.umin != b.umax:
        if b.umax >= 32 or a.u32max << b.umax > M32:
            return U32
        return unsigned(a.u32min << b.umin, a.u32max << b.umax)
    n = b.umin & 31
    umin, umax = (a.u32min << n, a.u32max << n) if a.u32max << n <= M32 else (0, M32)
    return _made(make(umin, umax, 0, M32, umin, umax, S32_MIN, S32_MAX, a.tv << n & M32, a.tm << n & M32))


def rsh32(a: Range, b: Range) -> Range:
    return rsh(zext32(a), b if b.umin != b.umax else const(b.umin & 31)) if b.umax < 32 or b.umin == b.umax else U32


def arsh32(a: Range, b: Range) -> Range:
    if b.umin != b.umax:
        return U32
    n = b.umin & 31
    tv, tm = signed32(a.tv & M32) >> n, signed32(a.tm & M32) >> n
    return _made(make(0, M32, 0, M32, 0, M32, a.s32min >> n, a.s32max >> n, tv & M32 & ~tm, tm & M32))


def bswap(a: Range, bits: int) -> Range:
    """Bytes reversed; known only for constants."""
    if a.umin == a.umax:
        size = bits // 8
        return const(int.from_bytes((a.umin & ((1 << bits) - 1)).to_bytes(size, "little"), "big"))
    return BY_SIZE[bits // 8]


def union(a: Range, b: Range) -> Range:
    """A range that contains both: each bound the wider one, a bit known only where both know it alike."""
    if a is b:
        return a
    tm = a.tm | b.tm | (a.tv ^ b.tv)
    return Range(
        min(a.umin, b.umin),
        max(a.umax, b.umax),
        min(a.smin, b.smin),
        max(a.smax, b.smax),
        min(a.u32min, b.u32min),
        max(a.u32max, b.u32max),
        min(a.s32min, b.s32min),
        max(a.s32max, b.s32max),
        a.tv & ~tm,
        tm,
    )
