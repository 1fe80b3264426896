"""Timers that programs started: what is known of each, and running those that are due."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment
    from ebpf.machine.maps.base import MachineMap


class Timer:
    """A timer in a value of ``map``; ``expires_ns`` is a time of the monotonic clock, None while it does not run."""

    __slots__ = ("callback", "expires_ns", "map")

    def __init__(self, map: MachineMap) -> None:
        self.map = map
        self.callback = 0
        self.expires_ns: int | None = None


def next_expiry(environment: Environment) -> int | None:
    """When the next timer is due; None if none runs."""
    return min((t.expires_ns for t in environment.timers.values() if t.expires_ns is not None), default=None)


def expire(environment: Environment, now_ns: int) -> int:
    """Call the callbacks of timers that are due, earliest first: ``callback(map, key, value)``; how many.

    A timer whose callback starts it anew for a time that has passed runs again.
    """
    count = 0
    while True:
        due = [(t.expires_ns, address) for address, t in environment.timers.items()
               if t.expires_ns is not None and t.expires_ns <= now_ns]
        if not due:
            return count
        address = min(due)[1]
        timer = environment.timers[address]
        timer.expires_ns = None
        space = environment.space
        element = timer.map.element_of(address)
        if element is None:
            del environment.timers[address]  # it was deleted: the kernel cancels its timers then
            continue
        key, value = element
        window = space.reserve("the key given to a timer's callback")
        key_address = space.show(window, bytearray(key), writable=False)
        environment.begin_event()
        space.enter()
        try:
            environment.function(timer.callback)(0, timer.map.address, key_address, value)
        finally:
            space.leave()
            space.hide(window)
        count += 1
