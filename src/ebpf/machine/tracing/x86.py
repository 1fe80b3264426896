"""x86-64 instructions, as far as stepping over a breakpoint asks: their length, and where their own place matters.

The instruction that a breakpoint covers is run elsewhere (`breakpoints`), or done here where that is simple: jumps and
calls relative to their own place, pushes and the no-operations that functions begin with. Encodings: Intel SDM, volume
2, chapter 2 and appendix A.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_BYTES = 15
_PREFIXES = frozenset((0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x2E, 0x36, 0x3E, 0x26, 0x64, 0x65))
_M64 = 0xFFFFFFFFFFFFFFFF


def _ranges(text: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split():
        low, _, high = part.partition("-")
        found.update(range(int(low, 16), int(high or low, 16) + 1))
    return frozenset(found)


# By the last byte of the opcode; "z" immediates have 32 bits, 16 after the prefix 66.
_MODRM = _ranges("00-03 08-0b 10-13 18-1b 20-23 28-2b 30-33 38-3b 62-63 69 6b 80-8f c0-c1 c4-c7 d0-d3 d8-df f6-f7 "
                 "fe-ff")
_IMM8 = _ranges("04 0c 14 1c 24 2c 34 3c 6a 6b 70-7f 80 82-83 a8 b0-b7 c0-c1 c6 cd d4-d5 e0-e7 eb")
_IMM_Z = _ranges("05 0d 15 1d 25 2d 35 3d 68-69 81 a9 c7")
_REL32 = _ranges("e8-e9")
_NO_MODRM_0F = _ranges("05-09 0b 0e 30-37 77 80-8f a0-a2 a8-aa c8-cf")
_IMM8_0F = _ranges("0f 70-73 a4 ac ba c2 c4-c6")
_INVALID = _ranges("06-07 0e 16-17 1e-1f 27 2f 37 3f 60-61 82 9a ce d4-d6 ea")


class Decoded(NamedTuple):
    """``length`` in bytes; ``opcode``: the first byte, or 0x0f00 | the second of two; ``modrm``: where that byte is, or
    -1; ``rex``; ``vvvv``: the register that a VEX or EVEX prefix names, or -1; ``relative``: where the displacement is,
    if memory is addressed relative to the instruction pointer, or -1.
    """

    length: int
    opcode: int
    modrm: int
    rex: int
    vvvv: int
    relative: int


def decode(code: bytes) -> Decoded | None:
    """The instruction at the start of ``code`` (15 bytes are always enough); ``None``: none, or cut short."""
    try:
        return _decode(code)
    except IndexError:
        return None


def _decode(code: bytes) -> Decoded | None:
    at, wide, narrow_address = 0, False, False
    while code[at] in _PREFIXES:
        wide = wide or code[at] == 0x66
        narrow_address = narrow_address or code[at] == 0x67
        at += 1
    rex, vvvv = 0, -1
    if code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    immediate = 0
    first = code[at]
    if first in (0xC4, 0xC5, 0x62):
        if first == 0xC5:
            table, vvvv, at = 1, ~code[at + 1] >> 3 & 15, at + 2
        elif first == 0xC4:
            rex = 0x40 | ~code[at + 1] >> 5 & 7 | (code[at + 2] >> 7) << 3
            table, vvvv, at = code[at + 1] & 31, ~code[at + 2] >> 3 & 15, at + 3
        else:
            rex = 0x40 | ~code[at + 1] >> 5 & 7
            table, vvvv, at = code[at + 1] & 7, ~code[at + 2] >> 3 & 15, at + 4
        opcode = code[at]
        has_modrm = not (table == 1 and opcode == 0x77)
        immediate = int(table == 3 or (table == 1 and opcode in _IMM8_0F))
        opcode |= 0x0F00
    elif first == 0x0F:
        at += 1
        opcode = code[at]
        if opcode in (0x38, 0x3A):
            immediate = int(opcode == 0x3A)
            at += 1
            has_modrm = True
        else:
            has_modrm = opcode not in _NO_MODRM_0F
            immediate = 1 if opcode in _IMM8_0F else 4 if 0x80 <= opcode <= 0x8F else 0
        opcode |= 0x0F00
    else:
        opcode = first
        if opcode in _INVALID or (opcode == 0x8F and code[at + 1] & 0x38):  # AMD's XOP shares 8f
            return None
        has_modrm = opcode in _MODRM
        immediate = _immediate(opcode, rex, wide, narrow_address)
    at += 1
    modrm = relative = -1
    if has_modrm:
        modrm = at
        byte = code[at]
        mode, low = byte >> 6, byte & 7
        at += 1
        if opcode in (0xF6, 0xF7) and byte & 0x30 == 0:  # TEST has an immediate, its neighbours have none
            immediate = 1 if opcode == 0xF6 else 2 if wide else 4
        if mode != 3:
            if low == 4:
                base = code[at] & 7
                at += 1
                if mode == 0 and base == 5:
                    at += 4
            elif mode == 0 and low == 5:
                relative = at
                at += 4
            at += (0, 1, 4)[mode]
    at += immediate
    if at > MAX_BYTES or at > len(code):
        return None
    return Decoded(at, opcode, modrm, rex, vvvv, relative)


def _immediate(opcode: int, rex: int, wide: bool, narrow_address: bool) -> int:
    if opcode in _IMM8:
        return 1
    if opcode in _IMM_Z:
        return 2 if wide and not rex & 8 else 4
    if opcode in _REL32:
        return 4
    if 0xB8 <= opcode <= 0xBF:
        return 8 if rex & 8 else 2 if wide else 4
    if 0xA0 <= opcode <= 0xA3:
        return 4 if narrow_address else 8
    return {0xC2: 2, 0xCA: 2, 0xC8: 3}.get(opcode, 0)


def condition_holds(code: int, flags: int) -> bool:
    """Whether a conditional jump (``code``: the low four bits of its opcode) is taken."""
    carry, parity, zero, sign, overflow = (flags >> bit & 1 for bit in (0, 2, 6, 7, 11))
    value = (overflow, carry, zero, carry | zero, sign, parity, sign ^ overflow, zero | (sign ^ overflow))[code >> 1]
    return bool(value) != bool(code & 1)


def jump_target(decoded: Decoded, code: bytes, address: int, flags: int, counter: int) -> int | None:
    """Where an instruction that jumps relative to itself goes on; ``None``: it is none (or a call, or counts)."""
    following = address + decoded.length
    opcode = decoded.opcode
    short = int.from_bytes(code[decoded.length - 1:decoded.length], "little", signed=True)
    if opcode in (0xE9, 0xE8) or 0x0F80 <= opcode <= 0x0F8F:
        distance = int.from_bytes(code[decoded.length - 4:decoded.length], "little", signed=True)
        taken = opcode in (0xE9, 0xE8) or condition_holds(opcode & 15, flags)
    elif opcode == 0xEB or 0x70 <= opcode <= 0x7F:
        distance, taken = short, opcode == 0xEB or condition_holds(opcode & 15, flags)
    elif opcode == 0xE3:  # JRCXZ (JECXZ after the prefix 67)
        distance, taken = short, not (counter & 0xFFFFFFFF if code[0] == 0x67 else counter)
    else:
        return None
    return (following + (distance if taken else 0)) & _M64


def without_relative(decoded: Decoded, code: bytes) -> tuple[bytes, int]:
    """The instruction with its address relative to the instruction pointer turned into one relative to a register.

    Also the register's number (6, 7 or 3: rsi, rdi, rbx), which must hold what the pointer would have been: the address
    behind the original instruction. It is none that the instruction names.
    """
    changed = bytearray(code[:decoded.length])
    named = {code[decoded.modrm] >> 3 & 7, decoded.vvvv & 7 if decoded.vvvv >= 0 else -1}
    register = next(number for number in (6, 7, 3) if number not in named)
    changed[decoded.modrm] = code[decoded.modrm] & 0x38 | 0x80 | register
    # REX.B (inverted in VEX and EVEX) would make it one of r8 to r15.
    at = decoded.modrm
    start = 0
    while changed[start] in _PREFIXES:
        start += 1
    if changed[start] & 0xF0 == 0x40:
        changed[start] &= 0xFE
    elif changed[start] in (0xC4, 0x62) and start < at:
        changed[start + 1] |= 0x20
    return bytes(changed), register
