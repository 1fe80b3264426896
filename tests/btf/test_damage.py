"""Damaged BTF: a value or a `BtfError` with a place, never anything else, and never for long. Fixed seeds."""

from __future__ import annotations

import random
import time
import tracemalloc
from array import array
from typing import TYPE_CHECKING

import pytest

from ebpf.btf import Btf, BtfExt, Builder, CoreRelo, Kind, codec, format_type, relocate, sanitize, types as T
from ebpf.btf.writer import pack
from ebpf.errors import BtfError, RelocationError, UsageError
from tests.btf import sample as samples

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = samples.build()
DATA = SAMPLE.btf.data


def exercise(data: bytes) -> None:
    """Everything that reads types, on all of them."""
    btf = Btf.parse(data)
    actions: list[Callable[[int], object]] = [
        btf.type, btf.resolve, btf.size_of, btf.align_of, btf.members, lambda id: format_type(btf, id),
        lambda id: codec(btf, id).decode(bytes(codec(btf, id).size)) if codec(btf, id).size < 1 << 20 else None,
        lambda id: Builder().copy_type(btf, id),
        lambda id: relocate(bytes(8), [CoreRelo(0, id, "0:0", 0)], btf, [SAMPLE.btf]),
        lambda id: relocate(b"\xb7" + bytes(7), [CoreRelo(0, id, "0", 12)], SAMPLE.btf, [btf]),
    ]
    for id in range(len(btf)):
        for action in actions:
            try:
                action(id)
            except (BtfError, RelocationError):
                pass
    for name in ("event", "color", "pid_t"):
        btf.find_all(name)
    btf.find_enumerator("GREEN")
    sanitize(data, frozenset())


def attempt(data: bytes) -> None:
    start = time.process_time()
    try:
        exercise(data)
    except BtfError:
        pass
    assert time.process_time() - start < 5


def test_whole_sample_is_fine() -> None:
    exercise(DATA)


def test_every_truncation() -> None:
    for length in range(0, len(DATA), 7):
        attempt(DATA[:length])
        words = array("I", SAMPLE.btf.words)[: length // 8]
        attempt(pack(words, SAMPLE.btf.strings, True))


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        data = bytearray(DATA)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        attempt(bytes(data))


@pytest.mark.parametrize("seed", range(4))
def test_words_from_elsewhere(seed: int) -> None:
    """Ids and lengths replaced by other plausible numbers: circles, huge arrays, members of the wrong kind."""
    rng = random.Random(seed)
    for _ in range(40):
        words = array("I", SAMPLE.btf.words)
        for _ in range(rng.choice((1, 3, 10))):
            words[rng.randrange(len(words))] = rng.choice((rng.randrange(60), 0xFFFFFFFF, 1 << 31, rng.choice(words)))
        attempt(pack(words, SAMPLE.btf.strings, True))


@pytest.mark.parametrize(("change", "message", "offset"), [
    (lambda d: b"", "starts with nothing", 0),
    (lambda d: b"\x7fELF" + d, "starts with 7f 45", 0),
    (lambda d: d[:20], "header is cut off after 20", 20),
    (lambda d: d[:2] + b"\2" + d[3:], "version 2", 2),
    (lambda d: d[:4] + b"\xff\xff\xff\0" + d[8:], "header length", 4),
    (lambda d: d[:12] + b"\xfc\xff\xff\0" + d[16:], "type section", 8),
    (lambda d: d[:20] + b"\xff\xff\xff\0" + d[24:], "string section", 16),
    (lambda d: d[:-1] + b"x", "does not end with NUL", len(DATA) - 1),
    (lambda d: d[:8] + b"\1" + d[9:], "not aligned", 8),
])
def test_headers(change: Callable[[bytes], bytes], message: str, offset: int) -> None:
    with pytest.raises(BtfError, match=message) as caught:
        Btf.parse(change(DATA))
    assert caught.value.offset == offset


@pytest.mark.parametrize(("words", "message", "offset"), [
    ([0, 31 << 24, 0], "type 1 has unknown kind 31", 24),
    ([0, 1 << 24, 4, 32, 0, 0, 0], "type 2 has unknown kind 0", 40),
    ([0, 1 << 24, 4], "type 1 is cut off", 24),
    ([0], "type 1 is cut off", 24),
    ([0, int(Kind.STRUCT) << 24 | 0xFFFF, 4], "type 1 is cut off", 24),
    ([0, 1 << 24, 3, 24], "an integer of 3 bytes", 24),
    ([99, 1 << 24, 4, 32], "name offset 99 is outside", 24),
    ([0, int(Kind.ENUM) << 24, 3], "an enum of 3 bytes", 24),
    ([0, int(Kind.FLOAT) << 24, 5], "a float of 5 bytes", 24),
])
def test_types(words: list[int], message: str, offset: int) -> None:
    with pytest.raises(BtfError, match=message) as caught:
        list(Btf.parse(pack(array("I", words), b"\0", True)))
    assert caught.value.offset == offset


def test_ids_out_of_range() -> None:
    for id in (-1, len(SAMPLE.btf), 1 << 31):
        with pytest.raises(BtfError, match="does not exist"):
            SAMPLE.btf.type(id)
        with pytest.raises(BtfError, match="does not exist"):
            SAMPLE.btf.kind(id)


def test_memory_stays_in_proportion() -> None:
    """At most ten times the input, for a blob that is all types and names (look-ups included)."""
    b = Builder()
    u32 = b.add_int("u32", 4)
    for i in range(20000):
        b.add_typedef(f"name_of_type_number_{i}", u32)
    data = b.emit()
    tracemalloc.start()
    try:
        btf = Btf.parse(data)
        assert btf.find("name_of_type_number_777") == 779
        assert tracemalloc.get_traced_memory()[1] < 10 * len(data)
    finally:
        tracemalloc.stop()


def test_exponential_nesting_ends() -> None:
    """30 structs, each with two anonymous members of the next one: 2**30 members when written out."""
    b = Builder()
    id = b.add_struct("", 4, [T.Member("x", b.add_int("int", 4), 0)])
    for _ in range(30):
        id = b.add_struct("", 8, [T.Member("", id, 0), T.Member("", id, 0)])
    btf = b.build()
    start = time.process_time()
    for action in (lambda: btf.members(id), lambda: format_type(btf, id), lambda: codec(btf, id)):
        with pytest.raises(BtfError):
            action()
    assert time.process_time() - start < 10


@pytest.mark.parametrize("seed", range(3))
def test_damaged_ext(seed: int) -> None:
    b = Builder()
    from ebpf.btf import FuncInfo, LineInfo

    whole = BtfExt({"a": (FuncInfo(0, 1),)}, {"a": (LineInfo(0, "f.c", "x;", 1, 2), LineInfo(8, "f.c", "y;", 2, 2))},
                   {"a": (CoreRelo(0, 1, "0:1", 0),)})
    data = whole.emit(b.add_string)
    btf = b.build()
    assert BtfExt.parse(data, btf).core_relos == whole.core_relos
    rng = random.Random(seed)
    for length in range(len(data)):
        for cut in (data[:length], bytearray(data)):
            mutable = bytearray(cut)
            if length and mutable:
                mutable[rng.randrange(len(mutable))] ^= 1 << rng.randrange(8)
            try:
                BtfExt.parse(bytes(mutable), btf)
            except BtfError:
                pass


@pytest.mark.parametrize("seed", range(3))
def test_values_that_do_not_fit_are_usage_errors(seed: int) -> None:
    rng = random.Random(seed)
    pool: list[object] = [None, -1, 1 << 200, 1.5, float("inf"), "x", "", b"", b"x" * 99, [], [1], (1, 2, 3), {}, {"pid": {}},
                          {1: 2}, object(), True, {"comm": "a" * 99}, [[1]], {"at": []}, float("nan"), {"three": [1, [2], 3]}]
    for name in ("event", "plain", "comm", "u32[3]", "int[2][3]", "color", "float", "double", "bool", "u128", "node *"):
        c = codec(SAMPLE.btf, SAMPLE.id[name])
        for value in rng.sample(pool, len(pool)):
            try:
                assert len(c.encode(value)) == c.size
            except UsageError:
                pass
