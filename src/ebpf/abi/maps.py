"""Map types: the sizes and flags each asks for, and since when the kernel has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ebpf.abi.named import NamedInt


class MapType(NamedInt):
    """enum bpf_map_type."""

    PREFIX: ClassVar[str] = "BPF_MAP_TYPE_"
    if TYPE_CHECKING:
        UNSPEC: ClassVar[MapType]
        HASH: ClassVar[MapType]
        ARRAY: ClassVar[MapType]
        PROG_ARRAY: ClassVar[MapType]
        PERF_EVENT_ARRAY: ClassVar[MapType]
        PERCPU_HASH: ClassVar[MapType]
        PERCPU_ARRAY: ClassVar[MapType]
        STACK_TRACE: ClassVar[MapType]
        CGROUP_ARRAY: ClassVar[MapType]
        LRU_HASH: ClassVar[MapType]
        LRU_PERCPU_HASH: ClassVar[MapType]
        LPM_TRIE: ClassVar[MapType]
        ARRAY_OF_MAPS: ClassVar[MapType]
        HASH_OF_MAPS: ClassVar[MapType]
        DEVMAP: ClassVar[MapType]
        SOCKMAP: ClassVar[MapType]
        CPUMAP: ClassVar[MapType]
        XSKMAP: ClassVar[MapType]
        SOCKHASH: ClassVar[MapType]
        CGROUP_STORAGE: ClassVar[MapType]
        REUSEPORT_SOCKARRAY: ClassVar[MapType]
        PERCPU_CGROUP_STORAGE: ClassVar[MapType]
        QUEUE: ClassVar[MapType]
        STACK: ClassVar[MapType]
        SK_STORAGE: ClassVar[MapType]
        DEVMAP_HASH: ClassVar[MapType]
        STRUCT_OPS: ClassVar[MapType]
        RINGBUF: ClassVar[MapType]
        INODE_STORAGE: ClassVar[MapType]
        TASK_STORAGE: ClassVar[MapType]
        BLOOM_FILTER: ClassVar[MapType]
        USER_RINGBUF: ClassVar[MapType]
        CGRP_STORAGE: ClassVar[MapType]
        ARENA: ClassVar[MapType]
        INSN_ARRAY: ClassVar[MapType]
        RHASH: ClassVar[MapType]


MapType.define("""
UNSPEC HASH ARRAY PROG_ARRAY PERF_EVENT_ARRAY PERCPU_HASH PERCPU_ARRAY STACK_TRACE CGROUP_ARRAY LRU_HASH
LRU_PERCPU_HASH LPM_TRIE ARRAY_OF_MAPS HASH_OF_MAPS DEVMAP SOCKMAP CPUMAP XSKMAP SOCKHASH CGROUP_STORAGE
REUSEPORT_SOCKARRAY PERCPU_CGROUP_STORAGE QUEUE STACK SK_STORAGE DEVMAP_HASH STRUCT_OPS RINGBUF INODE_STORAGE
TASK_STORAGE BLOOM_FILTER USER_RINGBUF CGRP_STORAGE ARENA INSN_ARRAY RHASH
""")

# Flags of BPF_MAP_CREATE (include/uapi/linux/bpf.h).
BPF_F_NO_PREALLOC = 1 << 0
BPF_F_NO_COMMON_LRU = 1 << 1
BPF_F_NUMA_NODE = 1 << 2
BPF_F_RDONLY = 1 << 3
BPF_F_WRONLY = 1 << 4
BPF_F_STACK_BUILD_ID = 1 << 5
BPF_F_ZERO_SEED = 1 << 6
BPF_F_RDONLY_PROG = 1 << 7
BPF_F_WRONLY_PROG = 1 << 8
BPF_F_CLONE = 1 << 9
BPF_F_MMAPABLE = 1 << 10
BPF_F_PRESERVE_ELEMS = 1 << 11
BPF_F_INNER_MAP = 1 << 12
BPF_F_LINK = 1 << 13
BPF_F_PATH_FD = 1 << 14
BPF_F_VTYPE_BTF_OBJ_FD = 1 << 15
BPF_F_TOKEN_FD = 1 << 16
BPF_F_SEGV_ON_FAULT = 1 << 17
BPF_F_NO_USER_CONV = 1 << 18

# Flags of BPF_MAP_UPDATE_ELEM.
BPF_ANY = 0
BPF_NOEXIST = 1
BPF_EXIST = 2
BPF_F_LOCK = 4


class MapTypeRow:
    """What a map type asks for.

    ``key_size``, ``value_size``: the only size allowed in bytes, or ``None`` where the program chooses;
    ``max_entries``: "any", "zero" (must be 0), "pages" (bytes: a power of two and a multiple of the page size) or
    "cpus" (0 means: one for each possible CPU, chosen by the loader); ``flags`` are obligatory;
    ``btf_types``: the kernel takes BTF type ids for key and value; ``percpu``; ``batch``: release with batch
    calls or "".
    """

    __slots__ = ("batch", "btf_types", "flags", "key_size", "max_entries", "percpu", "since", "type", "value_size")

    def __init__(self, type: MapType, since: str, key_size: int | None, value_size: int | None, max_entries: str,
                 flags: int, btf_types: bool, percpu: bool, batch: str) -> None:
        self.type = type
        self.since = since
        self.key_size = key_size
        self.value_size = value_size
        self.max_entries = max_entries
        self.flags = flags
        self.btf_types = btf_types
        self.percpu = percpu
        self.batch = batch


_M = MapType
_NP = BPF_F_NO_PREALLOC
_ROWS: tuple[tuple[MapType, str, int | None, int | None, str, int, bool, bool, str], ...] = (
    # type, since, key size, value size, max_entries, obligatory flags, BTF types, per CPU, batch calls since
    (_M.HASH, "3.19", None, None, "any", 0, True, False, "5.6"),
    (_M.ARRAY, "3.19", 4, None, "any", 0, True, False, "5.6"),
    (_M.PROG_ARRAY, "4.2", 4, 4, "any", 0, False, False, ""),
    (_M.PERF_EVENT_ARRAY, "4.3", 4, 4, "cpus", 0, False, False, ""),
    (_M.PERCPU_HASH, "4.6", None, None, "any", 0, True, True, "5.6"),
    (_M.PERCPU_ARRAY, "4.6", 4, None, "any", 0, True, True, "5.13"),
    (_M.STACK_TRACE, "4.6", 4, None, "any", 0, False, False, "6.19"),
    (_M.CGROUP_ARRAY, "4.8", 4, 4, "any", 0, False, False, ""),
    (_M.LRU_HASH, "4.10", None, None, "any", 0, True, False, "5.6"),
    (_M.LRU_PERCPU_HASH, "4.10", None, None, "any", 0, True, True, "5.6"),
    (_M.LPM_TRIE, "4.11", None, None, "any", _NP, True, False, "5.14"),
    (_M.ARRAY_OF_MAPS, "4.12", 4, 4, "any", 0, False, False, "5.14"),
    (_M.HASH_OF_MAPS, "4.12", None, 4, "any", 0, False, False, "5.14"),
    (_M.DEVMAP, "4.14", 4, None, "any", 0, False, False, ""),
    (_M.SOCKMAP, "4.14", 4, None, "any", 0, False, False, ""),
    (_M.CPUMAP, "4.15", 4, None, "any", 0, False, False, ""),
    (_M.XSKMAP, "4.18", 4, 4, "any", 0, False, False, ""),
    (_M.SOCKHASH, "4.18", None, None, "any", 0, False, False, ""),
    (_M.CGROUP_STORAGE, "4.19", None, None, "zero", 0, True, False, ""),
    (_M.REUSEPORT_SOCKARRAY, "4.19", 4, None, "any", 0, False, False, ""),
    (_M.PERCPU_CGROUP_STORAGE, "4.20", None, None, "zero", 0, True, True, ""),
    (_M.QUEUE, "4.20", 0, None, "any", 0, False, False, ""),
    (_M.STACK, "4.20", 0, None, "any", 0, False, False, ""),
    (_M.SK_STORAGE, "5.2", 4, None, "zero", _NP, True, False, ""),
    (_M.DEVMAP_HASH, "5.4", 4, None, "any", 0, False, False, ""),
    (_M.STRUCT_OPS, "5.6", 4, None, "any", 0, True, False, ""),
    (_M.RINGBUF, "5.8", 0, 0, "pages", 0, False, False, ""),
    (_M.INODE_STORAGE, "5.10", 4, None, "zero", _NP, True, False, ""),
    (_M.TASK_STORAGE, "5.11", 4, None, "zero", _NP, True, False, ""),
    (_M.BLOOM_FILTER, "5.16", 0, None, "any", 0, False, False, ""),
    (_M.USER_RINGBUF, "6.1", 0, 0, "pages", 0, False, False, ""),
    (_M.CGRP_STORAGE, "6.2", 4, None, "zero", _NP, True, False, ""),
    (_M.ARENA, "6.9", 0, 0, "any", BPF_F_MMAPABLE, False, False, ""),
    (_M.INSN_ARRAY, "6.19", 4, 16, "any", 0, False, False, ""),
    (_M.RHASH, "7.2", None, None, "any", _NP, True, False, "7.2"),
)

MAP_TYPES: dict[int, MapTypeRow] = {int(row[0]): MapTypeRow(*row) for row in _ROWS}
"""MapType → its row."""


class MapInfo(NamedTuple):
    """What the kernel tells about a map (``struct bpf_map_info``), and the machine of its own."""

    id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str
    btf_id: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0
    map_extra: int = 0
