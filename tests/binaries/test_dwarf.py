"""Functions and types out of DWARF: what compilers write, as the program itself knows its layout; and damage."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ebpf.binaries.dwarf import Dwarf
from ebpf.binaries.dwarf_types import DebugTypes, debug_types
from ebpf.binaries.elf import Binary
from ebpf.btf import Btf, format_decl
from ebpf.btf.types import Kind
from ebpf.errors import ElfError

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None or shutil.which("objcopy") is None, reason="no gcc here")

SOURCE = r"""
#include <stddef.h>
#include <stdio.h>
#include <stdbool.h>
enum color { RED, GREEN = 5, DARK = -3 };
struct inner { short a; char name[8]; };
typedef struct { int x, y; } point_t;
struct node {
    struct node *next;
    const struct inner in;
    unsigned flag : 3, : 2, rest : 11;
    union { long l; char c[8]; };
    enum color col;
    point_t points[2][3];
    int (*call)(struct node *, char);
    volatile bool yes;
    double weight;
    unsigned char tail[];
};
__attribute__((noinline)) int take(struct node *n, const char *text, enum color c, point_t p, unsigned char u, ...)
{
    __asm__ volatile("" : "+r"(n));
    return n->in.a + text[0] + (int)c + p.x + u;
}
static __attribute__((noinline)) void *hidden(const struct node *n, point_t *p)
{
    __asm__ volatile("" : "+r"(n));
    return p->x ? 0 : (void *)n;
}
int main(int argc, char **argv)
{
    struct node n = { .in = { 1, "abc" }, .flag = 5, .rest = 777 };
    point_t p = { argc - 1, 2 };
#define AT(f) printf(#f " %zu %zu\n", offsetof(struct node, f) * 8, sizeof n.f)
    AT(next); AT(in); AT(l); AT(c); AT(col); AT(points); AT(call); AT(yes); AT(weight);
    printf("%zu\n", sizeof n);
    return take(&n, "x", GREEN, p, 3, argv) == 0 && hidden(&n, &p) == 0;
}
"""
WAYS = ["gcc -g", "gcc -g -O2", "gcc -gdwarf-4", "gcc -gdwarf-3", "gcc -gdwarf-2 -gstrict-dwarf", "gcc -g -gz",
        "gcc -g -fdebug-types-section", "gcc -gdwarf-4 -fdebug-types-section", "gcc -gdwarf-5 -gdwarf64",
        "clang-14 -g", "clang-14 -gdwarf-4 -O2"]


def built(folder: Path, way: str, source: str = SOURCE, name: str = "app.c") -> Path:
    words = way.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    (folder / name).write_text(source)
    done = subprocess.run([*words, name, "-o", "app"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{way}: {done.stderr.strip().splitlines()[-1]}")
    return folder / "app"


def types_of(path: Path) -> DebugTypes:
    found = debug_types(str(path))
    assert found is not None
    return found


def btf_of(types: DebugTypes, name: str) -> Btf:
    raw = types.btf(name)
    assert raw
    return Btf.parse(raw)


def parameters(btf: Btf, name: str) -> list[str]:
    function: Any = btf.type(btf.find(name, Kind.FUNC) or 0)
    prototype: Any = btf.type(function.type)
    return [format_decl(btf, prototype.type, ""), *[format_decl(btf, p.type, p.name) if p.name else "..."
                                                    for p in prototype.params]]


@pytest.mark.parametrize("way", WAYS)
def test_what_compilers_write(tmp_path: Path, way: str) -> None:
    program = built(tmp_path, way)
    types = types_of(program)
    take = parameters(btf_of(types, "take()"), "take")
    assert take == ["int", "struct node *n", "const char *text", "enum color c", "point_t p", "unsigned char u", "..."]
    assert parameters(btf_of(types, "hidden()"), "hidden") == ["void *", "const struct node *n", "point_t *p"]
    *layout, size = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.splitlines()
    btf = btf_of(types, "struct node")
    id = btf.find("node", Kind.STRUCT)
    assert id is not None and btf.size_of(id) == int(size)
    members = btf.members(id)
    for line in layout:
        name, offset, length = line.split()
        assert (members[name].bit_offset, btf.size_of(members[name].type)) == (int(offset), int(length)), name
    flag, rest = members["flag"], members["rest"]
    assert (flag.bit_size, rest.bit_size, rest.bit_offset - flag.bit_offset) == (3, 11, 5)
    assert btf.find("node", Kind.FWD) is None or btf.find("node", Kind.STRUCT) is not None
    assert format_decl(btf, members["points"].type, "p") == "point_t p[2][3]"
    assert format_decl(btf, members["call"].type, "call") == "int (*call)(struct node *, char)"
    assert format_decl(btf, members["yes"].type, "yes").lower() == "volatile _bool yes"
    enum: Any = btf.type(btf.find("color", Kind.ENUM) or 0)
    assert {v.name: v.value for v in enum.values} == {"RED": 0, "GREEN": 5, "DARK": -3}
    assert btf_of(types, "point_t").find("point_t", Kind.TYPEDEF)
    assert types.btf("struct nowhere") is None and types.btf("nowhere()") is None and types.btf("enum node") is None


def test_a_debug_file_speaks_for_its_program(tmp_path: Path) -> None:
    program = built(tmp_path, "gcc -g -Wl,--build-id")
    for words in (["objcopy", "--only-keep-debug", "--compress-debug-sections", "app", "app.debug"],
                  ["strip", "app"], ["objcopy", "--add-gnu-debuglink=app.debug", "app"]):
        subprocess.run(words, cwd=tmp_path, check=True)
    assert parameters(btf_of(types_of(program), "take()"), "take")[1] == "struct node *n"


def test_without_debug_information_there_is_none(tmp_path: Path) -> None:
    assert debug_types(str(built(tmp_path, "gcc -O1"))) is None


def test_split_debug_information_is_told_from_none(tmp_path: Path) -> None:
    types = types_of(built(tmp_path, "gcc -g -gsplit-dwarf"))
    assert types.is_split and types.btf("take()") is None


def test_two_structs_of_one_name_are_told_by_who_uses_them(tmp_path: Path) -> None:
    (tmp_path / "other.c").write_text("struct x { int other[5]; }; int other(struct x *x) { return x->other[0]; }")
    program = built(tmp_path, "gcc -g other.c", "struct x { int a; }; int mine(struct x *x) { return x->a; }\n"
                                                "int main(void) { struct x x = { 0 }; return mine(&x); }")
    types = types_of(program)
    for near, size in (("mine", 4), ("other", 20)):
        raw = types.btf("struct x", near)
        assert raw
        btf = Btf.parse(raw)
        assert btf.size_of(btf.find("x", Kind.STRUCT) or 0) == size


@pytest.mark.parametrize("way", ["g++ -g", "g++ -g -O2", "clang++-14 -g"])
def test_cplusplus(tmp_path: Path, way: str) -> None:
    program = built(tmp_path, way, r"""
        #include <string>
        namespace outer {
            struct base { int low; };
            class shape : public base {
            public:
                virtual ~shape() {}
                long high; static int shared;
                __attribute__((noinline)) int area(std::string text, const base &b) { return high + text.size() + b.low; }
            };
            int shape::shared = 3;
        }
        int main() { outer::shape s; s.high = 1; return s.area("abc", s); }
        """, "app.cc")
    types = types_of(program)
    linked = "_ZN5outer5shape4areaENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEERKNS_4baseE"
    for name in (linked, "area"):
        result, this, text, b = parameters(btf_of(types, f"{name}()"), name)
        assert result == "int" and this in ("struct shape * const this", "struct shape *this") and b == "const struct base *b"
        assert text == "string *text" or text.endswith("> *text")  # of a class that copies itself: by reference
    btf = btf_of(types, "struct shape")
    members = btf.members(btf.find("shape", Kind.STRUCT) or 0)
    assert members["low"].bit_offset == 64 and members["high"].bit_offset == 128 and "shared" not in members


SHARED = """
    .section .debug_abbrev
    .uleb128 1; .uleb128 0x11; .byte 1; .uleb128 0x03; .uleb128 0x1f21; .uleb128 0; .uleb128 0
    .uleb128 2; .uleb128 0x2e; .byte 1; .uleb128 0x03; .uleb128 0x08; .uleb128 0x49; .uleb128 0x1f20; .uleb128 0; .uleb128 0
    .uleb128 3; .uleb128 0x05; .byte 0; .uleb128 0x03; .uleb128 0x1f21; .uleb128 0x49; .uleb128 0x1f20; .uleb128 0; .uleb128 0
    .byte 0
    .section .debug_info
    .long 2f - 1f
 1: .short 4; .long 0; .byte 8
    .uleb128 1; .long 0
    .uleb128 2; .asciz "shares"; .long 12
    .uleb128 3; .long 4; .long 12
    .byte 0, 0
 2:
    .section .gnu_debugaltlink, "", @progbits
    .asciz "common.debug"
    .ascii "01234567890123456789"
"""
COMMON = """
    .section .debug_str
    .asciz "who"
    .asciz "what"
    .section .debug_abbrev
    .uleb128 1; .uleb128 0x3c; .byte 1; .uleb128 0; .uleb128 0
    .uleb128 2; .uleb128 0x24; .byte 0; .uleb128 0x03; .uleb128 0x08; .uleb128 0x0b; .uleb128 0x0b
    .uleb128 0x3e; .uleb128 0x0b; .uleb128 0; .uleb128 0
    .byte 0
    .section .debug_info
    .long 2f - 1f
 1: .short 4; .long 0; .byte 8
    .uleb128 1
    .uleb128 2; .asciz "short"; .byte 2, 5
    .byte 0
 2:
"""


def test_parts_that_dwz_shares_between_files(tmp_path: Path) -> None:
    for name, text in (("app", SHARED), ("common.debug", COMMON)):
        (tmp_path / f"{name}.s").write_text(text.replace("@progbits", "%progbits"))
        subprocess.run(["gcc", "-c", f"{name}.s", "-o", name], cwd=tmp_path, check=True)
    assert parameters(btf_of(types_of(tmp_path / "app"), "shares()"), "shares") == ["short", "short what"]
    (tmp_path / "common.debug").unlink()
    # Without the file that both would share, what is there is told.
    raw = DebugTypes(Dwarf(Binary(str(tmp_path / "app")))).btf("shares()")
    assert raw and parameters(Btf.parse(raw), "shares") == ["void", "..."]


@pytest.mark.parametrize("way", ["gcc -g", "clang-14 -g", "gcc -gdwarf-4 -fdebug-types-section"])
def test_damage_is_an_error_or_a_value(tmp_path: Path, way: str) -> None:
    program = built(tmp_path, way)
    whole = program.read_bytes()
    binary = Binary(str(program))
    where = [(s.offset, s.size) for s in binary.sections
             if s.name in (".debug_info", ".debug_abbrev", ".debug_str", ".debug_str_offsets", ".debug_types")]
    rng, refused = random.Random(7), 0
    began = time.process_time()
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.choice((1, 1, 2, 8))):
            offset, size = rng.choice(where[:2] if rng.random() < 0.8 else where)
            damaged[offset + rng.randrange(size)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        try:
            types = DebugTypes(Dwarf(Binary(str(program), bytes(damaged))))
            for name in ("take()", "struct node", "point_t"):
                if raw := types.btf(name):
                    Btf.parse(raw).iter_names(Kind.STRUCT)
            types.functions_btf(frozenset(("take", "hidden", "main")))
        except ElfError:
            refused += 1
    assert refused > 10
    assert time.process_time() - began < 60
