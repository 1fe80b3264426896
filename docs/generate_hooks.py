"""``session/functions/hooks.pyi``, what editors and type checkers know of the decorators (`generate.py` writes it)."""

from __future__ import annotations

from ebpf.session.functions.attaching import OPTION_TYPES, family_of
from ebpf.session.functions.decorators import HOOKS, NAMED_BY_FUNCTION, Hook

_HEAD = '''"""Decorators of programs. Made from the table of section names by docs/generate.py."""

from collections.abc import Callable
from typing import Any, overload

from ebpf.session.functions.function import Function

_Program = Callable[[Callable[..., Any]], Function]
'''


def page() -> str:
    """The whole file."""
    return "\n".join([_HEAD, *(_stub(name, hook) for name, hook in HOOKS.items())])


def _stub(name: str, hook: Hook) -> str:
    sections = list(hook.sections.values())
    options = dict.fromkeys(option for section in sections for option in family_of(section)[0].options)
    binary = hook.targeted and "probe" in name and name.startswith("u") or name == "usdt"
    first = "target" if hook.targeted else "event" if "event" in options else "hook" if "hook" in options else "variant"
    shown = f"{first}: str" + (' = ""' if not hook.targeted and "" in hook.variants else "")
    keywords = [f"{option}: {OPTION_TYPES[option]} = ..." for option in options if option != first]
    if binary:
        keywords.insert(0, "binary: str = ...")
    if any(sleepable for _, sleepable, _ in hook.sections):
        keywords.append("sleepable: bool = False")
    if any(frags for _, _, frags in hook.sections):
        keywords.append("frags: bool = False")
    keywords.append('name: str = ""')
    start = shown + ", /, *, " if first != "variant" or hook.variants != [""] else "*, "
    text = f"def {name}({start}{', '.join(keywords)}) -> _Program:\n    \"\"\"{_doc(hook)}\"\"\"\n"
    text = text if len(text.splitlines()[0]) <= 120 else _folded(text)
    if name not in NAMED_BY_FUNCTION and (hook.targeted or "" not in hook.variants):
        return text
    return f"@overload\ndef {name}(function: Callable[..., Any], /) -> Function: ...\n@overload\n{text}"


def _doc(hook: Hook) -> str:
    lines = (hook.__doc__ or "").split()
    out, line = [], ""
    for word in lines:
        if len(line) + len(word) > 104:
            out.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "\n    ".join([*out, line])


def _folded(text: str) -> str:
    head, _, rest = text.partition("\n")
    name, _, arguments = head.partition("(")
    arguments = arguments.removesuffix(") -> _Program:")
    inner, line = [], ""
    for part in arguments.split(", "):
        if len(line) + len(part) > 110:
            inner.append(line.rstrip())
            line = ""
        line += part + ", "
    inner.append(line.rstrip())
    body = "\n    ".join(inner)
    return f"{name}(\n    {body}\n) -> _Program:\n{rest}"
