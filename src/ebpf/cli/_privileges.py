"""``--drop-privileges``: what ``ebpf run`` and ``ebpf trace`` give up once everything is attached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.cli.output import progress

if TYPE_CHECKING:
    import argparse

    import ebpf


def add_option(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--drop-privileges", metavar="USER", nargs="?", const="", default=None,
                        help="once attached, give up capabilities and become USER (default: who called sudo)")


def drop(session: ebpf.Session, user: str | None, *, keep: tuple[str, ...] = ()) -> None:
    """As the option says; ``None``: not at all."""
    if user is None:
        return
    left = session.drop_privileges(user or None, keep=keep)
    progress(f"privileges dropped: uid {left.uid}, gid {left.gid}, "
             f"{'kept ' + ', '.join(left.kept) if left.kept else 'no capabilities'}")
