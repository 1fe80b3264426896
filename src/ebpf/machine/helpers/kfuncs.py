"""Kernel functions (kfuncs) that make sense outside a kernel: number iterators (``bpf_for``) and critical sections.

A kfunc is called by its BTF id in a kernel; here the relocation's name finds it in `KFUNCS`.
"""

from __future__ import annotations

from errno import E2BIG, EINVAL
from struct import pack, unpack
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.helpers.loops import MAX_LOOPS
from ebpf.machine.helpers.table import Helper, s32, u32

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.machine.environment import Environment
    from ebpf.machine.maps.arena import Arena

KFUNCS: dict[str, Helper] = {}


def kfunc(function: Callable[..., int]) -> Callable[..., int]:
    """Enter a function into the table under its name, which is the kernel's."""
    name = function.__name__
    KFUNCS[name] = Helper(name, function, function.__code__.co_argcount - 1, False)
    return function


# struct bpf_iter_num: the current number and the end, 4 bytes each (kernel/bpf/bpf_iter.c).


@kfunc
def bpf_iter_num_new(env: Environment, it: int, start: int, end: int) -> int:
    """Numbers from ``start`` to before ``end``."""
    first, last = s32(start), s32(end)
    error = -EINVAL if first > last else -E2BIG if last - first > MAX_LOOPS else 0
    env.space.write(it, bytes(8) if error else pack("<Ii", (first - 1) & 0xFFFFFFFF, last))
    return error


@kfunc
def bpf_iter_num_next(env: Environment, it: int) -> int:
    """The address of the next number (4 bytes); 0 behind the last."""
    current, end = unpack("<ii", env.space.read(it, 8))
    # As in the kernel the sum wraps in 32 bits: the number before the lowest one is the highest.
    if s32(current + 1) >= end:
        env.space.write(it, bytes(8))
        return 0
    env.space.write(it, pack("<i", s32(current + 1)))
    return it


@kfunc
def bpf_iter_num_destroy(env: Environment, it: int) -> int:
    env.space.write(it, bytes(8))
    return 0


# Arenas: pages of a map that programs and the user share (kernel/bpf/arena.c).


def _arena(env: Environment, map: int) -> Arena:
    from ebpf.machine.maps.arena import Arena

    found = env.map(map)
    if not isinstance(found, Arena):
        raise MachineFault(f"map {found.name!r} is no arena", access="call")
    return found


@kfunc
def bpf_arena_alloc_pages(env: Environment, map: int, addr: int, page_cnt: int, node_id: int, flags: int) -> int:
    """The address of ``page_cnt`` pages in a row; 0 if there are none."""
    return 0 if flags else _arena(env, map).allocate(addr, u32(page_cnt))


@kfunc
def bpf_arena_free_pages(env: Environment, map: int, ptr: int, page_cnt: int) -> int:
    _arena(env, map).free(ptr, u32(page_cnt))
    return 0


# One program runs at a time, so there is nothing to keep out.


@kfunc
def bpf_rcu_read_lock(env: Environment) -> int:
    return 0


@kfunc
def bpf_rcu_read_unlock(env: Environment) -> int:
    return 0


@kfunc
def bpf_preempt_disable(env: Environment) -> int:
    return 0


@kfunc
def bpf_preempt_enable(env: Environment) -> int:
    return 0
