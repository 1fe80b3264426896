"""The tables of docs/kernel.md, from what the runs answered: DIRECTORY/maps-KERNEL.jsonl, hooks-… and needs-…."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "kernel.md"
KERNELS = ("5.10", "6.1", "6.12", "6.18", "7.2")
Answers = dict[str, Any]


def write(directory: Path) -> None:
    """Put the tables of which there are answers in their places."""
    text = DOCUMENT.read_text()
    for what, make in (("maps", maps_table), ("hooks", hooks_table), ("needs", needs_table)):
        found = {kernel: dict(json.loads(line) for line in file.read_text().splitlines() if line.startswith("["))
                 for kernel in KERNELS if (file := directory / f"{what}-{kernel}.jsonl").exists()}
        if not found:
            continue
        head, _, rest = text.partition(f"<!-- {what} -->")
        _, _, tail = rest.partition("<!-- end -->")
        text = f"{head}<!-- {what} -->\n{make(found)}\n<!-- end -->{tail}"
    DOCUMENT.write_text(text)


def _table(first: tuple[str, ...], found: dict[str, Answers], rows: list[tuple[str, ...]],
           cell: Callable[[str, Any], str]) -> str:
    kernels = [k for k in KERNELS if k in found]
    lines = ["| " + " | ".join((*first, *kernels)) + " |", "|---" * (len(first) + len(kernels)) + "|"]
    lines += ["| " + " | ".join((*row, *(cell(row[0], found[k].get(row[0])) for k in kernels))) + " |" for row in rows]
    return "\n".join(lines)


def maps_table(found: dict[str, Answers]) -> str:
    """Types, their operations, and what each kernel has of them."""
    from tests.kernel.contract.maps import ROWS

    has = {row.type.name.lower(): row.has.split() for row in ROWS}

    def cell(name: str, answers: Any) -> str:
        if not isinstance(answers, dict) or answers.get("create") != "yes":
            return "–"
        lacking = [op for op in answers if op.split()[0] in has[name] and answers[op] != "yes"]
        return f"no {', '.join(lacking)}" if lacking else "yes"

    return _table(("type", "operations"), found, [(name, ", ".join(ops)) for name, ops in has.items()], cell)


def hooks_table(found: dict[str, Answers]) -> str:
    """Hooks, what their links can do, and which kernels have them."""
    names = list(dict.fromkeys(name for answers in found.values() for name in answers))

    def can(name: str) -> str:
        seen = [a[name] for a in found.values() if isinstance(a.get(name), dict)]
        able = [s for s in ("list", "pin", "update") if any(a.get(s) == "yes" for a in seen)]
        return ", ".join(able) or "–"

    def tested(name: str) -> str:
        return "yes" if any(isinstance(a.get(name), dict) and a[name].get("test run") == "yes" for a in found.values()) \
            else "–"

    def cell(name: str, answers: Any) -> str:
        if not isinstance(answers, dict):
            return "" if answers is None else "?"
        return "yes" if "yes" in (answers.get("attach"), answers.get("rows"), answers.get("test run")) else "–"

    return _table(("hook", "link", "test run"), found, [(n, can(n), tested(n)) for n in names], cell)


def needs_table(found: dict[str, Answers]) -> str:
    """Capabilities by hook and kernel; hooks that need the same everywhere share a row."""
    kernels = [k for k in KERNELS if k in found]
    rows: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys(name for answers in found.values() for name in answers):
        cells = tuple(_needs(found[k][name]) if name in found[k] else "" for k in kernels)
        rows.setdefault(cells, []).append(name)
    lines = ["| " + " | ".join(("hooks", *kernels)) + " |", "|---" * (1 + len(kernels)) + "|"]
    return "\n".join(lines + [f"| {', '.join(names)} | {' | '.join(cells)} |" for cells, names in rows.items()])


def _needs(answer: Any) -> str:
    if not isinstance(answer, list):
        return "–"
    return ", ".join(c.removeprefix("CAP_") for c in answer) or "none"


def documented_needs(kernel: str) -> dict[str, str]:
    """What docs/kernel.md says each hook needs on ``kernel``, as that table writes it; {} if it is not in there."""
    table = DOCUMENT.read_text().partition("<!-- needs -->")[2].partition("<!-- end -->")[0].strip().splitlines()
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table] or [[""], []]
    if kernel not in head:
        return {}
    return {name: row[head.index(kernel)] for row in rows for name in row[0].split(", ")}
