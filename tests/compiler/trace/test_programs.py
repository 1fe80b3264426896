"""Scripts and what they leave: maps and records (programs.txt), after a run of each probe in the userspace machine.

``EBPF_REWRITE=1 pytest tests/compiler/trace/test_programs.py`` writes the expectations anew; read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.compiler.trace.trace_support import run

FILE = Path(__file__).parent / "programs.txt"
PARAMS = ("3", "text", "--limit=8", "--flag")


def read_cases() -> list[tuple[str, str, str]]:
    out = []
    for case in FILE.read_text().split("\n=====\n"):
        head, _, expected = case.partition("\n---\n")
        title, _, script = head.partition("\n")
        out.append((title.removeprefix("# "), script, expected.strip("\n")))
    return out


def outcome(script: str) -> str:
    """Maps that have a value and records, a line each; then the probes and the programs that serve them."""
    found = run(script, params=PARAMS)
    lines = [f"{name} = {value!r}" for name, value in found.maps.items()]
    lines += [" ".join((event[0], *(repr(e) for e in event[1:]))) for event in found.events]
    if len(found.plan.probes) > 1:
        lines += [f"{p.name} -> {p.program}" for p in found.plan.probes]
    if found.plan.unsafe:
        lines.append(f"unsafe: {', '.join(found.plan.unsafe)}")
    return "\n".join(lines)


def rewrite() -> None:
    cases = [f"# {title}\n{script}\n---\n{outcome(script)}\n" for title, script, _ in read_cases()]
    FILE.write_text("\n=====\n".join(cases))


if os.environ.get("EBPF_REWRITE"):
    rewrite()
CASES = read_cases()


@pytest.mark.parametrize("script, expected", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_program(script, expected):
    assert outcome(script) == expected
