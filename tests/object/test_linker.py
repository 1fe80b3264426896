"""`link`: subprograms appended, calls resolved, tables moved; held against what libbpf gives the kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ebpf import isa
from ebpf.errors import ElfError, RelocationError, UnknownName
from ebpf.object import link, read_object
from ebpf.object.elf import ElfImage
from ebpf.object.spec import Object, ProgramSpec, Relocation

from .corpus import SOURCES, compiled


def function(name: str, text: str, *relocations: Relocation) -> ProgramSpec:
    return ProgramSpec(name, ".text", None, None, "", False, True, True, 0, isa.encode(isa.assemble(text)), relocations)


def objects(*functions: ProgramSpec) -> Object:
    main, *others = functions
    return Object("test", "GPL", 0, {main.name: main}, {f.name: f for f in others}, {}, None, {}, {}, None)


def test_calls_callbacks_and_circles() -> None:
    obj = objects(
        function("main", "r2 = 0 ll\ncall pc-1\ncall pc-1\nexit", Relocation(0, "func", "callback"),
                 Relocation(16, "call", "a"), Relocation(24, "call", "b")),
        function("b", "call pc-1\nexit", Relocation(0, "call", "a")),
        function("a", "r1 = 0 ll\ncall pc-1\nexit", Relocation(0, "data", ".bss", 24), Relocation(16, "call", "b")),
        function("callback", "r0 = 0\nexit"),
        function("unused", "exit"),
    )
    linked = link(obj, "main")
    assert linked.functions == ((0, "main"), (5, "callback"), (7, "a"), (11, "b"))
    assert [text for _, _, text in isa.disassemble(linked.code)] == [
        "r2 = subprog[+4]", "call pc+4", "call pc+7", "exit", "r0 = 0", "exit",
        "r1 = 0x0", "call pc+1", "exit", "call pc-5", "exit"]
    assert linked.relocations == ((7, "data", ".bss", 24),)
    assert linked.function_of(4) == "main"
    assert linked.function_of(8) == "a"
    assert linked.function_of(99) == "b"


def test_a_long_chain_of_calls() -> None:
    chain = [function(f"f{i}", "call pc-1\nexit", Relocation(0, "call", f"f{i + 1}")) for i in range(3000)]
    linked = link(objects(*chain, function("f3000", "exit")), "f0")
    assert len(linked.functions) == 3001


def test_names_that_are_not_there() -> None:
    obj = objects(function("main", "call pc-1\nexit", Relocation(0, "undefined", "puts")))
    with pytest.raises(RelocationError, match="uses `puts`"):
        link(obj, "main")
    with pytest.raises(UnknownName) as caught:
        link(obj, "mian")
    assert "main" in caught.value.similar


def test_tables_move_with_their_functions() -> None:
    obj = read_object(compiled("calls"))
    linked = link(obj, "calls")
    assert obj.btf is not None
    assert [(r.insn_off, obj.btf.type(r.type_id).name) for r in linked.func_info] == list(linked.functions)
    assert [r.insn_off for r in linked.line_info] == sorted({r.insn_off for r in linked.line_info})
    assert len(linked.func_info_bytes()) == 8 * len(linked.func_info)
    assert len(linked.line_info_bytes()) == 16 * len(linked.line_info)
    for record in linked.line_info:
        if "return x * 3" in record.text:
            assert linked.function_of(record.insn_off) == "leaf"
    externs = read_object(compiled("externs"))
    assert [r.insn_off * 8 for r in link(externs, "f").core_relos] == [
        r.insn_off for r in externs.programs["f"].core_relos]


@pytest.mark.parametrize("name", ["hello", "rich", "calls", "externs", "legacy"])
def test_all_that_is_linked_decodes(name: str) -> None:
    obj = read_object(compiled(name))
    for program in obj.programs:
        linked = link(obj, program)
        slots = dict(isa.iter_slots(isa.decode(linked.code)))
        for slot, kind, symbol, _ in linked.relocations:
            assert slots[slot].opcode == (0x85 if kind == "kfunc" else 0x18)
            if kind == "map" or kind == "data":
                assert symbol in obj.maps
        starts = {start for start, _ in linked.functions}
        for slot, insn in slots.items():
            if insn.opcode == 0x85 and insn.src == 1 and not any(r.slot == slot for r in linked.relocations):
                assert slot + 1 + insn.imm in starts


@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="loading a program needs root")
def test_linked_code_is_what_libbpf_loads(tmp_path: Path) -> None:
    (tmp_path / "p.o").write_bytes(compiled("calls"))
    pin = f"/sys/fs/bpf/ebpf_link_test_{os.getpid()}"
    loaded = subprocess.run(["bpftool", "prog", "loadall", "p.o", pin], cwd=tmp_path, capture_output=True, text=True)
    if loaded.returncode:
        pytest.skip(f"this kernel or user cannot load a socket filter: {loaded.stderr.strip()[-200:]}")
    try:
        dump = ["bpftool", "prog", "dump", "xlated", "pinned"]
        dumps = {name: subprocess.check_output([*dump, f"{pin}/{name}"], text=True) for name in ("calls", "other")}
    finally:
        shutil.rmtree(pin)
    obj = read_object(compiled("calls"))
    for name, text in dumps.items():
        theirs = [re.sub(r"#.*", "", m[1]) for m in re.finditer(r"^ *\d+: \([0-9a-f]{2}\) (.*)$", text, re.MULTILINE)]
        assert [line for _, _, line in isa.disassemble(link(obj, name).code)] == theirs


SEPARATE = {
    "linked_a": """
static noinline u64 same(u64 x) { asm volatile("" : "+r"(x)); return x * 3; }
extern int shared; int mine = 4;
__weak noinline int both(u32 x) { asm volatile("" : "+r"(x)); return x + shared; }
SEC("socket") int a(void *ctx) { return (int)same(3) + both(3) + mine; }
""", "linked_b": """
static noinline u64 same(u64 x) { asm volatile("" : "+r"(x)); return x * 5; }
int shared = 9; int both(u32 x);
SEC("socket") int b(void *ctx) { return (int)same(3) + both(3); }
"""}


def test_an_object_that_lacks_its_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "linked_a", SEPARATE["linked_a"])
    obj = read_object(compiled("linked_a"), "a.o")
    with pytest.raises(RelocationError, match="`both` uses `shared`, neither defined in a.o"):
        link(obj, "a")


@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
def test_statically_linked_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What libbpf's static linker writes: two static functions of one name, data of both, relocations across."""
    for name, source in SEPARATE.items():
        monkeypatch.setitem(SOURCES, name, source)
        (tmp_path / f"{name}.o").write_bytes(compiled(name))
    subprocess.run(["bpftool", "gen", "object", "out.o", *(f"{name}.o" for name in SEPARATE)], cwd=tmp_path, check=True)
    obj = read_object((tmp_path / "out.o").read_bytes())
    assert [[name for _, name in link(obj, p).functions] for p in ("a", "b")] == [
        ["a", "same", "both"], ["b", "same.1", "both"]]
    assert [v.name for v in obj.maps[".data"].variables] == ["mine", "shared"]
    assert [(r.kind, r.addend) for r in link(obj, "b").relocations] == [("data", 4)]
    assert "r0 *= 5" in {text for _, _, text in isa.disassemble(obj.functions["same.1"].code)} or "r1 *= 5" in {
        text for _, _, text in isa.disassemble(obj.functions["same.1"].code)}


def test_calls_into_nowhere_are_refused() -> None:
    image = ElfImage.parse(compiled("calls"))
    section = image.section(".text")
    code = bytearray(section.data)
    at = next(slot * 8 for slot, insn in isa.iter_slots(isa.decode(bytes(code))) if insn.opcode == 0x85)
    code[at + 4] ^= 1
    image.replace(".text", bytes(code))
    with pytest.raises(ElfError, match="where no function starts"):
        read_object(image.emit())
