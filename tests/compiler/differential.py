"""One C text through two compilers, run on the same inputs by this kernel."""

from __future__ import annotations

import random
import struct
from functools import cache

PRELUDE = """\
typedef unsigned char u8; typedef unsigned short u16; typedef unsigned int u32; typedef unsigned long long u64;
typedef signed char s8; typedef short s16; typedef int s32; typedef long long s64;
#define bool _Bool
#ifndef __ours__
#define SEC(name) __attribute__((section(name), used))
#endif
struct io { u64 in[8]; u64 out[128]; };
struct io shared __attribute__((section(".data.shared")));
#define OUT(...) out[n++] = (u64)(__VA_ARGS__)
#define TEST static inline __attribute__((always_inline)) int body(struct io *io); \\
    SEC("syscall") int test(void *ctx) { return body(&shared); } \\
    static inline __attribute__((always_inline)) int body(struct io *io)
// Of an aligned stack address and a small index clang may make ``address | index``, which the verifier refuses.
#ifdef __ours__
#define AT(i) (i)
#else
#define AT(i) ({ u64 at = (i); asm("" : "+r"(at)); at; })
#endif
// A value of which the compiler knows nothing: else it may drop the mask that the verifier wants to see.
#define HIDE(v) ({ u64 hidden = (v); asm("" : "+r"(hidden)); hidden; })
#line 1
"""
_LICENSE = '\nchar LICENSE[] SEC("license") = "GPL";\n'
_IN, _OUT = 8, 128
EDGES = (
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    9,
    31,
    32,
    63,
    64,
    100,
    127,
    128,
    255,
    256,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 32,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
    (1 << 64) - 2,
    (1 << 64) - 128,
    0x0123456789ABCDEF,
    0xFEDCBA9876543210,
)


def vectors(count: int, seed: int) -> list[list[int]]:
    """Inputs: corners first, then random numbers of random sizes."""
    rng = random.Random(seed)
    out = []
    for i in range(count):
        row = [
            rng.choice(EDGES) if rng.random() < 0.6 else rng.getrandbits(rng.choice((8, 16, 32, 64)))
            for _ in range(_IN)
        ]
        if i < len(EDGES):
            row[0] = EDGES[i]
        out.append(row)
    return out


def ours(text: str, filename: str = "case.c", mcpu: str = "v3") -> bytes:
    from ebpf.compiler import Options, compile_c
    from ebpf.kernel.facts import SystemFacts

    return compile_c(
        PRELUDE + text + _LICENSE,
        filename=filename,
        facts=_facts(SystemFacts),
        options=Options(dialect="libbpf", mcpu=mcpu, defines=("__ours__",)),
    )


@cache
def _facts(make):  # type: ignore[no-untyped-def]
    return make()


def clangs(text: str, mcpu: str = "v3") -> bytes:
    from ebpf.compiler.clang import compile_with_clang

    # Our signed arithmetic wraps.
    return compile_with_clang(
        PRELUDE + text + _LICENSE,
        filename="case.c",
        cc=_clang(),
        mcpu=mcpu,
        flags=("-w", "-fwrapv", "-fno-jump-tables"),
    )


@cache
def _clang() -> str:
    """The wheel's clang where there is one (it is of our own LLVM's version), else one that knows -mcpu=v4."""
    import subprocess

    import pytest

    from ebpf.compiler.clang import _ziglang, find_clang
    from ebpf.errors import NotSupported

    wheel = _ziglang()
    if wheel is not None:
        return f"{wheel} clang"
    try:
        [command] = find_clang()
    except NotSupported as error:
        pytest.skip(error.message)
    said = subprocess.run([command, "-dumpversion"], capture_output=True, text=True).stdout
    if int(said.split(".")[0] or 0) < 18:
        pytest.skip(f"the ziglang wheel is not installed, and clang {said.strip()} does not know -mcpu=v4")
    return command


class Runner:
    """A loaded program `test` of type syscall: `run` gives its result and what it wrote."""

    def __init__(self, elf: bytes) -> None:
        from ebpf.kernel.loader import load
        from ebpf.object import read_object

        self._object = load(read_object(elf, "case"))
        self._program = self._object.programs["test"]
        self._map = self._object.maps[".data.shared"]

    def run(self, inputs: list[int]) -> tuple[int, tuple[int, ...]]:
        self._map.update(bytes(4), struct.pack(f"<{_IN}Q", *inputs) + bytes(8 * _OUT))
        result = self._program.test_run(context=bytes(8)).result
        value = self._map.lookup(bytes(4))
        return result, struct.unpack_from(f"<{_OUT}Q", value, 8 * _IN)

    def close(self) -> None:
        self._object.close()
