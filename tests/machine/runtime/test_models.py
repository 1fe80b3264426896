"""Random stories of calls, told to a native map and to a few lines of Python that say what such a map is."""

from __future__ import annotations

import ipaddress
from collections import deque
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from ebpf.abi.maps import BPF_ANY, BPF_EXIST, BPF_F_NO_PREALLOC, BPF_NOEXIST, MapType as T
from ebpf.errors import KeyMissing, MapError, MapFull
from ebpf.machine import MapShape
from tests.machine.test_maps_contract import machine_map

STORIES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
BUILDS = pytest.mark.parametrize("build", ["ours", "gcc"])

keys = st.integers(0, 20)
values = st.integers(0, 2**64 - 1)
flags = st.sampled_from([BPF_ANY, BPF_NOEXIST, BPF_EXIST])


def native(build: str, type: T, key_size: int, value_size: int, entries: int, flags: int = 0) -> Any:
    return machine_map(MapShape("story", type, key_size, value_size, entries, flags), build)


def outcome(call: Any) -> str:
    try:
        call()
    except (KeyMissing, MapFull) as error:
        return type(error).__name__
    except MapError:
        return "MapError"
    return "done"


@BUILDS
@pytest.mark.parametrize("key_size", [4, 8, 13])
@given(story=st.lists(st.tuples(st.sampled_from(["update", "delete", "take", "look", "walk", "empty"]), keys, values, flags), max_size=80))
@STORIES
def test_hash(build: str, key_size: int, story: list[tuple[str, int, int, int]]) -> None:
    m, model = native(build, T.HASH, key_size, 8, 8), {}
    for what, k, v, flag in story:
        key, value = k.to_bytes(key_size, "little"), v.to_bytes(8, "little")
        if what == "update":
            expected = ("MapError" if key in model and flag == BPF_NOEXIST else
                        "KeyMissing" if key not in model and flag == BPF_EXIST else
                        "MapFull" if key not in model and len(model) == 8 else "done")
            assert outcome(lambda k=key, v=value, f=flag: m.update(k, v, f)) == expected
            if expected == "done":
                model[key] = value
        elif what == "delete":
            assert m.delete(key) is (model.pop(key, None) is not None)
        elif what == "take":
            assert m.lookup_and_delete(key) == model.pop(key, None)
        elif what == "look":
            assert m.lookup(key) == model.get(key)
        elif what == "walk":
            walked, at = [], m.next_key()
            while at is not None:
                walked.append(at)
                at = m.next_key(at)
            assert sorted(walked) == sorted(model)
        else:
            assert m.clear() == len(model)
            model.clear()
        bulk = m.read_all()
        assert bulk.count == len(model) == m.count
        pairs = {bytes(bulk.keys[n * key_size:(n + 1) * key_size]): bytes(bulk.values[n * 8:n * 8 + 8]) for n in range(bulk.count)}
        assert pairs == model


@BUILDS
@given(story=st.lists(st.tuples(st.booleans(), st.integers(0, 40), values), max_size=150))
@STORIES
def test_lru_hash_is_the_clock_algorithm(build: str, story: list[tuple[bool, int, int]]) -> None:
    """The slots in the order in which the hand sees them; a key that was looked up is passed over once."""
    m, size = native(build, T.LRU_HASH, 4, 8, 6), 6
    model: dict[bytes, bytes] = {}
    asked: set[bytes] = set()
    for write, k, v in story:
        key, value = k.to_bytes(4, "little"), v.to_bytes(8, "little")
        if not write:
            assert bool(m.lookup_elem(key)) == (key in model)
            if key in model:
                asked.add(key)
            continue
        full, is_new, before = len(model) == size, key not in model, dict(model)
        m.update(key, value)
        left = {bytes(m.read_all().keys[4 * n:4 * n + 4]) for n in range(m.count)}
        model[key] = value
        gone = set(model) - left
        assert left <= set(model) and key in left
        assert len(gone) == (1 if full and is_new else 0)
        for victim in gone:
            # Who was asked for since the hand came by stays, as long as there is anybody who was not.
            assert victim not in asked or asked >= set(before)
            del model[victim]
            if asked >= set(before):
                asked.clear()
        asked &= set(model)
        if not is_new:
            asked.add(key)
        if gone:
            asked = {k for k in asked if k in model and _marked(m, k)}
        assert {k: m.lookup(k) for k in model} == model


def _marked(m: Any, key: bytes) -> bool:
    header = m.block.header
    address = m.runtime.hash_find(m.native, key)
    slot = (address - header.values) // header.stride
    return bool(m.block.part(header.used + slot, 1)[0])


prefixes = st.tuples(st.integers(0, 32), st.sampled_from([0x0A000000, 0x0A010000, 0x0A010180, 0x0A0101FF, 0xC0A80101, 0, 0xFFFFFFFF]))


@BUILDS
@given(story=st.lists(st.tuples(st.sampled_from(["update", "update", "delete", "look"]), prefixes, values, flags), max_size=80))
@STORIES
def test_lpm_trie(build: str, story: list[tuple[str, tuple[int, int], int, int]]) -> None:
    m = native(build, T.LPM_TRIE, 8, 8, 7, BPF_F_NO_PREALLOC)
    model: dict[ipaddress.IPv4Network, bytes] = {}
    for what, (bits, address), v, flag in story:
        key, value = bits.to_bytes(4, "little") + address.to_bytes(4, "big"), v.to_bytes(8, "little")
        network = ipaddress.ip_network((address, bits), strict=False)
        if what == "update":
            expected = ("MapError" if network in model and flag == BPF_NOEXIST else
                        "KeyMissing" if network not in model and flag == BPF_EXIST else
                        "MapFull" if network not in model and len(model) == 7 else "done")
            assert outcome(lambda k=key, v=value, f=flag: m.update(k, v, f)) == expected
            if expected == "done":
                model[network] = value
        elif what == "delete":
            assert m.delete(key) is (model.pop(network, None) is not None)
        else:
            matching = [n for n in model if n.supernet_of(network)]
            assert m.lookup(key) == (model[max(matching, key=lambda n: n.prefixlen)] if matching else None)
            assert bool(m.lookup_elem(key)) == bool(matching)
        found = [ipaddress.ip_network((int.from_bytes(k[4:], "big"), k[0]), strict=False) for k in m.keys()]
        assert sorted(found) == sorted(model)
        walked, at = [], m.next_key()
        while at is not None:
            walked.append(at)
            at = m.next_key(at)
        assert walked == list(m.keys())
        for n, inner in enumerate(found):  # more specific ones first
            assert not any(inner != outer and inner.subnet_of(outer) for outer in found[:n])


@BUILDS
@given(story=st.lists(st.tuples(st.sampled_from(["reserve", "reserve", "submit", "discard", "output", "consume"]), st.integers(0, 1500)), max_size=120))
@STORIES
def test_ring_buffer(build: str, story: list[tuple[str, int]]) -> None:
    m = native(build, T.RINGBUF, 0, 0, 4096)
    model: deque[list[Any]] = deque()  # bytes with header, record or None, state
    open_records: list[tuple[int, list[Any]]] = []
    for n, (what, size) in enumerate(story):
        room = 4095 - sum(entry[0] for entry in model)
        total = -(-size // 8) * 8 + 8
        content = bytes([n & 255]) * size
        if what == "reserve":
            address = m.reserve(size, 0)
            assert bool(address) == (total <= room)
            if address:
                m.space.write(address, content)
                entry = [total, content, "open"]
                model.append(entry)
                open_records.append((address, entry))
        elif what in ("submit", "discard") and open_records:
            address, entry = open_records.pop(size % len(open_records))
            (m.submit if what == "submit" else m.discard)(address)
            entry[2] = what
        elif what == "output":
            assert (m.output(content, 0) == 0) == (total <= room)
            if total <= room:
                model.append([total, content, "submit"])
        elif what == "consume":
            expected = []
            while model and model[0][2] != "open":
                entry = model.popleft()
                if entry[2] == "submit":
                    expected.append(entry[1])
            assert m.drain() == expected
        assert m.query(0) == m.pending_bytes == sum(entry[0] for entry in model), story
