"""Disks and what is asked of them."""

from __future__ import annotations

import os

import ebpf

NEEDS_KERNEL = "requests to disks are made inside the kernel; a traced command shows only what it asks files for"
_MINOR_BITS = 20
# REQ_OP_…, the low byte of a request's flags (include/linux/blk_types.h).
_OPERATIONS = {0: "Read", 1: "Write", 2: "Flush", 3: "Discard", 5: "SecureErase", 9: "WriteZeroes", 7: "ZoneAppend",
               34: "DriverIn", 35: "DriverOut"}
_LETTERS = {0: "R", 1: "W", 2: "F", 3: "D", 5: "DE", 9: "WZ", 7: "ZA", 34: "N", 35: "N"}
_MODIFIERS = {"S": 1 << 11, "M": 1 << 12, "A": 1 << 19}  # synchronous, metadata, read ahead
_FUA = 1 << 17


def device_number(name: str) -> int:
    """The kernel's number of a disk (``"sda"``)."""
    try:
        with open(f"/sys/class/block/{os.path.basename(name)}/dev") as file:
            major, _, minor = file.read().strip().partition(":")
    except OSError:
        there = sorted(os.listdir("/sys/block")) if os.path.isdir("/sys/block") else []
        raise ebpf.UsageError(f"there is no disk {name!r}",
                              helps=(f"there are: {', '.join(there[:12])}",) if there else ()) from None
    return int(major) << _MINOR_BITS | int(minor)


class Disks:
    """Numbers → names, each looked up once."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {0: "?"}

    def name(self, number: int) -> str:
        """``"sda"``; ``"8:0"`` for a disk that is gone."""
        found = self._names.get(number)
        if found is None:
            place = f"{number >> _MINOR_BITS}:{number & (1 << _MINOR_BITS) - 1}"
            try:
                found = os.path.basename(os.readlink(f"/sys/dev/block/{place}"))
            except OSError:
                found = place
            self._names[number] = found
        return found


def operation(flags: int) -> str:
    """In letters, as the kernel's tracepoints have it: ``"R"``, ``"WS"``."""
    letters = _LETTERS.get(flags & 0xff, "?")
    return letters + ("F" if flags & _FUA else "") + "".join(k for k, bit in _MODIFIERS.items() if flags & bit)


def operation_name(number: int) -> str:
    """``"Read"``."""
    return _OPERATIONS.get(number, f"operation {number}")
