"""What `read_object` finds in objects that clang wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ebpf.abi.maps import BPF_F_LINK, BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, MapType
from ebpf.abi.programs import AttachType, ProgType
from ebpf.btf.types import DataSec, Func, Kind
from ebpf.errors import ElfError
from ebpf.object import Object, read_object
from ebpf.object.elf import ElfImage

from . import corpus
from .corpus import compiled, slim


def rich() -> Object:
    return read_object(compiled("rich"), "rich")


def test_programs_and_subprograms() -> None:
    obj = rich()
    assert {p.name: (p.section, p.type, p.expected_attach_type, p.autoload) for p in obj.programs.values()} == {
        "unnamed": ("socket/first", None, None, True),
        "first": ("socket", ProgType.SOCKET_FILTER, None, True),
        "second": ("socket", ProgType.SOCKET_FILTER, None, True),
        "tail": ("socket", ProgType.SOCKET_FILTER, None, True),
        "off": ("?xdp.frags", ProgType.XDP, AttachType.XDP, False),
    }
    assert {f.name: f.is_global for f in obj.functions.values()} == {
        "leaf": False, "middle": False, "visit": False, "global_sub": True, "hidden_sub": False}
    assert obj.license == "Dual BSD/GPL"
    assert obj.kernel_version == 0x50A00
    # Functions share sections but not code.
    socket = [p for p in obj.programs.values() if p.section == "socket"]
    ends = sorted((p.offset, p.offset + len(p.code)) for p in socket)
    assert all(a[1] <= b[0] for a, b in zip(ends, ends[1:], strict=False))


def test_maps() -> None:
    maps = rich().maps
    shape = {m.name: (m.type, m.key_size, m.value_size, m.max_entries, m.flags) for m in maps.values() if not m.is_data}
    assert shape == {
        "in1": (MapType.ARRAY, 4, 8, 4, 0), "in2": (MapType.ARRAY, 4, 8, 4, 0),
        "outer": (MapType.ARRAY_OF_MAPS, 4, 4, 3, 0), "jumps": (MapType.PROG_ARRAY, 4, 4, 8, 0),
        "pinned": (MapType.HASH, 8, 8, 10240, 1), "rb": (MapType.RINGBUF, 0, 0, 4096, 0),
        "bloom": (MapType.BLOOM_FILTER, 0, 8, 5, 0)}
    assert maps["pinned"].pinning == 1
    assert maps["bloom"].map_extra == 3
    assert maps["outer"].values == ((0, "in1"), (2, "in2"))
    assert maps["jumps"].values == ((5, "tail"),)
    inner = maps["outer"].inner
    assert inner is not None
    assert (inner.type, inner.key_size, inner.value_size, inner.max_entries) == (MapType.ARRAY, 4, 8, 4)
    btf = rich().btf
    assert btf is not None
    assert btf.type(maps["pinned"].key_type_id).name == "key"


def test_large_numbers_in_map_definitions() -> None:
    arena = read_object(compiled("ulong")).maps["arena"]
    assert (arena.type, arena.map_extra, arena.flags) == (MapType.ARENA, 0x10000000, 1024)


def test_data_sections() -> None:
    obj = rich()
    data = {m.name: m for m in obj.maps.values() if m.is_data}
    assert data.keys() == {".data", ".data.custom", ".rodata", ".bss"}
    assert {n: (m.initial, m.frozen) for n, m in data.items()} == {
        ".data": (bytes([7, 0, 0, 0, 9, 0, 0, 0]), False), ".data.custom": (bytes([3, 0, 0, 0]), False),
        ".rodata": (bytes([12, 0, 0, 0]), True), ".bss": (None, False)}
    assert data[".bss"].value_size == 32
    assert data[".rodata"].flags == BPF_F_RDONLY_PROG | BPF_F_MMAPABLE
    assert [(v.name, v.offset, v.size, v.is_static) for v in data[".data"].variables] == [
        ("counter", 0, 4, False), ("hidden_counter", 4, 4, True)]


def test_types_are_completed() -> None:
    """Sections' sizes and variables' offsets, which clang leaves 0; hidden functions become static."""
    btf = rich().btf
    assert btf is not None
    sections = {t.name: t for t in btf if isinstance(t, DataSec)}
    assert sections[".data"].size == 8
    assert [v.offset for v in sections[".data"].variables] == [0, 4]
    offsets = [v.offset for v in sections[".maps"].variables]
    assert offsets == sorted(set(offsets))
    linkage = {t.name: t.linkage for t in btf if isinstance(t, Func)}
    assert (linkage["hidden_sub"], linkage["global_sub"]) == (0, 1)


def test_types_of_a_section_that_clang_left_out() -> None:
    """clang -O2 moves constants to a mergeable section and leaves the types of `.rodata` behind; libbpf gives up."""
    image = ElfImage.parse(compiled("rich"))
    image.rename(".rodata", ".rodata.cst4")
    obj = read_object(image.emit(), "moved")
    assert obj.btf is not None and {".rodata.cst4"} == {n for n in obj.maps if n.startswith(".rodata")}
    [left] = [t for t in obj.btf if isinstance(t, DataSec) and t.name == ".rodata"]
    assert left.size == sum(v.size for v in left.variables) > 0


def test_debug_information_belongs_to_its_function() -> None:
    obj = rich()
    for spec in [*obj.programs.values(), *obj.functions.values()]:
        assert [r.insn_off for r in spec.func_infos] == [0]
        assert obj.btf is not None
        assert obj.btf.type(spec.func_infos[0].type_id).name == spec.name
        assert spec.line_infos[0].insn_off == 0
        assert all(0 <= r.insn_off < len(spec.code) for r in spec.line_infos)
    # Inline assembly has lines of its own.
    source = (corpus.HEAD + corpus.RICH).splitlines()
    leaf = {source[r.line - 1] for r in obj.functions["leaf"].line_infos if r.file != "<inline asm>"}
    assert [text.split("(")[0] for text in leaf] == ["static noinline u64 leaf"]


def test_lines_and_relocations_are_decoded_when_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading and linking make no record of a line, function or relocation, nor a type of each: a large object has
    tens of thousands, which only a refused program's message wants."""
    from ebpf.btf import Btf, ext
    from ebpf.object import link

    made: list[object] = []
    for kind in (ext.FuncInfos, ext.LineInfos, ext.CoreRelos):
        inner = kind._record
        monkeypatch.setattr(kind, "_record", lambda self, words, inner=inner: made.append(0) or inner(self, words))
    obj = rich()
    linked = link(obj, "first")
    assert len(linked.line_info) > len(linked.functions) == len(linked.func_info) and not made
    assert linked.line_info_bytes()[:4] == bytes(4) and len(linked.line_info_bytes()) == 16 * len(linked.line_info)
    assert obj.btf is not None and len(obj.btf._types) < len(obj.btf) * 0.8
    first = linked.line_info[0]
    assert made == [0] and first.file.endswith("stdin>") and first.line > 1
    assert linked.line_info[:2] == tuple(linked.line_info)[:2] and linked.line_info[-1] == list(linked.line_info)[-1]
    raw = bytes(ElfImage.parse(compiled("rich")).section(".BTF.ext").data)
    one, other = (ext.BtfExt.parse(raw, Btf.parse(obj.btf.data)) for _ in range(2))
    assert one.line_info == other.line_info and len({hash(e.line_info["socket"]) for e in (one, other)}) == 1


def test_work_grows_with_the_object() -> None:
    """Calls of Python functions for twice as many functions: twice as many, not four times."""
    from ebpf.object import link

    calls = []
    for count in (40, 80):
        text = "".join(f"static noinline u64 f{n}(u64 x) {{ asm volatile(\"\" : \"+r\"(x)); return x * {n}; }}\n"
                       for n in range(count))
        body = "".join(f"x += f{n}(x);" for n in range(count))
        data = corpus.compile_c(f'{corpus.HEAD}{text}SEC("socket") int all(u64 *c) {{ u64 x = *c; {body} return x; }}')
        seen = [0]

        def count_calls(frame: object, event: str, arg: object, seen: list[int] = seen) -> None:
            seen[0] += event in ("call", "c_call")

        sys.setprofile(count_calls)
        try:
            linked = link(read_object(data), "all")
        finally:
            sys.setprofile(None)
        assert len(linked.functions) == count + 1
        calls.append(seen[0])
    assert calls[1] < 2.2 * calls[0], calls


def test_externs() -> None:
    obj = read_object(compiled("externs"))
    found = {e.name: (e.section, e.is_function, e.weak) for e in obj.externs.values()}
    assert found == {
        "CONFIG_HZ": (".kconfig", False, False), "CONFIG_X": (".kconfig", False, True),
        "LINUX_KERNEL_VERSION": (".kconfig", False, False), "some_variable": (".ksyms", False, False),
        "some_symbol": (".ksyms", False, False), "some_kfunc": (".ksyms", True, False),
        "other_kfunc": (".ksyms", True, True)}
    # Widest first, so that nothing is padded.
    kconfig = obj.maps[".kconfig"]
    assert [(v.name, v.offset, v.size) for v in kconfig.variables] == [
        ("LINUX_KERNEL_VERSION", 0, 8), ("CONFIG_HZ", 8, 4), ("CONFIG_X", 12, 1)]
    assert (kconfig.value_size, kconfig.frozen) == (13, True)
    kinds = {(r.kind, r.symbol) for r in obj.programs["f"].relocations}
    assert kinds >= {("kconfig", "CONFIG_HZ"), ("ksym", "some_variable"), ("ksym", "some_symbol"),
                     ("kfunc", "some_kfunc"), ("kfunc", "other_kfunc"), ("ksym", "other_kfunc")}
    assert obj.programs["f"].attach_to == "sched_switch"
    (core,) = obj.programs["f"].core_relos
    assert obj.btf is not None
    assert (obj.btf.type(core.type_id).name, core.access) == ("task_struct", "0:1")
    assert obj.programs["f"].code[core.insn_off] & 7 in (1, 7)  # a load or an addition


def test_legacy_map_definitions() -> None:
    obj = read_object(compiled("legacy"))
    assert [(m.name, m.type, m.key_size, m.value_size, m.max_entries, m.flags) for m in obj.maps.values()] == [
        ("one", MapType.HASH, 4, 8, 16, 1), ("two", MapType.ARRAY, 4, 2, 17, 0)]
    assert [(r.kind, r.symbol) for r in obj.programs["f"].relocations] == [("map", "two")]


def test_tables_of_functions() -> None:
    obj = read_object(compiled("struct_ops"))
    assert {m.name: (m.type, m.values, m.flags) for m in obj.maps.values()} == {
        "one": (MapType.STRUCT_OPS, ((16, "second"),), 0),
        "two": (MapType.STRUCT_OPS, ((8, "first"), (16, "second")), BPF_F_LINK)}
    one = obj.maps["one"]
    assert one.initial is not None
    assert (one.value_size, one.initial[:4], one.initial[24:28]) == (40, bytes([3, 0, 0, 0]), b"one\0")
    assert obj.btf is not None
    assert obj.btf.type(one.value_type_id).name == "some_ops"
    assert obj.programs["second"].sleepable


def test_without_debug_information() -> None:
    obj = read_object(compiled("calls", "-g0"))
    assert obj.btf is None
    assert obj.programs.keys() == {"calls", "other"}
    with pytest.raises(ElfError, match="needs BTF"):
        read_object(compiled("hello", "-g0"))


BAD_MAPS = {
    "struct { __uint(max_entries, 1); } m SEC(\".maps\");": "`m` has no `type`",
    "struct { __uint(type, 1); __uint(size, 1); } m SEC(\".maps\");": "unknown member `size`",
    "struct { int type; } m SEC(\".maps\");": "`type` is not a number",
    "struct { __uint(type, 1); u32 key; } m SEC(\".maps\");": "`key` must be a pointer",
    "struct { __uint(type, 1); __type(key, u32); __uint(key_size, 8); } m SEC(\".maps\");": "`key_size` says 8",
    "struct { __uint(type, 1); __uint(pinning, 2); } m SEC(\".maps\");": "unknown pinning 2",
    "int m SEC(\".maps\");": "expected a struct",
    "struct { __uint(type, 13); __array(values, struct { __uint(type, 13); __array(values, int); }); }"
    " m SEC(\".maps\");": "nested only once",
}


@pytest.mark.parametrize("source", BAD_MAPS)
def test_maps_that_make_no_sense(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(corpus.SOURCES, source, source)
    with pytest.raises(ElfError) as caught:
        read_object(compiled(source))
    assert BAD_MAPS[source] in str(caught.value)


def test_reading_is_deterministic_and_quick() -> None:
    data = compiled("hello")
    assert read_object(data) == read_object(data)
    best = 1.0
    for _ in range(20):
        start = time.perf_counter()
        read_object(data)
        best = min(best, time.perf_counter() - start)
    assert best < 0.003  # measured: 0.2 ms


def test_reading_imports_little() -> None:
    script = ("import sys; from ebpf.object import read_object; read_object(open(sys.argv[1], 'rb').read());"
              "late = ('ctypes', 'numpy', 'elftools', 'dataclasses', 'json', 'inspect');"
              "print([m for m in late if m in sys.modules])")
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"ebpf_object_{os.getpid()}.o"
    path.write_bytes(compiled("hello"))
    try:
        done = subprocess.run([sys.executable, "-S", "-c", script, str(path)], check=True, capture_output=True,
                              text=True, env={"PYTHONPATH": ":".join(p for p in sys.path if p)})
    finally:
        path.unlink()
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="loading a program needs root")
@pytest.mark.parametrize("rewritten", [False, True])
def test_maps_as_libbpf_makes_them(tmp_path: Path, rewritten: bool) -> None:
    """bpftool loads the object, as it is and as we write it; the kernel tells what maps came out."""
    (tmp_path / "p.o").write_bytes(slim("hello") if rewritten else compiled("hello"))
    pin = f"/sys/fs/bpf/ebpf_object_test_{os.getpid()}_{rewritten}"
    loaded = subprocess.run(["bpftool", "prog", "load", "p.o", pin], cwd=tmp_path, capture_output=True, text=True)
    if loaded.returncode:
        pytest.skip(f"this kernel or user cannot load a socket filter: {loaded.stderr.strip()[-200:]}")
    try:
        prog = json.loads(subprocess.check_output(["bpftool", "-j", "prog", "show", "pinned", pin]))
        theirs = json.loads(subprocess.check_output(["bpftool", "-j", "map", "show", "id", str(prog["map_ids"][0])]))
    finally:
        Path(pin).unlink()
    ours = read_object(compiled("hello")).maps["counts"]
    assert (theirs["name"], theirs["type"], theirs["bytes_key"], theirs["bytes_value"], theirs["max_entries"]) == (
        ours.name, ours.type.name.lower(), ours.key_size, ours.value_size, ours.max_entries)


def test_datasec_kind_number() -> None:
    from ebpf.object import datasec

    assert datasec._DATASEC == Kind.DATASEC
