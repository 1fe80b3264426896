"""Mistakes and what is said about them (mistakes.txt); codes; text that is no script at all.

``EBPF_REWRITE=1 pytest tests/compiler/trace/test_mistakes.py`` writes the expectations anew; read the difference.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from ebpf.compiler.trace import ScriptOptions
from ebpf.compiler.trace.codes import CODES
from ebpf.compiler.trace.compiler import check_script
from ebpf.errors import CompileError
from tests.compiler.trace.test_programs import CASES
from tests.compiler.trace.trace_support import FakeFacts

FILE = Path(__file__).parent / "mistakes.txt"


def read_cases() -> list[tuple[str, str]]:
    cases = FILE.read_text().split("\n=====\n")
    return [(c.partition("\n---\n")[0], c.partition("\n---\n")[2].strip("\n")) for c in cases]


def messages(script: str) -> str:
    try:
        found = check_script(script, filename="t.bt", facts=FakeFacts())
    except CompileError as error:
        return str(error)
    from ebpf.diagnostics import format_diagnostics

    return format_diagnostics(found.diagnostics)


if os.environ.get("EBPF_REWRITE"):
    FILE.write_text("\n=====\n".join(f"{text}\n---\n{messages(text)}\n" for text, _ in read_cases()))
MISTAKES = read_cases()


@pytest.mark.parametrize("script, expected", MISTAKES, ids=range(len(MISTAKES)))
def test_messages(script, expected):
    assert messages(script) == expected


def test_every_code_has_a_case():
    """But for those that need a host: files, a kernel without types, thousands of functions."""
    text = FILE.read_text()
    elsewhere = {"T0111", "T0218", "T0305", "T0306", "T0214", "T0220"}
    assert {c for c in CODES if f"[{c}]" not in text} <= elsewhere


@pytest.mark.parametrize("seed", range(6))
def test_damaged_scripts_are_refused_or_compiled(seed):
    """Whatever is cut out, doubled or exchanged: a tree, or a `CompileError`."""
    rng = random.Random(seed)
    for _, script, _ in CASES:
        at, size = rng.randrange(len(script)), rng.randrange(1, 9)
        other = rng.choice(CASES)[1]
        damaged = rng.choice(
            (
                script[:at] + script[at + size :],
                script[:at] + script[at : at + size] * 2 + script[at + size :],
                script[:at] + rng.choice(other) + script[at + 1 :],
                script[:at],
            )
        )
        try:
            check_script(damaged, facts=FakeFacts(), options=ScriptOptions(("1",)))
        except CompileError as error:
            assert error.diagnostics
