"""C in scripts: lines that begin with ``#`` and definitions of structs, unions and enums, for the C front end.

The C front end gets the script's own text with everything else blanked out, so that its places are the script's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.compiler.c.macros_expand import Expander

_SCAN = re.compile(
    r"""(?P<comment>//[^\n]*|/\*(?s:.*?)(?:\*/|\Z))
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<directive>(?:(?<=\n)|\A)[ \t]*\#(?:\\\r?\n|/\*(?s:.*?)\*/|[^\n\\]|\\(?!\r?\n))*)
    |(?P<type>\b(?:struct|union|enum)\s+\w+\s*(?=\{)|\btypedef\b)
    |(?P<brace>[{}])""",
    re.VERBOSE,
)


def find_c(text: str) -> list[tuple[int, int]]:
    """The stretches of C in a script, as offsets: directives, and definitions of types outside of any action."""
    if (
        "#" not in text
        and "struct" not in text
        and "enum" not in text
        and "union" not in text
        and "typedef" not in text
    ):
        return []
    found: list[tuple[int, int]] = []
    depth = at = 0
    while (m := _SCAN.search(text, at)) is not None:
        at = m.end()
        kind = m.lastgroup
        if kind == "brace":
            depth += 1 if m[0] == "{" else -1
        elif kind == "directive" and depth <= 0:
            if not m[0].lstrip().startswith("#!"):
                found.append((m.start(), m.end()))
        elif kind == "type" and depth <= 0:
            at = _definition_end(text, at)
            found.append((m.start(), at))
    return found


def _definition_end(text: str, at: int) -> int:
    """Behind the ``;`` that ends the definition (or the ``}`` of a careless one)."""
    depth, closed = 0, -1
    for m in re.finditer(r"//[^\n]*|/\*(?s:.*?)\*/|[{};]|\S", text[at:]):
        sign = m[0]
        if sign == "{":
            depth += 1
        elif sign == "}":
            depth -= 1
            if depth == 0:
                closed = at + m.end()
        elif sign == ";" and depth == 0:
            return at + m.end()
        elif closed >= 0 and depth == 0 and not sign.startswith("/") and not (sign.isalnum() or sign in "_*[],"):
            return closed
    return closed if closed >= 0 else len(text)


def blanked(text: str, stretches: list[tuple[int, int]]) -> str:
    """``text`` with blanks for all but the stretches; lines stay lines."""
    out, at = [], 0
    for start, end in stretches:
        out.append(_blank(text[at:start]))
        out.append(text[start:end])
        at = end
    out.append(_blank(text[at:]))
    return "".join(out)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


class Defines(dict[str, str]):
    """What ``#define`` makes of a name, as text: object-like macros that the script or its headers define."""

    def __init__(self, macros: Expander | None) -> None:
        super().__init__()
        self._macros = macros

    def __contains__(self, name: object) -> bool:
        return self._text(str(name)) is not None

    def __getitem__(self, name: str) -> str:
        text = self._text(name)
        if text is None:
            raise KeyError(name)
        return text

    def _text(self, name: str) -> str | None:
        if self._macros is None:
            return None
        from ebpf.compiler.c.macros_expand import Macro

        if type(self._macros.macros.get(name)) is str:
            return None  # our table of what headers define: constants are looked up elsewhere
        macro = self._macros.lookup(name)
        if not isinstance(macro, Macro) or macro.params is not None or macro.builtin or not macro.body:
            return None
        return "".join((" " if t.space else "") + t.text for t in macro.body).strip()


NO_DEFINES: Mapping[str, str] = {}
