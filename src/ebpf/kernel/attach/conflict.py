"""Who stands in the way: the program that holds a place which takes only one, its owner, and its age.

Nothing of somebody else's is ever replaced; this is what the error says instead.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING

from ebpf.errors import EbpfError
from ebpf.kernel import programs, sys
from ebpf.kernel.attach.link import iter_links
from ebpf.kernel.holders import holders_of_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ebpf.kernel.attach.link_info import LinkInfo

_QUERY_ROOM = 64


def describe(program_ids: Iterable[int]) -> tuple[str, ...]:
    """A note for each program: its name and id, who loaded it and when, which processes hold it, where it is pinned."""
    return tuple(_describe(id) for id in dict.fromkeys(program_ids) if id)


def _describe(id: int) -> str:
    try:
        with programs.open_by_id(id) as program:
            info = program.info()
    except EbpfError:
        return f"program {id} is there"
    parts = [f"program {info.name!r} (id {id}) is there",
             f"loaded {_age(info.load_time_ns)} ago by {_user(info.created_by_uid)}"]
    held = [f"{command} ({pid})" for pid, command in holders_of_program(id)]
    pins = _pins(id)
    if held:
        parts.append(f"held by {', '.join(held)}")
    if pins:
        parts.append(f"pinned at {', '.join(pins)}")
    if not held and not pins:
        parts.append("held by no process: it was attached to stay")
    return "; ".join(parts)


def _age(load_time_ns: int) -> str:
    seconds = max(0, time.clock_gettime_ns(time.CLOCK_BOOTTIME) - load_time_ns) // 10**9
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = seconds // length
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds} s"


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _pins(id: int) -> list[str]:
    from ebpf.kernel.attach.link import open_pinned_link
    from ebpf.kernel.pins import pinned

    found: list[str] = []
    for (kind, which), paths in pinned().items():
        if kind == "program" and which == id:
            found += paths
        elif kind == "link":
            try:
                with open_pinned_link(paths[0]) as link:
                    info = link.info()
                if info is not None and info.prog_id == id:
                    found += paths
            except (EbpfError, OSError):
                continue
    return found


def queried(target: int, attach_type: int) -> list[int]:
    """Ids of the programs at a place that BPF_PROG_QUERY knows: a control group, a namespace, a sockmap."""
    ids = bytearray(4 * _QUERY_ROOM)
    result, attr = sys.attempt("PROG_QUERY", target_fd=target, attach_type=attach_type, prog_ids=sys.address_of(ids),
                               prog_cnt=_QUERY_ROOM)
    if result < 0:
        return []
    return list(struct.unpack_from(f"@{sys.member('PROG_QUERY', attr, 'prog_cnt')}I", ids))


def linked(matches: Callable[[LinkInfo], bool]) -> list[int]:
    """Ids of the programs of links that match."""
    try:
        return [info.prog_id for info in iter_links() if matches(info)]
    except EbpfError:  # not ours to list
        return []

