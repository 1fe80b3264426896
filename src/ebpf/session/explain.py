"""What the codes in messages mean: ``error[V0201]`` → its title and the usual remedies. `ebpf explain` prints it."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

# Where codes are given out: module and table (code → title). A table that a message uses belongs here.
_TABLES = (
    ("ebpf.compiler.c.syntax_codes", "CODES"),
    ("ebpf.compiler.c.checker_codes", "CODES"),
    ("ebpf.compiler.c.lower_codes", "CODES"),
    ("ebpf.compiler.trace.codes", "CODES"),
    ("ebpf.compiler.py.codes", "CODES"),
    ("ebpf.isa.assembler", "CODES"),
    ("ebpf.abi.refusals", "TITLES"),
)


class Explanation(NamedTuple):
    """A code's title and what usually helps, most common first; of the verifier's codes the whole page.

    ``rule`` and ``why`` are prose, ``refused`` and ``mended`` the same C before and after, ``kernel`` an example of
    how a kernel's verifier says it. Empty: there is none.
    """

    code: str
    title: str
    helps: tuple[str, ...]
    rule: str = ""
    why: str = ""
    refused: str = ""
    mended: str = ""
    kernel: str = ""


def explain(code: str) -> list[Explanation]:
    """What ``code`` (``"V0201"``, any case) means; of every code that starts with it (``"V02"``, ``""``)."""
    wanted = code.upper().strip("[]")
    titles: dict[str, str] = {}
    for module, table in _TABLES:
        titles.update(getattr(import_module(module), table))
    from ebpf.abi.refusal_pages import PAGES

    found = sorted(c for c in titles if c.startswith(wanted))
    return [Explanation(c, titles[c], _helps(c), *PAGES.get(c, ())) for c in found]


def _helps(code: str) -> tuple[str, ...]:
    """The remedies of every wording of a refusal; what a message would fill in stands as a word."""
    import re

    from ebpf.abi.refusals import REFUSALS

    texts = [help for row in REFUSALS if row.code == code for help in row.helps]
    plain = (re.sub(r"\{(\w+)[^{}]*\}", r"\1", t).replace("{{", "{").replace("}}", "}") for t in texts)
    return tuple(dict.fromkeys(plain))
