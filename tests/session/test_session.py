"""The front door on both backends: maps, events, programs, and the end of a session."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

import ebpf
from tests.session.objects import PACKET, TEXT, built, loaded

pytestmark = pytest.mark.usefixtures("backend")


def cpu_count() -> int:
    return len(ebpf.host.possible_cpus())


def test_a_program_counts_in_a_typed_map() -> None:
    with loaded() as session:
        program, counts = session.programs["count"], session.maps["counts"]
        assert [program.test_run(PACKET).result for _ in range(5)] == [2] * 5
        assert counts[1] == 5 and 1 in counts and 2 not in counts
        assert counts.items() == [(1, 5)] and list(counts) == [1] and counts.values() == [5] and len(counts) == 1
        assert program.info.name == "count" and program.type.name == "XDP"


def test_hash_as_a_mapping() -> None:
    with loaded() as session:
        m = session.maps["counts"]
        assert m.update({i: i * 2 for i in range(500)}) == 500
        assert dict(m.items()) == {i: i * 2 for i in range(500)} and len(m) == 500
        keys, values = m.to_numpy()
        assert keys.dtype == "uint64" and (keys * 2 == values).all() and len(keys) == 500
        del m[3]
        assert m.get(3) is None and m.get(3, 7) == 7 and m.pop(4) == 8 and m.pop(4, None) is None
        assert m.delete(5) and not m.delete(5)
        with pytest.raises(ebpf.KeyMissing, match="no entry under 3"):
            m[3]
        with pytest.raises(KeyError):
            del m[3]
        assert sorted(m.take())[0] == (0, 0) and len(m) == 0
        assert m.clear() == 0


def test_structs_are_records() -> None:
    with loaded() as session:
        m = session.maps["pairs"]
        m[(1, b"a", 2)] = (3, b"bb", 4)
        value = m[1, b"a", 2]
        assert (value.a, value.comm, value["b"]) == (3, b"bb", 4)
        keys, values = m.to_numpy()
        assert keys["comm"].tolist() == [b"a"] and values["b"].tolist() == [4]


def test_a_full_map_says_so() -> None:
    with loaded() as session:
        m = session.maps["tiny"]
        for i in range(4):
            m[i] = i
        with pytest.raises(ebpf.MapFull, match="max_entries = 4"):
            m[4] = 4
        with pytest.raises(ebpf.UsageError):
            m["four"] = 4


def test_arrays() -> None:
    with loaded() as session:
        m = session.maps["arr"]
        m[2] = 9
        assert m.items() == [(0, 0), (1, 0), (2, 9), (3, 0)] and len(m) == 4 and m.keys() == [0, 1, 2, 3]
        assert m.to_numpy()[1].tolist() == [0, 0, 9, 0]
        with pytest.raises(ebpf.KeyMissing, match="entries 0 to 3"):
            m[4]
        m.clear()
        assert m[2] == 0


def test_per_cpu_values() -> None:
    cpus = cpu_count()
    with loaded() as session:
        m = session.maps["percpu"]
        m[1] = 5
        m[2] = list(range(cpus))
        assert dict(m.items()) == {1: (5,) * cpus, 2: tuple(range(cpus))}
        keys, values = m.to_numpy()
        assert values.shape == (2, cpus) and values[keys.tolist().index(2)].tolist() == list(range(cpus))
        with pytest.raises(ebpf.UsageError, match="possible CPUs"):
            m[3] = [1] * (cpus + 1)
        array = session.maps["percpu_arr"]
        array[1] = [7] * cpus
        assert array[1] == (7,) * cpus and array.to_numpy()[1].shape == (4, cpus)


def test_queue() -> None:
    with loaded() as session:
        m = session.maps["queue"]
        m.push(4)
        m.push(5)
        assert (m.peek(), m.pop(), m.pop()) == (4, 4, 5)
        assert m.pop(default=None) is None
        with pytest.raises(ebpf.KeyMissing, match="is empty"):
            m.peek()
        with pytest.raises(ebpf.UsageError, match="no keys"):
            m[1]


def test_programs_in_maps() -> None:
    with loaded() as session:
        session.maps["progs"][1] = session.programs["count"]
        assert session.maps["progs"][1] == session.programs["count"].info.id
        with pytest.raises(ebpf.UsageError, match="holds open programs"):
            session.maps["progs"][1] = "count"


def test_ring_buffer_events() -> None:
    with loaded("to_ring") as session:
        program, ring = session.programs["to_ring"], session.maps["ring"]
        with ring.events(timeout=0.2) as stream:
            program.test_run(PACKET, repeat=3)
            events = list(stream)
            assert len(events) == 3 and (events[0].a, events[0].comm, events[0].b) == (7, b"hello", 9)
            program.test_run(PACKET, repeat=100)
            arrays = list(stream.batches(timeout=0.05))
            assert sum(map(len, arrays)) == 100 and arrays[0]["comm"][0] == b"hello"
            assert stream.lost == 0
        assert stream.closed


def test_perf_events_and_their_loss(one_cpu: None) -> None:
    with loaded("to_perf") as session:
        program = session.programs["to_perf"]
        stream = session.maps["perf"].events(type="struct pair", timeout=0.2, pages=1)
        program.test_run(PACKET, repeat=3)
        events = list(stream)
        assert [(e.a, e.comm) for e in events] == [(5, b"perf")] * 3 and stream.cpu >= 0
        program.test_run(PACKET, repeat=400)  # more than a page holds
        first = len(list(stream))
        program.test_run(PACKET, repeat=1)
        second = len(list(stream))
        assert 0 < first < 400 and second == 1 and stream.lost == 400 - first == session.lost
        program.test_run(PACKET, repeat=2)
        assert sum(map(len, stream.batches(timeout=0.05))) == 2


def test_an_unknown_event_type_suggests() -> None:
    with loaded("to_perf") as session, pytest.raises(ebpf.UnknownName) as caught:
        session.maps["perf"].events(type="struct pairs")
    assert "pair" in caught.value.similar


def test_async_events() -> None:
    async def read(stream: object) -> int:
        return len([event async for event in stream])  # type: ignore[attr-defined]

    with loaded("to_ring") as session:
        stream = session.maps["ring"].events(timeout=0.2)
        session.programs["to_ring"].test_run(PACKET, repeat=7)
        assert asyncio.run(read(stream)) == 7


def test_callbacks() -> None:
    with loaded("to_ring", "to_perf") as session:
        got: list[tuple[str, bytes]] = []
        session.on_event("ring", lambda e: got.append(("ring", e.comm)))
        session.on_event("perf", lambda e: got.append(("perf", e.comm)), type="struct pair")
        assert session.poll(0.01) == 0
        session.programs["to_ring"].test_run(PACKET, repeat=2)
        session.programs["to_perf"].test_run(PACKET)
        while session.poll(0.2):
            pass
        assert sorted(got) == [("perf", b"perf"), ("ring", b"hello"), ("ring", b"hello")]


VARIABLES = """
const volatile int wanted = 3;
u64 total = 40;
static u32 hidden;
struct { int x; char name[8]; } both = { 1, "one" };
SEC("xdp") int add(struct xdp_md *ctx) { total += wanted; hidden++; both.x = wanted; return hidden; }
char LICENSE[] SEC("license") = "GPL";
"""


def test_global_variables() -> None:
    obj = ebpf.compile(VARIABLES, dialect="libbpf")
    with ebpf.load(obj) as session:
        run, variables = session.programs["add"].test_run, session.variables
        run(PACKET)
        assert variables["total"] == 43 and variables["wanted"] == 3 and variables["both"].x == 3
        assert variables["both"].name == b"one" and {"total", "wanted", "both"} <= set(variables)
        variables["total"] = 1
        run(PACKET)
        assert variables["total"] == 4
        with pytest.raises(ebpf.UsageError, match="constant once"):
            variables["wanted"] = 5
        with pytest.raises(ebpf.UnknownName, match="did you mean 'total'"):
            variables["totl"]
        assert len(session.maps[".data"][0]) == session.maps[".data"].value_size
    with ebpf.load(obj, variables={"wanted": 10, "total": 100}) as session:
        session.programs["add"].test_run(PACKET)
        assert session.variables["total"] == 110
    with pytest.raises(ebpf.UnknownName):
        ebpf.load(obj, variables={"nonsense": 1})


def test_unknown_names_suggest() -> None:
    with loaded() as session:
        with pytest.raises(ebpf.UnknownName, match="did you mean 'counts'") as caught:
            session.maps["cuonts"]
        assert caught.value.similar[0] == "counts"
        with pytest.raises(KeyError):
            session.programs["nope"]
        with pytest.raises(ebpf.UnknownName, match="no program called 'counter'"):
            session.load_program("counter")


def test_sections_without_a_target_say_what_to_use() -> None:
    with loaded() as session:
        with pytest.raises(ebpf.AttachError, match=r"use attach_xdp\(device\)"):
            session.programs["count"].attach()
        with pytest.raises(ebpf.AttachError, match="no program's section says where"):
            session.attach()


def test_attach_is_all_or_none() -> None:
    """The uprobe on our own process is attached first, then the kprobe fails: nothing stays."""
    text = TEXT.replace('SEC("xdp") int count', f'SEC("uprobe/{os.path.realpath(sys.executable)}:nothing_here") int count')
    text = text.replace("struct xdp_md *ctx)\n{\n    u64 key", "struct pt_regs *ctx)\n{\n    u64 key")
    with ebpf.load(ebpf.compile(text, dialect="libbpf"), load_programs=["count"]) as session:
        with pytest.raises(ebpf.TargetNotFound, match="nothing_here"):
            session.attach()
        assert session.links == []


def test_the_end_of_a_session() -> None:
    session = loaded()
    fd = session.maps["counts"].fileno()
    os.fstat(fd)
    session.close()
    session.close()
    assert session.closed and "closed" in repr(session)
    with pytest.raises(OSError):
        os.fstat(fd)


def test_an_exception_closes() -> None:
    session = loaded()
    with pytest.raises(ZeroDivisionError), session:
        1 / 0  # noqa: B018
    assert session.closed


def test_open_takes_paths_and_bytes(tmp_path: Path) -> None:
    with pytest.raises(ebpf.KernelError, match="No such file"):
        ebpf.open(tmp_path / "no.o")
    with pytest.raises(ebpf.FormatError):
        ebpf.open(b"not an object")
    with pytest.raises(ebpf.UsageError, match="a path or bytes"):
        ebpf.open(7)  # type: ignore[arg-type]
    with pytest.raises(ebpf.KernelError, match="No such file"):
        ebpf.compile(str(tmp_path / "no.c"))


def test_built_object_is_shared() -> None:
    assert built() is built() and set(built().maps) >= {"counts", "ring", "perf"}
