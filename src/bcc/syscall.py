"""System call numbers and names, of the machine that this runs on."""

from __future__ import annotations

from ebpf import host

syscalls: dict[int, bytes] = {number: name.encode() for number, name in host.syscalls().items()}


def syscall_name(syscall_num: int) -> bytes:
    """The name of a system call, without ``sys_``."""
    return syscalls.get(syscall_num, b"[unknown: %d]" % syscall_num)
