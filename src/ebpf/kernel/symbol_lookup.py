"""Whether the kernel has a symbol, asked of the kernel itself.

/proc/kallsyms answers too, but is written anew for each reader: 40 ms for 150,000 names. A program of type "syscall"
may look one name up in microseconds (`bpf_kallsyms_lookup_name`); it is attached to nothing and gone with its
descriptor.
"""

from __future__ import annotations

import os
import struct
from ctypes import addressof, create_string_buffer
from functools import lru_cache
from sys import byteorder
from typing import Final

from ebpf.kernel import sys

_SYSCALL, _SLEEPABLE, _LOOKUP_NAME = 31, 1 << 4, 179
_NAME_BYTES: Final = 128  # the end is zero: longer names are not for this way
_MISSING: Final = 0xFFFFFFFE  # -ENOENT, as the program's 32-bit result


def _insn(opcode: int, dst: int, src: int, off: int, imm: int) -> bytes:
    return struct.pack("@BBhi", opcode, dst | src << 4 if byteorder == "little" else dst << 4 | src, off, imm)


def _code() -> bytes:
    """``return bpf_kallsyms_lookup_name(ctx->name, 128, 0, &address)``, with the name copied to the stack."""
    insns = []
    for at in range(0, _NAME_BYTES, 8):
        insns += [_insn(0x79, 2, 1, at, 0), _insn(0x7B, 10, 2, at - _NAME_BYTES, 0)]
    insns += [_insn(0x7A, 10, 0, -_NAME_BYTES - 8, 0), _insn(0xBF, 1, 10, 0, 0), _insn(0x07, 1, 0, 0, -_NAME_BYTES),
              _insn(0xB7, 2, 0, 0, _NAME_BYTES), _insn(0xB7, 3, 0, 0, 0), _insn(0xBF, 4, 10, 0, 0),
              _insn(0x07, 4, 0, 0, -_NAME_BYTES - 8), _insn(0x85, 0, 0, 0, _LOOKUP_NAME), _insn(0x95, 0, 0, 0, 0)]
    return b"".join(insns)


@lru_cache(maxsize=1)
def _program() -> sys.OwnedFd | None:
    """The program, or None where this user or this kernel (before Linux 5.17) cannot have it."""
    code, license = _code(), b"GPL\0"
    result, _ = sys.attempt("PROG_LOAD", prog_type=_SYSCALL, prog_flags=_SLEEPABLE, insns=sys.address_of(code),
                            insn_cnt=len(code) // 8, license=sys.address_of(license))
    return sys.OwnedFd(result) if result >= 0 else None


def has_symbol(name: str) -> bool | None:
    """Whether the kernel or a module of it has the symbol ``name``; None where it does not tell (no privilege, a kernel
    before Linux 5.17).
    """
    raw = os.fsencode(name)
    if len(raw) >= _NAME_BYTES or b"\0" in raw or not raw:
        return None
    program = _program()
    if program is None:
        return None
    context = create_string_buffer(raw, _NAME_BYTES)
    result, attr = sys.attempt("PROG_TEST_RUN", prog_fd=program.fileno(), ctx_in=addressof(context),
                               ctx_size_in=_NAME_BYTES)
    if result:
        return None
    answer = sys.member("PROG_TEST_RUN", attr, "retval")
    return answer == 0 if answer in (0, _MISSING) else None
