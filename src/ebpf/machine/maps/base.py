"""What every map of the machine has: two faces over the same memory.

Programs see addresses and negative error numbers (`lookup_elem`, `update_elem`, …: the kernel's map operations, with
its return codes). The user sees bytes and exceptions, by the same names and with the same errors as maps of the kernel
(`lookup`, `update`, `delete`, `next_key`, …: `ebpf.kernel.maps.KernelMap`). A type implements the first face and, where
the user's differs (per-CPU values, for one), the ``user_…`` methods beneath the second.

Memory: a value lives in a window of the address space of its own, so that a pointer to it leads to that value and no
further.
"""

from __future__ import annotations

from errno import E2BIG, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC, EOPNOTSUPP
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from ebpf.abi.maps import BPF_ANY, BPF_EXIST, BPF_F_LOCK, BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG, BPF_NOEXIST, MapType
from ebpf.errors import EbpfError, KeyMissing, MapError, MapFull, NotSupported, UsageError
from ebpf.machine.memory import SHIFT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.machine.environment import Environment

    Bytes = bytes | bytearray | memoryview

ENOTSUPP = 524  # the kernel's own, not in errno.h


class MapShape(NamedTuple):
    """What a map is made from; sizes in bytes."""

    name: str
    type: MapType
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    map_extra: int = 0
    inner: MapShape | None = None
    lock_offset: int = -1  #: of the ``struct bpf_spin_lock`` in a value; -1: it has none
    special: bool = False  #: values hold timers or kernel pointers, which have to be undone when an element goes


class Bulk:
    """``count`` entries, read at once: ``keys`` and ``values`` are contiguous, in the same order, ready for NumPy."""

    __slots__ = ("count", "keys", "restarts", "values")

    def __init__(self, keys: memoryview, values: memoryview, count: int) -> None:
        self.keys = keys
        self.values = values
        self.count = count
        self.restarts = 0

    def __repr__(self) -> str:
        return f"<Bulk of {self.count} entries>"


class MachineMap:
    """A map. ``address`` is what programs pass to helpers, ``id`` what stands for it in maps of maps."""

    #: the value's size as the user sees it
    value_stride: int
    #: address of the map's ``struct ebpf_map``, and the prefix of its functions in the C runtime; 0: it has none
    native = 0
    native_kind = ""

    def __init__(self, environment: Environment, shape: MapShape) -> None:
        self.environment = environment
        self.space = environment.space
        self.shape = shape
        self.name = shape.name
        self.type = shape.type
        self.key_size = shape.key_size
        self.value_size = shape.value_size
        self.max_entries = shape.max_entries
        self.flags = shape.flags
        self.value_stride = shape.value_size
        self.readable = not shape.flags & BPF_F_WRONLY_PROG
        self.writable = not shape.flags & BPF_F_RDONLY_PROG
        self.frozen = False
        self.special = shape.special
        self.id = len(environment.maps_by_id) + 1
        self.address = environment.map_address(self.space.reserve(f"map {shape.name}"))
        environment.maps[self.address] = self
        environment.maps_by_id[self.id] = self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} type={self.type}>"

    # ---- programs: the kernel's operations ----

    def lookup_elem(self, key: bytes) -> int:
        """The value's address; 0 if there is none."""
        return 0

    def update_elem(self, key: bytes, value: bytes, flags: int) -> int:
        """0 or a negative error number, as all that follow."""
        return -EOPNOTSUPP

    def delete_elem(self, key: bytes) -> int:
        return -EOPNOTSUPP

    def push_elem(self, value: bytes, flags: int) -> int:
        return -EOPNOTSUPP

    def pop_elem(self) -> bytes | int:
        """The value, or a negative error number."""
        return -EOPNOTSUPP

    def peek_elem(self, value: bytes) -> bytes | int:
        return -EOPNOTSUPP

    def lookup_percpu_elem(self, key: bytes, cpu: int) -> int:
        return 0

    def elements(self) -> Iterator[tuple[bytes, int]]:
        """Key and value's address of every element, for bpf_for_each_map_elem."""
        raise NotImplementedError

    can_iterate = False

    def key_of(self, address: int) -> bytes | None:
        """The key of the element whose value is at ``address``."""
        return next((key for key, at in self.elements() if at == address), None) if self.can_iterate else None

    def element_of(self, address: int) -> tuple[bytes, int] | None:
        """Key and value's address of the element in whose value ``address`` is; None: there is none (any more)."""
        value = address >> SHIFT << SHIFT
        key = self.key_of(value) if address >> SHIFT in self.space.readable else None
        return None if key is None else (key, value)

    # ---- the user: bytes and exceptions ----

    def user_lookup(self, key: bytes) -> bytes | int:
        """The value, or a negative error number."""
        address = self.lookup_elem(key)
        return self.space.read(address, self.value_size) if address else -ENOENT

    def user_update(self, key: bytes, value: bytes, flags: int) -> int:
        return self.update_elem(key, value, flags)

    def user_delete(self, key: bytes) -> int:
        return self.delete_elem(key)

    def user_take(self, key: bytes) -> bytes | int:
        """Look up and delete."""
        return -ENOTSUPP

    def user_next_key(self, key: bytes | None) -> bytes | int:
        return -ENOTSUPP

    def lookup(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value under ``key``, None if there is none."""
        found = self.user_lookup(self._checked(key, self.key_size, "key"))
        if isinstance(found, bytes):
            return found
        self._absent(found, "look up")
        return None

    def lookup_and_delete(self, key: bytes, flags: int = 0) -> bytes | None:
        """The value under ``key``, which is removed at once; None if there is none."""
        found = self.user_take(self._checked(key, self.key_size, "key"))
        if isinstance(found, bytes):
            return found
        if found in (-ENOTSUPP, -EOPNOTSUPP):
            raise NotSupported(
                f"taking single entries out of map {self.name!r} in one step", who="the userspace machine"
            )
        self._absent(found, "take")
        return None

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
        """Set the value under ``key``. ``flags``: ANY, NOEXIST (only a new key), EXIST (only one that is there)."""
        self._checked(key, self.key_size, "key")
        self._checked(value, self.value_stride, "value")
        self.refuse_if_frozen()
        result = self.user_update(key, value, flags)
        if result:
            raise self._update_failure(result, flags)

    def delete(self, key: bytes) -> bool:
        """Remove ``key``; whether it was there."""
        result = self.user_delete(self._checked(key, self.key_size, "key"))
        if not result:
            return True
        self._absent(result, "delete")
        return False

    def next_key(self, key: bytes | None = None) -> bytes | None:
        """The key after ``key`` (the first for None, or if ``key`` is not there any more); None after the last."""
        found = self.user_next_key(None if key is None else self._checked(key, self.key_size, "key"))
        if isinstance(found, bytes):
            return found
        self._absent(found, "walk through")
        return None

    def keys(self) -> Iterator[bytes]:
        """All keys that there are now."""
        key = self.next_key()
        while key is not None:
            yield key
            key = self.next_key(key)

    def read_all(self) -> Bulk:
        """Every entry."""
        keys, values, count = bytearray(), bytearray(), 0
        for key in self.keys():
            found = self.user_lookup(key)
            if isinstance(found, bytes):
                keys += key
                values += found
                count += 1
        return Bulk(memoryview(keys), memoryview(values), count)

    def take_all(self) -> Bulk:
        """Every entry, removed."""
        bulk = self.read_all()
        for n in range(bulk.count):
            self.delete(bytes(bulk.keys[n * self.key_size:(n + 1) * self.key_size]))
        return bulk

    def update_batch(self, keys: Bytes, values: Bytes, flags: int = BPF_ANY) -> int:
        """Write many entries from contiguous keys and values; how many."""
        stride, size = self.value_stride, self.key_size
        count = self.batch_count(keys, values)
        for n in range(count):
            self.update(bytes(keys[n * size:(n + 1) * size]), bytes(values[n * stride:(n + 1) * stride]), flags)
        return count

    def delete_batch(self, keys: Bytes) -> int:
        """Delete many keys (contiguous); how many were there."""
        size = self.key_size
        count = self._entries_in(keys, "keys", size)
        return sum(self.delete(bytes(keys[n * size:(n + 1) * size])) for n in range(count))

    def batch_count(self, keys: Bytes, values: Bytes) -> int:
        """How many entries contiguous keys and values make; `UsageError` unless they fit."""
        count = self._entries_in(keys, "keys", self.key_size)
        if self._entries_in(values, "values", self.value_stride) != count:
            raise UsageError(f"map {self.name!r}: {count} keys but {len(values) // self.value_stride} values")
        return count

    def _entries_in(self, data: Bytes, what: str, size: int) -> int:
        if not size or len(data) % size:
            raise UsageError(f"map {self.name!r}: {what} take {size} bytes each; {len(data)} is not a multiple")
        return len(data) // size

    def refuse_if_frozen(self) -> None:
        """`MapError` if the user may not write any more."""
        if self.frozen:
            raise MapError(
                f"map {self.name!r} is frozen: its values are constants of the loaded programs", map_name=self.name
            )

    def clear(self) -> int:
        """Delete everything; how many entries there were."""
        return self.take_all().count

    def freeze(self) -> None:
        """From now on the user may not change values (programs may, unless the map says otherwise)."""
        self.frozen = True

    def _checked(self, data: bytes, size: int, what: str) -> bytes:
        if len(data) != size:
            raise UsageError(f"map {self.name!r}: a {what} has {size} bytes, not {len(data)}")
        return data

    def _absent(self, result: int, doing: str) -> None:
        if result not in (-ENOENT, -E2BIG):
            raise self._failure(result, doing)

    def _failure(self, result: int, doing: str) -> EbpfError:
        if result in (-ENOTSUPP, -EOPNOTSUPP):
            return MapError(
                f"cannot {doing} entries of map {self.name!r}: its type ({self.type.name.lower()}) has no such "
                "operation",
                map_name=self.name,
            )
        if result == -EINVAL:
            return MapError(f"cannot {doing} that entry of map {self.name!r}: key, flags or type do not allow it",
                            map_name=self.name)
        import os

        return MapError(f"map {self.name!r}: {doing}: {os.strerror(-result)}", map_name=self.name)

    def refuses_lock(self, flags: int) -> bool:
        """Whether ``flags`` ask for a lock that values do not hold."""
        return bool(flags & BPF_F_LOCK) and self.shape.lock_offset < 0

    full_by_index = False  # E2BIG means an index past the end

    def _update_failure(self, result: int, flags: int) -> EbpfError:
        if result == -E2BIG and self.full_by_index:
            return MapError(
                f"index out of range: array {self.name!r} has {self.max_entries} entries", map_name=self.name
            )
        if result in (-E2BIG, -ENOSPC, -ENOMEM):
            return MapFull(f"map {self.name!r} is full: it holds max_entries = {self.max_entries} entries",
                           map_name=self.name, helps=("declare it larger, delete entries, or use an LRU hash",))
        if result == -EEXIST:
            return MapError(f"map {self.name!r} has that key already", map_name=self.name,
                            helps=("update without NOEXIST to replace the value",))
        if result == -ENOENT and flags & BPF_EXIST:
            return KeyMissing(f"map {self.name!r} has no such key to replace", map_name=self.name)
        return self._failure(result, "update")


class Windows:
    """Window numbers for elements that come and go: those of deleted elements are used again, once no program runs."""

    __slots__ = ("_chunk", "_free", "_map", "_what")

    def __init__(self, map: MachineMap, what: str = "a value") -> None:
        self._map = map
        self._what = what
        self._free: list[int] = []
        self._chunk = 16

    def take(self) -> int:
        """A number with nothing behind it."""
        if not self._free:
            count = self._chunk
            self._chunk = min(count * 2, 65536)
            start = self._map.space.reserve(f"{self._what} of map {self._map.name}", count * 2)
            # Every second one: nothing lies next to a value, not even another value.
            self._free = [start + 2 * n for n in range(count - 1, -1, -1)]
        return self._free.pop()

    def give_back(self, window: int) -> None:
        """The element is gone; pointers to it stay good until the running program ends."""
        self._map.space.retire(window, self._free.append)


@cache
def memory_bytes() -> int:
    """How much memory this machine has."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 1 << 40


def check_size(name: str, needed_bytes: int) -> None:
    """`MapError` if a map would need more memory than this machine has: using it would end the process."""
    if needed_bytes > memory_bytes():
        raise MapError(
            f"map {name!r} would take {words(needed_bytes)}; this machine has {words(memory_bytes())} of memory",
            map_name=name, helps=("declare it with fewer or smaller entries",))


def words(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 10 * 1024 or unit == "TiB":
            break
        count //= 1024
    return f"{count} {unit}"


def check_flags(exists: bool, flags: int, highest: int = BPF_EXIST | BPF_F_LOCK) -> int:
    """0, or the error number for updating with ``flags`` (BPF_ANY, NOEXIST, EXIST)."""
    if flags & ~BPF_F_LOCK > BPF_EXIST or flags > highest:
        return -EINVAL
    if exists and flags & ~BPF_F_LOCK == BPF_NOEXIST:
        return -EEXIST
    if not exists and flags & ~BPF_F_LOCK == BPF_EXIST:
        return -ENOENT
    return 0


def put_value(to: bytearray | memoryview, value: bytes | memoryview, lock_offset: int) -> None:
    """Replace a value where it is; the spin lock in it stays as it is."""
    if lock_offset < 0:
        to[:] = value
    else:
        to[:lock_offset] = value[:lock_offset]
        to[lock_offset + 4:] = value[lock_offset + 4:]


def round_up(size: int, unit: int = 8) -> int:
    """``size`` as a multiple of ``unit``."""
    return -(-size // unit) * unit
