"""Declared maps: the manners of the Python containers that they resemble, in either backend, live while a session is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, MutableMapping, Sequence

import pytest

import ebpf
from ebpf.abi.maps import MAP_TYPES, MapType
from ebpf.session.functions.containers import DeclaredMap

from . import programs as p

PACKET = bytes(64)


@pytest.fixture
def session(backend: str) -> Iterator[ebpf.Session]:
    with ebpf.load(p.make()) as session:
        assert session.backend == backend
        yield session


def test_a_hash_is_a_dict(session: ebpf.Session) -> None:
    assert isinstance(p.opens, MutableMapping) and not p.opens and p.opens == {}
    p.opens.update({k: k * k for k in range(10)})
    p.opens[3] += 1
    assert p.opens == {k: k * k + (k == 3) for k in range(10)} and p.opens
    assert len(p.opens) == 10 and 3 in p.opens and 77 not in p.opens
    assert p.opens.pop(9) == 81 and p.opens.get(9) is None and p.opens.get(9, 5) == 5
    assert p.opens.insert(77, 1) and not p.opens.insert(77, 2) and p.opens.delete(77) and not p.opens.delete(77)
    assert p.opens.setdefault(9, 7) == 7 and p.opens.popitem()[0] in range(10)
    assert set(p.opens) == set(p.opens.keys()) and sorted(p.opens.values()) == sorted(v for _, v in p.opens.items())
    with pytest.raises(KeyError):
        p.opens[1234]
    with pytest.raises(ebpf.KeyMissing, match="no entry under 1234"):
        del p.opens[1234]
    p.opens.clear()
    assert not p.opens
    with pytest.raises(ebpf.KeyMissing, match="is empty"):
        p.opens.popitem()


def test_views_stay_live(session: ebpf.Session) -> None:
    keys, items = p.opens.keys(), p.opens.items()
    p.opens[1] = 2
    assert list(keys) == [1] and list(items) == [(1, 2)] and len(items) == 1 and (1, 2) in items
    p.opens[1] = 3
    assert (1, 3) in items and keys & {1, 2} == {1} and 3 in p.opens.values()


def test_what_programs_write_is_there(session: ebpf.Session) -> None:
    for _ in range(3):
        session.programs["count"].test_run(PACKET)
    assert p.opens == {1: 3}
    assert session.maps["opens"][1] == 3, "the session's own map is the same"
    assert p.opens.take() == {1: 3} and not p.opens


def test_values_are_instances_of_the_declared_class(session: ebpf.Session) -> None:
    p.pairs[1] = p.Pair(a=7, comm="sh", b=9)
    p.pairs[2] = {"a": 1}  # type: ignore[assignment]
    assert p.pairs[1] == p.Pair(7, b"sh", 9) and p.pairs[1].comm == b"sh"
    assert dict(p.pairs) == {1: p.Pair(7, "sh", 9), 2: p.Pair(a=1)}
    assert isinstance(session.maps["pairs"][1], p.Pair)
    keys, values = p.pairs.to_numpy()
    assert sorted(values["a"].tolist()) == [1, 7] and values.dtype.names == ("a", "comm", "b")
    with pytest.raises(ebpf.UsageError, match="4294967296 does not fit u32, which goes from 0 to 4294967295"):
        p.pairs[1] = p.Pair(7) if False else {"a": 1 << 32}  # type: ignore[assignment]


def test_an_array_is_a_sequence(session: ebpf.Session) -> None:
    assert isinstance(p.totals, Sequence) and len(p.totals) == 8
    p.totals[2] = 5
    p.totals[-1] = 9
    assert list(p.totals) == [0, 0, 5, 0, 0, 0, 0, 9] and p.totals[2:4] == [5, 0] and p.totals[-1] == 9
    assert p.totals.index(5) == 2 and p.totals.count(0) == 6 and 9 in p.totals and 3 not in p.totals
    assert list(reversed(p.totals))[0] == 9
    p.totals[:3] = [1, 2, 3]
    assert list(p.totals)[:3] == [1, 2, 3]
    with pytest.raises(IndexError, match="has entries 0 to 7, not 8"):
        p.totals[8]
    with pytest.raises(ebpf.UsageError, match="2 values for 3 places"):
        p.totals[:3] = [1, 2]
    p.totals.clear()
    assert not any(p.totals)


def test_per_cpu_values_are_an_axis(session: ebpf.Session) -> None:
    p.percpu[1] = 2  # type: ignore[assignment]
    cpus = len(p.percpu[1])  # type: ignore[arg-type]
    assert p.percpu.totals() == {1: 2 * cpus}
    _, values = p.percpu.to_numpy()
    assert values.shape == (1, cpus)
    p.percpu_totals[3] = tuple(range(cpus))
    assert p.percpu_totals.totals() == [0, 0, 0, sum(range(cpus))]


def test_tries_take_networks(session: ebpf.Session) -> None:
    p.blocked["10.0.0.0/8"] = 1
    p.blocked[ipaddress.ip_network("192.168.1.0/24")] = 2
    p.blocked[p.Key(32, [192, 168, 1, 7])] = 3
    assert p.blocked["10.9.8.7"] == 1 and p.blocked["192.168.1.1"] == 2 and p.blocked["192.168.1.7"] == 3
    assert "11.0.0.1" not in p.blocked
    assert p.blocked.networks() == {ipaddress.ip_network("10.0.0.0/8"): 1, ipaddress.ip_network("192.168.1.0/24"): 2,
                                    ipaddress.ip_network("192.168.1.7/32"): 3}
    assert session.maps["blocked"].networks() == p.blocked.networks()
    del p.blocked["10.0.0.0/8"]
    assert len(p.blocked) == 2
    for key, said in (("10.0.0/8", "does not appear"), ("::1", "an address of 16 bytes, its keys of 4")):
        with pytest.raises(ebpf.UsageError, match=said):
            p.blocked[key]
    with pytest.raises(ebpf.UsageError, match="only tries hold networks"):
        session.maps["opens"].networks()


def test_queues_and_stacks(session: ebpf.Session) -> None:
    for container in (p.waiting, p.pile):
        for value in (1, 2, 3):
            container.push(value)
    assert p.waiting.peek() == 1 and p.waiting.pop() == 1 and list(p.waiting.drain()) == [2, 3]
    assert p.pile.pop() == 3 and list(p.pile.drain()) == [2, 1]
    with pytest.raises(ebpf.KeyMissing, match="is empty"):
        p.pile.pop()


def test_events_are_instances_of_the_declared_class(session: ebpf.Session) -> None:
    session.programs["count"].test_run(PACKET)
    stream = session.events(p.Pair, timeout=0)
    assert list(stream) == [p.Pair(3, "hello", 5)]
    session.programs["count"].test_run(PACKET)
    assert list(p.events.stream(timeout=0))[0].a == 3
    with pytest.raises(ebpf.UsageError, match="no map carries events of type Key"):
        session.events(p.Key)


def test_global_variables(backend: str) -> None:
    p.wanted._bound = p.limit._bound = []
    assert p.wanted.value == 3 and p.limit.value == 5
    program = p.make()
    with ebpf.load(program, variables={"limit": 9}) as session:
        assert (p.wanted.value, p.limit.value, session.variables.limit) == (3, 9, 9)
        p.wanted.value = 12
        assert session.variables.wanted == session.variables["wanted"] == 12
        session.variables.wanted = 13
        assert p.wanted.value == 13 and "wanted" in dir(session.variables)
        session.programs["count"].test_run(PACKET)
        assert [e.a for e in session.events(p.Pair, timeout=0)] == [13]
        with pytest.raises(ebpf.UsageError, match="constant once"):
            p.limit.value = 1
        with pytest.raises(AttributeError, match="no global variable called 'wantde'"):
            session.variables.wantde  # noqa: B018
    with pytest.raises(ebpf.UsageError, match="its session is closed"):
        p.wanted.value  # noqa: B018
    p.limit.value = 8
    p.wanted.value = 4
    try:
        with ebpf.load(program) as session:
            assert (p.wanted.value, p.limit.value) == (4, 8)
    finally:
        p.limit._wanted = p.wanted._wanted = None


def test_before_and_after_a_session_there_is_no_map(backend: str) -> None:
    fresh = ebpf.Hash(ebpf.u32, ebpf.u64)
    for use in (lambda: fresh[1], lambda: list(fresh), lambda: len(fresh), lambda: 1 in fresh, fresh.to_numpy, fresh.clear):
        with pytest.raises(ebpf.UsageError, match="declared, but in no session yet"):
            use()  # type: ignore[no-untyped-call]
    assert "in no open session" in repr(fresh)
    with ebpf.load(p.make()):
        p.opens[1] = 1
    for use in (lambda: p.opens[1], lambda: dict(p.opens), lambda: bool(p.opens)):
        with pytest.raises(ebpf.UsageError, match="map 'opens': its session is closed"):
            use()  # type: ignore[no-untyped-call]


@pytest.mark.kernel
def test_sessions_of_the_kernel_share_a_declared_map() -> None:
    with ebpf.load(p.make(), backend="kernel") as first:
        p.opens[1] = 1
        with ebpf.load(p.make(), backend="kernel"):
            assert p.opens[1] == 1
            p.opens[2] = 2
        assert p.opens == {1: 1, 2: 2} == dict(first.maps["opens"].items())
        second = ebpf.load(p.make(), backend="kernel")
    with second:
        assert p.opens == {1: 1, 2: 2}, "whoever ends first takes nothing along"


@pytest.mark.parametrize(("make", "said"), [
    (lambda: ebpf.Hash(str, ebpf.u64), "<class 'str'> is no type for a key"),
    (lambda: ebpf.Hash(ebpf.u32, 5), "5 is no type for a value"),
    (lambda: ebpf.Hash(ebpf.u32, ebpf.u64, max_entries=-1), "max_entries is a number of entries, not -1"),
    (lambda: ebpf.RingBuf(p.Pair, 1000), "a power of two in bytes, not 1000"),
])
def test_declarations_that_cannot_be(make: object, said: str) -> None:
    with pytest.raises(ebpf.UsageError, match=said):
        make()  # type: ignore[operator]


def test_every_type_of_map_can_be_declared() -> None:
    classes = {c.TYPE for c in _subclasses(DeclaredMap) if "TYPE" in vars(c)}
    # Deprecated by CGRP_STORAGE; made by loaders (struct_ops, jump tables); memory rather than entries.
    left_out = {MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE, MapType.STRUCT_OPS, MapType.INSN_ARRAY,
                MapType.ARENA}
    assert {row.type for row in MAP_TYPES.values()} - classes == left_out


def test_every_method_that_programs_have_is_known_to_editors() -> None:
    from ebpf.compiler.py.map_methods import METHODS

    missing = [(cls.__name__, method) for method, (types, _) in METHODS.items() if method != "emit"  # means `send`
               for cls in _subclasses(DeclaredMap) if "TYPE" in vars(cls) and cls.TYPE in types
               and (method != "increment" or getattr(cls, "histogram", False)) and not hasattr(cls, method)]
    # What is there of an array is read and written by its index from Python.
    assert [pair for pair in missing if pair[1] not in ("get", "update")] == []
    ring, jumps, histogram = ebpf.RingBuf(p.Pair), ebpf.ProgArray(2), ebpf.Log2Histogram()
    for use in (lambda: ring.send(p.Pair()), lambda: jumps.jump(None, 1), lambda: histogram.increment(1)):
        with pytest.raises(ebpf.UsageError, match="works inside programs only"):
            use()  # type: ignore[no-untyped-call]


def _subclasses(cls: type) -> set[type]:
    return {cls, *(c for direct in cls.__subclasses__() for c in _subclasses(direct))}
