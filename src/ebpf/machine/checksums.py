"""The Internet checksum's arithmetic, as include/net/checksum.h does it; sums are of little-endian words."""

from __future__ import annotations

from struct import unpack

M32 = 0xFFFFFFFF


def add(a: int, b: int) -> int:
    """32-bit ones' complement sum."""
    total = (a & M32) + (b & M32)
    return (total & M32) + (total >> 32)


def sub(a: int, b: int) -> int:
    return add(a, ~b & M32)


def fold(total: int) -> int:
    """A 32-bit sum as the checksum that stands in a header."""
    total = (total & 0xFFFF) + (total >> 16)
    total += total >> 16
    return ~total & 0xFFFF


def partial(data: bytes, seed: int) -> int:
    """The 32-bit sum of ``data`` (a multiple of 4 bytes) and ``seed``."""
    total: int = (seed & M32) + sum(unpack(f"<{len(data) // 4}I", data))
    while total >> 32:
        total = (total & M32) + (total >> 32)
    return total


def to_16(total: int) -> int:
    """A 32-bit sum folded to 16 bits, not inverted."""
    return ~fold(total) & 0xFFFF


def replace4(checksum: int, old: int, new: int) -> int:
    """A header's checksum after 4 bytes that it covers have changed."""
    return fold(add(sub(~checksum & M32, old), new))


def replace2(checksum: int, old: int, new: int) -> int:
    """The same for 2 bytes."""
    def add16(a: int, b: int) -> int:
        total = (a & 0xFFFF) + (b & 0xFFFF)
        return (total & 0xFFFF) + (total >> 16)

    return ~add16(add16(~checksum & 0xFFFF, ~old & 0xFFFF), new) & 0xFFFF


def replace_by_difference(checksum: int, difference: int) -> int:
    """The same for a difference that bpf_csum_diff gave."""
    return fold(add(difference, ~checksum & 0xFFFF))
