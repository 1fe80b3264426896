"""What is refused, and in which words (mistakes.txt): the file's messages are compared as a whole.

``EBPF_REWRITE=1 pytest tests/compiler/py/test_mistakes.py`` writes them anew; read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ebpf.compiler.py.codes import CODES
from ebpf.diagnostics import format_diagnostic
from ebpf.errors import CompileError, EbpfError
from tests.compiler.py.py_support import compiled, read_cases

FILE = Path(__file__).parent / "mistakes.txt"


def outcome(text: str) -> str:
    try:
        found = compiled(text + "\n")
    except CompileError as error:
        return "\n\n".join(format_diagnostic(d) for d in error.diagnostics)
    except EbpfError as error:
        return f"{type(error).__name__}: {error}"
    return "\n\n".join(["(accepted)", *(format_diagnostic(d) for d in found.diagnostics)])


def rewrite() -> None:
    cases = [f"# {title}\n{text}\n---\n{outcome(text)}\n" for title, text, _ in read_cases(FILE)]
    FILE.write_text("\n=====\n".join(cases))


if os.environ.get("EBPF_REWRITE"):
    rewrite()
CASES = read_cases(FILE)


@pytest.mark.parametrize("text, expected", [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_mistake(text: str, expected: str) -> None:
    assert outcome(text) == expected
    assert "(accepted)" not in expected


def test_every_code_has_a_case() -> None:
    used = "\n".join(expected for _, _, expected in CASES)
    missing = [code for code in CODES if f"[{code}]" not in used]
    assert not missing
