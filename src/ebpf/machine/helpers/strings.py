"""bpf_strncmp, bpf_strtol, bpf_strtoul (kernel/bpf/helpers.c)."""

from __future__ import annotations

from errno import EINVAL, ERANGE
from typing import TYPE_CHECKING

from ebpf.machine.helpers.table import helper, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

BASES = {0: 0, 8: 8, 10: 10, 16: 16}
_SPACE = b" \t\n\v\f\r"


@helper
def bpf_strncmp(env: Environment, s1: int, s1_sz: int, s2: int) -> int:
    """-1, 0 or 1 as the kernel's strncmp; ``s1`` need not end with NUL."""
    size = u32(s1_sz)
    a = env.space.read(s1, size).partition(b"\0")[0]
    b = env.space.read_string(s2)[:size]
    return (a > b) - (a < b)


def _parse(text: bytes, base: int) -> tuple[bool, int, int] | int:
    """(negative, value, characters taken), or a negative error number: white space, a sign, digits."""
    if base not in BASES:
        return -EINVAL
    at = 0
    while at < len(text) and text[at] in _SPACE:
        at += 1
    negative = text[at:at + 1] == b"-"
    if negative:
        at += 1
    rest = text[at:at + 63]  # the kernel copies at most so many to parse them
    if base == 0:
        base = 16 if rest[:2].lower() == b"0x" and rest[2:3] in _digits(16) else 8 if rest[:1] == b"0" else 10
    if base == 16 and rest[:2].lower() == b"0x":
        rest, at = rest[2:], at + 2
    count = 0
    while count < len(rest) and rest[count:count + 1] in _digits(base):
        count += 1
    if not count:
        return -EINVAL
    value = int(rest[:count], base)
    return (negative, value, at + count) if value < 1 << 64 else -ERANGE


def _digits(base: int) -> frozenset[bytes]:
    return _DIGITS[base]


_DIGITS = {base: frozenset(bytes([c]) for c in b"0123456789abcdefABCDEF" if chr(c).isalnum() and int(chr(c), 16) < base)
           for base in (8, 10, 16)}


@helper
def bpf_strtol(env: Environment, buf: int, buf_len: int, flags: int, res: int) -> int:
    """Characters taken, with the number in ``res``; -EINVAL, -ERANGE. ``flags``: the base (0, 8, 10, 16)."""
    parsed = _parse(env.space.read(buf, buf_len), flags)
    if isinstance(parsed, int):
        return parsed
    negative, value, taken = parsed
    value = -value if negative else value
    if not -(1 << 63) <= value < 1 << 63:
        return -ERANGE
    env.space.write(res, (value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little"))
    return taken


@helper
def bpf_strtoul(env: Environment, buf: int, buf_len: int, flags: int, res: int) -> int:
    """The same for unsigned numbers; a minus sign is -EINVAL."""
    parsed = _parse(env.space.read(buf, buf_len), flags)
    if isinstance(parsed, int):
        return parsed
    negative, value, taken = parsed
    if negative:
        return -EINVAL
    env.space.write(res, value.to_bytes(8, "little"))
    return taken
