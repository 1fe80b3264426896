"""One case after another from the files in `rules`: an accept, a refusal and a near miss for each rule."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from ebpf.abi.programs import AttachType, ProgType
from ebpf.btf import Btf, types as T
from ebpf.btf.writer import Builder
from ebpf.isa import Insn, assemble
from ebpf.verifier import Options, verify_program
from ebpf.verifier.program import MapInfo, Program, Reference
from ebpf.verifier.refuse import Refuse

_RULES = Path(__file__).with_name("rules")
_REWRITE = bool(os.environ.get("EBPF_REWRITE"))
_MAPS = {
    m.name: m
    for m in (
        MapInfo("counts", 2, 4, 16, 1),
        MapInfo("table", 1, 4, 64, 16),
        MapInfo("events", 27, 0, 0, 4096),
        MapInfo("jumps", 3, 4, 4, 8),
        MapInfo("queue", 22, 0, 8, 8),
        MapInfo("stacks", 7, 4, 8, 8),
        MapInfo("requests", 31, 0, 0, 4096),
        MapInfo("constants", 2, 4, 16, 1, 1 << 7, constant=b"pid %d\n\0" + bytes(8)),
        MapInfo("locks", 1, 4, 16, 4, fields={4: ("lock", 4, None)}),
        MapInfo("timers", 2, 4, 24, 4, fields={8: ("timer", 16, None)}),
        MapInfo("objects", 2, 4, 16, 4, fields={8: ("kptr_ref", 8, None)}),
        MapInfo("tasks", 29, 4, 16, 0),
        MapInfo("outer", 12, 4, 4, 4, inner=MapInfo("inner", 1, 4, 8, 4)),
    )
}


@cache
def kernel() -> Btf:
    """An iterator over tasks: ``meta->seq`` is a union with padding, ``task->either`` one of two pointers."""
    b = Builder()
    word, count = b.add_int("long long unsigned int", 8), b.add_int("unsigned int", 4)
    file = b.add_ptr(b.add_struct("seq_file", 16, [T.Member("count", word, 0)]))
    only = b.add_union("", 8, [T.Member("seq", file, 0)])
    either = b.add_union("", 8, [T.Member("seq", file, 0), T.Member("number", word, 0)])
    meta = b.add_struct("bpf_iter_meta", 16, [T.Member("", only, 0), T.Member("session_id", word, 64)])
    task = b.add_struct("task_struct", 16, [T.Member("", either, 0), T.Member("pid", count, 64)])
    b.add_func("bpf_iter_task", b.add_func_proto(count, [("meta", b.add_ptr(meta)), ("task", b.add_ptr(task))]))
    return b.build()


class Case(NamedTuple):
    file: str
    name: str
    keys: dict[str, str]
    text: str
    expected: str


def read_cases() -> list[Case]:
    out = []
    for path in sorted(_RULES.glob("*.txt")):
        for block in re.split(r"^== ", path.read_text(), flags=re.M)[1:]:
            head, _, rest = block.partition("\n\n")
            name, *pairs = head.splitlines()
            body, _, expected = rest.partition("-> ")
            out.append(Case(path.stem, name, dict(p.split(": ", 1) for p in pairs), body, expected.strip()))
    return out


def prepare(case: Case) -> Program:
    """The case's program. What the assembler does not know (maps by name, kernel functions) is put in its place."""
    references: dict[int, Reference] = {}
    kfuncs: dict[int, str] = {}
    lines, slot = [], 0
    for line in case.text.strip().splitlines():
        if line.startswith("//"):
            continue
        label, insn = re.fullmatch(r"(\w+: *)?(.*)", line).groups("")  # type: ignore[union-attr]
        m = re.fullmatch(r"(r\d+) = (map|value)\[(\w+)\](?:\+(\d+))?", insn)
        if m:
            references[slot] = Reference(m[2], _MAPS[m[3]], int(m[4] or 0))
            insn = f"{m[1]} = map[id:0]"
        k = re.fullmatch(r"call kfunc\[(\w+)\]", insn)
        if k:
            kfuncs[slot] = k[1]
            insn = "call #1"
        lines.append(label + insn)
        slot += 2 if m or "subprog[" in insn or insn.endswith(" ll") else 1
    insns = assemble("\n".join(lines))
    slots, at = {}, 0
    for index, found in enumerate(insns):
        slots[at] = index
        at += found.slots
    for at in kfuncs:
        insns[slots[at]] = Insn(0x85, 0, 2, 0, 0)
    attach = case.keys.get("attach")
    return Program(
        insns,
        type=int(getattr(ProgType, case.keys["type"])),
        attach_type=int(getattr(AttachType, attach)) if attach else 0,
        references=references,
        kfuncs=kfuncs,
        gpl=case.keys.get("licence", "GPL") == "GPL",
        globals_at=frozenset(int(at) for at in case.keys.get("globals", "").split()),
        attach_to=case.keys.get("target", ""),
        kernel_btf=kernel() if "target" in case.keys else None,
    )


def verdict(case: Case) -> str:
    try:
        verify_program(prepare(case), Options(max_insns=10_000))
    except Refuse as refusal:
        return f"refuse {refusal.code}: {refusal.words}"
    return "accept"


def rewrite(case: Case, found: str) -> None:
    """EBPF_REWRITE=1: what is found becomes what is expected. The difference is to be read before it is kept."""
    path = _RULES / f"{case.file}.txt"
    text = path.read_text()
    arrow = text.index("-> ", text.index(f"== {case.name}\n"))
    path.write_text(f"{text[:arrow]}-> {found}{text[text.index(chr(10), arrow):]}")


@pytest.mark.parametrize("case", read_cases(), ids=lambda c: f"{c.file}: {c.name}")
def test_rule(case: Case) -> None:
    found = verdict(case)
    kept, _, words = case.expected.partition(": ")
    if _REWRITE and (found.partition(": ")[0] != kept or words not in found):
        rewrite(case, found)
        return
    assert found.partition(": ")[0] == kept, found
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
