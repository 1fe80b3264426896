"""Reads through pointers that nobody vouches for: the machine's own memory, or the traced process's.

As in the kernel (on x86-64): ``_kernel`` reads no user memory, ``_user`` reads nothing else, the old ones without
suffix read both. A failed read clears the destination and returns -EFAULT (-ERANGE where ``_kernel`` is given an
address that no kernel memory can have).
"""

from __future__ import annotations

from errno import EFAULT, EINVAL, EPERM, ERANGE
from typing import TYPE_CHECKING

from ebpf.machine.helpers.table import helper, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

USER_END = 1 << 47
PAGE_BYTES = 4096


def probe(env: Environment, address: int, size: int, *, user: bool = True, kernel: bool = True) -> bytes | None:
    """``size`` bytes at ``address``; None if they cannot be read."""
    if kernel and env.space.holds(address):
        data = env.space.rest(address, size)
        return data if data is not None and len(data) == size else None
    if user and env.memory is not None and address + size <= USER_END:
        try:
            data = env.memory.read(address, size)
        except OSError:
            return None
        return data if len(data) == size else None
    return None


def probe_string(env: Environment, address: int, limit: int, *, user: bool = True, kernel: bool = True) -> bytes | None:
    """At most ``limit`` bytes up to and without the first NUL; None if a byte before it cannot be read."""
    out = b""
    while len(out) < limit:
        at = address + len(out)
        if kernel and env.space.holds(at):
            piece = env.space.rest(at, limit - len(out))
        else:
            size = min(limit - len(out), PAGE_BYTES - at % PAGE_BYTES)
            piece = probe(env, at, size, user=user, kernel=kernel)
            while piece is None and size > 1:  # of a recording, less may be there: the kernel reads as far as it goes
                size //= 2
                piece = probe(env, at, size, user=user, kernel=kernel)
        if piece is None:
            return None
        head, nul, _ = piece.partition(b"\0")
        out += head
        if nul:
            return out
    return out


def _read(env: Environment, dst: int, size: int, address: int, *, user: bool, kernel: bool) -> int:
    size = u32(size)
    env.space.clear(dst, size)
    data = probe(env, address, size, user=user, kernel=kernel) if size else b""
    if data is None:
        return _error(address, user)
    env.space.write(dst, data)
    return 0


def _error(address: int, user: bool) -> int:
    return -ERANGE if not user and address < USER_END + PAGE_BYTES else -EFAULT


def _read_string(env: Environment, dst: int, size: int, address: int, *, user: bool, kernel: bool) -> int:
    size = u32(size)
    if not size:
        return 0
    env.space.read(dst, size)  # room for all of it, before anything is read
    text = probe_string(env, address, size, user=user, kernel=kernel)
    if text is None:
        env.space.clear(dst, size)
        return _error(address, user)
    text = text[:size - 1] + b"\0"
    env.space.write(dst, text)
    return len(text)


@helper
def bpf_probe_read(env: Environment, dst: int, size: int, unsafe_ptr: int) -> int:
    return _read(env, dst, size, unsafe_ptr, user=True, kernel=True)


@helper
def bpf_probe_read_user(env: Environment, dst: int, size: int, unsafe_ptr: int) -> int:
    return _read(env, dst, size, unsafe_ptr, user=True, kernel=False)


@helper
def bpf_probe_read_kernel(env: Environment, dst: int, size: int, unsafe_ptr: int) -> int:
    return _read(env, dst, size, unsafe_ptr, user=False, kernel=True)


@helper
def bpf_probe_read_str(env: Environment, dst: int, size: int, unsafe_ptr: int) -> int:
    return _read_string(env, dst, size, unsafe_ptr, user=True, kernel=True)


@helper
def bpf_probe_read_user_str(env: Environment, dst: int, size: int, unsafe_ptr: int) -> int:
    return _read_string(env, dst, size, unsafe_ptr, user=True, kernel=False)


@helper
def bpf_probe_read_kernel_str(env: Environment, dst: int, size: int, unsafe_ptr: int) -> int:
    return _read_string(env, dst, size, unsafe_ptr, user=False, kernel=True)


@helper
def bpf_copy_from_user(env: Environment, dst: int, size: int, user_ptr: int) -> int:
    return _read(env, dst, size, user_ptr, user=True, kernel=False)


@helper
def bpf_copy_from_user_task(env: Environment, dst: int, size: int, user_ptr: int, tsk: int, flags: int) -> int:
    """There is one task here, the traced one."""
    return -EINVAL if flags else _read(env, dst, size, user_ptr, user=True, kernel=False)


@helper
def bpf_probe_write_user(env: Environment, dst: int, src: int, len: int) -> int:
    data = env.space.read(src, u32(len))
    if env.memory is None or dst >= USER_END:
        return -EPERM
    try:
        env.memory.write(dst, data)
    except OSError:
        return -EFAULT
    return 0
