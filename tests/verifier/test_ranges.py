"""Soundness of the domain of numbers: what the machine computes is always in the range that is claimed for it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from ebpf.verifier import branches, ranges
from ebpf.verifier.ranges import M32, M64, Range, make, signed32, signed64

_EDGES = [
    0,
    1,
    2,
    7,
    8,
    31,
    32,
    63,
    64,
    127,
    128,
    255,
    256,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 32) + 1,
    (1 << 63) - 1,
    1 << 63,
    M64,
    M64 - 1,
    M64 - 127,
    0xFFFFFFFF80000000,
    0xFFFFFFFF7FFFFFFF,
]


def some_number(rng: random.Random) -> int:
    return rng.choice(_EDGES) if rng.random() < 0.6 else rng.getrandbits(rng.choice((4, 8, 16, 32, 64)))


def some_range(rng: random.Random) -> tuple[Range, list[int]]:
    """A range, and numbers that are in it."""
    members = [some_number(rng) for _ in range(rng.choice((1, 1, 2, 3, 6)))]
    if rng.random() < 0.4:
        members = [(members[0] + rng.getrandbits(4)) & M64 for _ in members]
    tv, tm = members[0], 0
    for m in members:
        tm |= tv ^ m
    if rng.random() < 0.5:
        tm |= rng.getrandbits(64) & rng.getrandbits(64)
    low32 = [m & M32 for m in members]
    s64, s32 = [signed64(m) for m in members], [signed32(m) for m in low32]
    wide = rng.random
    made = make(
        min(members) if wide() < 0.7 else 0,
        max(members) if wide() < 0.7 else M64,
        min(s64) if wide() < 0.7 else ranges.S64_MIN,
        max(s64) if wide() < 0.7 else ranges.S64_MAX,
        min(low32) if wide() < 0.7 else 0,
        max(low32) if wide() < 0.7 else M32,
        min(s32) if wide() < 0.7 else ranges.S32_MIN,
        max(s32) if wide() < 0.7 else ranges.S32_MAX,
        tv & ~tm,
        tm,
    )
    assert made is not None, members
    for m in members:
        assert made.contains(m), (made, hex(m))
    return made, members


def _division(bits: int, remainder: bool) -> Callable[[int, int], int]:
    def compute(a: int, b: int) -> int:
        x, y = (signed64(a), signed64(b)) if bits == 64 else (signed32(a & M32), signed32(b & M32))
        if y == 0:
            return a if remainder else 0
        q = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        return x - q * y if remainder else q

    return compute


OPERATIONS: dict[str, tuple[Callable[[Range, Range], Range], Callable[[int, int], int]]] = {
    "add": (ranges.add, lambda a, b: a + b),
    "sub": (ranges.sub, lambda a, b: a - b),
    "mul": (ranges.mul, lambda a, b: a * b),
    "div": (ranges.div, lambda a, b: a // b if b else 0),
    "mod": (ranges.mod, lambda a, b: a % b if b else a),
    "and": (ranges.and_, lambda a, b: a & b),
    "or": (ranges.or_, lambda a, b: a | b),
    "xor": (ranges.xor, lambda a, b: a ^ b),
    "lsh": (ranges.lsh, lambda a, b: a << (b & 63)),
    "rsh": (ranges.rsh, lambda a, b: a >> (b & 63)),
    "arsh": (ranges.arsh, lambda a, b: signed64(a) >> (b & 63)),
    "sdiv": (ranges.sdiv64, _division(64, False)),
    "smod": (ranges.smod64, _division(64, True)),
}
OPERATIONS32: dict[str, tuple[Callable[[Range, Range], Range], Callable[[int, int], int]]] = {
    "add": (ranges.add, lambda a, b: a + b),
    "sub": (ranges.sub, lambda a, b: a - b),
    "mul": (ranges.mul, lambda a, b: a * b),
    "and": (ranges.and_, lambda a, b: a & b),
    "or": (ranges.or_, lambda a, b: a | b),
    "xor": (ranges.xor, lambda a, b: a ^ b),
    "div": (ranges.div32, lambda a, b: (a & M32) // (b & M32) if b & M32 else 0),
    "mod": (ranges.mod32, lambda a, b: (a & M32) % (b & M32) if b & M32 else a),
    "lsh": (ranges.lsh32, lambda a, b: (a & M32) << (b & 31)),
    "rsh": (ranges.rsh32, lambda a, b: (a & M32) >> (b & 31)),
    "arsh": (ranges.arsh32, lambda a, b: signed32(a & M32) >> (b & 31)),
    "sdiv": (ranges.sdiv32, _division(32, False)),
    "smod": (ranges.smod32, _division(32, True)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_contain_every_result(name: str) -> None:
    rng = random.Random(name)
    abstract, concrete = OPERATIONS[name]
    for _ in range(2500):
        a, some_a = some_range(rng)
        b, some_b = some_range(rng)
        result = abstract(a, b)
        for x in some_a:
            for y in some_b:
                got = concrete(x, y) & M64
                assert result.contains(got), f"{a} {name} {b} = {result} lacks {x:#x}, {y:#x} -> {got:#x}"


@pytest.mark.parametrize("name", OPERATIONS32)
def test_32_bit_operations_contain_every_result(name: str) -> None:
    rng = random.Random(name + "32")
    abstract, concrete = OPERATIONS32[name]
    for _ in range(2500):
        a, some_a = some_range(rng)
        b, some_b = some_range(rng)
        result = ranges.zext32(abstract(a, b))
        for x in some_a:
            for y in some_b:
                got = concrete(x, y) & M32
                assert result.contains(got), f"{a} {name} {b} = {result} lacks {x:#x}, {y:#x} -> {got:#x}"


def test_extensions_and_truncations() -> None:
    rng = random.Random(7)
    for _ in range(4000):
        a, some = some_range(rng)
        for x in some:
            assert ranges.zext32(a).contains(x & M32)
            for size in (1, 2, 4):
                bits = size * 8
                low = x & ((1 << bits) - 1)
                assert ranges.truncate(a, size).contains(low)
                assert ranges.sext(a, size).contains((low - (1 << bits) if low >> (bits - 1) else low) & M64), (
                    a,
                    hex(x),
                    size,
                )
            for bits in (16, 32, 64):
                assert ranges.bswap(a, bits).contains(
                    int.from_bytes((x & ((1 << bits) - 1)).to_bytes(bits // 8, "little"), "big")
                )


def test_inclusion_and_union() -> None:
    rng = random.Random(9)
    for _ in range(4000):
        a, some_a = some_range(rng)
        b, some_b = some_range(rng)
        both = ranges.union(a, b)
        assert ranges.includes(both, a) and ranges.includes(both, b)
        assert all(both.contains(x) for x in some_a + some_b)
        if ranges.includes(a, b):
            assert all(a.contains(x) for x in some_b)


_CONDITIONS: dict[int, Callable[[int, int, int, int], bool]] = {
    branches.JEQ: lambda a, b, sa, sb: a == b,
    branches.JNE: lambda a, b, sa, sb: a != b,
    branches.JGT: lambda a, b, sa, sb: a > b,
    branches.JGE: lambda a, b, sa, sb: a >= b,
    branches.JLT: lambda a, b, sa, sb: a < b,
    branches.JLE: lambda a, b, sa, sb: a <= b,
    branches.JSGT: lambda a, b, sa, sb: sa > sb,
    branches.JSGE: lambda a, b, sa, sb: sa >= sb,
    branches.JSLT: lambda a, b, sa, sb: sa < sb,
    branches.JSLE: lambda a, b, sa, sb: sa <= sb,
    branches.JSET: lambda a, b, sa, sb: bool(a & b),
}


@pytest.mark.parametrize("is32", [False, True])
@pytest.mark.parametrize("op", _CONDITIONS)
def test_conditions_keep_every_pair_that_goes_that_way(op: int, is32: bool) -> None:
    rng = random.Random(op * 2 + is32)
    for _ in range(2500):
        a, some_a = some_range(rng)
        b, some_b = some_range(rng)
        decided = branches.decide(op, a, b, is32)
        ways = {taken: branches.refine(op, a, b, is32, taken) for taken in (False, True)}
        for x in some_a:
            for y in some_b:
                u, v = (x & M32, y & M32) if is32 else (x, y)
                su, sv = (signed32(u), signed32(v)) if is32 else (signed64(u), signed64(v))
                holds = _CONDITIONS[op](u, v, su, sv)
                assert decided in (-1, int(holds)), (a, b, hex(x), hex(y))
                found = ways[holds]
                assert found is not None and found[0].contains(x) and found[1].contains(y), (
                    a,
                    b,
                    hex(x),
                    hex(y),
                    found,
                )
