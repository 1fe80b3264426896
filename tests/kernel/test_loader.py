"""Objects made by hand, loaded on this machine's kernel: relocations, data, configuration values, on demand."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from ebpf.abi.maps import BPF_F_RDONLY_PROG, MapType
from ebpf.abi.programs import ProgType
from ebpf.errors import LoadError, MapError, RelocationError, UnknownName, VerifierError
from ebpf.kernel import load, maps, programs
from ebpf.object import Extern, MapSpec, Object, ProgramSpec, Relocation
from tests.kernel import code

pytestmark = pytest.mark.kernel


def program(name: str, body: bytes, *relocations: Relocation, type: ProgType | None = ProgType.RAW_TRACEPOINT,
            autoload: bool = True) -> ProgramSpec:
    return ProgramSpec(name, "raw_tp/x" if type is not None else "other", type, None, "x", False, autoload, True, 0,
                       body, relocations)


def make(*programs_: ProgramSpec, maps: tuple[MapSpec, ...] = (), functions: tuple[ProgramSpec, ...] = (),
         externs: tuple[Extern, ...] = (), license: str = "GPL") -> Object:
    return Object("hand-made", license, 0, {p.name: p for p in programs_}, {f.name: f for f in functions},
                  {m.name: m for m in maps}, None, {e.name: e for e in externs}, {}, None)


def run(loaded: Any, name: str) -> int:
    result: int = loaded.load_program(name).test_run(context=bytes(8)).result
    return result


def data_map(name: str, contents: bytes, frozen: bool) -> MapSpec:
    return MapSpec(name, MapType.ARRAY, 4, len(contents), 1, BPF_F_RDONLY_PROG if frozen else 0, initial=contents,
                   frozen=frozen, is_data=True)


# r0 = *(u32 *)(r1 + 0); exit
LOAD_R1 = code.insn(0x61, 0, 1) + code.EXIT


def test_data_sections_and_their_addresses() -> None:
    reads = program("reads", code.wide(1, 0, 0) + LOAD_R1, Relocation(0, "data", ".rodata", 4))
    obj = make(reads, maps=(data_map(".rodata", struct.pack("@II", 1, 42), True),))
    with load(obj) as loaded:
        assert run(loaded, "reads") == 42
        with pytest.raises(MapError, match="frozen"):
            loaded.maps[".rodata"].update(bytes(4), bytes(8))
    with load(obj, data={".rodata": struct.pack("@II", 1, 43)}) as loaded:
        assert run(loaded, "reads") == 43


def test_subprograms_and_maps() -> None:
    sub = program("sub", code.mov(0, 5) + code.EXIT, type=None)
    main = program("main", code.insn(0x85, 0, 1, 0, -1) + code.insn(0x07, 0, imm=2) + code.wide(1, 0, 0) + code.EXIT,
                   Relocation(0, "call", "sub"), Relocation(16, "map", "m"))
    with load(make(main, functions=(sub,), maps=(MapSpec("m", MapType.HASH, 4, 8, 10),))) as loaded:
        assert run(loaded, "main") == 7
        assert loaded.programs["main"].info().map_ids == (loaded.maps["m"].info().id,)


@pytest.mark.usefixtures("privileged")
def test_kernel_symbols_by_name() -> None:
    from ebpf.kernel.symbols import kernel_symbols

    upper = code.wide(0, 0, 0) + code.insn(0x77, 0, imm=32) + code.EXIT
    there = program("there", upper, Relocation(0, "ksym", "vfs_read"))
    absent = program("absent", upper, Relocation(0, "ksym", "no_such_symbol"))
    externs = (Extern("vfs_read", ".ksyms", 0, False, False), Extern("no_such_symbol", ".ksyms", 0, False, True))
    with load(make(there, absent, externs=externs)) as loaded:
        address = kernel_symbols().address("vfs_read")
        assert address is not None and run(loaded, "there") == address >> 32 and run(loaded, "absent") == 0
    strict = (externs[0], externs[1]._replace(weak=False))
    with pytest.raises(RelocationError, match="no_such_symbol"):
        load(make(there, absent, externs=strict))


def test_on_demand_and_types_from_outside() -> None:
    untyped = program("untyped", code.returns(3), type=None)
    manual = program("manual", code.returns(4), autoload=False)
    with load(make(untyped, manual)) as loaded:
        assert loaded.programs == {}
        with pytest.raises(LoadError, match="type of program"):
            loaded.load_program("untyped")
        first = loaded.load_program("untyped", type=ProgType.SOCKET_FILTER)
        assert first.test_run(bytes(14)).result == 3 and loaded.load_program("untyped") is first
        second = loaded.load_program("untyped", type=ProgType.XDP, again=True)
        assert second is not first and second.type == ProgType.XDP
        assert run(loaded, "manual") == 4
        with pytest.raises(UnknownName) as caught:
            loaded.load_program("manuel")
        assert caught.value.similar == ("manual",)
    with load(make(untyped), types={"untyped": ProgType.XDP}) as loaded:
        assert loaded.programs["untyped"].type == ProgType.XDP


def test_a_refusal_closes_everything() -> None:
    before = {i.id for i in maps.iter_maps()}
    bad = program("bad", code.EXIT)
    with pytest.raises(VerifierError) as caught:
        load(make(program("good", code.returns(0)), bad, maps=(MapSpec("m", MapType.HASH, 4, 8, 10),)))
    assert caught.value.program == "bad" and "R0 !read_ok" in caught.value.log
    # other tests of other people come and go; ours has left nothing called m
    assert not [i for i in maps.iter_maps() if i.id not in before and i.name == "m" and i.max_entries == 10]


def test_sizes_that_the_loader_chooses() -> None:
    from ebpf.kernel.cpus import per_cpu_slots

    specs = (MapSpec("ring", MapType.RINGBUF, 0, 0, 5000), MapSpec("perf", MapType.PERF_EVENT_ARRAY, 4, 4, 0),
             MapSpec("outer", MapType.ARRAY_OF_MAPS, 4, 4, 2, inner=MapSpec("inner", MapType.HASH, 4, 8, 3),
                     values=((1, "filled"),)), MapSpec("filled", MapType.HASH, 4, 8, 3))
    with load(make(maps=specs), max_entries={"ring": 20000}) as loaded:
        assert loaded.maps["ring"].max_entries == 32768 and loaded.maps["perf"].max_entries == per_cpu_slots()
        found = loaded.maps["outer"].lookup(struct.pack("@I", 1))
        assert found == struct.pack("@I", loaded.maps["filled"].info().id)
    with pytest.raises(UnknownName, match="rong"):
        load(make(maps=specs), max_entries={"rong": 1})


def test_tail_call_arrays_are_filled_as_programs_come() -> None:
    target = program("target", code.returns(9))
    jumps = program("jumps", code.wide(2, 0, 0) + code.mov(3, 0) + code.insn(0x85, imm=12) + code.returns(1),
                    Relocation(0, "map", "table"))
    with load(make(jumps, target, maps=(MapSpec("table", MapType.PROG_ARRAY, 4, 4, 1, values=((0, "target"),)),)),
              load_programs=["jumps"]) as loaded:
        assert run(loaded, "jumps") == 1
        loaded.load_program("target")
        assert run(loaded, "jumps") == 9


def test_maps_of_others_stay_open() -> None:
    mine = maps.create_map(name="m", type=MapType.HASH, key_size=4, value_size=8, max_entries=10)
    with load(make(maps=(MapSpec("m", MapType.HASH, 4, 8, 10),)), reuse={"m": mine}) as loaded:
        assert loaded.maps["m"] is mine
    assert not mine.closed


def test_a_table_without_types_says_so() -> None:
    with pytest.raises(MapError, match="ops' has no types"):
        load(make(maps=(MapSpec("ops", MapType.STRUCT_OPS, 4, 8, 1),)))


def test_programs_without_gpl_may_not_call_gpl_helpers() -> None:
    trace = program("trace", code.trace_printk(b"x\0"))
    with pytest.raises(VerifierError) as caught:
        load(make(trace, license="Proprietary"))
    assert "GPL" in caught.value.log
    assert programs.load_program(code.returns(0), type=1, license="Proprietary").info().gpl_compatible is False
