"""Registers as ptrace(2) gives them (``NT_PRSTATUS``), by architecture: which word is what.

On x86-64 the first 21 words are the kernel's ``struct pt_regs``, on aarch64 the 34 words begin it; what follows there
is ``orig_x0`` and the number of the system call. x86-64 is tested; aarch64's row is written from the kernel's headers
and has run nowhere yet.
"""

from __future__ import annotations

import os
from typing import NamedTuple


class Arch(NamedTuple):
    """Indexes into the 64-bit words of the register set, and what the kernel calls the architecture."""

    name: str  #: platform.machine()'s
    audit: int  #: AUDIT_ARCH_…, what seccomp and PTRACE_GET_SYSCALL_INFO tell
    words: int
    number: int  #: of the system call, when it is entered
    arguments: tuple[int, ...]  #: of a system call
    call_arguments: tuple[int, ...]  #: of a function
    result: int
    ip: int
    sp: int
    fp: int
    link: int | None  #: the register that holds the return address; None: it is on the stack
    mmap: int  #: numbers of system calls that change what is executable
    mprotect: int
    clone: int
    clone3: int
    breakpoint: bytes
    ip_after_breakpoint: int  #: how far behind the breakpoint's first byte the task stands


ARCHES = {
    # r15 r14 r13 r12 bp bx r11 r10 r9 r8 ax cx dx si di orig_ax ip cs flags sp ss fs_base gs_base ds es fs gs
    "x86_64": Arch("x86_64", 0xC000003E, 27, 15, (14, 13, 12, 7, 9, 8), (14, 13, 12, 11, 9, 8), 10, 16, 19, 4, None,
                   9, 10, 56, 435, b"\xcc", 1),
    # x0 … x30 sp pc pstate
    "aarch64": Arch("aarch64", 0xC00000B7, 34, 8, (0, 1, 2, 3, 4, 5), (0, 1, 2, 3, 4, 5, 6, 7), 0, 32, 31, 29, 30,
                    222, 226, 220, 435, b"\x00\x00\x20\xd4", 0),
}


def this_arch() -> Arch | None:
    """The row of the machine that this runs on; ``None`` where commands cannot be traced."""
    return ARCHES.get(os.uname().machine)
