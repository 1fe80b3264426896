"""Native code against the interpreter, which is the definition: RFC vectors, corners of every operation, random programs."""

from __future__ import annotations

import pytest

from ebpf import isa
from ebpf.errors import VerifierError
from ebpf.isa.insn import ALU, ALU64, JMP, JMP32, Insn, X
from ebpf.machine import RawProgram
from ebpf.machine.native.codegen import FULL, HASTY, QUICK
from ebpf.machine.native.program import NativeProgram
from tests.machine import random_code
from tests.machine.test_instructions import VECTORS, code

pytest.importorskip("llvmlite")

CORNERS = (0, 1, 2, 7, 31, 32, 33, 63, 64, 65, 127, 128, 255, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000,
           0x180000000, 0xFFFFFFFF00000000, 0x0102030405060708, 0x7FFFFFFFFFFFFFFF, 0x8000000000000000, 0x8000000000000001,
           0xFFFFFFFF80000000, 0xFFFFFFFFFFFFFFFE, 0xFFFFFFFFFFFFFFFF)
BINARY = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
IMMEDIATES = (0, 1, -1, 2, 7, 31, 63, 255, -128, 0x7FFFFFFF, -0x80000000)
JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)


def uncached(text: bytes) -> RawProgram:
    """For programs that nobody will see again."""
    native = RawProgram(text, engine="jit")
    assert isinstance(native.program, NativeProgram)
    native.program.cache = False
    return native


def both(text: bytes, memory: bytes) -> tuple[int, bytes]:
    """Run in both engines, hasty code and thorough; the interpreter's result, after a comparison of everything that can
    be seen."""
    ours, again, theirs = bytearray(memory), bytearray(memory), bytearray(memory)
    expected = RawProgram(text).run(theirs)
    assert RawProgram(text, engine="jit").run(ours) == expected
    assert RawProgram(text, engine="jit").repeat(again, 1) == expected
    assert ours == again == theirs
    return expected, bytes(ours)


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    text, expected = VECTORS[name]
    program = RawProgram(code(text), engine="jit")
    try:
        program.verified(16)
    except VerifierError:
        pytest.skip("no verifier accepts it")
    assert program.run(bytearray(range(1, 17))) == int(expected, 0)
    assert program.repeat(bytearray(range(1, 17)), 1) == int(expected, 0)


def test_most_vectors_are_run() -> None:
    accepted = 0
    for text, _ in VECTORS.values():
        try:
            RawProgram(code(text)).verified(16)
            accepted += 1
        except VerifierError:
            pass
    assert accepted > len(VECTORS) * 0.8


def _operations() -> list[Insn]:
    """Every operation on two numbers, r2 and r3, or r2 and a constant."""
    found = []
    for cls in (ALU, ALU64):
        bits = 64 if cls == ALU64 else 32
        for op in BINARY:
            for signed in (0, 1) if op in (0x30, 0x90) else (0,):
                found.append(Insn(cls | X | op, 2, 3, signed))
                for imm in IMMEDIATES:
                    if (op in (0x30, 0x90) and not imm) or (op in (0x60, 0x70, 0xC0) and not 0 <= imm < bits):
                        continue  # refused by every verifier
                    found.append(Insn(cls | op, 2, 0, signed, imm))
        found.append(Insn(cls | 0x80, 2))
        found += [Insn(cls | X | 0xB0, 2, 3, width) for width in (8, 16, 32) if width < bits or cls == ALU64]
    for width in (16, 32, 64):
        found += [Insn(ALU | 0xD0, 2, imm=width), Insn(ALU | X | 0xD0, 2, imm=width), Insn(ALU64 | 0xD0, 2, imm=width)]
    return found


def _jumps() -> list[Insn]:
    return [Insn(cls | op | (X if register else 0), 2, 3 if register else 0, 1, 0 if register else imm)
            for cls in (JMP, JMP32) for op in JUMPS for register in (True, False) for imm in ((0,) if register else IMMEDIATES)]


def test_every_operation_on_corners() -> None:
    """One program applies every operation to the two numbers of its memory; each pair of corners is a run."""
    for group in range(4):
        rows = [*_operations(), *_jumps()][group::4]
        insns = [Insn(ALU64 | X | 0xB0, 6, 1)]
        for n, insn in enumerate(rows):
            insns += [Insn(0x79, 2, 6, 0), Insn(0x79, 3, 6, 8)]  # the two numbers
            if insn.opcode & 7 in (JMP, JMP32):
                insns += [Insn(ALU64 | 0xB0, 4, imm=1), insn, Insn(ALU64 | 0xB0, 4, imm=0), Insn(ALU64 | X | 0xB0, 2, 4)]
            else:
                insns.append(insn)
            insns.append(Insn(0x7B, 6, 2, 16 + 8 * n))
        insns += [Insn(ALU64 | 0xB0, 0), Insn(0x95)]
        text = isa.encode(insns)
        size = 16 + 8 * len(rows)
        interpreter, native = RawProgram(text), RawProgram(text, engine="jit")
        for a in CORNERS:
            for b in CORNERS:
                start = a.to_bytes(8, "little") + b.to_bytes(8, "little") + bytes(size - 16)
                expected, hasty, found = bytearray(start), bytearray(start), bytearray(start)
                interpreter.run(expected)
                native.run(hasty)
                native.repeat(found, 1)
                if found == expected:
                    found = hasty
                if found != expected:
                    at = next(n for n in range(len(rows)) if found[16 + 8 * n:24 + 8 * n] != expected[16 + 8 * n:24 + 8 * n])
                    pytest.fail(f"{rows[at]} of {a:#x}, {b:#x}: {found[16 + 8 * at:24 + 8 * at].hex()}, "
                                f"not {expected[16 + 8 * at:24 + 8 * at].hex()}")


MEMORY = {
    "loads of all sizes": "r0 = *(u8 *)(r1 +1)\nr2 = *(u16 *)(r1 +3)\nr0 += r2\nr2 = *(u32 *)(r1 +5)\nr0 += r2\nr2 = *(u64 *)(r1 +7)\nr0 += r2\nexit",
    "signed loads": "r0 = *(s8 *)(r1 +30)\nr2 = *(s16 *)(r1 +30)\nr0 ^= r2\nr2 = *(s32 *)(r1 +28)\nr0 += r2\nexit",
    "stores": "*(u8 *)(r1 +0) = -1\n*(u16 *)(r1 +2) = -2\n*(u32 *)(r1 +4) = -3\n*(u64 *)(r1 +8) = -4\nr2 = 0x1122334455667788 ll\n"
              "*(u8 *)(r1 +16) = r2\n*(u16 *)(r1 +18) = r2\n*(u32 *)(r1 +20) = r2\n*(u64 *)(r1 +24) = r2\nr0 = 0\nexit",
    "atomics": "r2 = 0x80000001ffffffff ll\nlock *(u32 *)(r1 +0) += r2\nlock *(u64 *)(r1 +8) |= r2\nr3 = r2\nr3 = atomic64_fetch_add((u64 *)(r1 +16), r3)\n"
               "r4 = r2\nr4 = atomic_fetch_xor((u32 *)(r1 +24), r4)\nr0 = r3\nr0 += r4\nr5 = 7\nr5 = atomic_xchg((u32 *)(r1 +28), r5)\nr0 ^= r5\nexit",
    "compare and exchange": "r0 = *(u64 *)(r1 +8)\nr3 = 77\nr0 = atomic64_cmpxchg((u64 *)(r1 +8), r0, r3)\nr6 = r0\nr0 = 5\nr0 = atomic_cmpxchg((u32 *)(r1 +0), r0, r3)\n"
                            "r0 += r6\nexit",
    "acquire and release": "r2 = load_acquire((u32 *)(r1 +4))\nstore_release((u64 *)(r1 +8), r2)\nr3 = load_acquire((u8 *)(r1 +1))\nstore_release((u16 *)(r1 +18), r3)\nr0 = r2\nexit",
    "the stack, by a computed pointer": "r6 = r10\nr6 += -16\nr2 = *(u64 *)(r1 +8)\nr2 &= 7\nr6 += r2\n*(u8 *)(r6 +0) = 9\nr0 = *(u64 *)(r10 -16)\nexit",
    "a pointer kept on the stack": "*(u64 *)(r10 -8) = r1\nr2 = *(u64 *)(r10 -8)\nr0 = *(u32 *)(r2 +4)\n*(u32 *)(r2 +0) = 3\nr3 = *(u32 *)(r1 +0)\nr0 += r3\nexit",
    "one of two pointers": "r3 = r1\nr2 = *(u8 *)(r1 +0)\nif r2 == 1 goto here\nr3 = r10\nr3 += -8\nhere: *(u64 *)(r10 -8) = 6\nr0 = *(u8 *)(r3 +0)\nexit",
    "differences of pointers": "r3 = r1\nr3 += 8\nr3 -= r1\nr0 = r3\nr4 = r10\nr5 = r10\nr5 += -24\nr4 -= r5\nr0 += r4\nexit",
    "functions": "r6 = r1\nr1 = *(u64 *)(r6 +0)\nr2 = 3\ncall double\nr7 = r0\nr1 = r7\nr2 = 1\ncall double\nr0 += r7\nexit\n"
                 "double: r0 = r1\nr0 *= r2\n*(u64 *)(r10 -8) = r0\nr0 = *(u64 *)(r10 -8)\nr0 <<= 1\nexit",
    "a function that writes its caller's stack": "r1 = r10\nr1 += -8\n*(u64 *)(r10 -8) = 1\ncall set\nr0 = *(u64 *)(r10 -8)\nexit\nset: *(u64 *)(r1 +0) = 42\nr0 = 0\nexit",
    "gotol": "r0 = 1\ngotol over\nr0 = 2\nover: exit",
    "stack that was never written": "r0 = *(u64 *)(r10 -8)\nexit",
    "a loop over memory": "r0 = 0\nr3 = 0\nagain: r4 = r1\nr4 += r3\nr5 = *(u8 *)(r4 +0)\nr0 ^= r5\nr0 *= 16777619\nr3 += 1\nif r3 < 32 goto again\nexit",
    "two loops, one in the other": "r0 = 0\nr6 = 0\nouter: r7 = 0\ninner: r0 += r7\nr0 ^= r6\nr7 += 1\nif r7 < 9 goto inner\nr6 += 1\nif r6 < 7 goto outer\nexit",
    "may_goto": "r0 = 0\nagain: may_goto out\nr0 += 1\nif r0 > 50 goto out\ngoto again\nout: exit",
}


@pytest.mark.parametrize("name", MEMORY)
def test_memory_and_control_flow(name: str) -> None:
    both(isa.encode(isa.assemble(MEMORY[name])), bytes(range(0x70, 0x90)))
    both(isa.encode(isa.assemble(MEMORY[name])), bytes([1] * 32))


def test_may_goto_has_a_budget() -> None:
    program = RawProgram(isa.encode(isa.assemble("r0 = 0\nagain: may_goto out\nr0 += 1\ngoto again\nout: exit")), engine="jit")
    program.environment.may_goto_budget = 1000
    assert program.run() == 1000


def test_only_what_python_counts_is_compiled_in_haste() -> None:
    """Code without loops that is called from Python; a loop of native code takes the thorough one, also from then on."""
    straight, loop = (RawProgram(isa.encode(isa.assemble(text)), engine="jit") for text in (
        "r0 = *(u8 *)(r1 +0)\nr0 += r2\nexit", MEMORY["a loop over memory"]))
    memory = bytearray(32)
    found = []
    for raw in (straight, loop):
        assert isinstance(raw.program, NativeProgram)
        for run in (lambda raw=raw: raw.run(memory), lambda raw=raw: raw.repeat(memory, 3), lambda raw=raw: raw.run(memory)):  # type: ignore[misc]
            run()
            found.append(raw.program.native.lifted.opt)
    assert found == [HASTY, QUICK, QUICK, FULL, FULL, FULL]


RANDOM = 120


@pytest.mark.parametrize("first", range(0, RANDOM, 30))
def test_random_programs(first: int) -> None:
    for seed in range(first, first + 30):
        text = random_code.program(seed)
        interpreter, native = RawProgram(text), uncached(text)
        for run in range(4):
            start = random_code.inputs(seed * 4 + run)
            expected, found = bytearray(start), bytearray(start)
            again = bytearray(start)
            assert native.run(found) == interpreter.run(expected) == native.repeat(again, 1), f"seed {seed}, run {run}"
            assert found == expected == again, f"seed {seed}, run {run}"


def test_no_check_ever_fires() -> None:
    """Random verified programs in the mode that keeps every bounds check; and one whose check is shown to work."""
    for seed in range(40):
        text = random_code.program(seed)
        native = uncached(text)
        program = native.program
        assert isinstance(program, NativeProgram)
        program.checked = True
        interpreter = RawProgram(text)
        for run in range(2):
            expected, found = bytearray(random_code.inputs(run)), bytearray(random_code.inputs(run))
            assert native.run(found) == interpreter.run(expected)
            assert found == expected
        assert not program.refused


def test_a_check_that_must_fire_does() -> None:
    """The block is hidden from the machine's books while the program runs: each access of it is refused and counted."""
    raw = RawProgram(isa.encode(isa.assemble("*(u32 *)(r1 +4) = 7\nr0 = *(u32 *)(r1 +4)\nexit")), engine="jit")
    program = raw.program
    assert isinstance(program, NativeProgram)
    program.checked = True
    memory = bytearray(b"\x11" * 8)
    address, size = raw._show(memory)
    raw.environment.space.hide(raw._window)
    assert program.call(address, size) == 0
    assert memory == b"\x11" * 8
    assert [line.split()[0] for line in program.refused] == ["write", "read"]
