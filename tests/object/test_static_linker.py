"""`link_objects`: several objects as one; what libbpf's static linker (bpftool gen object) makes of them is the witness."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import pytest

import ebpf
from ebpf.btf import Btf, format_type
from ebpf.btf.types import Kind
from ebpf.errors import ElfError, FormatError
from ebpf.object import link, read_object
from ebpf.object.static_linker import link_objects

from .corpus import HEAD, SOURCES, compiled

# Each case: objects by name, and what `a`, a program of the first, returns when it is run.
CASES: dict[str, tuple[dict[str, str], int]] = {
    "functions, and a variable of the other": ({
        "one": "extern int shared; int helper(int x); int mine = 4;\n"
               "SEC(\"socket\") int a(void *ctx) { return helper(mine) + shared; }",
        "two": "int shared = 9; noinline int helper(int x) { return x * 10 + shared; }",
    }, 4 * 10 + 9 + 9),
    "static functions and variables of one name": ({
        "one": "int other(void); static int state = 3; static noinline int same(int x) { state += x; return x * 3; }\n"
               "SEC(\"socket\") int a(void *ctx) { return same(2) + state * 100 + other(); }",
        "two": "static int state = 50; static noinline int same(int x) { state += x; return x * 5; }\n"
               "int other(void) { return same(2) + state * 1000; }",
    }, 6 + 500 + 10 + 52_000),
    "a weak default that another object replaces": ({
        "one": "__weak int level(int x) { return x + 1; } __weak int limit = 5; int use_limit(void);\n"
               "SEC(\"socket\") int a(void *ctx) { return level(1) * 1000 + use_limit(); }",
        "two": "int level(int x) { return x + 2; }\nint limit = 7;\nint use_limit(void) { return limit; }",
    }, 3007),
    "two weak ones: the first stays": ({
        "one": "__weak int level(int x) { return x + 1; }\nSEC(\"socket\") int a(void *ctx) { return level(1); }",
        "two": "__weak int level(int x) { return x + 2; }\nSEC(\"socket\") int b(void *ctx) { return level(1); }",
    }, 2),
    "a map that is defined elsewhere, and constants": ({
        "one": "extern struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); }\n"
               "shared SEC(\".maps\"); const volatile int factor = 6; int fill(void);\n"
               "SEC(\"socket\") int a(void *ctx) { u32 k = 1; fill(); u64 *v = bpf_map_lookup_elem(&shared, &k);\n"
               "return v ? (int)*v * factor : -1; }",
        "two": "struct { __uint(type, 27); __uint(max_entries, 4096); } first SEC(\".maps\");\n"
               "struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); }\n"
               "shared SEC(\".maps\"); const volatile int add = 7; \n"
               "int fill(void) { u32 k = 1; u64 *v = bpf_map_lookup_elem(&shared, &k); if (v) *v += add; return 0; }",
    }, 42),
    "callbacks, subprograms and data behind data": ({
        "one": "static u64 pad[3] = {1, 2, 3}; int total(int);\n"
               "SEC(\"socket\") int a(void *ctx) { return total(5) + (int)pad[2]; }",
        "two": "static u64 table[4] = {10, 20, 30, 40}; static u64 sum;\n"
               "struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } m SEC(\".maps\");\n"
               "static long visit(void *map, u32 *key, u64 *value, void *ctx) { sum += table[*key & 3]; return 0; }\n"
               "int total(int x) { bpf_for_each_map_elem(&m, visit, 0, 0); return (int)sum + x; }",
    }, 100 + 5 + 3),
    "three objects": ({
        "one": "int two(int); SEC(\"socket\") int a(void *ctx) { return two(1); }",
        "two": "int three(int); int two(int x) { return three(x + 1) * 2; }",
        "three": "int three(int x) { return x + 20; }",
    }, 44),
}
TAIL = '\nchar LICENSE[] SEC("license") = "GPL";'


def by_clang(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> bytes:
    key = f"static linker {text}"
    monkeypatch.setitem(SOURCES, key, text + TAIL)
    return compiled(key)


def by_us(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> bytes:
    return ebpf.build(HEAD + text + TAIL, filename=f"{name}.c", partial=True).data


def answer(data: bytes) -> int:
    from ebpf.machine import Machine

    return Machine(read_object(data)).run("a", bytes(64)).result


@pytest.mark.parametrize("compilers", [*product((by_clang, by_us), repeat=2)], ids=lambda c: " ".join(f.__name__ for f in c))
@pytest.mark.parametrize("case", CASES)
def test_the_whole_does_what_its_parts_say(case: str, compilers: tuple[Callable[..., bytes], ...],
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    sources, expected = CASES[case]
    objects = [(name, compilers[i % 2](monkeypatch, name, text)) for i, (name, text) in enumerate(sources.items())]
    for order in permutations(objects) if "first" not in case else [objects]:
        whole = link_objects(order)
        assert answer(whole) == expected
        again = link_objects([("whole", whole)])  # what is linked can be linked further
        assert answer(again) == expected


@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
@pytest.mark.parametrize("case", CASES)
def test_programs_are_those_of_libbpfs_linker(case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources, _ = CASES[case]
    objects = {name: by_clang(monkeypatch, name, text) for name, text in sources.items()}
    for name, data in objects.items():
        (tmp_path / f"{name}.o").write_bytes(data)
    done = subprocess.run(["bpftool", "gen", "object", "out.o", *(f"{name}.o" for name in objects)], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = read_object((tmp_path / "out.o").read_bytes())
    ours = read_object(link_objects(objects.items()))
    assert ours.programs.keys() == theirs.programs.keys()
    for name in ours.programs:
        a, b = link(ours, name), link(theirs, name)
        assert (a.code, a.relocations, len(a.line_info)) == (b.code, b.relocations, len(b.line_info))
        assert [ours.btf.type(f.type_id).name for f in a.func_info] == [theirs.btf.type(f.type_id).name for f in b.func_info]  # type: ignore[union-attr]
    for name, spec in theirs.maps.items():
        mine = ours.maps[name]
        assert (mine.type, mine.key_size, mine.value_size, mine.max_entries, mine.initial) == (
            spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.initial)
        assert [v[::2] for v in mine.variables] == [v[::2] for v in spec.variables]
    assert defined(ours.btf) == defined(theirs.btf)


def defined(btf: Btf | None) -> list[str]:
    """Every struct, each as often as it is there."""
    assert btf is not None
    return sorted(format_type(btf, t.id) for t in btf if t.kind in (Kind.STRUCT, Kind.UNION, Kind.ENUM) and t.name)


@pytest.mark.skipif(not shutil.which("bpftool"), reason="bpftool is not installed")
def test_bpftool_reads_what_we_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources, _ = CASES["callbacks, subprograms and data behind data"]
    path = tmp_path / "whole.o"
    path.write_bytes(link_objects([(name, by_us(monkeypatch, name, text)) for name, text in sources.items()]))
    dumped = subprocess.run(["bpftool", "btf", "dump", "file", str(path)], capture_output=True, text=True)
    assert dumped.returncode == 0 and "FUNC 'total'" in dumped.stdout, dumped.stderr
    skeleton = subprocess.run(["bpftool", "gen", "skeleton", str(path)], capture_output=True, text=True)
    assert skeleton.returncode == 0 and "struct bpf_program *a;" in skeleton.stdout, skeleton.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_takes_the_whole(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, expected = CASES[case]
    whole = link_objects([(name, by_us(monkeypatch, name, text)) for name, text in sources.items()])
    with ebpf.load(ebpf.open(whole), backend="kernel") as session:
        assert session.programs["a"].test_run(bytes(64)).result == expected


REFUSED = {
    "two definitions": (("int f(int x) { return x; }", "int f(int x) { return x + 1; }"),
                        "`f` is defined in first.o and in second.o"),
    "two variables": (("int n = 1;", "int n = 2;"), "`n` is defined in first.o and in second.o"),
    "other parameters": (("int f(int x); SEC(\"socket\") int a(void *c) { return f(1); }", "int f(int *x) { return *x; }"),
                         "`f` is not the same in first.o and second.o"),
    "another map": (("extern struct { __uint(type, 1); __uint(max_entries, 8); __type(key, u32); __type(value, u64); } m "
                     "SEC(\".maps\"); SEC(\"socket\") int a(void *c) { u32 k = 0; return !bpf_map_lookup_elem(&m, &k); }",
                     "struct { __uint(type, 2); __uint(max_entries, 8); __type(key, u32); __type(value, u64); } m "
                     "SEC(\".maps\");"), "`m` is not the same in first.o and second.o"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, message = REFUSED[case]
    objects = [(f"{name}.o", by_us(monkeypatch, name, text)) for name, text in zip(("first", "second"), texts, strict=True)]
    with pytest.raises(ElfError, match=message):
        link_objects(objects)


def test_licenses_must_agree() -> None:
    texts = [f'SEC("socket") int {name}(void *c) {{ return 0; }} char L[] SEC("license") = "{license}";'
             for name, license in (("a", "GPL"), ("b", "MIT"))]
    objects = [ebpf.build(HEAD + text, partial=True).data for text in texts]
    with pytest.raises(FormatError, match="different licenses: object 1 says 'GPL', object 2 'MIT'"):
        ebpf.link(*objects)
    with pytest.raises(FormatError, match="no objects to link"):
        ebpf.link()


def test_types_and_records_of_both_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list node that refers to itself, in both objects; the second one's lines still name the second file."""
    common = ("struct node { struct node *next; struct { u32 a; union { u64 b; char c[8]; }; }; enum { P, Q } e; };\n"
              "struct { __uint(type, 1); __uint(max_entries, 8); __type(key, u32); __type(value, struct node); } %s "
              "SEC(\".maps\");\n")
    one = by_us(monkeypatch, "one", common % "m1" + 'SEC("socket") int a(void *c) { u32 k = 0; struct node *n = '
                "bpf_map_lookup_elem(&m1, &k); return n ? n->a : 0; }")
    two = by_us(monkeypatch, "two", common % "m2" + 'SEC("socket") int b(void *c) { u32 k = 0; struct node *n = '
                "bpf_map_lookup_elem(&m2, &k); return n ? n->c[3] : 0; }")
    whole = read_object(link_objects([("one.o", one), ("two.o", two)]))
    assert whole.btf is not None
    assert len(whole.btf.find_all("node", Kind.STRUCT)) == 1
    assert whole.maps["m1"].value_type_id == whole.maps["m2"].value_type_id
    assert [link(whole, name).line_info[0].file for name in ("a", "b")] == ["one.c", "two.c"]
