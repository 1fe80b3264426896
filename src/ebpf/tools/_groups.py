"""Control groups and containers, by what people call them."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

import ebpf

if TYPE_CHECKING:
    from collections.abc import Iterator


class Group(NamedTuple):
    """A control group (version 2): its directory, the kernel's id of it, and how many levels below the root it is."""

    path: str
    id: int
    level: int


# What container engines put before and behind the id or name in a group's directory name.
_AROUND = re.compile(r"^(?:docker-|libpod-|crio-|cri-containerd-|containerd-|lxc\.payload\.|lxc\.|machine-)?"
                     r"(?P<name>.+?)(?:\.scope|\.service)?$")


def root() -> str:
    """Where version 2 is mounted; `NotSupported` if nowhere."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            if fields[2] == "cgroup2":
                return fields[1].replace("\\040", " ")
    raise ebpf.NotSupported("filtering by control group: no hierarchy of version 2 is mounted", who="this system",
                            instead="mount -t cgroup2 none /sys/fs/cgroup")


def find_group(path: str) -> Group:
    """The group at a path, absolute or below the mount."""
    top = root()
    full = path if path == top or path.startswith(top + "/") else os.path.join(top, path.lstrip("/"))
    full = os.path.normpath(full)
    if not os.path.isdir(full):
        from difflib import get_close_matches

        try:
            there = [entry.name for entry in os.scandir(os.path.dirname(full)) if entry.is_dir()]
        except OSError:
            there = []
        close = get_close_matches(os.path.basename(full), there, n=3)
        raise ebpf.UsageError(f"there is no control group {full}",
                              helps=(f"similar: {', '.join(close)}",) if close else ())
    return _group(full, top)


def _group(full: str, top: str) -> Group:
    below = os.path.relpath(full, top)
    return Group(full, os.stat(full).st_ino, 0 if below == "." else below.count("/") + 1)


def find_container(name: str) -> Group:
    """The group of a container, by its name or the beginning of its id (docker, podman, containerd, LXC, nspawn)."""
    top = root()
    ids = {name, *_ids_of(name)}
    found = [full for full, called in _iter_groups(top) if any(
        called == id or (re.fullmatch(r"[0-9a-f]{4,}", id) and called.startswith(id)) for id in ids)]
    found = [full for full in found if not any(full.startswith(other + "/") for other in found)]
    if not found:
        raise ebpf.UsageError(f"there is no container {name!r}",
                              helps=("it must be running; --cgroup PATH names a control group itself",))
    if len(found) > 1:
        raise ebpf.UsageError(f"{name!r} may mean several containers", notes=tuple(found[:5]),
                              helps=("give more of the id, or --cgroup PATH",))
    return _group(found[0], top)


def _iter_groups(top: str) -> Iterator[tuple[str, str]]:
    """Each directory, with what an engine calls it."""
    for path, folders, _ in os.walk(top):
        for folder in folders:
            match = _AROUND.match(folder)
            yield f"{path}/{folder}", match["name"].replace("\\x2d", "-") if match is not None else folder


def _ids_of(name: str) -> list[str]:
    """Ids of the containers of that name, from the engines' own files (where this user may read them)."""
    import json

    ids = []
    docker = "/var/lib/docker/containers"
    try:
        for id in os.listdir(docker):
            with open(f"{docker}/{id}/config.v2.json") as file:
                if json.load(file).get("Name", "").lstrip("/") == name:
                    ids.append(id)
    except (OSError, ValueError):
        pass
    for home in ("/var/lib/containers", os.path.expanduser("~/.local/share/containers")):
        try:
            with open(f"{home}/storage/overlay-containers/containers.json") as file:
                ids += [one["id"] for one in json.load(file) if name in one.get("names", ())]
        except (OSError, ValueError, KeyError):
            pass
    return ids
