"""``ebpf explain``: what an error's code means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf

if TYPE_CHECKING:
    import argparse

    from ebpf.session.explain import Explanation


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", nargs="?", metavar="CODE", help='as in "error[V0201]"; without: all codes')


def run(args: argparse.Namespace) -> int:
    found = ebpf.explain(args.code or "")
    if not found:
        raise ebpf.UsageError(f"there is no code {args.code!r}", helps=("`ebpf explain` lists them",))
    if len(found) == 1:
        print(_page(found[0]))
        return 0
    for row in found:
        print(f"{row.code}  {row.title}")
    return 0


def _page(row: Explanation) -> str:
    from textwrap import fill, indent

    parts = [f"{row.code}  {row.title}"]
    parts += [fill(text, 96) for text in (row.rule, row.why) if text]
    for what, text in (("refused", row.refused), ("accepted", row.mended)):
        if text:
            parts.append(f"{what}:\n\n{indent(text, '    ')}")
    if row.kernel:
        parts.append(f"A kernel says: {row.kernel}")
    if row.helps:
        parts.append("\n".join(f"  = help: {help}" for help in row.helps))
    return "\n\n".join(parts) if len(parts) > 2 else "\n".join(parts)
