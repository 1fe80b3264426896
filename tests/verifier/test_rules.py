"""One case after another from the files in `rules`: an accept, a refusal and a near miss for each rule."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from ebpf.abi.programs import ProgType
from ebpf.isa import assemble
from ebpf.verifier import Options, verify_program
from ebpf.verifier.program import MapInfo, Program, Reference
from ebpf.verifier.refuse import Refuse

_RULES = Path(__file__).with_name("rules")
_MAPS = {"counts": MapInfo("counts", 2, 4, 16, 1), "events": MapInfo("events", 27, 0, 0, 4096)}


class Case(NamedTuple):
    file: str
    name: str
    type: int
    text: str
    expected: str


def read_cases() -> list[Case]:
    out = []
    for path in sorted(_RULES.glob("*.txt")):
        for block in re.split(r"^== ", path.read_text(), flags=re.M)[1:]:
            head, _, rest = block.partition("\n\n")
            name, *pairs = head.splitlines()
            keys = dict(p.split(": ", 1) for p in pairs)
            body, _, expected = rest.partition("-> ")
            out.append(Case(path.stem, name, int(getattr(ProgType, keys["type"])), body, expected.strip()))
    return out


def prepare(case: Case) -> Program:
    references: dict[int, Reference] = {}
    lines, slot = [], 0
    for line in case.text.strip().splitlines():
        m = re.fullmatch(r"(r\d+) = (map|value)\[(\w+)\](?:\+(\d+))?", line)
        if m:
            references[slot] = Reference(m[2], _MAPS[m[3]], int(m[4] or 0))
            line = f"{m[1]} = 0x0 ll"
        lines.append(line)
        slot += 2 if m or "subprog[" in line else 1
    text = "\n".join(lines)
    return Program(assemble(re.sub(r"= 0x0 ll", "= map[id:0]", text)), type=case.type, references=references)


@pytest.mark.parametrize("case", read_cases(), ids=lambda c: f"{c.file}: {c.name}")
def test_rule(case: Case) -> None:
    try:
        verify_program(prepare(case), Options(max_insns=50_000))
        found = "accept"
    except Refuse as refusal:
        found = f"refuse {refusal.code}: {refusal.words}"
    verdict, _, words = case.expected.partition(": ")
    assert found.partition(": ")[0] == verdict, found
    assert words in found, found


def test_every_rule_has_both_verdicts() -> None:
    by_file: dict[str, set[str]] = {}
    for case in read_cases():
        by_file.setdefault(case.file, set()).add(case.expected.split()[0])
    assert all(v == {"accept", "refuse"} for v in by_file.values()), by_file


def test_a_kernel_s_budget_is_a_separate_word() -> None:
    cases = {c.name: c for c in read_cases()}
    long = verify_program(prepare(cases["ten million rounds with a counter are not followed"]))
    short = verify_program(prepare(cases["counted rounds end"]))
    assert long.kernel_budget_exceeded and not short.kernel_budget_exceeded
    assert long.insns_visited < 10_000


def test_work_is_linear_in_length() -> None:
    def work(length: int) -> int:
        body = "r2 = *(u32 *)(r1 +12)\nif r2 > 0x5 goto pc+1\nr6 += 1\nr6 &= 255\n" * (length // 4)
        found = verify_program(Program(assemble(f"r6 = 0\n{body}r0 = 2\nexit"), type=int(ProgType.XDP)))
        return found.insns_visited + found.states

    assert work(8000) < 8.5 * work(1000)
