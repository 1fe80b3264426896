"""``ebpf map``: maps in the kernel: look at them, dump them, change them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.cli import _map_dump
from ebpf.cli._kinds import add_actions, holders_text, need_which
from ebpf.cli.output import json_line, print_json, print_table, progress, show

if TYPE_CHECKING:
    import argparse

_ACTIONS = ("list", "show", "dump", "lookup", "update", "delete", "pop", "push", "pin", "freeze")
# What each action takes behind the map.
_OPERANDS = {"lookup": ("KEY",), "update": ("KEY", "VALUE"), "delete": ("KEY",), "pop": (), "push": ("VALUE",),
             "pin": ("PATH",), "freeze": ()}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = ("Keys and values are JSON where the map has types (7, \"name\", {\"pid\": 1}; an array for a "
                     "per-CPU map), or hexadecimal bytes (hex:0a000001).")
    add_actions(parser, "map", _ACTIONS, "an id, a name, or the path where it is pinned")
    parser.add_argument("operands", nargs="*", metavar="KEY|VALUE|PATH",
                        help="lookup KEY, update KEY VALUE, delete KEY, pop [KEY], push VALUE, pin PATH")
    _map_dump.configure(parser)


def run(args: argparse.Namespace) -> int:
    if args.action == "list":
        return _list(args)
    wanted = _OPERANDS.get(args.action, ())
    which = need_which(args, "map")
    if len(args.operands) != len(wanted) and not (args.action == "pop" and len(args.operands) == 1):
        raise ebpf.UsageError(f"`ebpf map {args.action} WHICH {' '.join(wanted)}`".replace(" `", "`"))
    map = ebpf.inventory.map(which)
    try:
        if args.action == "dump":
            return _map_dump.dump(map, args)
        if args.action == "show":
            return _show(map, args.json)
        return _change(map, args)
    finally:
        map.close()


def _change(map: ebpf.Map, args: argparse.Namespace) -> int:
    action, operands = args.action, args.operands
    if action == "lookup":
        _print(map[_parse(operands[0])], args.json)
    elif action == "update":
        map[_parse(operands[0])] = _parse(operands[1])
    elif action == "delete":
        del map[_parse(operands[0])]
    elif action == "pop":
        _print(map.pop(_parse(operands[0])) if operands else map.pop(), args.json)
    elif action == "push":
        map.push(_parse(operands[0]))
    elif action == "pin":
        map.pin(operands[0])
        progress(f"pinned at {operands[0]}: remove the file to unpin it")
    else:
        map.freeze()
        progress("frozen: from now on only programs write to it")
    return 0


def _print(value: object, as_json: bool) -> None:
    print(json_line(value) if as_json else show(value))


def _parse(text: str) -> Any:
    """What the user wrote: ``hex:…`` bytes, JSON, else the text itself."""
    if text.startswith("hex:"):
        try:
            return bytes.fromhex(text[4:])
        except ValueError:
            raise ebpf.UsageError(f"{text!r}: that is not hexadecimal") from None
    if text[:2].lower() == "0x":
        try:
            return int(text, 16)
        except ValueError:
            raise ebpf.UsageError(f"{text!r}: that is not hexadecimal") from None
    import json

    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value


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
