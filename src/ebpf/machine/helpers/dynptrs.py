"""Dynptrs: 16 bytes on the stack that stand for memory with a size (kernel/bpf/helpers.c).

The bytes are laid out as ``struct bpf_dynptr_kern``: address, size and flags, offset.
"""

from __future__ import annotations

from errno import E2BIG, EINVAL
from struct import pack, unpack
from typing import TYPE_CHECKING

from ebpf.machine.helpers.events import _ring, owner
from ebpf.machine.helpers.table import helper, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

BYTES = 16
MAX_SIZE = (1 << 24) - 1
_READ_ONLY = 1 << 31


def store(env: Environment, ptr: int, address: int, size: int, flags: int = 0) -> None:
    env.space.write(ptr, pack("<QII", address, size | flags, 0))


def load(env: Environment, ptr: int) -> tuple[int, int, bool]:
    """Address, size, whether it may be written; address 0: it is a null dynptr."""
    address, size, offset = unpack("<QII", env.space.read(ptr, BYTES))
    return (address + offset if address else 0), size & MAX_SIZE, not size & _READ_ONLY


@helper
def bpf_dynptr_from_mem(env: Environment, data: int, size: int, flags: int, ptr: int) -> int:
    length = u32(size)
    error = -E2BIG if length > MAX_SIZE else -EINVAL if flags else 0
    store(env, ptr, 0 if error else data, 0 if error else length)
    return error


@helper
def bpf_dynptr_read(env: Environment, dst: int, len: int, src: int, offset: int, flags: int) -> int:
    address, size, _ = load(env, src)
    length, at = u32(len), u32(offset)
    if not address or flags:
        return -EINVAL
    if length > size or at > size - length:
        return -E2BIG
    env.space.write(dst, env.space.read(address + at, length))
    return 0


@helper
def bpf_dynptr_write(env: Environment, dst: int, offset: int, src: int, len: int, flags: int) -> int:
    address, size, writable = load(env, dst)
    length, at = u32(len), u32(offset)
    if not address or flags or not writable:
        return -EINVAL
    if length > size or at > size - length:
        return -E2BIG
    env.space.write(address + at, env.space.read(src, length))
    return 0


@helper
def bpf_dynptr_data(env: Environment, ptr: int, offset: int, len: int) -> int:
    """The address of a slice; 0 if it does not fit."""
    address, size, writable = load(env, ptr)
    length, at = u32(len), u32(offset)
    if not address or not writable or length > size or at > size - length:
        return 0
    return address + at


@helper
def bpf_ringbuf_reserve_dynptr(env: Environment, ringbuf: int, size: int, flags: int, ptr: int) -> int:
    length = u32(size)
    error = -EINVAL if flags else -E2BIG if length > MAX_SIZE else 0
    address = 0 if error else _ring(env, ringbuf).reserve(length, 0)
    store(env, ptr, address, length if address else 0)
    return error or (0 if address else -EINVAL)


@helper
def bpf_ringbuf_submit_dynptr(env: Environment, ptr: int, flags: int) -> int:
    address, _, _ = load(env, ptr)
    if address:
        owner(env, address).submit(address, flags)
        store(env, ptr, 0, 0)
    return 0


@helper
def bpf_ringbuf_discard_dynptr(env: Environment, ptr: int, flags: int) -> int:
    address, _, _ = load(env, ptr)
    if address:
        owner(env, address).discard(address, flags)
        store(env, ptr, 0, 0)
    return 0
