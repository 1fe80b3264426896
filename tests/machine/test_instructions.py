"""Every instruction by vectors that were worked out by hand (vectors.txt), run whole and step by step, and what none of them covers."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpf import isa
from ebpf.isa.forms import FORMS
from ebpf.machine import RawProgram

LINES = [line for line in (Path(__file__).parent / "vectors.txt").read_text().splitlines() if line.strip() and line[0] != "#"]
VECTORS = {(parts := line.split("|", 1))[0].strip(): [p.strip() for p in parts[1].rsplit("|", 1)] for line in LINES}

# The machine does not have these; `docs/architecture.md` says so.
MISSING = {"gotox", "call_kfunc"}  # (kfuncs are called by name: bare code has none)
# Tested elsewhere: test_raw.py, test_machine.py, test_compiled.py.
ELSEWHERE = {"may_goto", "call", "ld_abs", "ld_ind"}


def code(text: str) -> bytes:
    return isa.encode(isa.assemble("\n".join([*(line.strip() for line in text.split(";")), "exit"])))


@pytest.mark.parametrize("name", VECTORS)
def test_vector(name: str) -> None:
    text, expected = VECTORS[name]
    program = RawProgram(code(text), verify=False)  # some of them no verifier would accept
    assert program.run(bytearray(range(1, 17))) == int(expected, 0)
    assert program.step(bytearray(range(1, 17))).run() == int(expected, 0)


def test_the_vectors_cover_the_instruction_set() -> None:
    covered = {(isa.form_of(insn).op, insn.opcode & 7) for text, _ in VECTORS.values() for insn in isa.decode(code(text))}
    wanted = {(form.op, form.opcode & 7) for form in FORMS if not form.internal and form.op not in MISSING | ELSEWHERE}
    # 32 and 64 bits differ in their mask only; one of both is enough for comparisons.
    missing = {(op, cls) for op, cls in wanted - covered if (op, 11 - cls) not in covered}
    assert not missing


@pytest.mark.parametrize("op", sorted(MISSING))
def test_what_is_missing_says_so(op: str) -> None:
    from ebpf.errors import NotSupported
    from ebpf.isa import Insn

    form = next(form for form in FORMS if form.op == op)
    insn = Insn(form.opcode, 1 if op != "call_kfunc" else 0, form.match >> 12 & 15, 0, 1 if op != "gotox" else 0)
    with pytest.raises(NotSupported, match="machine"):
        RawProgram(isa.encode([insn, Insn(0x95)]), verify=False).run()
