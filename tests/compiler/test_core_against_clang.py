"""CO-RE records: the same questions in the object as clang puts there."""

from __future__ import annotations

import pytest

from ebpf.btf import Btf, BtfExt
from ebpf.object.elf import ElfImage
from tests.compiler.test_cache import Facts

PRELUDE = """\
#ifndef __ours__
#define SEC(name) __attribute__((section(name), used))
#define __CORE_RELO(p, f, kind) __builtin_preserve_field_info((p)->f, kind)
#define bpf_core_field_exists(x) __builtin_preserve_field_info(x, 2)
#define bpf_core_field_size(x) __builtin_preserve_field_info(x, 1)
#define bpf_core_field_offset(x) __builtin_preserve_field_info(x, 0)
#define bpf_core_type_exists(t) __builtin_preserve_type_info(*(typeof(t) *)0, 0)
#define bpf_core_type_size(t) __builtin_preserve_type_info(*(typeof(t) *)0, 1)
#define bpf_core_type_matches(t) __builtin_preserve_type_info(*(typeof(t) *)0, 2)
#define bpf_core_type_id_kernel(t) __builtin_btf_type_id(*(typeof(t) *)0, 1)
#define bpf_core_enum_value_exists(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 0)
#define bpf_core_enum_value(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 1)
#endif
typedef unsigned long long u64;
enum state { IDLE = 1, BUSY = 7 };
struct inner { int a; struct { long b; char text[8]; }; union { int c; long d; }; };
struct outer { struct outer *next; struct inner in; struct inner many[4]; int grid[2][3]; unsigned flags : 4, more : 6; u64 tail; }
    __attribute__((preserve_access_index));
struct plain { int x; struct outer *o; };
"""
CASES = {
    "member": "return o->tail;",
    "chain": "return o->next->next->tail;",
    "nested": "return o->in.a;",
    "anonymous": "return o->in.b + o->in.d;",
    "array": "return o->many[2].a + o->in.text[3];",
    "grid": "return o->grid[1][2];",
    "variable index": "return o->many[o->in.a & 3].c;",
    "write": "o->tail = 4; o->in.c++; return 0;",
    "address": "return (long)&o->many[1].text;",
    "exists": "return bpf_core_field_exists(o->in.text) + 2 * bpf_core_field_exists(o->flags);",
    "size": "return bpf_core_field_size(o->many);",
    "offset": "return bpf_core_field_offset(o->in.d);",
    "types": "return bpf_core_type_exists(struct outer) + bpf_core_type_size(struct inner) + bpf_core_type_exists(enum state);",
    "matches": "return bpf_core_type_matches(struct outer);",
    "type id": "return bpf_core_type_id_kernel(struct outer);",
    "enum": "return bpf_core_enum_value(enum state, BUSY) + bpf_core_enum_value_exists(enum state, IDLE);",
    "through plain": "struct plain *p = (void *)o; return p->o->tail;",
}

# Where ours follows a path further than clang, which adds the rest of the offset itself.
FINER = {"grid": [(0, "outer", "0:3:1:2")]}


def text(body: str) -> str:
    return (
        f'{PRELUDE}SEC("raw_tp/x") int f(u64 *ctx)\n{{\n    struct outer *o = (void *)ctx[0];\n    {body}\n}}\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )


def relocations(elf: bytes) -> list[tuple[int, str, str]]:
    image = ElfImage.parse(elf)
    btf = Btf.parse(bytes(image.section(".BTF").data))
    ext = BtfExt.parse(bytes(image.section(".BTF.ext").data), btf)
    out = []
    for relos in ext.core_relos.values():
        for r in relos:
            out.append((int(r.kind), btf.type(r.type_id).name, r.access))
    return sorted(out)


@pytest.mark.parametrize("name", CASES)
def test_the_same_relocations(name: str) -> None:
    from ebpf.compiler import Options, compile_c
    from ebpf.compiler.clang import compile_with_clang
    from ebpf.errors import NotSupported
    from tests.compiler.differential import _clang

    source = text(CASES[name])
    ours = compile_c(
        source,
        filename="core.c",
        facts=Facts(),  # type: ignore[arg-type]
        options=Options(dialect="libbpf", defines=("__ours__",)),
    )
    try:
        theirs = compile_with_clang(source, filename="core.c", cc=_clang(), flags=("-w",))
    except NotSupported as error:
        pytest.skip(error.message)
    expected = relocations(theirs)
    assert expected
    assert relocations(ours) == FINER.get(name, expected)
