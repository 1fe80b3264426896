"""The filter that lets a traced command run at full speed: only system calls that somebody asked for stop it.

Classic BPF over ``struct seccomp_data`` (nr, arch, instruction pointer, six arguments). What is not of this
architecture (32-bit calls, x32) passes: nobody reports it. The kernel (5.11) remembers which numbers always pass, and
does not even run the filter for those.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebpf.machine.tracing.arch import Arch

RET_TRACE = 0x7FF00000
RET_ALLOW = 0x7FFF0000
PROT_EXEC = 4
_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NR, _ARCH, _ARG2 = 0, 4, 32  # offsets; the lower half of argument 2 comes first
_X32_BIT = 0x40000000


def build_filter(arch: Arch, numbers: Iterable[int] | None, *, executable: bool = False) -> bytes:
    """Instructions (``struct sock_filter``) that stop the system calls ``numbers``; ``None``: all of them.

    ``executable``: also every mmap and mprotect that makes memory executable, which is how libraries come. (Who waits
    for a library's data too asks for the number of mmap.)
    """
    code: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH), (_JEQ, 1, 0, arch.audit), (_RET, 0, 0, RET_ALLOW),
        (_LOAD, 0, 0, _NR), (_JGE, 0, 1, _X32_BIT), (_RET, 0, 0, RET_ALLOW),
    ]
    if numbers is not None:
        wanted = set(numbers)
        for number in sorted(wanted):
            code += [(_JEQ, 0, 1, number), (_RET, 0, 0, RET_TRACE)]
        if executable:
            for number in {arch.mmap, arch.mprotect} - wanted:
                code += [(_JEQ, 0, 4, number), (_LOAD, 0, 0, _ARG2), (_JSET, 0, 1, PROT_EXEC),
                         (_RET, 0, 0, RET_TRACE), (_RET, 0, 0, RET_ALLOW)]
        code.append((_RET, 0, 0, RET_ALLOW))
    else:
        code.append((_RET, 0, 0, RET_TRACE))
    return b"".join(struct.pack("=HBBI", op, yes, no, value) for op, yes, no, value in code)
