"""Relocations of native code: one row each, by architecture (the processors' ELF supplements).

A row computes from S (the symbol's address), A (the addend) and P (the place's address). ``got`` rows take S as the
address of a table entry that holds the symbol's; ``call`` rows may reach a stub that jumps there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple

from ebpf.errors import InternalError

Patch = Callable[[bytearray, int, int, int, int], None]  # memory, offset, S, A, P


class Rule(NamedTuple):
    patch: Patch
    got: bool = False
    call: bool = False


def _out_of_range(value: int) -> InternalError:
    return InternalError(f"native code: a relocation does not reach ({value:#x})")


def _absolute64(memory: bytearray, at: int, s: int, a: int, p: int) -> None:
    struct.pack_into("<Q", memory, at, (s + a) & 0xFFFFFFFFFFFFFFFF)


def _relative64(memory: bytearray, at: int, s: int, a: int, p: int) -> None:
    struct.pack_into("<q", memory, at, s + a - p)


def _relative32(memory: bytearray, at: int, s: int, a: int, p: int) -> None:
    value = s + a - p
    if not -(1 << 31) <= value < 1 << 31:
        raise _out_of_range(value)
    struct.pack_into("<i", memory, at, value)


X86_64 = {
    1: Rule(_absolute64),  # R_X86_64_64
    2: Rule(_relative32),  # R_X86_64_PC32
    4: Rule(_relative32, call=True),  # R_X86_64_PLT32
    9: Rule(_relative32, got=True),  # R_X86_64_GOTPCREL
    24: Rule(_relative64),  # R_X86_64_PC64
    41: Rule(_relative32, got=True),  # R_X86_64_GOTPCRELX
    42: Rule(_relative32, got=True),  # R_X86_64_REX_GOTPCRELX
}


# ---- aarch64: nothing here can run it; the rows are tested against the numbers of the supplement alone ----


def _insn(memory: bytearray, at: int, clear: int, bits: int) -> None:
    (word,) = struct.unpack_from("<I", memory, at)
    struct.pack_into("<I", memory, at, word & ~clear | bits)


def _branch26(memory: bytearray, at: int, s: int, a: int, p: int) -> None:
    value = s + a - p
    if value & 3 or not -(1 << 27) <= value < 1 << 27:
        raise _out_of_range(value)
    _insn(memory, at, 0x3FFFFFF, value >> 2 & 0x3FFFFFF)


def _page21(memory: bytearray, at: int, s: int, a: int, p: int) -> None:
    value = ((s + a) & ~0xFFF) - (p & ~0xFFF)
    if not -(1 << 32) <= value < 1 << 32:
        raise _out_of_range(value)
    page = value >> 12
    _insn(memory, at, 3 << 29 | 0x7FFFF << 5, (page & 3) << 29 | (page >> 2 & 0x7FFFF) << 5)


def _low12(shift: int) -> Patch:
    def patch(memory: bytearray, at: int, s: int, a: int, p: int) -> None:
        value = (s + a) & 0xFFF
        if value & ((1 << shift) - 1):
            raise _out_of_range(value)
        _insn(memory, at, 0xFFF << 10, value >> shift << 10)

    return patch


AARCH64 = {
    257: Rule(_absolute64),  # R_AARCH64_ABS64
    260: Rule(_relative64),  # R_AARCH64_PREL64
    261: Rule(_relative32),  # R_AARCH64_PREL32
    275: Rule(_page21),  # R_AARCH64_ADR_PREL_PG_HI21
    277: Rule(_low12(0)),  # R_AARCH64_ADD_ABS_LO12_NC
    278: Rule(_low12(0)),  # R_AARCH64_LDST8_ABS_LO12_NC
    282: Rule(_branch26, call=True),  # R_AARCH64_JUMP26
    283: Rule(_branch26, call=True),  # R_AARCH64_CALL26
    284: Rule(_low12(1)),  # R_AARCH64_LDST16_ABS_LO12_NC
    285: Rule(_low12(2)),  # R_AARCH64_LDST32_ABS_LO12_NC
    286: Rule(_low12(3)),  # R_AARCH64_LDST64_ABS_LO12_NC
    299: Rule(_low12(4)),  # R_AARCH64_LDST128_ABS_LO12_NC
    311: Rule(_page21, got=True),  # R_AARCH64_ADR_GOT_PAGE
    312: Rule(_low12(3), got=True),  # R_AARCH64_LD64_GOT_LO12_NC
}

RULES = {"x86_64": X86_64, "aarch64": AARCH64}

# A stub jumps to the address in its last eight bytes.
STUBS = {
    "x86_64": bytes.fromhex("ff25020000000f0b"),  # jmp *2(%rip); ud2
    "aarch64": bytes.fromhex("5000005800021fd6"),  # ldr x16, .+8; br x16
}
