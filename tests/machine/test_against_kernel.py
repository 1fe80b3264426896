"""The same instructions in the machine and in this machine's kernel: results, contexts and packets must agree."""

from __future__ import annotations

import pytest

from ebpf.abi.programs import ProgType
from ebpf.isa import decode, disassemble, encode
from ebpf.machine import RawProgram
from tests.machine import random_code

PROGRAMS = 400
RUNS = 6


def _listing(code: bytes) -> str:
    return "\n".join(f"{slot}: {text}" for slot, _, text in disassemble(code))


@pytest.mark.kernel
def test_random_programs() -> None:
    from ebpf.kernel.programs import LoadRefused, load_program

    refused = 0
    for seed in range(PROGRAMS):
        code = random_code.program(seed)
        try:
            theirs = load_program(code, type=ProgType.SYSCALL, name="random", flags=1 << 4)
        except LoadRefused as error:
            # A branch that can never be taken makes dead code, for one; too many would make the test idle.
            refused += 1
            last = error.log
            continue
        ours = RawProgram(code)
        with theirs:
            for run in range(RUNS):
                context = random_code.inputs(seed * RUNS + run)
                expected = theirs.test_run(context=context)
                memory = bytearray(context)
                r0 = ours.run(memory)
                assert r0 & 0xFFFFFFFF == expected.result, f"seed {seed}, run {run}\n{_listing(code)}"
                assert memory == expected.context, f"seed {seed}, run {run}\n{_listing(code)}"
    assert refused < PROGRAMS // 3, last


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_steps_and_runs_agree(seed: int) -> None:
    code = random_code.program(seed)
    program = RawProgram(code)
    for run in range(2):
        whole, stepped = bytearray(random_code.inputs(run)), bytearray(random_code.inputs(run))
        assert program.run(whole) == program.step(stepped).run()
        assert whole == stepped


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_survive_the_instruction_table(seed: int) -> None:
    code = random_code.program(seed)
    assert encode(decode(code)) == code
