"""``ebpf map``: maps in the kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf
from ebpf.cli._kinds import add_actions, holders_text, need_which
from ebpf.cli.output import print_json, print_table, progress, show

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    add_actions(parser, "map", ("list", "show", "dump"), "an id, a name, or the path where it is pinned")


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        return _list(args)
    map = ebpf.inventory.map(need_which(args, "map"))
    try:
        return _dump(map, args.json) if args.action == "dump" else _show(map, args.json)
    finally:
        map.close()


def _show(map: ebpf.Map, as_json: bool) -> int:
    info = map.raw.info()
    fields = {**info._asdict(), "type": map.type.name.lower(),
              "held_by": [f"{c}({p})" for p, c in ebpf.inventory.holders(but_us=True).get(("map", info.id), ())]}
    if as_json:
        print_json(fields)
    else:
        for name, value in fields.items():
            print(f"{name:18} {', '.join(value) if isinstance(value, list) else value}".rstrip())
    return 0


def _dump(map: ebpf.Map, as_json: bool) -> int:
    entries = map.items()
    if as_json:
        print_json([{"key": key, "value": value} for key, value in entries])
        return 0
    for key, value in entries:
        print(f"{show(key)}: {show(value)}")
    progress(f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}")
    return 0


def _list(args: argparse.Namespace) -> int:
    infos = list(ebpf.inventory.maps())
    names = {i.id: ebpf.inventory.map_type_name(i.type) for i in infos}
    if args.json:
        print_json([{**i._asdict(), "type": names[i.id]} for i in infos])
        return 0
    holders = ebpf.inventory.holders(but_us=True)
    print_table(("id", "type", "name", "key", "value", "max entries", "held by"), (
        (i.id, names[i.id], i.name, i.key_size, i.value_size, i.max_entries, holders_text(holders, "map", i.id))
        for i in infos), "there are no maps")
    return 0
