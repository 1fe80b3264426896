"""What the kernel's refusals about maps mean, in words."""

from __future__ import annotations

import errno as _errno
from typing import TYPE_CHECKING, Final

from ebpf.abi.maps import (
    BPF_EXIST,
    BPF_F_LOCK,
    BPF_F_MMAPABLE,
    BPF_F_NO_PREALLOC,
    BPF_F_RDONLY_PROG,
    MAP_TYPES,
    MapType,
)
from ebpf.errors import EbpfError, KernelError, KeyMissing, MapError, MapFull, NotSupported, PrivilegeError
from ebpf.kernel import features, sys

if TYPE_CHECKING:
    from ebpf.kernel.maps import KernelMap

_T = MapType
_NO_SUCH: Final = frozenset({sys.ENOTSUPP, _errno.EOPNOTSUPP})
_ARRAYS: Final = frozenset({_T.ARRAY, _T.PERCPU_ARRAY})
_INDEXED: Final = _ARRAYS | {_T.PROG_ARRAY, _T.PERF_EVENT_ARRAY, _T.CGROUP_ARRAY, _T.ARRAY_OF_MAPS, _T.HASH_OF_MAPS}
# What types learned after they came: (what we do, type) → release.
_LATER: Final = {
    **{("take", t): "5.14" for t in (_T.HASH, _T.PERCPU_HASH, _T.LRU_HASH, _T.LRU_PERCPU_HASH)},
    **{("walk through", t): "4.12" for t in (_T.ARRAY_OF_MAPS, _T.HASH_OF_MAPS)},
    ("walk through", _T.LPM_TRIE): "4.16", ("take", _T.STACK_TRACE): "6.19",
    **{("look up", t): "5.8" for t in (_T.SOCKMAP, _T.SOCKHASH)}, ("look up", _T.XSKMAP): "5.3",
}


def element(map: KernelMap, errno: int, doing: str) -> EbpfError:
    """A command on entries was refused; `doing` is a verb: "look up", "take", "delete", "walk through", …"""
    type = _T(map.type)
    missing = errno in _NO_SUCH or (errno == _errno.EINVAL and doing in ("take", "walk through", "delete"))
    if missing:
        since = _LATER.get((doing, type))
        if since is not None:
            return NotSupported(f"to {doing} entries of a {type.name.lower()} map in one step ({map.name!r})" if
                                doing == "take" else f"to {doing} entries of a {type.name.lower()} map ({map.name!r})",
                                since=since, instead="look up, then delete; or take all at once"
                                if doing == "take" else None)
        helps = ("write zeros instead",) if type in _ARRAYS and doing == "delete" else ()
        if type in _ARRAYS and doing == "delete":
            return MapError(f"entries of array {map.name!r} cannot be deleted", map_name=map.name, helps=helps)
        return MapError(f"cannot {doing} entries of map {map.name!r}: its type ({type.name.lower()}) has no such "
                        "operation", map_name=map.name)
    if errno == _errno.EBADF and map.closed:
        return MapError(f"map {map.name!r} is closed", map_name=map.name)
    if errno == _errno.EBADF:
        return MapError(f"map {map.name!r}: the key is a file descriptor of what the entry belongs to, and is not open "
                        "or of another kind", map_name=map.name)
    return sys.failure(f"bpf(map {map.name!r}: {doing})", errno, needs=("CAP_BPF",))


def update(map: KernelMap, errno: int, flags: int) -> EbpfError:
    """Writing an entry was refused."""
    if errno == _errno.E2BIG:
        if map.type in _INDEXED:
            return MapError(f"index out of range: array {map.name!r} has {map.max_entries} entries", map_name=map.name)
        return MapFull(f"map {map.name!r} is full: it holds max_entries = {map.max_entries} entries",
                       map_name=map.name, helps=("declare it larger, delete entries, or use an LRU hash",))
    if errno == _errno.ENOMEM:
        return MapFull(f"map {map.name!r}: the kernel has no memory for another entry", map_name=map.name)
    if errno == _errno.ENOSPC:  # LPM tries; others say E2BIG
        return MapFull(f"map {map.name!r} is full: it holds max_entries = {map.max_entries} entries",
                       map_name=map.name)
    if errno == _errno.EEXIST:
        return MapError(f"map {map.name!r} has that key already", map_name=map.name,
                        helps=("update without NOEXIST to replace the value",))
    if errno == _errno.ENOENT and flags & BPF_EXIST:
        return KeyMissing(f"map {map.name!r} has no such key to replace", map_name=map.name)
    if errno == _errno.EPERM:
        if map.info().flags & BPF_F_RDONLY_PROG:
            return MapError(f"map {map.name!r} is frozen: its values are constants of the loaded programs",
                            map_name=map.name)
        if map.frozen:
            return MapError(f"map {map.name!r} is frozen: only programs write to it", map_name=map.name)
    if errno == _errno.EINVAL and flags & BPF_F_LOCK:
        return MapError(f"the values of map {map.name!r} have no spin lock (struct bpf_spin_lock), or it has no types",
                        map_name=map.name, helps=("update without BPF_F_LOCK",))
    return element(map, errno, "update")


def _known(type: MapType) -> bool:
    """Whether the kernel's own types name it; True where it has none."""
    from ebpf.kernel.facts import kernel_btf

    btf = kernel_btf()
    return btf is None or btf.find_enumerator(type.kernel_name) is not None


def creation(name: str, type: int, key: int, value: int, entries: int, flags: int, errno: int) -> EbpfError:
    """BPF_MAP_CREATE was refused."""
    what = f"creating map {name!r}"
    if errno == _errno.EINVAL:
        reasons = []
        if not entries:
            reasons.append("max_entries is 0")
        if type == _T.RINGBUF and (entries % sys.PAGE_SIZE or entries & (entries - 1)):
            reasons.append(f"a ring buffer's max_entries is its size in bytes, a power of two and a multiple of "
                           f"{sys.PAGE_SIZE}; this is {entries}")
        if type == _T.RINGBUF and (key or value):
            reasons.append("a ring buffer has neither key nor value")
        if type in (_T.ARRAY, _T.PERCPU_ARRAY, _T.PROG_ARRAY, _T.PERF_EVENT_ARRAY) and key != 4:
            reasons.append(f"the key of an array is a 4-byte index, not {key} bytes")
        if type == _T.LPM_TRIE and not flags & BPF_F_NO_PREALLOC:
            reasons.append("an LPM trie wants BPF_F_NO_PREALLOC")
        if type == _T.LPM_TRIE and not 5 <= key <= 260:
            reasons.append(f"the key of an LPM trie is a 4-byte prefix length and 1 to 256 bytes; this has {key} bytes")
        if type == _T.STACK_TRACE and (value % 8 or value > 127 * 8):
            reasons.append(f"a stack trace is 8 bytes for each frame, at most 127 frames; this has {value} bytes")
        if type in (_T.HASH, _T.LRU_HASH) and (not key or not value):
            reasons.append(f"key and value need at least one byte each (key {key}, value {value})")
        if flags & BPF_F_MMAPABLE and features.have("mmapable") is False:
            return NotSupported("arrays in shared memory (BPF_F_MMAPABLE)", since="5.5")
        if type == _T.RINGBUF and features.have("ringbuf") is False:
            return NotSupported("ring buffers", since="5.8", instead="use a perf event array")
        row = MAP_TYPES.get(type)
        if row is not None and not _known(_T(type)):
            return NotSupported(f"maps of type {_T(type).name.lower()} (map {name!r})", since=row.since)
        if reasons:
            return MapError(f"{what}: {'; '.join(reasons)}", map_name=name)
        return KernelError("bpf(BPF_MAP_CREATE)", errno, message=f"{what}: the kernel refused type {type}, key {key} "
                           f"bytes, value {value} bytes, {entries} entries, flags {flags:#x}",
                           notes=("either this kernel does not know that type or flag, or the sizes do not suit it",))
    if errno in (_errno.E2BIG, _errno.ENOMEM):
        return KernelError("bpf(BPF_MAP_CREATE)", errno, helps=("make max_entries or the value smaller",), message=(
            f"{what}: no memory for {entries} entries of {key}+{value} bytes" if errno == _errno.ENOMEM else
            f"{what}: larger than the kernel allows ({entries} entries of {key}+{value} bytes)"))
    if errno == _errno.EPERM and features.have("memcg_accounting") is False:
        return PrivilegeError("bpf(BPF_MAP_CREATE)", needs=("CAP_SYS_RESOURCE",),
                              message=f"{what}: over RLIMIT_MEMLOCK, against which this kernel counts maps",
                              helps=("raise it (ulimit -l unlimited), or run with CAP_SYS_RESOURCE so that we can",))
    error = sys.failure(what, errno, command="MAP_CREATE")
    return error
