"""What the verifier says of registers, against what they hold: at each step of a run some state that was recorded for that instruction
contains it.

Numbers that nothing depended on (`mark_precise`) and registers that nobody reads may hold anything; that, too, is checked by this: if
one of them mattered after all, the next state would not contain what it led to.
"""

from __future__ import annotations

import random

import pytest

from ebpf.errors import InsnError, VerifierError
from ebpf.isa import decode
from ebpf.machine.raw import RawProgram
from ebpf.verifier import Options
from ebpf.verifier.explore import Explorer
from ebpf.verifier.program import Program
from ebpf.verifier.ranges import M64
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.values import MEM, STACK, Pointer, Scalar, Value

from ..machine import random_code
from .test_random import some_code

_BYTES = 64
Snapshot = tuple[int, list["Value | None"]]  # depth, registers


class Recorder(Explorer):
    """An exploration that keeps the state before each instruction."""

    def __init__(self, program: Program) -> None:
        super().__init__(program, Options(max_insns=20_000))
        self.real_joins = program.joins
        program.joins = frozenset(program.insns)
        self.seen: dict[int, list[Snapshot]] = {at: [] for at in program.insns}

    def _visit_join(self, slot: int) -> int:
        self.seen[slot].append((len(self.state.frames) - 1, list(self.regs)))
        if slot in self.real_joins or slot in self.converge or (
            slot in self.callback_entries and self._at_callback_entry(slot)
        ):
            return super()._visit_join(slot)
        return 0


def record(code: bytes, block: int) -> Recorder | None:
    try:
        program = Program(decode(code), type=0, dead_code=True)
        program.memory_bytes = block
        found = Recorder(program)
        found.run(program.subprogs[0])
    except (Refuse, InsnError, VerifierError):
        return None
    return found


def contains(state: Value | None, value: int, base: int, tops: list[int]) -> bool:
    if state is None:
        return True  # nothing was known, and nothing may be read
    if isinstance(state, Scalar):
        return not state.precise or state.range.contains(value)
    assert isinstance(state, Pointer)
    if state.kind == STACK:
        origin = tops[state.frame]
    elif state.kind == MEM:
        origin = base
    else:
        return True
    return state.var.contains((value - origin - state.off) & M64)


def check(code: bytes, memories: list[bytes]) -> int:
    """How many steps were compared; 0 if the code is refused."""
    found = record(code, len(memories[0]))
    if found is None:
        return 0
    live, steps = found.program.live, 0
    program = RawProgram(code)
    for memory in memories:
        stepper = program.step(bytearray(memory))
        base = stepper.registers[1]
        tops: list[int] = []
        while not stepper.finished and stepper.steps < 3000:
            slot, depth, registers = stepper.slot, stepper.depth, list(stepper.registers)
            tops[depth:] = [registers[10]]
            wanted = [r for r in range(10) if live[slot] >> r & 1]
            assert any(
                d == depth and all(contains(regs[r], registers[r], base, tops) for r in wanted) for d, regs in found.seen[slot]
            ), (code.hex(), memory.hex(), slot, [(r, registers[r]) for r in wanted], found.seen[slot])
            steps += 1
            stepper.step()
    return steps


def memories(rng: random.Random, count: int) -> list[bytes]:
    return [bytes(rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.getrandbits(8))) for _ in range(_BYTES)) for _ in range(count)]


@pytest.mark.parametrize("seed", range(1000, 1005))
def test_registers_are_contained(seed: int) -> None:
    rng = random.Random(seed)
    assert sum(check(some_code(rng), memories(rng, 4)) for _ in range(40)) > 300


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_registers_of_generated_programs_are_contained(seed: int) -> None:
    """Programs of the interpreter's tests: all instructions, functions, loops, the stack."""
    assert check(random_code.program(seed), [random_code.inputs(run) for run in range(2)]) > 10


def meeting_code(rng: random.Random) -> bytes:
    """Short ways that meet again and again, and numbers that become indices late: what pruning must not lose."""
    from ebpf.isa import assemble, encode

    lines = ["r6 = r1", "r7 = 0", "r8 = 0", "r9 = 0", "*(u64 *)(r10 -8) = 0", "*(u64 *)(r10 -16) = 0"]
    loops = 0
    for n in range(rng.randrange(4, 14)):
        a, b = rng.sample((7, 8, 9), 2)
        kind = rng.random()
        if kind < 0.35:
            lines += [f"r0 = *(u8 *)(r6 +{rng.randrange(_BYTES)})",
                      f"if {rng.choice(('r0', 'w0'))} {rng.choice(('>', 's>', '&', '=='))} {hex(rng.choice((0, 1, 5, 127, 128)))} goto a{n}",
                      f"r{a} = {rng.choice((0, 1, 3, 60, 63, 64, -1))}", f"a{n}: r{b} = r{a}" if rng.random() < 0.5 else f"a{n}: r0 = 0"]
        elif kind < 0.5:
            slot = rng.choice((8, 16))
            lines += [f"*(u64 *)(r10 -{slot}) = r{a}", f"r{b} = *(u64 *)(r10 -{rng.choice((8, 16))})"]
        elif kind < 0.6:
            lines += [f"*(u{8 * rng.choice((1, 2, 4))} *)(r10 -{rng.choice((8, 16))}) = {rng.choice((0, 7))}",
                      f"r{b} = *(u8 *)(r10 -{rng.choice((1, 5, 8, 9, 16))})"]
        elif kind < 0.8:
            if rng.random() < 0.7:
                lines.append(f"if r{a} > {hex(rng.choice((7, 60, 63)))} goto b{n}")
            lines += ["r1 = r6", f"r1 += r{a}", f"r{b} = *(u8 *)(r1 +0)", f"b{n}: r0 = 0"]
        elif kind < 0.9 and loops < 2:
            loops += 1
            lines += [f"*(u64 *)(r10 -{16 + 8 * loops}) = 0", f"l{n}: r{a} = r{b}", f"r0 = *(u64 *)(r10 -{16 + 8 * loops})", "r0 += 1",
                      f"*(u64 *)(r10 -{16 + 8 * loops}) = r0", f"if r0 < {hex(rng.choice((3, 10, 200)))} goto l{n}"]
        else:
            lines += [f"r{a} {rng.choice(('+=', '-=', '&=', '|=', '^=', '<<=', '>>='))} {rng.choice((1, 2, 3, 7, 31))}"]
    return encode(assemble("\n".join([*lines, "r0 = r7", "exit"])))


@pytest.mark.parametrize("seed", range(6))
def test_ways_that_meet(seed: int) -> None:
    rng = random.Random(f"meeting {seed}")
    assert sum(bool(check(meeting_code(rng), memories(rng, 4))) for _ in range(30)) > 5
