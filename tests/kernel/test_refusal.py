"""Each file in `refusals/` is a program with one mistake, and what the verifiers of four kernels said about it.

The reading must be the same for all of them; its text stands at the file's end. `EBPF_REWRITE=1` writes it anew: read the diff.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from ebpf.abi.refusals import REFUSALS, TITLES
from ebpf.errors import VerifierError
from ebpf.kernel.refusal import SourceLine, explain

CASES = sorted((Path(__file__).parent / "refusals").glob("*.txt"))
_EXPECTED = "=== expected\n"


def _sections(path: Path) -> dict[str, str]:
    parts = re.split(r"^=== (.+)\n", path.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _lines(source: str, log: str) -> list[SourceLine]:
    """Line information as the loader would give it, from the source lines that the log repeats."""
    rows, out = source.splitlines(), []
    current = ""
    for line in log.splitlines():
        if line.startswith("; ") and (text := line[2:].split(" @ ")[0]).strip():
            current = text
        elif (m := re.match(r"(\d+): \(", line)) and current in rows:
            column = len(current) - len(current.lstrip()) + 1
            out.append(SourceLine(int(m[1]), "prog.c", rows.index(current) + 1, column, current))
    return sorted(out)


def _read(path: Path, kernel: str, sections: dict[str, str]) -> VerifierError:
    log = sections[kernel]
    return explain("f", log, 13, _lines(sections["source"], log), program_type="xdp")


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_every_kernels_words_are_read_alike(path: Path) -> None:
    sections = _sections(path)
    errors = {k: _read(path, k, sections) for k in sections if k[0].isdigit()}
    newest = errors[max(errors, key=lambda k: [int(x) for x in k.split(".")])]
    text = str(newest) + "\n"
    if os.environ.get("EBPF_REWRITE"):
        path.write_text(path.read_text().split(_EXPECTED)[0] + _EXPECTED + text)
        sections = _sections(path)
    assert text == sections["expected"]
    for kernel, error in errors.items():
        [diagnostic], [wanted] = error.diagnostics, newest.diagnostics
        assert (diagnostic.code, diagnostic.message) == (wanted.code, wanted.message), kernel
        assert diagnostic.span is not None
        assert error.log == sections[kernel]


def test_unknown_words_are_shown_as_they_are() -> None:
    error = explain("f", "0: (95) exit\nthe moon is in the wrong phase\nprocessed 1 insns (limit 1000000)\n", 22,
                    [SourceLine(0, "a.c", 3, 5, "    return 0;")])
    [diagnostic] = error.diagnostics
    assert diagnostic.code == "V0100"
    assert "the moon is in the wrong phase" in diagnostic.message
    assert diagnostic.span is not None and diagnostic.span.line == 3


def test_an_empty_log_still_gives_an_error() -> None:
    assert "no reason was given (Invalid argument)" in str(explain("f", "", 22, []))


def test_the_whole_log_comes_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPF_VERIFIER_LOG", "1")
    log = "0: (95) exit\nR0 !read_ok\n"
    assert "0: (95) exit\n" in str(explain("f", log, 13, []))


def test_every_row_has_a_titled_code_and_a_valid_pattern() -> None:
    for row in REFUSALS:
        assert row.code in TITLES
        re.compile(row.pattern)
