"""Draining a user ring buffer (kernel/bpf/ringbuf.c)."""

from __future__ import annotations

from errno import EBUSY, EINVAL
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.machine.helpers.dynptrs import BYTES, store
from ebpf.machine.helpers.table import callback_helper
from ebpf.machine.maps.user_ringbuf import MAX_SAMPLES, UserRingBuffer

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

_NO_WAKEUP, _FORCE_WAKEUP = 1, 2


@callback_helper
def bpf_user_ringbuf_drain(env: Environment, map: int, callback_fn: int, ctx: int, flags: int) -> int:
    """``callback(dynptr, ctx)`` for each record until it returns 1; how many were taken out."""
    ring = env.map(map)
    if not isinstance(ring, UserRingBuffer):
        raise MachineFault(f"map {ring.name!r} is no user ring buffer", access="call")
    if flags & ~(_NO_WAKEUP | _FORCE_WAKEUP):
        return -EINVAL
    if ring.busy:
        return -EBUSY
    count, space = 0, env.space
    record_window = space.reserve("a record of a user ring buffer", 256)
    dynptr_window = space.reserve("the dynptr given to a callback")
    dynptr = space.show(dynptr_window, bytearray(BYTES))
    ring.busy = True
    try:
        while count < MAX_SAMPLES and (sample := ring.take()) is not None:
            count += 1
            store(env, dynptr, space.show(record_window, bytearray(sample or b"\0")), len(sample))
            stop = env.call(callback_fn, dynptr, ctx)
            space.hide(record_window)
            if stop:
                break
    finally:
        ring.busy = False
        space.hide(dynptr_window)
    if flags & _FORCE_WAKEUP or (count and not flags & _NO_WAKEUP):
        ring.wakeups += 1
    return count
