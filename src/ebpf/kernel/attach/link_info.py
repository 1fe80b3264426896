"""What the kernel tells about a link: its type, its program, and what it is attached to."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.programs import AttachType
from ebpf.errors import EbpfError, KernelError
from ebpf.kernel import maps

if TYPE_CHECKING:
    from collections.abc import Callable

# enum bpf_link_type
LINK_TYPES = ("unspec", "raw_tracepoint", "tracing", "cgroup", "iter", "netns", "xdp", "perf_event", "kprobe_multi",
              "struct_ops", "netfilter", "tcx", "uprobe_multi", "netkit", "sockmap")

_HEAD = struct.Struct("@III")  # type, id, prog_id
_TAIL = 16  # where the union begins
_SIZE = 128
_NAME_ROOM = 512


class LinkInfo(NamedTuple):
    """What the kernel tells about a BPF link (``struct bpf_link_info``).

    ``target`` is what it is attached to, in words; "" where the kernel does not tell (perf events before 6.6), or where
    it takes the kernel's types to name it (`type` "tracing": ``details["target_btf_id"]``).
    """

    id: int
    type: str
    prog_id: int
    details: dict[str, int]
    target: str = ""


class _Name:
    """Room for a name that the kernel writes for us."""

    __slots__ = ("_room",)

    def __init__(self) -> None:
        self._room = ctypes.create_string_buffer(_NAME_ROOM)

    @property
    def address(self) -> int:
        return ctypes.addressof(self._room)

    @property
    def text(self) -> str:
        return self._room.value.decode(errors="replace")


def link_info(fd: int) -> LinkInfo:
    """Id, type and program of the link behind ``fd``, and what its type adds."""
    data = maps.object_info(fd, _SIZE)
    type, id, program = _HEAD.unpack_from(data)
    name = LINK_TYPES[type] if type < len(LINK_TYPES) else f"type {type}"
    row = _READERS.get(name)
    details, target = row(fd, data) if row is not None else ({}, "")
    return LinkInfo(id, name, program, details, target)


def _ask(fd: int, prepared: bytes) -> bytes:
    """The union once more, with addresses for names filled in; as it was if the kernel will not."""
    try:
        return maps.object_info(fd, _SIZE, bytes(_TAIL) + prepared)
    except KernelError:
        return bytes(_SIZE)


def _raw_tracepoint(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    name = _Name()
    _ask(fd, struct.pack("@QI", name.address, _NAME_ROOM))
    return {}, name.text


def _tracing(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    attach_type, object_id, btf_id = struct.unpack_from("@III", data, _TAIL)
    return {"attach_type": attach_type, "target_obj_id": object_id, "target_btf_id": btf_id}, ""


def _cgroup(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    cgroup, attach_type = struct.unpack_from("@QI", data, _TAIL)
    return {"cgroup_id": cgroup, "attach_type": attach_type}, f"{_cgroup_path(cgroup)} {_attach_type(attach_type)}"


def _iter(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    name = _Name()
    _ask(fd, struct.pack("@QI", name.address, _NAME_ROOM))
    return {}, name.text


def _netns(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    inode, attach_type = struct.unpack_from("@II", data, _TAIL)
    return {"netns_ino": inode, "attach_type": attach_type}, f"netns {inode} {_attach_type(attach_type)}"


def _device(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    index, attach_type = struct.unpack_from("@II", data, _TAIL)
    return {"ifindex": index, "attach_type": attach_type}, f"{_device_name(index)} {_attach_type(attach_type)}"


def _xdp(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    index = struct.unpack_from("@I", data, _TAIL)[0]
    return {"ifindex": index}, _device_name(index)


_PERF_KINDS = ("", "uprobe", "uretprobe", "kprobe", "kretprobe", "tracepoint", "perf event")


def _perf_event(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    kind = struct.unpack_from("@I", data, _TAIL)[0]
    if not 0 < kind < len(_PERF_KINDS):
        return {}, ""
    what = _PERF_KINDS[kind]
    if what == "perf event":
        config, type = struct.unpack_from("@QI", data, _TAIL + 8)
        return {"type": type, "config": config}, f"perf event type {type} config {config}"
    name = _Name()
    full = _ask(fd, struct.pack("@IIQI", kind, 0, name.address, _NAME_ROOM))
    offset = 0 if what == "tracepoint" else struct.unpack_from("@I", full, _TAIL + 20)[0]
    return {"offset": offset} if offset else {}, f"{what} {name.text}" + (f"+{offset:#x}" if offset else "")


_KPROBE_MULTI_RETURN = 1


def _kprobe_multi(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    count, flags = struct.unpack_from("@II", data, _TAIL + 8)
    what = "kretprobe" if flags & _KPROBE_MULTI_RETURN else "kprobe"
    return {"count": count, "flags": flags}, f"{what} {count} functions" if count else ""


def _uprobe_multi(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    count, flags, pid = struct.unpack_from("@III", data, _TAIL + 36)
    name = _Name()
    _ask(fd, struct.pack("@QQQQII", name.address, 0, 0, 0, _NAME_ROOM, 0))
    return {"count": count, "flags": flags, "pid": pid}, f"uprobe {name.text}, {count} places"


def _struct_ops(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    map = struct.unpack_from("@I", data, _TAIL)[0]
    try:
        return {"map_id": map}, maps.map_info_of(map).name
    except EbpfError:  # not ours to open
        return {"map_id": map}, f"map {map}"


_NETFILTER_FAMILIES = {2: "ipv4", 10: "ipv6"}
_NETFILTER_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")


def _netfilter(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    family, hook, priority, flags = struct.unpack_from("@IIiI", data, _TAIL)
    name = _NETFILTER_HOOKS[hook] if hook < len(_NETFILTER_HOOKS) else f"hook {hook}"
    return ({"family": family, "hook": hook, "priority": priority, "flags": flags},
            f"{_NETFILTER_FAMILIES.get(family, family)} {name} {priority}")


def _sockmap(fd: int, data: bytes) -> tuple[dict[str, int], str]:
    map, attach_type = struct.unpack_from("@II", data, _TAIL)
    return {"map_id": map, "attach_type": attach_type}, f"map {map} {_attach_type(attach_type)}"


_READERS: dict[str, Callable[[int, bytes], tuple[dict[str, int], str]]] = {
    "raw_tracepoint": _raw_tracepoint, "tracing": _tracing, "cgroup": _cgroup, "iter": _iter, "netns": _netns,
    "xdp": _xdp, "tcx": _device, "netkit": _device, "perf_event": _perf_event, "kprobe_multi": _kprobe_multi,
    "uprobe_multi": _uprobe_multi, "struct_ops": _struct_ops, "netfilter": _netfilter, "sockmap": _sockmap,
}


def _attach_type(number: int) -> str:
    try:
        return AttachType(number).name.lower()
    except ValueError:
        return f"attach type {number}"


def _device_name(index: int) -> str:
    """The network device in this network namespace with that index."""
    try:
        return socket.if_indextoname(index) if index else "a device that is gone"
    except OSError:  # of another namespace
        return f"device {index}"


def _cgroup_path(id: int) -> str:
    """The directory of a version 2 control group: its id is the directory's inode number."""
    if not id:
        return "a control group that is gone"
    try:
        with open("/proc/mounts") as file:
            mounts = [fields[1] for line in file if len(fields := line.split()) > 2 and fields[2] == "cgroup2"]
    except OSError:
        mounts = []
    for mount in mounts:
        for path, _, _ in os.walk(mount):
            try:
                if os.stat(path).st_ino == id:
                    return path
            except OSError:
                continue
    return f"cgroup {id}"
