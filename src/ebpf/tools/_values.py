"""What the kernel's numbers are called."""

from __future__ import annotations

import errno
import os
import time


def text(raw: bytes) -> str:
    """A name or path as text; what is no UTF-8 is shown as escapes."""
    return raw.decode("utf-8", "backslashreplace")


def error_name(result: int) -> str:
    """``-2`` → ``"ENOENT"``; what is no error is ``""``."""
    return errno.errorcode.get(-result, str(-result)) if result < 0 else ""


class Clock:
    """The kernel's monotonic nanoseconds as seconds since 1970."""

    __slots__ = ("_offset_ns",)

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def seconds(self, time_ns: int) -> float:
        return round((time_ns + self._offset_ns) / 1e9, 6)


def signal_name(number: int) -> str:
    """``9`` → ``"SIGKILL"``."""
    from signal import Signals

    try:
        return Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - 34}" if 34 <= number <= 64 else str(number)


def address(family: int, raw: bytes) -> str:
    """An IPv4 or IPv6 address out of its bytes."""
    if family == 2:
        return ".".join(map(str, raw[:4]))
    from ipaddress import IPv6Address

    found = IPv6Address(raw[:16])
    return f"::ffff:{found.ipv4_mapped}" if found.ipv4_mapped is not None else str(found)


def flags(value: int, names: dict[str, int], *, none: str = "0") -> str:
    """The names of the bits, between bars; what has no name in hexadecimal."""
    found = []
    for name, bits in names.items():
        if bits and value & bits == bits:
            found.append(name)
            value &= ~bits
    if value:
        found.append(hex(value))
    return "|".join(found) or none


def cut_comm(name: str) -> bytes:
    """A process's name as the kernel keeps it."""
    return os.fsencode(name)[:15]
