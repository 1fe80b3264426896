"""A `Refuse` as a `VerifierError`: the source line, the reason in the words of `abi.refusals`, the way there, what
would mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.abi.programs import ProgType
from ebpf.abi.refusals import REFUSALS, TITLES
from ebpf.diagnostics import Diagnostic, Span
from ebpf.errors import VerifierError
from ebpf.verifier.program import JUMP_IF
from ebpf.verifier.wording import Facts, SourceLine, Step, format_step, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.object import Object
    from ebpf.object.linker import Linked
    from ebpf.verifier.program import Program
    from ebpf.verifier.refuse import Refuse

_STEPS = 5000  # of a long path only the end is told
_RELATED = 3


def explain(obj: Object, name: str, linked: Linked | None, program: Program | None, refusal: Refuse) -> VerifierError:
    """The refusal of program ``name``, readable."""
    lines = (
        [SourceLine(r.insn_off, r.file, r.line, r.column, r.text) for r in linked.line_info]
        if linked is not None
        else []
    )
    return explain_program(name, program, refusal, lines)


def explain_program(
    name: str, program: Program | None, refusal: Refuse, lines: Sequence[SourceLine] = ()
) -> VerifierError:
    """The same for a bare program; ``lines`` is its line information, if it has any."""
    steps = path(program, refusal) if program is not None else []
    last = steps[-1] if steps else None
    span = place(last.at if last else None, lines) if lines else None
    groups: dict[str, str | None] = dict(refusal.facts)
    if refusal.register >= 0:
        groups.setdefault("register", f"R{refusal.register}")
    kind = ProgType(program.type).name.lower() if program is not None else ""
    facts = Facts(refusal.words, groups, steps, lines, span, kind)
    message, label = refusal.words, TITLES[refusal.code]
    code, helps, notes = refusal.code, list(refusal.helps), list(refusal.notes)
    row = next((r for r in REFUSALS if r.key and r.key == refusal.row and (not r.needs or facts.has(r.needs))), None)
    if row is not None:
        code = row.code if row.key == "number" else code
        message, label = facts.fill(row.message), facts.fill(row.label)
        helps += [h for h in map(facts.fill, row.helps) if h]
        notes += [n for n in map(facts.fill, row.notes) if n]
        if refusal.words != message:
            notes.append(f"what was found: {refusal.words}")
    related = (
        [(facts.origin_span, facts.origin_label)] if facts.origin_span is not None and facts.origin_span != span else []
    )
    if program is not None:
        related += _turns(program, refusal, lines, [span, *(s for s, _ in related)])
    diagnostic = Diagnostic(
        "error",
        code,
        message,
        span=span,
        label=label,
        insn=format_step(last),
        notes=tuple(notes),
        helps=tuple(helps),
        related=tuple(related),
    )
    log = "\n".join([format_step(s) for s in steps] + [refusal.words])
    return VerifierError(f"program `{name}` is not safe: {message}", program=name, log=log, diagnostics=(diagnostic,))


def path(program: Program, refusal: Refuse) -> list[Step]:
    """The instructions of the refused path, in order, the refused one last."""
    from ebpf.isa import format_insn

    out: list[Step] = []
    slot = 0
    for at, to in refusal.trail[-_STEPS:]:
        # From where the last step led straight on to the next one that did not.
        while slot <= at and slot in program.insns:
            out.append(Step(slot, ""))
            slot += program.insns[slot].slots
        slot = to
    while slot <= refusal.slot and slot in program.insns:
        out.append(Step(slot, ""))
        slot += program.insns[slot].slots
    texts: dict[int, str] = {}
    for i, step in enumerate(out):
        text = texts.get(step.at)
        if text is None:
            text = texts[step.at] = format_insn(program.insns[step.at])
        out[i] = Step(step.at, text)
    return out


def _turns(
    program: Program, refusal: Refuse, lines: Sequence[SourceLine], seen: Sequence[Span | None]
) -> list[tuple[Span, str]]:
    """The last few conditions that the path took, where they are in other lines than what was shown already."""
    out: list[tuple[Span, str]] = []
    shown = [(s.file, s.line) for s in seen if s is not None]
    for at, _ in reversed(refusal.trail):
        if program.ops[at][0] != JUMP_IF:
            continue
        span = place(at, lines)
        if span is not None and (span.file, span.line) not in shown:
            shown.append((span.file, span.line))
            out.append((span, "the path that leads there turns off here"))
            if len(out) == _RELATED:
                break
    return out[::-1]
