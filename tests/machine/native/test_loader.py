"""Putting objects into memory that runs: what is taken, what is refused, how long it lives; relocations by the book."""

from __future__ import annotations

import ctypes
import gc
import random
import struct

import pytest

from ebpf.errors import ElfError, InternalError
from ebpf.machine.native.codegen import compile_host
from ebpf.machine.native.loader import NativeCode
from ebpf.machine.native.relocations import AARCH64, X86_64

pytest.importorskip("llvmlite")

IR = """
@table = internal constant [4 x i64] [i64 10, i64 20, i64 30, i64 40]
@number = external global i64
declare i64 @outside(i64)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define i64 @pick(i64 %n) {
  %at = getelementptr [4 x i64], ptr @table, i64 0, i64 %n
  %x = load i64, ptr %at
  %y = load i64, ptr @number
  %z = add i64 %x, %y
  %r = call i64 @outside(i64 %z)
  ret i64 %r
}
define void @clear(ptr %p, i64 %n) {
  call void @llvm.memset.p0.i64(ptr %p, i8 0, i64 %n, i1 false)
  ret void
}
"""
CALLBACK = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)


@pytest.fixture(scope="module")
def elf() -> bytes:
    return compile_host(IR)


def loaded(elf: bytes) -> tuple[NativeCode, list[object]]:
    number, callback = ctypes.c_uint64(1000), CALLBACK(lambda n: n * 2)
    symbols = {"number": ctypes.addressof(number), "outside": ctypes.cast(callback, ctypes.c_void_p).value or 0}
    return NativeCode(elf, symbols), [number, callback]


def test_code_data_and_symbols_of_others(elf: bytes) -> None:
    code, _keep = loaded(elf)
    pick = code.function("pick", ctypes.c_uint64, ctypes.c_uint64)
    assert [pick(n) for n in range(4)] == [2020, 2040, 2060, 2080]
    room = ctypes.create_string_buffer(b"x" * 300)
    code.function("clear", None, ctypes.c_void_p, ctypes.c_uint64)(ctypes.addressof(room), 200)
    assert room.raw[:201] == bytes(200) + b"x"


def test_memory_that_runs_cannot_be_written(elf: bytes) -> None:
    code, _keep = loaded(elf)
    with open("/proc/self/maps") as file:
        rows = [line.split()[:2] for line in file]
    mine = [rights for span, rights in rows
            if int(span.split("-")[0], 16) < code.base + code.size and int(span.split("-")[1], 16) > code.base]
    assert mine and all("w" not in rights for rights in mine) and any("x" in rights for rights in mine)


def test_it_is_unmapped_when_nobody_can_call_it(elf: bytes) -> None:
    code, _keep = loaded(elf)
    pick = code.function("pick", ctypes.c_uint64, ctypes.c_uint64)
    base = code.base

    def mapped() -> bool:
        with open("/proc/self/maps") as file:
            return any(int(line.split("-")[0], 16) <= base < int(line.split("-")[1].split()[0], 16) and "x" in line.split()[1] or
                       int(line.split("-")[0], 16) == base for line in file)

    del code
    gc.collect()
    assert pick(0) == 2020  # the function keeps it
    assert mapped()
    del pick
    gc.collect()
    assert not mapped()


def test_a_symbol_that_nobody_knows(elf: bytes) -> None:
    with pytest.raises(InternalError, match="outside|number"):
        NativeCode(elf)
    code, _keep = loaded(elf)
    with pytest.raises(InternalError, match="nothing_of_it"):
        code.address("nothing_of_it")


def test_damaged_objects_are_refused(elf: bytes) -> None:
    """Cut anywhere; any byte of the headers, symbols and relocations changed: an error, or an object that is loaded (and not run)."""
    symbols = {"number": 0, "outside": 0}
    for size in range(0, len(elf), 7):
        with pytest.raises((ElfError, InternalError)):
            NativeCode(elf[:size], symbols)
    rng = random.Random(1)
    refused = 0
    for _ in range(1500):
        damaged = bytearray(elf)
        damaged[rng.randrange(len(elf))] = rng.randrange(256)
        try:
            NativeCode(bytes(damaged), symbols)
        except (ElfError, InternalError):
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("ir", [
    "@x = global i64 7\ndefine i64 @f() {\n  %v = load i64, ptr @x\n  ret i64 %v\n}\n",
    "@x = thread_local global i64 0\ndefine i64 @f() {\n  %v = load i64, ptr @x\n  ret i64 %v\n}\n",
], ids=["data", "thread-local"])
def test_writable_data_has_no_place(ir: str) -> None:
    with pytest.raises((ElfError, InternalError)):
        NativeCode(compile_host(ir))


def word(rules: dict[int, object], type: int, start: int, s: int, a: int, p: int, size: int = 4) -> int:
    memory = bytearray(start.to_bytes(size, "little"))
    rules[type].patch(memory, 0, s, a, p)  # type: ignore[attr-defined]
    return int.from_bytes(memory, "little")


def test_relocations_of_x86_64() -> None:
    assert word(X86_64, 2, 0, 0x2000, -4, 0x1000) == 0xFFC  # type: ignore[arg-type]
    assert word(X86_64, 1, 0, 0x7FFF_0000_2000, 8, 0, 8) == 0x7FFF_0000_2008  # type: ignore[arg-type]
    with pytest.raises(InternalError, match="does not reach"):
        word(X86_64, 4, 0, 1 << 40, 0, 0)  # type: ignore[arg-type]


AARCH = {
    # type, instruction before, S, A, P → after: worked out by hand from the supplement
    "bl forward": (283, 0x94000000, 0x11000, 0, 0x10000, 0x94000400),
    "b back": (282, 0x14000000, 0x0F000, 0, 0x10000, 0x17FFFC00),
    "adrp": (275, 0x90000000, 0x12345678, 0, 0x10000, 0xB00919A0),
    "add :lo12:": (277, 0x91000000, 0x12345678, 0, 0, 0x9119E000),
    "ldr x, :lo12:": (286, 0xF9400000, 0x12345678, 0, 0, 0xF9433C00),
    "ldrb w, :lo12:": (278, 0x39400000, 0x12345678, 1, 0, 0x3959E400),
    "ldr q, :lo12:": (299, 0x3DC00000, 0x12345670, 0, 0, 0x3DC19C00),
}


@pytest.mark.parametrize("name", AARCH)
def test_relocations_of_aarch64(name: str) -> None:
    type, before, s, a, p, after = AARCH[name]
    assert word(AARCH64, type, before, s, a, p) == after  # type: ignore[arg-type]


def test_stubs_jump_through_their_last_eight_bytes() -> None:
    from ebpf.machine.native.relocations import STUBS

    assert all(len(stub) == 8 for stub in STUBS.values())
    assert struct.unpack("<II", STUBS["aarch64"]) == (0x58000050, 0xD61F0200)
