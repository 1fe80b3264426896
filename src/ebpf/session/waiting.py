"""What this process's main thread does right now: computes, sleeps, or waits for something.

When what the machine traces has ended, a script that would go on waiting for ever is interrupted (see `world`); one
that still works on what it got must not be. `/proc/self/task/TID/syscall` tells the two apart.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from functools import cache

#: How long a wait of each kind may be one that ends by itself, in seconds; it is left alone for so long.
_EVENTS_S, _ANSWERS_S, _ANYTHING_S = 0.1, 1.5, 5.0
#: A sleep that ends within so many seconds is left alone: what follows it may be the reading of the results.
_SHORT_S = 30.0
_EVENTS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "pause", "rt_sigsuspend", "rt_sigtimedwait")
_ANSWERS = ("poll", "ppoll", "select", "pselect6")
_NANOSLEEP, _CLOCK_NANOSLEEP = "nanosleep", "clock_nanosleep"
_TIMER_ABSTIME = 1


def patience_s(*, results_seen: bool) -> float | None:
    """For how long what the main thread waits in is to be left alone; ``None``: for as long as it takes.

    ``results_seen``: the script has looked at what came since the end, so that another sleep is one of a loop.
    """
    call = _system_call()
    if call is None:
        return _ANYTHING_S
    if not call:
        return None  # on a processor, or about to be
    name, arguments = _name(call[0]), call[1:]
    if name in _EVENTS:
        return _EVENTS_S if results_seen else _ANYTHING_S
    if name in (_NANOSLEEP, _CLOCK_NANOSLEEP):
        if results_seen:
            return _EVENTS_S
        return None if _remaining_s(name, arguments) <= _SHORT_S else _ANYTHING_S
    return _ANSWERS_S if name in _ANSWERS and results_seen else _ANYTHING_S


def _system_call() -> tuple[int, ...] | None:
    """Number and arguments of what the main thread is blocked in; empty: in nothing; ``None``: nobody can say."""
    tid = threading.main_thread().native_id
    try:
        with open(f"/proc/self/task/{tid}/syscall", encoding="ascii") as file:
            words = file.read().split()
    except OSError:  # a kernel without CONFIG_HAVE_ARCH_TRACEHOOK, a system without such files
        return None
    if not words or words[0] == "running" or words[0] == "-1":
        return ()
    return (int(words[0]), *(int(word, 16) for word in words[1:7]))


@cache
def _name(number: int) -> str:
    from ebpf.abi.syscalls import syscall_names

    return syscall_names(os.uname().machine).get(number, "")


def _remaining_s(name: str, arguments: tuple[int, ...]) -> float:
    """How long the sleep goes on; its time stands in our own memory while it lasts."""
    clock, flags, request = (time.CLOCK_MONOTONIC, 0, arguments[0]) if name == _NANOSLEEP else arguments[:3]
    try:
        seconds, ns = struct.unpack("=qq", _own_memory(request, 16))
    except (OSError, struct.error):  # it has just ended
        return 0.0
    until: float = seconds + ns / 1e9
    return until - time.clock_gettime(clock) if flags & _TIMER_ABSTIME else until


def _own_memory(address: int, size: int) -> bytes:
    """By a system call: the address may be gone by now."""
    with open("/proc/self/mem", "rb", buffering=0) as file:
        return os.pread(file.fileno(), size, address)
