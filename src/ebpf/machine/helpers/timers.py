"""Timers in map values (kernel/bpf/helpers.c). They expire when the machine is told to (`Machine.expire_timers`)."""

from __future__ import annotations

from errno import EBUSY, EINVAL
from typing import TYPE_CHECKING

from ebpf.machine.helpers.table import helper
from ebpf.machine.timers import Timer

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

_CLOCKS = {0: "realtime", 1: "monotonic", 7: "boottime"}
_ABSOLUTE, _CPU_PIN = 1, 2


@helper
def bpf_timer_init(env: Environment, timer: int, map: int, flags: int) -> int:
    if flags not in _CLOCKS:
        return -EINVAL
    if timer in env.timers:
        return -EBUSY
    env.space.read(timer, 16)
    env.timers[timer] = Timer(env.map(map))
    return 0


@helper
def bpf_timer_set_callback(env: Environment, timer: int, callback_fn: int) -> int:
    found = env.timers.get(timer)
    if found is None:
        return -EINVAL
    found.callback = callback_fn
    return 0


@helper
def bpf_timer_start(env: Environment, timer: int, nsecs: int, flags: int) -> int:
    found = env.timers.get(timer)
    if found is None or not found.callback or flags & ~(_ABSOLUTE | _CPU_PIN):
        return -EINVAL
    found.expires_ns = nsecs if flags & _ABSOLUTE else env.clock.monotonic_ns() + nsecs
    return 0


@helper
def bpf_timer_cancel(env: Environment, timer: int) -> int:
    """1 if it was running."""
    found = env.timers.get(timer)
    if found is None:
        return -EINVAL
    running = found.expires_ns is not None
    found.expires_ns = None
    found.callback = 0
    return int(running)
