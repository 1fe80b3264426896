"""C text: hand-written expectations, and the whole kernel compared with ``bpftool btf dump format c``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from ebpf.btf import Btf, Builder, Kind, format_decl, format_type, types as T
from ebpf.errors import BtfError
from tests.btf import sample as samples
from tests.btf.witness import VMLINUX, bpftool, compile_bpf, vmlinux

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = samples.build()
BTF, ID = SAMPLE.btf, SAMPLE.id


@pytest.mark.parametrize(("type", "expected"), [
    ("int", "int x"), ("comm", "char x[16]"), ("int[2][3]", "int x[2][3]"), ("node *", "struct node *x"),
    ("volatile", "const volatile pid_t x"), ("restrict", "struct elsewhere * restrict x"),
    ("color", "enum color x"), ("proto", "int x(struct elsewhere * restrict ctx, unsigned long n)"),
    ("tagged", 'struct node __attribute__((btf_type_tag("user"))) *x'),
])
def test_declarations(type: str, expected: str) -> None:
    assert format_decl(BTF, ID[type], "x") == expected


def test_definitions() -> None:
    assert format_type(BTF, ID["plain"]) == "struct plain {\n\tpid_t pid;\n\tunsigned int cpu;\n\tunsigned long ns;\n};"
    assert format_type(BTF, ID["pid_t"]) == "typedef int pid_t;"
    assert format_type(BTF, ID["func"]) == "int handler(struct elsewhere * restrict ctx, unsigned long n);"
    assert format_type(BTF, ID["big"]) == "enum big {\n\tSMALL = 1ULL,\n\tHUGE = 1099511627776ULL,\n};"
    assert format_type(BTF, ID["color"]) == "enum color {\n\tRED = 0,\n\tGREEN = 1,\n\tINFRA = -1,\n};"


SOURCE = """
struct a { int x:3; unsigned y:5; long z; union { int q; char w[3]; }; struct { int m; } n; int *p; int (*f)(int, char *);
  int arr[2][3]; const volatile char *s; int (*fa[3])(void); int *ap[4]; int (*pa)[5]; enum e { A, B = -1 } en;
  void (*vp)(void); int (*(*ff)(int))(char); char *const cp; int (*va)(const char *, ...); };
struct holes { char a; int :0; long b:9; long :0; char c; long d; char e; } __attribute__((aligned(32)));
struct packed { char a; long b; short c; } __attribute__((packed));
struct gap { int a; char b[3]; long c; int d:4; int:9; int e:3; };
struct empty {};
typedef struct { int k; } anon_t; typedef int (*fp_t)(int); typedef int arr_t[3]; struct fwd;
struct a g; anon_t h; fp_t fpp; arr_t at; struct fwd *fw; struct holes ho; struct packed pk; struct gap ga; struct empty em;
"""


def assert_same_text(btf: Btf, path: str) -> None:
    """Every definition of ours is in bpftool's dump, apart from the numbers that tell equal names apart."""
    def plain(text: str) -> str:
        return re.sub(r"___\d+\b", "", text)

    theirs = {plain(block.strip()) for block in bpftool("btf", "dump", "file", path, "format", "c").split("\n\n")}
    theirs = {re.sub(r"(?s).*#pragma clang attribute push[^\n]*\n#endif\n*", "", b) for b in theirs}
    compared, missing = 0, []
    for t in btf:
        named = isinstance(t, (T.Struct, T.Union, T.Typedef)) or (isinstance(t, (T.Enum, T.Enum64)) and t.values)
        if not named or not t.name or t.name == "__builtin_va_list":
            continue
        compared += 1
        ours = plain(format_type(btf, t.id))
        # libbpf before 1.2 doesn't know how to say that an enum has one byte.
        if ours not in theirs and ours.replace(" __attribute__((mode(byte)))", "") not in theirs:
            missing.append(ours)
    assert compared and not missing, "\n".join(missing[:5])


def test_compiled_text_agrees_with_bpftool(tmp_path: Path) -> None:
    sections = compile_bpf(SOURCE, tmp_path)
    assert_same_text(Btf.parse(sections[".BTF"]), sections[".path"].decode())


@pytest.mark.kernel
@pytest.mark.slow
def test_kernel_text_agrees_with_bpftool() -> None:
    assert_same_text(vmlinux(), str(VMLINUX))


def test_circles_end() -> None:
    b = Builder()
    typedef = b.reserve()
    b.define(typedef, T.Typedef(0, "t", typedef))
    pointer = b.reserve()
    b.define(pointer, T.Ptr(0, pointer))
    struct = b.reserve()
    b.define(struct, T.Struct(0, "", 8, (T.Member("", struct, 0), T.Member("", struct, 0))))
    array = b.reserve()
    b.define(array, T.Array(0, array, array, 2))
    proto = b.reserve()
    b.define(proto, T.FuncProto(0, proto, (T.Param("a", proto), T.Param("b", proto))))
    btf = b.build()
    assert format_type(btf, typedef) == "typedef t t;"
    for id in (pointer, struct, array, proto):
        with pytest.raises(BtfError):
            format_decl(btf, id, "x")
    with pytest.raises(BtfError):
        btf.members(struct)
    with pytest.raises(BtfError):
        btf.size_of(array)
    assert btf.kind(struct) == Kind.STRUCT
