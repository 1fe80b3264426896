"""What ``ebpf prog``, ``ebpf map`` and ``ebpf link`` have in common: actions, ``--json``, who holds what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence


def add_actions(parser: argparse.ArgumentParser, what: str, actions: Sequence[str], which: str) -> None:
    """``list`` (the default), ``show WHICH`` and, where there is one, ``dump WHICH``; ``--json`` for all."""
    parser.add_argument("action", nargs="?", choices=actions, default="list", help=f"default: list every {what}")
    parser.add_argument("which", nargs="?", metavar="WHICH", help=which)
    parser.add_argument("--json", action="store_true", help="as JSON")


def need_which(args: argparse.Namespace, what: str) -> str:
    """The object that the action is about."""
    if args.which is None:
        raise ebpf.UsageError(f"which {what}? `ebpf {what} {args.action} WHICH` ({args.action} needs one; "
                              f"`ebpf {what} list` shows what there is)")
    which: str = args.which
    return which


def holders_text(holders: dict[tuple[str, int], list[tuple[int, str]]], kind: str, id: int) -> str:
    """Who holds it: ``python3(4711), bpftrace(815)``."""
    return ", ".join(f"{command}({pid})" for pid, command in holders.get((kind, id), ()))


def translated_lines(code: bytes) -> Iterator[str]:
    """The listing of a loaded program, as the kernel has rewritten it; calls by name where this user may see names."""
    calls = ebpf.inventory.called_functions(code) or {}
    for slot, _, text in ebpf.disassemble(code, translated=True):
        yield f"{slot:5}: {f'call {calls[slot]}' if slot in calls else text}"
