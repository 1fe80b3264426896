"""struct_ops: tables of programs that the kernel calls in place of its own functions (TCP congestion controls,
schedulers).

An object holds such a table as a variable of the kernel's struct, laid out as its compiler knew it. Here it is laid
out anew as the running kernel has it: members move by name, a function pointer becomes its program's descriptor, and
what this kernel lacks may only be left empty.
"""

from __future__ import annotations

import errno as _errno
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from ebpf.abi.maps import BPF_F_LINK, BPF_F_VTYPE_BTF_OBJ_FD, MapType
from ebpf.btf.types import FuncProto, Kind, Ptr, Struct
from ebpf.errors import KernelError, MapError, NotSupported, RelocationError
from ebpf.kernel import maps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ebpf.btf import Btf
    from ebpf.btf.types import Member
    from ebpf.kernel.externs import KernelTypes
    from ebpf.kernel.maps import KernelMap
    from ebpf.object import MapSpec, Object

_WRAPPER: Final = "bpf_struct_ops_"  # the kernel's type of a map's value: a state, then the struct


class Slot(NamedTuple):
    """Where a program belongs: the kernel's struct, the member's index in it, and whose types they are."""

    struct_id: int
    member: int
    module: str


class Table(NamedTuple):
    """A struct_ops map as this kernel wants it.

    ``programs``: byte offset in the value → program; ``slots``: program → where it belongs; ``dropped``: programs
    for members that this kernel lacks.
    """

    type_name: str
    wrapper_id: int
    module: str
    value: bytes
    programs: Mapping[int, str]
    slots: Mapping[str, Slot]


def lay_out(spec: MapSpec, obj: Object, types: KernelTypes) -> Table:
    """The table of ``spec`` as the running kernel has it; `NotSupported` if it has no such struct_ops."""
    local = obj.btf
    if local is None:
        raise MapError(f"struct_ops map {spec.name!r} has no types", map_name=spec.name)
    mine = local.resolved(spec.value_type_id)
    if not isinstance(mine, Struct):
        raise MapError(f"struct_ops map {spec.name!r} is no struct", map_name=spec.name)
    name = mine.name.partition("___")[0]
    wrapper = types.find(_WRAPPER + name, Kind.STRUCT)
    place = types.find(name, Kind.STRUCT)
    if wrapper is None or place is None:
        raise _missing(name, types)
    btf = types.of(wrapper.module)
    theirs = btf.type(place.id)
    assert isinstance(theirs, Struct)
    head = btf.members(wrapper.id)["data"].bit_offset // 8
    value = bytearray(btf.size_of(wrapper.id))
    by_name = {m.name: (index, m) for index, m in enumerate(theirs.members)}
    wanted = dict(spec.values)
    initial = spec.initial or bytes(spec.value_size)
    programs: dict[int, str] = {}
    slots: dict[str, Slot] = {}
    for member in mine.members:
        start = member.bit_offset // 8
        size = local.size_of(member.type)
        contents = initial[start:start + size]
        program = wanted.get(start) if _is_function(local, member) else None
        found = by_name.get(member.name.partition("___")[0])
        if found is None:
            if program is not None or any(contents):
                raise _no_member(spec, name, member.name, by_name)
            continue
        index, other = found
        at = head + other.bit_offset // 8
        if program is not None:
            if not _is_function(btf, other):
                raise RelocationError(f"{spec.name}.{member.name} is no function in this kernel's struct {name}")
            programs[at] = program
            slot = Slot(place.id, index, place.module)
            if slots.setdefault(program, slot) != slot:
                raise RelocationError(f"{program!r} stands for two members of struct {name}: a program serves one",
                                      helps=("write the second as a program of its own",))
        elif any(contents):
            if btf.size_of(other.type) != size or member.bit_offset % 8 or other.bit_offset % 8:
                raise RelocationError(f"{spec.name}.{member.name} has {size} bytes, in this kernel's struct {name} "
                                      f"{btf.size_of(other.type)}: it cannot be moved")
            value[at:at + size] = contents
    return Table(name, wrapper.id, wrapper.module, bytes(value), programs, slots)


def _is_function(btf: Btf, member: Member) -> bool:
    pointer = btf.resolved(member.type)
    return isinstance(pointer, Ptr) and isinstance(btf.resolved(pointer.type), FuncProto)


def _missing(name: str, types: KernelTypes) -> NotSupported:
    known = sorted({n.removeprefix(_WRAPPER) for n, _ in types.vmlinux.iter_names(Kind.STRUCT)
                    if n.startswith(_WRAPPER) and n != _WRAPPER + "common_value"})
    since = {"tcp_congestion_ops": "5.6", "sched_ext_ops": "6.12", "hid_bpf_ops": "6.11", "Qdisc_ops": "6.16"}
    return NotSupported(f"struct_ops of struct {name}", since=since.get(name),
                        instead=f"this kernel has: {', '.join(known)}" if known else
                        "use a kernel that is built with CONFIG_BPF_JIT and CONFIG_DEBUG_INFO_BTF")


def _no_member(spec: MapSpec, name: str, member: str, known: Mapping[str, object]) -> RelocationError:
    from ebpf.diagnostics import did_you_mean

    similar = did_you_mean(member, known)
    return RelocationError(f"this kernel's struct {name} has no member {member!r}, which {spec.name!r} sets",
                           helps=(f"similar: {', '.join(similar)}",) if similar else ("leave it out",))


def create(spec: MapSpec, table: Table, types: KernelTypes, btf_fd: int) -> KernelMap:
    """The map, empty: the table goes in when it is attached. For a link where the kernel has them (6.4), whatever the
    section says: without one it would stay registered after our end.
    """
    module = types.module_fd(table.module)

    def attempt(flags: int) -> KernelMap:
        return maps.create_map(
            name=spec.name, type=int(MapType.STRUCT_OPS), key_size=4, value_size=len(table.value), max_entries=1,
            flags=flags | (BPF_F_VTYPE_BTF_OBJ_FD if module else 0), btf_fd=btf_fd,
            value_type_vmlinux_id=table.wrapper_id, value_type_btf_fd=module)

    try:
        return attempt(spec.flags | BPF_F_LINK)
    except KernelError as error:
        if error.errno != _errno.EINVAL:
            raise
        return attempt(spec.flags & ~BPF_F_LINK)


def filled(table: Table, descriptor: Callable[[str], int]) -> bytes:
    """The map's value: the table with the descriptors of its programs."""
    value = bytearray(table.value)
    for at, program in table.programs.items():
        struct.pack_into("@Q", value, at, descriptor(program))
    return bytes(value)
