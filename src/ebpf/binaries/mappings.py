"""What a process has mapped: the lines of /proc/PID/maps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Mapping:
    """One line: addresses ``start`` to before ``end`` are ``path`` from ``offset`` on; ``file`` is (device, inode).

    ``path`` is "" for memory of no file, ``[vdso]`` and the like for the kernel's own.
    """

    __slots__ = ("end", "executable", "file", "offset", "path", "start", "writable")

    def __init__(self, line: str) -> None:
        place, permissions, offset, device, inode, *path = line.rstrip("\n").split(None, 5)
        start, _, end = place.partition("-")
        self.start, self.end = int(start, 16), int(end, 16)
        self.executable, self.writable = permissions[2] == "x", permissions[1] == "w"
        self.offset = int(offset, 16)
        major, _, minor = device.partition(":")
        self.file = (os.makedev(int(major, 16), int(minor, 16)), int(inode))
        self.path = path[0] if path else ""

    def address(self, offset: int) -> int | None:
        """Where a place in the file is."""
        if self.offset <= offset < self.offset + self.end - self.start:
            return self.start + offset - self.offset
        return None


def iter_mappings(pid: int | str, *, code: bool = False) -> Iterator[Mapping]:
    """What has a name in process ``pid`` (or ``"self"``): files, and the kernel's own. ``code``: only what can be run.

    OSError if there is no such process, or it may not be looked at.
    """
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if ("/" in line or "[" in line) and not (code and line[line.find(" ") + 3:][:1] != "x"):
                yield Mapping(line)
