"""C for the host: our compiler's code and gcc's give the same results on the same numbers."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ebpf.compiler.options import Options
from ebpf.compiler.pipeline import compile_host_ir
from ebpf.errors import CompileError, UsageError

# Functions of (u64 a, u64 b); what BPF could not do is among it: seven parameters, big frames, signed division, indirect calls.
FUNCTIONS = {
    "arithmetic": "return a * 31 + (b ^ a >> 7) - (u32)a;",
    "signed_division": "return b ? (u64)((s64)a / ((s64)b | 1)) : 0;",
    "signed_remainder": "return (u64)(((s32)a) % (((s32)b & 0xffff) | 3));",
    "narrow": "u8 x = (u8)a; s8 y = (s8)b; u16 z = (u16)(x * y); return z + (s16)a;",
    "shifts": "return (a << (b & 63)) ^ (u64)((s64)a >> (b & 31)) ^ ((u32)a >> (b & 15));",
    "table": "static const u32 t[8] = {1, 2, 4, 8, 16, 32, 64, 128}; return t[a & 7] + t[b & 7] * 3;",
    "big_frame": "u64 x[300]; for (int i = 0; i < 300; i++) x[i] = a + i * b; u64 s = 0; for (int i = 0; i < 300; i++) s = s * 3 + x[i]; return s;",
    "seven_parameters": "return seven(a, b, a + 1, b + 1, a + 2, b + 2, a ^ b);",
    "through_a_pointer": "u64 (*f)(u64, u64) = a & 1 ? pick : other; return f(a, b);",
    "recursion": "return fib(a % 16);",
    "choice": "switch (a % 7) { case 0: return b; case 1: case 2: return ~b; case 5: return b << 3; default: return a - b; }",
    "bytes": "u8 x[11]; __builtin_memcpy(x, &a, 8); __builtin_memcpy(x + 3, &b, 8); u64 r; __builtin_memcpy(&r, x + 1, 8); return r;",
    "bits": "return (u64)__builtin_clzll(a | 1) * 100 + (u64)__builtin_popcountll(b) + __builtin_bswap64(a);",
    "record": "struct { u8 tag; u32 n; u64 wide; } r = {(u8)a, (u32)b, a}; r.wide += r.n; return r.wide ^ r.tag;",
    "bit_fields": "struct { u32 low : 5; s32 mid : 7; u32 high : 20; } r = {0}; r.low = a; r.mid = b; r.high = a >> 9; return r.low + (u64)r.mid * 3 + r.high;",
    "aligned": "u8 x[3] __attribute__((aligned(64))); x[0] = 1; return ((u64)x & 63) + a;",
    "atomic_add": "u64 x = a; u64 o = __atomic_fetch_add(&x, b, __ATOMIC_RELAXED); return o * 3 + __atomic_load_n(&x, __ATOMIC_ACQUIRE);",
    "atomic_add_4": "u32 x = (u32)a; u32 o = __atomic_fetch_sub(&x, (u32)b, __ATOMIC_ACQ_REL); return (u64)o << 32 | __atomic_load_n(&x, __ATOMIC_RELAXED);",
    "atomic_add_1": "u8 x = (u8)a; __atomic_fetch_add(&x, (u8)b, __ATOMIC_SEQ_CST); return x;",
    "atomic_or": "u64 x = a; return __atomic_or_fetch(&x, b, __ATOMIC_RELEASE) + x;",
    "atomic_exchange": "u64 x = a; u64 o = __atomic_exchange_n(&x, b, __ATOMIC_ACQUIRE); return o ^ x << 1;",
    "compare_exchange": "u64 x = a, e = b & 1 ? a : b; int ok = __atomic_compare_exchange_n(&x, &e, b, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); return x * 5 + e * 3 + ok;",
    "compare_exchange_4": "u32 x = (u32)a, e = (u32)a; int ok = __atomic_compare_exchange_n(&x, &e, (u32)b, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED); return x + e + (ok || !ok);",
    "store": "u64 x = 0; __atomic_store_n(&x, a, __ATOMIC_RELEASE); __atomic_thread_fence(__ATOMIC_SEQ_CST); return x + b;",
    "loop_with_exit": "u64 n = 0; while (1) { if (++n > (b & 1023)) break; if (n & 1) continue; a += n; } return a;",
}
PREAMBLE = """
typedef unsigned char u8; typedef signed char s8; typedef unsigned short u16; typedef short s16; typedef unsigned int u32;
typedef int s32; typedef unsigned long long u64; typedef long long s64;
static __attribute__((noinline)) u64 seven(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 g) { return a + 2*b + 3*c + 4*d + 5*e + 6*f + 7*g; }
static __attribute__((noinline)) u64 pick(u64 a, u64 b) { return a ^ b; }
static __attribute__((noinline)) u64 other(u64 a, u64 b) { return a - b; }
static u64 fib(u64 n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
"""
TEXT = PREAMBLE + "".join(f"u64 {name}(u64 a, u64 b) {{ {body} }}\n" for name, body in FUNCTIONS.items())
NUMBERS = [0, 1, 2, 7, 63, 64, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x12345678, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
           0x123456789ABCDEF0, 0x7FFFFFFFFFFFFFFE, 0xFEDCBA9876543210, 2**64 - 2]


def host_ir(text: str, **options: Any) -> str:
    from ebpf.machine.runtime.build import HostFacts, host_arch

    return compile_host_ir(text, filename="host.c", facts=HostFacts(host_arch()),
                           options=Options(dialect="libbpf", target="host", arch=host_arch(), **options))


@pytest.fixture(scope="module")
def ours() -> Any:
    from ebpf.machine.native.codegen import compile_host
    from ebpf.machine.native.loader import NativeCode

    return NativeCode(compile_host(host_ir(TEXT)))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    folder = tmp_path_factory.mktemp("host")
    (folder / "host.c").write_text(TEXT)
    subprocess.run(["gcc", "-std=gnu11", "-O1", "-w", "-fwrapv", "-fPIC", "-shared", "-o", str(folder / "host.so"), str(folder / "host.c")], check=True)
    return ctypes.CDLL(str(folder / "host.so"))


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_the_same_as_gcc(ours: Any, theirs: Any, name: str) -> None:
    kind = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
    mine, gcc = kind(ours.address(name)), kind(ctypes.cast(getattr(theirs, name), ctypes.c_void_p).value or 0)
    assert {(a, b): mine(a, b) for a in NUMBERS for b in NUMBERS} == {(a, b): gcc(a, b) for a in NUMBERS for b in NUMBERS}


def test_it_is_the_host_s_ir() -> None:
    ir = host_ir(TEXT)
    assert "bpf" not in ir.replace("ebpf", "") and "!dbg" not in ir and "target-cpu" not in ir
    assert "cmpxchg ptr %v" in ir and "acq_rel acquire" in ir and "monotonic" in ir


@pytest.mark.parametrize("body", ["return __atomic_load_n(&x, 9);", "return __atomic_load_n(&x, y);"])
def test_a_memory_order_that_is_none(body: str) -> None:
    with pytest.raises(CompileError) as caught:
        host_ir(f"int y; int f(void) {{ int x = 0; {body} }}")
    assert "memory order" in caught.value.diagnostics[0].message


def test_an_unknown_target() -> None:
    with pytest.raises(UsageError, match="target='z80'"):
        Options(target="z80")  # type: ignore[arg-type]


def test_the_same_for_another_architecture() -> None:
    assert 'target triple = "aarch64' in compile_arm()


def compile_arm() -> str:
    from ebpf.machine.runtime.build import HostFacts

    return compile_host_ir(TEXT, filename="host.c", facts=HostFacts("arm64"),
                           options=Options(dialect="libbpf", target="host", arch="arm64"))


def test_no_path_of_this_machine_is_in_it() -> None:
    assert str(Path(__file__).parent) not in host_ir(TEXT)
