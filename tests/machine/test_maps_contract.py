"""One contract, and whoever has to keep it: this machine's kernel, the machine's maps in Python, and those in native memory, whose C is
built by our compiler, by gcc and by clang.

A case is a shape and a story: calls of the user's interface, each with what must come of it. Programs' view of the same maps is in
test_maps_programs.py.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ebpf.abi.maps import BPF_ANY, BPF_EXIST, BPF_F_LOCK, BPF_F_NO_PREALLOC, BPF_NOEXIST, MapType
from ebpf.errors import EbpfError, KeyMissing, MapError, MapFull, NotSupported, PrivilegeError, UsageError
from ebpf.machine import Environment, MapShape, create_map
from tests.machine.builds import runtime_of

T = MapType


def key(n: int, size: int = 4) -> bytes:
    return n.to_bytes(size, "little")


def value(n: int, size: int = 8) -> bytes:
    return n.to_bytes(size, "little")


def _cpus() -> int:
    from ebpf.kernel.cpus import per_cpu_slots

    return per_cpu_slots()


BUILDS = ("ours", "gcc", "clang")


def machine_map(shape: MapShape, build: str = "") -> Any:
    """A map in Python, or (``build``) a native one by the C code of that compiler."""
    environment = Environment(cpus=_cpus(), native=bool(build))
    if build:
        made = runtime_of(build)
        environment.runtime = lambda: made  # type: ignore[method-assign]
    return create_map(environment, shape)


def kernel_map(shape: MapShape) -> Any:
    from ebpf.kernel import maps

    return maps.create_map(name=shape.name, type=int(shape.type), key_size=shape.key_size, value_size=shape.value_size,
                           max_entries=shape.max_entries, flags=shape.flags, map_extra=shape.map_extra)


@pytest.fixture(params=["machine", *BUILDS, pytest.param("kernel", marks=pytest.mark.kernel)])
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    made = []

    def create(type: MapType, key_size: int = 4, value_size: int = 8, max_entries: int = 4, flags: int = 0, map_extra: int = 0) -> Any:
        shape = MapShape("contract", type, key_size, value_size, max_entries, flags, map_extra)
        if request.param == "kernel":
            map = kernel_map(shape)
        else:
            map = machine_map(shape, "" if request.param == "machine" else request.param)
        made.append(map)
        return map

    yield create
    for map in made:
        if hasattr(map, "close"):
            map.close()


HASHES = [T.HASH, T.LRU_HASH]
ARRAYS = [T.ARRAY]
PER_CPU = [T.PERCPU_HASH, T.LRU_PERCPU_HASH, T.PERCPU_ARRAY]


def names(types: list[MapType]) -> dict[str, Any]:
    return {"argvalues": types, "ids": [t.name for t in types]}


@pytest.mark.parametrize("type", **names(HASHES))
class TestHash:
    def test_update_look_up_delete(self, make: Any, type: MapType) -> None:
        m = make(type)
        assert m.lookup(key(1)) is None
        m.update(key(1), value(10))
        assert m.lookup(key(1)) == value(10)
        m.update(key(1), value(11))
        assert m.lookup(key(1)) == value(11)
        assert m.delete(key(1)) is True
        assert m.delete(key(1)) is False
        assert m.lookup(key(1)) is None

    def test_flags(self, make: Any, type: MapType) -> None:
        m = make(type)
        with pytest.raises(KeyMissing):
            m.update(key(1), value(1), BPF_EXIST)
        m.update(key(1), value(1), BPF_NOEXIST)
        with pytest.raises(MapError, match="that key already"):
            m.update(key(1), value(2), BPF_NOEXIST)
        m.update(key(1), value(3), BPF_EXIST)
        assert m.lookup(key(1)) == value(3)
        with pytest.raises(EbpfError):
            m.update(key(1), value(4), 64)
        assert m.lookup(key(1)) == value(3)

    def test_walking(self, make: Any, type: MapType) -> None:
        m = make(type, max_entries=256)
        assert m.next_key() is None
        for n in range(20):
            m.update(key(n), value(n))
        assert sorted(m.keys()) == sorted(key(n) for n in range(20))
        walked, at = [], m.next_key()
        while at is not None:
            walked.append(at)
            at = m.next_key(at)
        assert sorted(walked) == sorted(key(n) for n in range(20))
        assert m.next_key(key(999)) == walked[0]  # a key that is not there: from the beginning

    def test_in_bulk(self, make: Any, type: MapType) -> None:
        m = make(type, max_entries=256)
        for n in range(10):
            m.update(key(n), value(n))
        bulk = m.read_all()
        assert bulk.count == 10
        pairs = {bytes(bulk.keys[4 * n:4 * n + 4]): bytes(bulk.values[8 * n:8 * n + 8]) for n in range(10)}
        assert pairs == {key(n): value(n) for n in range(10)}
        assert m.take_all().count == 10
        assert m.next_key() is None
        m.update(key(1), value(1))
        assert m.clear() == 1
        assert m.lookup(key(1)) is None

    def test_taking_one(self, make: Any, type: MapType) -> None:
        m = make(type)
        m.update(key(1), value(5))
        assert m.lookup_and_delete(key(1)) == value(5)
        assert m.lookup_and_delete(key(1)) is None

    def test_wrong_sizes(self, make: Any, type: MapType) -> None:
        m = make(type)
        with pytest.raises(UsageError):
            m.lookup(b"abc")
        with pytest.raises(UsageError):
            m.update(key(1), b"abc")


@pytest.mark.parametrize("flags", [0, BPF_F_NO_PREALLOC], ids=["preallocated", "NO_PREALLOC"])
def test_a_full_hash(make: Any, flags: int) -> None:
    m = make(T.HASH, max_entries=4, flags=flags)
    for n in range(4):
        m.update(key(n), value(n))
    with pytest.raises(MapFull):
        m.update(key(9), value(9))
    m.update(key(3), value(33))  # what is there may change
    with pytest.raises(KeyMissing):
        m.update(key(9), value(9), BPF_EXIST)  # flags come before fullness
    m.delete(key(0))
    m.update(key(9), value(9))
    assert m.lookup(key(9)) == value(9)


@pytest.mark.parametrize("type", **names([T.LRU_HASH, T.LRU_PERCPU_HASH]))
def test_a_full_lru_hash_makes_room(make: Any, type: MapType) -> None:
    m = make(type, max_entries=64)
    for n in range(1000):
        m.update(key(n), value(n) * (m.value_stride // 8))
        assert m.lookup(key(n)) is not None
    left = list(m.keys())
    assert 0 < len(left) <= 64 and key(999) in left and key(0) not in left


@pytest.mark.parametrize("key_size", [1, 3, 5, 8, 12, 16, 40, 600])
def test_keys_of_any_size(make: Any, key_size: int) -> None:
    m = make(T.HASH, key_size=key_size, value_size=3, max_entries=300)
    for n in range(200):
        m.update(key(n, key_size), value(n, 3))
    m.update(b"\xff" * key_size, b"end")
    for n in range(0, 200, 2):
        assert m.delete(key(n, key_size))
    assert [m.lookup(key(n, key_size)) for n in range(200)] == [value(n, 3) if n % 2 else None for n in range(200)]
    assert m.lookup(b"\xff" * key_size) == b"end"
    assert m.read_all().count == 101


@pytest.mark.parametrize("type", **names([T.HASH, T.ARRAY, T.PERCPU_ARRAY, T.PERCPU_HASH]))
def test_a_lock_that_no_value_holds(make: Any, type: MapType) -> None:
    m = make(type)
    with pytest.raises(EbpfError):
        m.update(key(1), value(1) * (m.value_stride // 8), BPF_F_LOCK)


@pytest.mark.parametrize("type", **names([T.HASH, T.LRU_HASH, T.PERCPU_HASH, T.LRU_PERCPU_HASH, T.ARRAY, T.PERCPU_ARRAY]))
def test_many_at_once(make: Any, type: MapType) -> None:
    m = make(type, max_entries=600)
    rows = [value(1000 + n) * (m.value_stride // 8) for n in range(500)]
    keys = b"".join(key(n) for n in range(500))
    assert m.update_batch(keys, b"".join(rows)) == 500
    assert [m.lookup(key(n)) for n in range(500)] == rows
    bulk = m.read_all()
    found = {bytes(bulk.keys[4 * n:4 * n + 4]): bytes(bulk.values[m.value_stride * n:m.value_stride * (n + 1)]) for n in range(bulk.count)}
    assert {key(n): row for n, row in enumerate(rows)}.items() <= found.items()
    with pytest.raises(UsageError):
        m.update_batch(keys, rows[0])
    with pytest.raises(UsageError):
        m.update_batch(keys[:-1], b"".join(rows))
    if type in (T.HASH, T.PERCPU_HASH, T.LRU_HASH, T.LRU_PERCPU_HASH):
        assert m.delete_batch(keys[:400] + key(9999)) == 100
        assert m.read_all().count == 400
        with pytest.raises(MapError):
            m.update_batch(keys, b"".join(rows), BPF_NOEXIST)


def test_many_too_many(make: Any) -> None:
    m = make(T.HASH, max_entries=10)
    with pytest.raises(MapFull):
        m.update_batch(b"".join(key(n) for n in range(20)), value(1) * 20)
    assert m.read_all().count == 10


class TestArray:
    def test_all_elements_are_there_and_zero(self, make: Any) -> None:
        m = make(T.ARRAY)
        assert [m.lookup(key(n)) for n in range(5)] == [value(0)] * 4 + [None]
        m.update(key(3), value(7))
        assert m.lookup(key(3)) == value(7)

    def test_flags_and_bounds(self, make: Any) -> None:
        m = make(T.ARRAY)
        with pytest.raises(MapError, match="already"):
            m.update(key(1), value(1), BPF_NOEXIST)
        m.update(key(1), value(1), BPF_EXIST)
        with pytest.raises(MapError, match="out of range"):
            m.update(key(4), value(1))
        with pytest.raises(MapError, match="cannot be deleted"):
            m.delete(key(1))
        with pytest.raises(EbpfError):
            m.update(key(1), value(1), 64)

    def test_walking(self, make: Any) -> None:
        m = make(T.ARRAY)
        assert [m.next_key(k) for k in (None, key(0), key(2), key(3), key(100))] == [key(0), key(1), key(3), None, key(0)]

    def test_odd_values_keep_to_themselves(self, make: Any) -> None:
        m = make(T.ARRAY, value_size=3)
        m.update(key(1), b"abc")
        assert [m.lookup(key(n)) for n in range(3)] == [bytes(3), b"abc", bytes(3)]

    def test_in_bulk(self, make: Any) -> None:
        m = make(T.ARRAY)
        m.update(key(2), value(5))
        bulk = m.read_all()
        assert bulk.count == 4 and bytes(bulk.values) == value(0) * 2 + value(5) + value(0)
        with pytest.raises(MapError):
            m.take_all()
        assert m.clear() == 4
        assert m.lookup(key(2)) == value(0)


@pytest.mark.parametrize("type", **names(PER_CPU))
class TestPerCpu:
    def test_the_user_sees_every_cpu(self, make: Any, type: MapType) -> None:
        m = make(type, value_size=4)
        assert m.value_stride == 8 * _cpus()
        row = b"".join(value(100 + n) for n in range(_cpus()))
        m.update(key(1), row)
        assert m.lookup(key(1)) == row

    def test_flags(self, make: Any, type: MapType) -> None:
        m = make(type)
        row = value(1) * _cpus()
        if type != T.PERCPU_ARRAY:
            with pytest.raises(KeyMissing):
                m.update(key(1), row, BPF_EXIST)
            m.update(key(1), row, BPF_NOEXIST)
        with pytest.raises(MapError, match="already"):
            m.update(key(1), row, BPF_NOEXIST)

    def test_walking(self, make: Any, type: MapType) -> None:
        m = make(type)
        for n in range(3):
            m.update(key(n), value(n) * _cpus())
        assert set(m.keys()) >= {key(0), key(1), key(2)}


class TestLpmTrie:
    @staticmethod
    def prefix(text: str) -> bytes:
        address, _, bits = text.partition("/")
        return key(int(bits or 32)) + bytes(int(part) for part in address.split("."))

    def make(self, make: Any, entries: int = 16) -> Any:
        return make(T.LPM_TRIE, key_size=8, max_entries=entries, flags=BPF_F_NO_PREALLOC)

    def test_the_longest_prefix_wins(self, make: Any) -> None:
        m = self.make(make)
        for n, prefix in enumerate(("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0", "10.1.2.128/25")):
            m.update(self.prefix(prefix), value(n + 1))
        found = {a: m.lookup(self.prefix(a)) for a in ("10.9.9.9", "10.1.9.9", "10.1.2.3", "10.1.2.200", "192.168.0.1")}
        assert [v[0] for v in found.values()] == [1, 2, 3, 5, 4]
        assert m.lookup(self.prefix("10.1.2.200/16"))[0] == 2  # nothing longer than what is asked for

    def test_nothing_matches(self, make: Any) -> None:
        m = self.make(make)
        m.update(self.prefix("10.0.0.0/8"), value(1))
        assert m.lookup(self.prefix("11.0.0.0")) is None
        assert m.lookup(self.prefix("10.0.0.0/4")) is None

    def test_flags_bounds_and_deletion(self, make: Any) -> None:
        m = self.make(make, entries=2)
        with pytest.raises(KeyMissing):
            m.update(self.prefix("10.0.0.0/8"), value(1), BPF_EXIST)
        m.update(self.prefix("10.0.0.0/8"), value(1), BPF_NOEXIST)
        with pytest.raises(MapError, match="already"):
            m.update(self.prefix("10.0.0.0/8"), value(1), BPF_NOEXIST)
        m.update(self.prefix("11.0.0.0/8"), value(2))
        with pytest.raises(MapFull):
            m.update(self.prefix("12.0.0.0/8"), value(3))
        with pytest.raises(EbpfError):
            m.update(key(33) + bytes(4), value(1))
        assert m.delete(self.prefix("10.0.0.0/9")) is False
        assert m.delete(self.prefix("10.0.0.0/8")) is True
        assert m.lookup(self.prefix("10.0.0.1")) is None
        m.update(self.prefix("12.0.0.0/8"), value(3), BPF_ANY)

    def test_walking(self, make: Any) -> None:
        m = self.make(make)
        prefixes = {self.prefix(p) for p in ("10.0.0.0/8", "10.1.0.0/16", "192.168.1.0/24")}
        for p in prefixes:
            m.update(p, value(1))
        assert set(m.keys()) == prefixes


class TestQueueAndStack:
    @pytest.mark.parametrize(("type", "order"), [(T.QUEUE, [1, 2, 3]), (T.STACK, [3, 2, 1])], ids=["QUEUE", "STACK"])
    def test_order(self, make: Any, type: MapType, order: list[int]) -> None:
        m = make(type, key_size=0)
        assert m.lookup(b"") is None and m.lookup_and_delete(b"") is None
        for n in (1, 2, 3):
            m.update(b"", value(n))
        assert m.lookup(b"") == value(order[0])
        assert [m.lookup_and_delete(b"") for _ in range(4)] == [*(value(n) for n in order), None]

    @pytest.mark.parametrize(("type", "left"), [(T.QUEUE, [2, 3, 4, 9]), (T.STACK, [9, 4, 3, 2])], ids=["QUEUE", "STACK"])
    def test_full(self, make: Any, type: MapType, left: list[int]) -> None:
        m = make(type, key_size=0)
        for n in (1, 2, 3, 4):
            m.update(b"", value(n))
        with pytest.raises(MapFull):
            m.update(b"", value(9))
        with pytest.raises(EbpfError):
            m.update(b"", value(9), BPF_NOEXIST)
        m.update(b"", value(9), BPF_EXIST)
        assert [m.lookup_and_delete(b"") for _ in range(4)] == [value(n) for n in left]


def test_bloom_filter_takes_values_and_has_no_keys(make: Any) -> None:
    m = make(T.BLOOM_FILTER, key_size=0, max_entries=100)
    m.update(b"", value(1))
    with pytest.raises(EbpfError):
        m.update(b"", value(1), BPF_EXIST)
    with pytest.raises(EbpfError):
        m.delete(b"")
    with pytest.raises(EbpfError):
        m.next_key()


def test_stack_traces_are_read_and_deleted_only(make: Any) -> None:
    m = make(T.STACK_TRACE, value_size=64, max_entries=8)
    assert m.lookup(key(1)) is None
    assert m.delete(key(1)) is False
    with pytest.raises(EbpfError):
        m.update(key(1), bytes(64))


BAD_SHAPES = [
    ("no entries", {"type": T.HASH, "max_entries": 0}),
    ("no key", {"type": T.HASH, "key_size": 0}),
    ("no value", {"type": T.HASH, "value_size": 0}),
    ("array with a long key", {"type": T.ARRAY, "key_size": 8}),
    ("queue with a key", {"type": T.QUEUE}),
    ("trie without its flag", {"type": T.LPM_TRIE, "key_size": 8}),
    ("trie with a short key", {"type": T.LPM_TRIE, "key_size": 4, "flags": BPF_F_NO_PREALLOC}),
    ("ring of no power of two", {"type": T.RINGBUF, "key_size": 0, "value_size": 0, "max_entries": 4096 * 3}),
    ("ring of half a page", {"type": T.RINGBUF, "key_size": 0, "value_size": 0, "max_entries": 2048}),
    ("crooked stacks", {"type": T.STACK_TRACE, "value_size": 63}),
]


@pytest.mark.parametrize("shape", [s for _, s in BAD_SHAPES], ids=[n for n, _ in BAD_SHAPES])
def test_shapes_that_are_refused(make: Any, shape: dict[str, Any]) -> None:
    with pytest.raises((EbpfError, OSError)) as caught:
        make(**shape)
    if isinstance(caught.value, PrivilegeError):
        raise caught.value
    assert getattr(caught.value, "errno", errno.EINVAL) in (errno.EINVAL, errno.E2BIG, None)


@pytest.mark.parametrize("build", ["", "ours"], ids=["python", "native"])
@pytest.mark.parametrize("shape", [
    MapShape("huge", T.ARRAY, 4, 1 << 20, 0xFFFFFFFF),
    MapShape("huge", T.PERCPU_ARRAY, 4, 1 << 20, 0xFFFFFFFF),
    MapShape("huge", T.HASH, 8, 1 << 20, 0xFFFFFFFF),
    MapShape("huge", T.LRU_HASH, 8, 8, 0xFFFFFFFF),
    MapShape("huge", T.LPM_TRIE, 8, 1 << 20, 0xFFFFFFFF, BPF_F_NO_PREALLOC),
    MapShape("huge", T.QUEUE, 0, 1 << 20, 0xFFFFFFFF),
    MapShape("huge", T.ARENA, 0, 0, 0xFFFFFFFF),
], ids=lambda s: s.type.name)
def test_more_than_there_is_memory(shape: MapShape, build: str) -> None:
    """One clear error instead of a process that is killed; maps in Python that take memory as they fill are made."""
    if not build and shape.type not in (T.ARRAY, T.PERCPU_ARRAY, T.ARENA):
        assert machine_map(shape, build).lookup(bytes(shape.key_size)) is None
        return
    with pytest.raises(MapError, match="'huge' .*memory"):
        machine_map(shape, build)


@pytest.mark.parametrize("build", BUILDS)
def test_threads_of_python(build: str) -> None:
    """Several threads write their own keys and count a shared one by taking it out and putting it back."""
    from concurrent.futures import ThreadPoolExecutor

    m = machine_map(MapShape("shared", T.HASH, 4, 8, 1000), build)

    def work(me: int) -> None:
        for n in range(200):
            m.update(key(me * 1000 + n), value(n))
            assert m.lookup(key(me * 1000 + n)) == value(n)
            if n % 2:
                assert m.delete(key(me * 1000 + n))
            while (taken := m.lookup_and_delete(key(999999))) is None:
                pass
            m.update(key(999999), value(int.from_bytes(taken, "little") + 1))

    m.update(key(999999), value(0))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert m.lookup(key(999999)) == value(800)
    assert m.read_all().count == m.count == 401


class TestLocalStorage:
    @staticmethod
    def make(type: MapType = T.TASK_STORAGE) -> Any:
        return machine_map(MapShape("own", type, 4, 8, 0, BPF_F_NO_PREALLOC))

    @pytest.mark.parametrize("type", **names([T.TASK_STORAGE, T.SK_STORAGE, T.INODE_STORAGE, T.CGRP_STORAGE]))
    def test_the_user_and_programs_see_the_same(self, type: MapType) -> None:
        m = self.make(type)
        owner = m.environment.owner(m.kind, 7)
        assert m.lookup(key(7)) is None and m.storage_get(owner, None, 0) == 0
        m.update(key(7), value(5), BPF_NOEXIST)
        address = m.storage_get(owner, None, 0)
        assert m.space.read(address, 8) == value(5)
        m.space.write(address, value(6))
        assert m.lookup(key(7)) == value(6)
        assert m.delete(key(7)) and not m.delete(key(7))

    def test_made_when_asked_for(self) -> None:
        m = self.make()
        owner = m.environment.owner("task", 9)
        first = m.storage_get(owner, None, 1)
        assert first and m.storage_get(owner, value(3), 1) == first and m.lookup(key(9)) == value(0)
        assert m.storage_delete(owner) == 0 and m.storage_delete(owner) == -errno.ENOENT
        assert m.storage_get(owner, value(3), 1) and m.lookup(key(9)) == value(3)
        assert m.storage_get(owner, None, 2) == 0 and m.storage_get(0, None, 1) == 0

    def test_flags(self) -> None:
        m = self.make()
        with pytest.raises(KeyMissing):
            m.update(key(1), value(1), BPF_EXIST)
        m.update(key(1), value(1))
        with pytest.raises(MapError, match="already"):
            m.update(key(1), value(1), BPF_NOEXIST)
        with pytest.raises(MapError):
            m.next_key()


def test_user_ring_buffer_has_room_for_what_is_taken_out() -> None:
    m = machine_map(MapShape("requests", T.USER_RINGBUF, 0, 0, 4096))
    for n in range(4):
        m.send(bytes([n]) * 1000)
    with pytest.raises(MapFull, match="4032 of 4096"):
        m.send(bytes(100))
    with pytest.raises(UsageError, match="never fits"):
        m.send(bytes(5000))
    assert [m.take() for _ in range(5)] == [bytes([n]) * 1000 for n in range(4)] + [None]
    m.send(b"again")
    with pytest.raises(MapError):
        m.lookup(b"")


def test_sockets_by_index_and_by_key() -> None:
    m = machine_map(MapShape("socks", T.SOCKMAP, 4, 8, 4))
    m.update(key(1), value(77))
    assert m.lookup(key(1)) == value(77) and m.lookup(key(2)) is None
    assert m.lookup_elem(key(1)) == m.environment.owner("sk", 77) and m.lookup_elem(key(3)) == 0
    with pytest.raises(MapError, match="out of range"):
        m.update(key(4), value(1))
    assert m.delete(key(1))
    h = machine_map(MapShape("socks", T.SOCKHASH, 12, 8, 1))
    h.update(bytes(12), value(1))
    with pytest.raises(MapFull):
        h.update(b"x" * 12, value(1))
    assert list(h.keys()) == [bytes(12)] and h.delete(bytes(12)) and not h.delete(bytes(12))


def test_control_groups_by_index() -> None:
    m = machine_map(MapShape("groups", T.CGROUP_ARRAY, 4, 4, 3))
    task = m.environment.task
    m.update(key(0), (task.cgroup_id + 5).to_bytes(4, "little"))
    m.update(key(1), key(1))
    assert [m.holds_task(n) for n in range(4)] == [0, 1, -errno.EAGAIN, -errno.E2BIG]
    with pytest.raises(MapError):
        m.lookup(key(0))


def test_an_arena_s_pages() -> None:
    m = machine_map(MapShape("pages", T.ARENA, 0, 0, 4))
    one, two = m.allocate(0, 1), m.allocate(0, 2)
    assert (one, two) == (m.base, m.base + 4096) and m.allocate(0, 2) == 0
    m.space.write(two, b"hello")
    assert bytes(m.memory[4096:4101]) == b"hello" and m.offset_of(two + 3) == 4099
    m.free(two, 2)
    assert bytes(m.memory[4096:4101]) == bytes(5) and m.allocate(two, 2) == two and m.allocate(two, 1) == 0
    with pytest.raises(UsageError):
        m.offset_of(m.base - 1)


def test_types_that_are_missing_say_so() -> None:
    with pytest.raises(NotSupported, match="struct_ops"):
        create_map(Environment(), MapShape("ops", T.STRUCT_OPS, 4, 4, 1))
