"""Read the kernel verifier's log and say what is wrong in the user's source: line, reason, and what to write instead.

The log is prose for kernel developers. Of it we take three things: its last complaint, the instruction it was at, and
the way that the offending register got its value (followed backwards through the instructions printed before).
`abi.refusals` turns the complaint into words; the program's line information turns the instruction into a place. What
no
row knows is shown in the verifier's own words, at the right line.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ebpf.abi.refusals import REFUSALS, TITLES
from ebpf.diagnostics import Diagnostic
from ebpf.errors import VerifierError
from ebpf.verifier.wording import Facts, SourceLine, Step, format_step, place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.abi.refusals import Refusal

_INSN = re.compile(r"^(?P<index>\d+): \((?P<opcode>[0-9a-f]{2})\) (?P<text>.*?)(?:\s+; .*)?$")
# Everything in a log that is not a complaint: states, source lines, backtracking, statistics.
_NOISE = re.compile(
    r"^(?:\d+: \(|\d+: R|; |;$| R\d|R\d+(?:_\w+)?=|from \d+ to \d+|func#\d+ @\d+|processed \d+ insns|verification time|"
    r"stack depth|last_idx|regs=|mark_precise|parent |frame ?\d+|Live regs|Validating |Func#\d+|returning from callee|"
    r"caller:|callee:| frame\d|to caller|propagating|arg#\d+ (?:type is not a struct|reference type)|"
    r"Unrecognized arg#\d+|reg type unsupported for arg|number of states|old=|cur=|\s*$|-- (?:BEGIN|END))")

def explain(program: str, log: str, errno: int, lines: Sequence[SourceLine], *,
            program_type: str = "") -> VerifierError:
    """The verifier's refusal of ``program`` as an exception that can be read.

    ``lines`` is the program's line information in order of ``insn_index``; without it the instruction alone is shown.
    The environment variable ``EBPF_VERIFIER_LOG=1`` adds the whole log, which is always in ``.log``.
    """
    insns = _parse_insns(log)
    reason = _find_reason(log) or f"no reason was given ({os.strerror(errno)})"
    last = insns[-1] if insns else None
    match, row = _match(reason, log, insns, lines, program_type)
    span = place(last.at if last else None, lines)
    facts = Facts(reason, match.groupdict() if match else {}, insns, lines, span, program_type)
    code, message, label = "V0100", f"the verifier refused `{program}`: {reason}", reason
    helps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if row is not None:
        code, message, label = row.code, facts.fill(row.message), facts.fill(row.label)
        helps = tuple(h for h in map(facts.fill, row.helps) if h)
        notes = tuple(n for n in map(facts.fill, row.notes) if n)
    whole = os.environ.get("EBPF_VERIFIER_LOG", "") not in ("", "0")
    where = "is below" if whole else f"has {log.count(chr(10))} lines: EBPF_VERIFIER_LOG=1 shows it"
    notes = (*notes, f"the verifier's words: {reason}", f"its whole log {where}")
    related = ((facts.origin_span, facts.origin_label),) if facts.origin_span and facts.origin_span != span else ()
    diagnostic = Diagnostic("error", code, message, span=span, label=label, insn=format_step(last), notes=notes,
                            helps=helps, related=related)
    return VerifierError(f"the kernel refused program `{program}`: {message}", program=program, log=log,
                         notes=(log.rstrip(),) if whole else (), diagnostics=(diagnostic,))


def _parse_insns(log: str) -> list[Step]:
    out = []
    for line in log.splitlines():
        if m := _INSN.match(line):
            out.append(Step(int(m["index"]), m["text"]))
    return out


def _find_reason(log: str) -> str:
    """The verifier's complaint: the first line after the last instruction that is no noise, else the last such line."""
    lines = log.splitlines()
    complaints = [(i, line) for i, line in enumerate(lines) if line and not _NOISE.match(line)]
    if not complaints:
        return next((x for x in reversed(lines) if x.strip()), "")
    last_insn = max((i for i, line in enumerate(lines) if _INSN.match(line)), default=-1)
    after = [line for i, line in complaints if i > last_insn]
    return (after[0] if after else complaints[-1][1]).strip()


def _match(reason: str, log: str, insns: list[Step], lines: Sequence[SourceLine],
           program_type: str) -> tuple[re.Match[str] | None, Refusal | None]:
    for row in REFUSALS:
        m = re.match(row.pattern, reason)
        if m and (not row.needs or Facts(reason, m.groupdict(), insns, lines, None, program_type).has(row.needs)):
            return m, row
    return None, None


def title(code: str) -> str:
    """The one-line meaning of a code such as ``"V0201"``; empty if there is no such code."""
    return TITLES.get(code, "")
