"""Maps of the machine: the kernel's semantics over windows of the machine's memory.

`create_map` checks what the kernel would check (sizes, flags, max_entries) and makes a map of the right class; `MAPS`
is the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.maps import BPF_F_NO_PREALLOC, MAP_TYPES, MapType
from ebpf.errors import MapError, NotSupported
from ebpf.machine.maps.arena import Arena
from ebpf.machine.maps.arrays import Array, PerCpuArray
from ebpf.machine.maps.base import Bulk, MachineMap, MapShape
from ebpf.machine.maps.buffers import PerfEventArray, RingBuffer, Sample
from ebpf.machine.maps.hashes import Hash, LruHash, LruPerCpuHash, PerCpuHash
from ebpf.machine.maps.of_maps import ArrayOfMaps, HashOfMaps
from ebpf.machine.maps.programs import ProgramArray
from ebpf.machine.maps.queues import BloomFilter, Queue, Stack
from ebpf.machine.maps.sockets import CgroupArray, ReuseportArray, SockHash, SockMap
from ebpf.machine.maps.stacks import StackTraces
from ebpf.machine.maps.storages import CgroupStorage, LocalStorage
from ebpf.machine.maps.targets import DevMap, DevMapHash, Targets, XskMap
from ebpf.machine.maps.tries import LpmTrie
from ebpf.machine.maps.user_ringbuf import UserRingBuffer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.machine.environment import Environment

__all__ = ["MAPS", "Bulk", "MachineMap", "MapShape", "Sample", "create_map"]

_T = MapType
MAPS: Mapping[int, type[MachineMap]] = {
    int(type): made
    for type, made in (
        (_T.HASH, Hash),
        (_T.ARRAY, Array),
        (_T.PROG_ARRAY, ProgramArray),
        (_T.PERF_EVENT_ARRAY, PerfEventArray),
        (_T.PERCPU_HASH, PerCpuHash),
        (_T.PERCPU_ARRAY, PerCpuArray),
        (_T.STACK_TRACE, StackTraces),
        (_T.LRU_HASH, LruHash),
        (_T.LRU_PERCPU_HASH, LruPerCpuHash),
        (_T.LPM_TRIE, LpmTrie),
        (_T.ARRAY_OF_MAPS, ArrayOfMaps),
        (_T.HASH_OF_MAPS, HashOfMaps),
        (_T.QUEUE, Queue),
        (_T.STACK, Stack),
        (_T.RINGBUF, RingBuffer),
        (_T.BLOOM_FILTER, BloomFilter),
        (_T.DEVMAP, DevMap),
        (_T.DEVMAP_HASH, DevMapHash),
        (_T.CPUMAP, Targets),
        (_T.XSKMAP, XskMap),
        (_T.USER_RINGBUF, UserRingBuffer),
        (_T.TASK_STORAGE, LocalStorage),
        (_T.SK_STORAGE, LocalStorage),
        (_T.INODE_STORAGE, LocalStorage),
        (_T.CGRP_STORAGE, LocalStorage),
        (_T.CGROUP_STORAGE, CgroupStorage),
        (_T.PERCPU_CGROUP_STORAGE, CgroupStorage),
        (_T.CGROUP_ARRAY, CgroupArray),
        (_T.SOCKMAP, SockMap),
        (_T.SOCKHASH, SockHash),
        (_T.REUSEPORT_SOCKARRAY, ReuseportArray),
        (_T.ARENA, Arena),
    )
}


def _native(type: MapType) -> type[MachineMap] | None:
    """The class of maps in native memory; None: this type has none."""
    from ebpf.machine.maps import native, native_buffers as buffers

    return {
        _T.ARRAY: native.NativeArray,
        _T.PERCPU_ARRAY: native.NativePerCpuArray,
        _T.HASH: native.NativeHash,
        _T.PERCPU_HASH: native.NativeHash,
        _T.LRU_HASH: native.NativeHash,
        _T.LRU_PERCPU_HASH: native.NativeHash,
        _T.LPM_TRIE: native.NativeLpmTrie,
        _T.QUEUE: buffers.NativeQueue,
        _T.STACK: buffers.NativeStack,
        _T.BLOOM_FILTER: buffers.NativeBloomFilter,
        _T.RINGBUF: buffers.NativeRingBuffer,
    }.get(type)


_TARGET_SIZES = {
    _T.DEVMAP: (4, 8),
    _T.DEVMAP_HASH: (4, 8),
    _T.CPUMAP: (4, 8),
    _T.SOCKMAP: (4, 8),
    _T.SOCKHASH: (4, 8),
    _T.REUSEPORT_SOCKARRAY: (4, 8),
}
_PAGE_BYTES = 4096
_VALUE_MAX = 1 << 30


def create_map(environment: Environment, shape: MapShape) -> MachineMap:
    """A new map. `MapError` for sizes, flags or max_entries that a kernel refuses, `NotSupported` for other types."""
    made = MAPS.get(shape.type)
    row = MAP_TYPES.get(shape.type)
    if made is None or row is None:
        raise NotSupported(f"maps of type {shape.type.name.lower()} (map {shape.name!r})", who="the userspace machine")
    problem = _problem(shape)
    if problem:
        raise MapError(f"map {shape.name!r}: {problem}", map_name=shape.name)
    if environment.native:
        made = _native(shape.type) or made
    return made(environment, shape)


def _problem(shape: MapShape) -> str:
    """What is wrong with the sizes and flags; "" if nothing is."""
    row, type = MAP_TYPES[shape.type], shape.type
    keyless = row.key_size == 0
    if row.key_size is not None and shape.key_size != row.key_size:
        return f"keys have {row.key_size} bytes, not {shape.key_size}"
    if row.value_size is not None and shape.value_size != row.value_size:
        return f"values have {row.value_size} bytes, not {shape.value_size}"
    if not keyless and shape.key_size <= 0:
        return "keys have no size"
    if row.value_size is None and not 0 < shape.value_size < _VALUE_MAX:
        return f"values of {shape.value_size} bytes are not possible"
    if row.max_entries == "any" and shape.max_entries <= 0:
        return "max_entries is 0"
    if row.max_entries == "pages" and (shape.max_entries < _PAGE_BYTES or shape.max_entries & (shape.max_entries - 1)):
        return f"max_entries must be a power of two and at least {_PAGE_BYTES}, not {shape.max_entries}"
    if type == MapType.LPM_TRIE and (not shape.flags & BPF_F_NO_PREALLOC or not 5 <= shape.key_size <= 260):
        return "an LPM trie needs BPF_F_NO_PREALLOC and keys of 5 to 260 bytes"
    sizes = _TARGET_SIZES.get(type)
    if sizes is not None and shape.value_size not in sizes:
        return f"values have {' or '.join(map(str, sizes))} bytes, not {shape.value_size}"
    if type == MapType.STACK_TRACE and (shape.value_size % 8 or shape.value_size > 127 * 8):
        return "values are return addresses of 8 bytes, at most 127"
    return ""
