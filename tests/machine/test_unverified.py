"""Programs that no verifier has seen: the machine gives a number or one of its own errors, never a crash, never a write elsewhere."""

from __future__ import annotations

import random

import pytest

from ebpf.abi.maps import MapType
from ebpf.errors import InsnError, MachineFault, NotSupported
from ebpf.isa import Insn, encode
from ebpf.isa.forms import FORMS
from ebpf.isa.insn import OP_LDDW
from ebpf.machine import Environment, MapShape, RawProgram, create_map
from ebpf.machine.helpers import by_id

LOADABLE = [form for form in FORMS if not form.internal and form.op not in ("gotox", "call_kfunc", "addr_space_cast")]


def random_insn(rng: random.Random, length: int, addresses: list[int]) -> Insn:
    """An instruction of any form, with plausible operands in its free fields."""
    form = rng.choice(LOADABLE)
    match, free = form.match, form.free
    dst = match >> 8 & 15 if not free & 0x0F00 else rng.randrange(11)
    src = match >> 12 & 15 if not free & 0xF000 else rng.randrange(11)
    off = match >> 16 & 0xFFFF
    if free & 0xFFFF0000:
        off = rng.randint(-4, min(8, length)) if form.op.startswith("j") or form.op == "may_goto" else rng.choice((-8, -4, 0, 1, 8, -512))
    off = off - (1 << 16) if off >> 15 > 0 else off
    imm = match >> 32
    if free & 0xFFFFFFFF00000000:
        imm = rng.choice((0, 1, 2, 5, -1, 64, 1 << 30, rng.randrange(212)))
        if form.op == "call":
            imm = rng.choice([*by_id(), 12, 9999])
        if form.op in ("call_local", "ja"):
            imm = rng.randint(-4, 6)
    imm = imm - (1 << 32) if imm >> 31 > 0 else imm
    if form.opcode == OP_LDDW:
        if src in (0, 4):
            imm = rng.choice(addresses) if src == 0 and rng.random() < 0.7 else rng.randint(0, 5)
        else:
            return Insn(0xB7, dst, 0, 0, 1)
    return Insn(form.opcode, dst, src, off, imm)


@pytest.mark.parametrize("seed", range(8))
def test_anything_may_be_run(seed: int) -> None:
    rng = random.Random(seed)
    outcomes = {"result": 0, "fault": 0, "refused": 0, "missing": 0}
    for _ in range(250):
        environment = Environment(seed=1)
        maps = [create_map(environment, MapShape("h", MapType.HASH, 4, 8, 4)), create_map(environment, MapShape("a", MapType.ARRAY, 4, 8, 4)),
                create_map(environment, MapShape("r", MapType.RINGBUF, 0, 0, 4096))]
        maps[0].update(bytes(4), bytes(8))
        environment.may_goto_budget = 50
        addresses = [m.address for m in maps] + [maps[0].lookup_elem(bytes(4)), maps[1].lookup_elem(bytes(4)), environment.tops[0] - 64]
        length = rng.randint(1, 30)
        insns = [random_insn(rng, length, addresses) for _ in range(length)] + [Insn(0x95)]
        constant = b"\x11" * 64
        window = environment.space.reserve("constants")
        environment.space.show(window, bytearray(constant), writable=False)
        try:
            program = RawProgram(encode(insns), loops=200, environment=environment, verify=False)
            program.run(bytearray(64))
            outcomes["result"] += 1
        except InsnError:
            outcomes["refused"] += 1
        except MachineFault:
            outcomes["fault"] += 1
        except NotSupported:
            outcomes["missing"] += 1
        assert bytes(environment.space.readable[window]) == constant
        assert environment.space.running == 0
    assert outcomes["result"] > 5 and outcomes["fault"] > 20, outcomes
