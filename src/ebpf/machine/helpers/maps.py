"""Map helpers (kernel/bpf/helpers.c): they hand addresses to programs, the maps do the rest."""

from __future__ import annotations

from errno import EINVAL
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.helpers.table import callback_helper, helper, u32

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment


@helper
def bpf_map_lookup_elem(env: Environment, map: int, key: int) -> int:
    m = env.map(map)
    return m.lookup_elem(env.space.read(key, m.key_size))


@helper
def bpf_map_update_elem(env: Environment, map: int, key: int, value: int, flags: int) -> int:
    m = env.map(map)
    return m.update_elem(env.space.read(key, m.key_size), env.space.read(value, m.value_size), flags)


@helper
def bpf_map_delete_elem(env: Environment, map: int, key: int) -> int:
    m = env.map(map)
    return m.delete_elem(env.space.read(key, m.key_size))


@helper
def bpf_map_push_elem(env: Environment, map: int, value: int, flags: int) -> int:
    m = env.map(map)
    return m.push_elem(env.space.read(value, m.value_size), flags)


@helper
def bpf_map_pop_elem(env: Environment, map: int, value: int) -> int:
    m = env.map(map)
    return _give(env, value, m.pop_elem(), m.value_size)


@helper
def bpf_map_peek_elem(env: Environment, map: int, value: int) -> int:
    m = env.map(map)
    if m.type.name == "BLOOM_FILTER":  # there the value is what is asked for
        found = m.peek_elem(env.space.read(value, m.value_size))
        return found if isinstance(found, int) else 0
    return _give(env, value, m.peek_elem(b""), m.value_size)


def _give(env: Environment, address: int, found: bytes | int, size: int) -> int:
    if isinstance(found, int):
        env.space.clear(address, size)  # the kernel clears it
        return found
    env.space.write(address, found)
    return 0


@helper
def bpf_map_lookup_percpu_elem(env: Environment, map: int, key: int, cpu: int) -> int:
    m = env.map(map)
    return m.lookup_percpu_elem(env.space.read(key, m.key_size), u32(cpu))


@callback_helper
def bpf_for_each_map_elem(env: Environment, map: int, callback_fn: int, callback_ctx: int, flags: int) -> int:
    """``callback(map, key, value, ctx)`` for each element until it returns 1; how many were visited."""
    m = env.map(map)
    if flags or not m.can_iterate:
        return -EINVAL
    visited = 0
    key_buffer = bytearray(m.key_size)
    window = env.space.reserve("the key given to a callback")
    key_address = env.space.show(window, key_buffer, writable=False)
    try:
        for key, value in m.elements():
            key_buffer[:] = key
            visited += 1
            if env.call(callback_fn, map, key_address, value, callback_ctx):
                break
    finally:
        env.space.hide(window)
    return visited


@helper
def bpf_spin_lock(env: Environment, lock: int) -> int:
    """One program runs at a time here, so a lock is never contended; taking a second one would be a deadlock."""
    if env.lock:
        raise MachineFault(f"bpf_spin_lock: the lock at {env.lock:#x} is held already", address=lock, access="call")
    env.space.read(lock, 4)
    env.lock = lock
    return 0


@helper
def bpf_spin_unlock(env: Environment, lock: int) -> int:
    if env.lock != lock:
        raise MachineFault(f"bpf_spin_unlock: the lock at {lock:#x} is not held", address=lock, access="call")
    env.lock = 0
    return 0


@helper
def bpf_kptr_xchg(env: Environment, map_value: int, ptr: int) -> int:
    """Exchange the pointer that a map's value holds."""
    old = int.from_bytes(env.space.read(map_value, 8), "little")
    env.space.write(map_value, ptr.to_bytes(8, "little"))
    return old
