"""Fenced blocks of the documentation as things to run.

A line ``<!-- ... -->`` directly before a fence says how, in words separated by semicolons:

- ``file: NAME``  written under that name for the blocks after it on the page; C is compiled, Python left to them
- ``refused: CODE``  C that must not compile, with that code in the message; a ``text`` block after it is the message
- ``unloadable: CODE``  C that compiles and that the verifier refuses, likewise (privileged)
- ``continues``  Python that goes on where the Python block before it ended
- ``needs: root``  has to load something into this kernel; ``needs: guest`` wants a machine to itself: run in a guest
- ``needs: MODULE``  a Python module; ``needs: /PATH`` a file; ``needs: COMMAND`` on PATH; ``needs: uprobes``
- ``not run: REASON``  shown only

A ``text`` block after a Python or shell block is what it must print, ``...`` standing for anything; so is a comment
behind a ``print(...)``. Blocks in other languages are not run.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / name  # README.md: tests/test_docs.py
         for name in ("guide.md", "bcc.md", "c.md", "trace.md", "packets.md", "python.md", "testing.md", "debugger.md",
                      "tools.md")]

_BLOCK = re.compile(r"(?:^<!-- (?P<marks>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.M | re.S)
_TOLD = re.compile(r"print\(.*\)\s+# (.*)")


class Snippet(NamedTuple):
    page: str
    line: int
    language: str
    text: str  # what is run: with the blocks that it continues
    marks: dict[str, list[str]]
    files: tuple[tuple[str, str], ...]  # (name, text) of the page's files up to here
    output: str | None  # what it must print

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def needs(self) -> list[str]:
        return self.marks.get("needs", [])


def read_page(path: Path) -> list[Snippet]:
    """The blocks of a page, in order."""
    text = path.read_text()
    found: list[Snippet] = []
    files: dict[str, str] = {}
    for match in _BLOCK.finditer(text):
        language, body = match["language"], match["text"]
        marks = _marks(match["marks"] or "")
        if language == "text":
            if found and found[-1].output is None and not marks:
                found[-1] = found[-1]._replace(output=body)
            continue
        if "file" in marks:
            files[marks["file"][0]] = body
        if "continues" in marks:
            before = next(s for s in reversed(found) if s.language == "python")
            body = before.text + body
            marks["needs"] = [*before.needs, *marks.get("needs", [])]
        line = text.count("\n", 0, match.start("language")) + 1
        found.append(Snippet(path.name, line, language, body, marks, tuple(files.items()), None))
    return found


def _marks(text: str) -> dict[str, list[str]]:
    marks: dict[str, list[str]] = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, _, value = part.partition(":")
        marks.setdefault(name.strip(), []).append(value.strip())
    return marks


def all_snippets() -> list[Snippet]:
    return [s for page in PAGES for s in read_page(page)]


def expected_lines(snippet: Snippet) -> list[str]:
    """What its prints say in comments."""
    own = snippet.text
    return [m.strip() for m in _TOLD.findall(own)]


def matches(output: str, expected: str) -> bool:
    """Whether ``output`` is ``expected``, where ``...`` stands for anything."""
    def pattern(line: str) -> str:
        if line.strip() == "...":
            return r"(?:[^\n]*\n)*?"
        return re.escape(line.rstrip()).replace(r"\.\.\.", "[^\n]*") + r"[ \t]*\n"
    wanted = "".join(map(pattern, textwrap.dedent(expected).splitlines()))
    return re.fullmatch(wanted, output if output.endswith("\n") else output + "\n") is not None
