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


@pytest.mark.kernel
@pytest.mark.parametrize("size", ["u8", "u16", "u32"])
@pytest.mark.parametrize("step", [False, True], ids=["run", "step"])
def test_legacy_packet_loads(size: str, step: bool) -> None:
    """By offset and register, relative to headers (negative), and past the end, where the program ends with 0."""
    from ebpf.isa import assemble
    from ebpf.kernel.programs import load_program
    from ebpf.machine import Environment, Stepper
    from ebpf.machine.packets import Packet

    data = bytes(range(100, 160)) + bytes(20)
    data = data[:12] + b"\x08\x00" + data[14:]
    net, link = -0x100000, -0x200000
    offsets = [0, 1, 13, 60, 62, 63, 64, 65, 66, 1000, net, net + 3, net + 65, net + 66, link, link + 12, link + 79, link + 80, link - 5]
    for offset in offsets:
        for text in (f"r0 = *({size} *)skb[{offset}]", f"r7 = {offset}\nr0 = *({size} *)skb[r7 + 1]"):
            code = encode(assemble(f"r6 = r1\n{text}\nr0 += 1\nexit"))
            with load_program(code, type=ProgType.SOCKET_FILTER, name="legacy") as theirs:
                expected = theirs.test_run(data).result
            environment = Environment()
            program = RawProgram(code, environment=environment).program
            environment.packet = Packet(environment, ProgType.SOCKET_FILTER, data)
            found = Stepper(program, 1).run() if step else program.call(1)
            assert found is not None and found & 0xFFFFFFFF == expected, text


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
