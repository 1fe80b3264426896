"""``ebpf link``: links (attachments) in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf
from ebpf.cli._kinds import add_actions, holders_text, need_which
from ebpf.cli.output import print_json, print_table

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    add_actions(parser, "link", ("list", "show"), "an id, or the path where it is pinned")


def run(args: argparse.Namespace) -> int:
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
