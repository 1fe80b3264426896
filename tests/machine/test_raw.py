"""`run_raw`: bare instructions, and what is said when they go wrong."""

from __future__ import annotations

import pytest

from ebpf import isa
from ebpf.errors import InsnError, MachineFault, NotSupported, UsageError, VerifierError
from ebpf.machine import RawProgram, run_raw


def code(text: str) -> bytes:
    return isa.encode(isa.assemble(text))


def test_r1_is_the_memory_and_r2_its_length() -> None:
    assert run_raw(code("r0 = *(u16 *)(r1 +1)\nr0 += r2\nexit"), b"\x01\x02\x03") == 0x0302 + 3


def test_no_memory() -> None:
    assert run_raw(code("r0 = r1\nr0 += r2\nexit")) == 0


def test_a_bytearray_is_worked_on_in_place_and_bytes_in_a_copy() -> None:
    program = code("*(u32 *)(r1 +0) = 7\nr0 = 0\nexit")
    block, constant = bytearray(4), bytes(4)
    run_raw(program, block)
    run_raw(program, constant)
    assert block == b"\x07\0\0\0" and constant == bytes(4)


FAULTS = {
    "past the end": ("r0 = *(u32 *)(r1 +6)\nexit", "read of 4 bytes", "byte 6 of the memory block, which has 8 bytes", 0),
    "before the start": ("r0 = *(u8 *)(r1 -1)\nexit", "read of 1 bytes", "1 bytes before the memory block", 0),
    "NULL": ("r0 = 0\n*(u64 *)(r0 +0) = 1\nexit", "write of 8 bytes at 0x0", "NULL", 1),
    "nothing there": ("r0 = 0x1234567812345678\nr0 = *(u8 *)(r0 +0)\nexit", "read", "nothing is there", 2),
    "above the stack": ("r0 = *(u64 *)(r10 +0)\nexit", "read of 8 bytes", "byte 512 of the stack", 0),
    "below the stack": ("r0 = *(u64 *)(r10 -520)\nexit", "read of 8 bytes", "8 bytes before the stack", 0),
    "crooked stack access": ("r0 = *(u64 *)(r10 -9)\nexit", "stack access of 8 bytes", "not a multiple of 8", 0),
    "crooked atomic": ("r2 = 1\nlock *(u64 *)(r1 +1) += r2\nr0 = 0\nexit", "atomic access of 8 bytes", "not a multiple", 1),
    "unknown helper": ("call #9999\nexit", "helper number 9999", "does not exist", 0),
    "no function": ("r3 = 16\ncallx r3\nexit", "call of 0x10", "no function is there", 1),
    "end": ("r0 = 1", "runs off its end", "slot 0", 0),
    "end of a function": ("call f\nexit\nf: r0 = 2", "runs off its end", "slot 2", 2),
    "into the next function": ("call f\nr0 += 1\nf: r0 = 2\nexit", "runs off its end", "slot 1", 1),
    "no packet": ("r0 = *(u8 *)skb[0]\nexit", "no packet", "packet load", 0),
    "endless": ("again: goto again\nexit", "used up the loops", "", 0),
    "too deep": ("f: call f\nexit", "more than 8 functions", "", 0),
}


# (Who steps stops by himself.)
@pytest.mark.parametrize(("name", "step"), [(name, step) for name in FAULTS for step in (False, True)
                                            if not (step and name == "endless")])
def test_faults_say_what_where_and_which_instruction(name: str, step: bool) -> None:
    text, *words, slot = FAULTS[name]
    program = RawProgram(code(text), loops=1000, verify=False)
    with pytest.raises(MachineFault) as caught:
        if step:
            program.step(bytearray(8)).run()
        else:
            program.run(bytearray(8))
    assert all(word in caught.value.message for word in words)
    assert caught.value.slot == slot
    assert caught.value.program == "program"
    assert f"slot {slot}" in str(caught.value)


@pytest.mark.parametrize("name", sorted(FAULTS.keys() - {"no packet"}))
def test_what_would_fault_does_not_even_start(name: str) -> None:
    with pytest.raises(VerifierError):
        run_raw(code(FAULTS[name][0]), bytes(8))


def test_a_verdict_is_for_one_length_of_block() -> None:
    program = RawProgram(code("r0 = *(u32 *)(r1 +4)\nexit"))
    assert program.run(bytes([0, 0, 0, 0, 1, 0, 0, 0])) == 1
    with pytest.raises(VerifierError, match="V0215"):
        program.run(bytes(7))
    assert program.run(bytes(9)) == 0
    checked = RawProgram(code("if r2 < 0x8 goto short\nr0 = *(u32 *)(r1 +4)\nexit\nshort: r0 = 7\nexit"))
    assert [checked.run(bytes(n)) for n in (0, 7, 8)] == [7, 7, 0]


def test_a_fault_names_address_and_memory() -> None:
    with pytest.raises(MachineFault) as caught:
        run_raw(code("r0 = *(u32 *)(r1 +6)\nexit"), bytes(8), verify=False)
    fault = caught.value
    assert (fault.region, fault.access, fault.size) == ("the memory block", "read", 4)
    assert fault.address is not None and fault.address & 0xFFFFFF == 6


@pytest.mark.parametrize(("text", "what"), [
    ("goto pc+5\nexit", "slot 6, where no instruction starts"),
    ("if r1 == 0x1 goto pc+1\nr0 = 0x100000000\nexit", "slot 2, where no instruction starts"),
    ("call pc+7\nexit", "call at slot 0"),
    ("call pc+1\nexit\nif r1 == 0x0 goto pc-3\nexit", "another function"),
])
def test_jumps_and_calls_that_lead_nowhere_are_refused(text: str, what: str) -> None:
    with pytest.raises(InsnError, match=what):
        run_raw(code(text))


@pytest.mark.parametrize("bad", [b"", b"\0" * 7, b"\xff" * 8, b"\x18" + bytes(7)])
def test_bytes_that_are_no_program(bad: bytes) -> None:
    with pytest.raises(InsnError):
        run_raw(bad)


def test_engines() -> None:
    assert run_raw(code("r0 = 7\nexit"), engine="jit") == 7
    with pytest.raises(UsageError, match="not verified"):
        run_raw(code("r0 = 0\nexit"), engine="jit", verify=False)
    with pytest.raises(NotSupported, match="stepping"):
        RawProgram(code("r0 = 0\nexit"), engine="jit").step()
    with pytest.raises(UsageError, match="turbo"):
        run_raw(code("r0 = 0\nexit"), engine="turbo")


def test_helpers_that_need_a_kernel_refuse_by_name() -> None:
    with pytest.raises(NotSupported, match="bpf_fib_lookup"):
        run_raw(code("call bpf_fib_lookup\nexit"), verify=False)


def test_may_goto_ends_loops() -> None:
    program = RawProgram(code("r0 = 0\nagain: may_goto out\nr0 += 1\ngoto again\nout: exit"), loops=None)
    program.environment.may_goto_budget = 1000
    assert program.run() == 1000
    assert program.step().run() == 1000


def test_stepping_shows_registers_stack_and_text() -> None:
    stepper = RawProgram(code("r6 = 5\n*(u64 *)(r10 -8) = 258\ncall f\nexit\nf: r6 = 9\nr0 = r6\nexit")).step()
    assert stepper.text == "r6 = 5"
    stepper.step()
    assert stepper.registers[6] == 5 and stepper.slot == 1
    stepper.step()
    assert stepper.stack[-8:] == (258).to_bytes(8, "little")
    stepper.step()
    assert stepper.depth == 1 and stepper.stack == bytes(512)
    stepper.registers[6] = 1
    assert stepper.run(until=3) is None
    assert stepper.registers[6] == 5 and stepper.registers[0] == 9
    assert stepper.run() == 9 and stepper.finished
    with pytest.raises(UsageError):
        stepper.step()


def test_the_interpreter_keeps_its_pace() -> None:
    """250 ns per instruction is the goal; what it reaches is near 80, and a busy machine is forgiven."""
    import time

    program = RawProgram(code("""
        r0 = 0
        r3 = 0
    loop:
        r4 = r1
        r4 += r3
        r5 = *(u8 *)(r4 +0)
        r0 ^= r5
        r0 *= 16777619
        w0 ^= 0x5bd1
        r3 += 1
        if r3 < r2 goto loop
        exit"""))
    memory = bytearray(range(256)) * 16
    program.run(memory)
    best = 1e9
    for _ in range(5):
        start = time.process_time()
        program.run(memory)
        best = min(best, time.process_time() - start)
    assert best / (8 * len(memory)) * 1e9 < 250
