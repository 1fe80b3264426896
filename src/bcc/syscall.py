"""System call numbers and names, of the machine that this runs on."""

from __future__ import annotations

import os

from bcc import syscalls_generated

_runs = syscalls_generated.X86_64 if os.uname().machine == "x86_64" else syscalls_generated.GENERIC

syscalls: dict[int, bytes] = {
    first + i: name.encode() for first, names in _runs for i, name in enumerate(names.split())}


def syscall_name(syscall_num: int) -> bytes:
    """The name of a system call, without ``sys_``."""
    return syscalls.get(syscall_num, b"[unknown: %d]" % syscall_num)
