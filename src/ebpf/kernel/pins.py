"""What is pinned: every program, map and link that has a path in a mounted bpffs."""

from __future__ import annotations

import os
from typing import Final

from ebpf.errors import EbpfError
from ebpf.kernel import maps, sys

# What the kernel calls the descriptors (readlink of /proc/self/fd/N), and what we call the things.
KINDS: Final = {"anon_inode:bpf-prog": "program", "anon_inode:bpf-map": "map", "anon_inode:bpf_link": "link",
                "anon_inode:bpf-link": "link"}  # a pinned link's is written so (kernel/bpf/inode.c, syscall.c)


def mounts() -> list[str]:
    """Where bpffs is mounted in this mount namespace."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if right.split(" ", 1)[0] == "bpf":
                found.append(left.split()[4].encode().decode("unicode_escape"))  # a space in a path is \\040 there
    return found


def describe(path: str) -> tuple[str, ...]:
    """A note on what is pinned there: of a program or link who loaded it, when, and who holds it."""
    found = _what(path)
    if found is None:
        return ()
    kind, id = found
    from ebpf.kernel.attach import conflict
    from ebpf.kernel.attach.link import open_pinned_link

    try:
        if kind == "program":
            return conflict.describe((id,))
        if kind == "link":
            with open_pinned_link(path) as link:
                info = link.info()
            return (f"a {info.type} link (id {id}) of {info.target or 'its target'} is pinned there",
                    *conflict.describe((info.prog_id,))) if info is not None else ()
        map = maps.map_info_of(id)
        return (f"map {map.name!r} (id {id}) is pinned there",)
    except EbpfError:
        return ()


def pinned() -> dict[tuple[str, int], tuple[str, ...]]:
    """(kind, id) → the paths where it is pinned, as far as this user may look."""
    found: dict[tuple[str, int], list[str]] = {}
    for mount in dict.fromkeys(mounts()):
        for directory, _, names in os.walk(mount):
            for name in names:
                path = os.path.join(directory, name)
                key = _what(path)
                if key is not None and path not in found.setdefault(key, []):
                    found[key].append(path)
    return {key: tuple(paths) for key, paths in found.items()}


def _what(path: str) -> tuple[str, int] | None:
    name = os.fsencode(path) + b"\0"
    try:
        fd = sys.OwnedFd(sys.call("OBJ_GET", pathname=sys.address_of(name)))
    except EbpfError:  # gone meanwhile, not ours to open, or an iterator's text
        return None
    try:
        kind = KINDS.get(os.readlink(f"/proc/self/fd/{fd.fileno()}"))
        if kind is None:
            return None
        # The id is the second word of a program's and a map's information, and of a link's.
        return kind, int.from_bytes(maps.object_info(fd.fileno(), 8)[4:8], "little")
    finally:
        fd.close()
