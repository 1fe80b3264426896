"""Who holds what the kernel has: processes with a descriptor of a program, map or link, as far as this user may see."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ebpf.kernel.pins import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

_TAGS = {"prog_id": "program", "map_id": "map", "link_id": "link"}


def holders(*, but_us: bool = False) -> dict[tuple[str, int], list[tuple[int, str]]]:
    """(kind, id) → [(pid, command)]. ``but_us`` leaves this process out: to look at something is to hold it."""
    found: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for pid, command, fields in _descriptors(but_us):
        # A link's fdinfo names its program too; the link's own id is what it is.
        tag = next((t for t in ("link_id", "map_id", "prog_id") if t in fields), None)
        if tag is not None:
            owners = found.setdefault((_TAGS[tag], int(fields[tag])), [])
            if (pid, command) not in owners:
                owners.append((pid, command))
    return found


def holders_of_program(id: int) -> list[tuple[int, str]]:
    """[(pid, command)] of those that hold that program, or a link of it."""
    wanted = str(id)
    return sorted({(pid, command) for pid, command, fields in _descriptors(False)
                   if fields.get("prog_id", "").strip() == wanted})


def _descriptors(but_us: bool) -> Iterator[tuple[int, str, dict[str, str]]]:
    own = str(os.getpid()) if but_us else ""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if pid == own:
            continue
        try:
            held = [fd for fd in os.listdir(f"/proc/{pid}/fd") if _target(f"/proc/{pid}/fd/{fd}") in KINDS]
            if not held:
                continue
            with open(f"/proc/{pid}/comm") as file:
                command = file.read().strip()
            for fd in held:
                with open(f"/proc/{pid}/fdinfo/{fd}") as file:
                    yield int(pid), command, dict(line.split(":", 1) for line in file if ":" in line)
        except (OSError, ValueError):  # ended meanwhile, or not ours to look at
            continue


def _target(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:  # closed meanwhile (of our own process: the one that lists them)
        return ""
