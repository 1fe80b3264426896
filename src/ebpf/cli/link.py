"""``ebpf link``: links (attachments) in the kernel; with files, the linker of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf
from ebpf.cli._kinds import add_actions, holders_text, need_which
from ebpf.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse


_ACTIONS = ("list", "show")


def parse(parser: argparse.ArgumentParser, arguments: list[str]) -> argparse.Namespace:
    """``ebpf link A.o B.o -o C.o``, as everybody expects of something called so, has a command line of its own."""
    if any(a.startswith("-o") for a in arguments) or arguments and arguments[0].endswith((".o", ".c")):
        import argparse

        from ebpf.cli import _link_objects

        objects = argparse.ArgumentParser(prog=parser.prog, allow_abbrev=False)
        _link_objects.configure(objects)
        return objects.parse_args(arguments)
    return parser.parse_args(arguments)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "`ebpf link A.o B.c -o WHOLE.o` links objects (and C files, compiled on the way) into one."
    add_actions(parser, "link", _ACTIONS, "an id, or the path where it is pinned")


def run(args: argparse.Namespace) -> int:
    if not hasattr(args, "action"):
        from ebpf.cli import _link_objects

        return _link_objects.run(args)
    if args.action == "list":
        infos = list(ebpf.inventory.links())
    else:
        with ebpf.inventory.link(need_which(args, "link")) as link:
            info = link.info()
            infos = [info] if info is not None else []
    if args.json:
        rows = [{**i._asdict(), "target": ebpf.inventory.link_target(i)} for i in infos]
        print_json(rows if args.action == "list" else rows[0])
        return 0
    holders, programs = ebpf.inventory.holders(but_us=True), {}
    try:
        programs = {p.id: p.name for p in ebpf.inventory.programs()}
    except ebpf.PrivilegeError:  # the names are a courtesy
        pass
    print_table(("id", "type", "program", "attached to", "held by"), (
        (i.id, i.type, f"{i.prog_id} {programs.get(i.prog_id, '')}".rstrip(),
         ebpf.inventory.link_target(i), holders_text(holders, "link", i.id)) for i in infos),
        "there are no links (tc filters have none, nor before Linux 5.15 kprobes, uprobes and tracepoints)")
    return 0
