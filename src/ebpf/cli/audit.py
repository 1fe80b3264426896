"""``ebpf audit``: what is loaded, whose it is, what it could do, and what to look at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf
from ebpf.cli.output import print_json

if TYPE_CHECKING:
    import argparse

_WORDS = {0: "nothing unusual", 1: "worth knowing", 2: "sees or answers for others", 4: "can stop or redirect others",
          6: "can deceive"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ("Every program in the kernel: owner, age, pins, where it is attached, and what it could do "
                          "to others. Those to look at first come first; none of it proves harm.")
    parser.add_argument("--least", type=int, default=0, metavar="N",
                        help="only programs of attention N (0 to 9) or more")
    parser.add_argument("--json", action="store_true", help="as JSON")


def run(args: argparse.Namespace) -> int:
    findings = ebpf.inventory.audit()
    shown = [f for f in findings if f.attention >= args.least]
    if args.json:
        print_json(shown)
        return 0
    if not findings:
        print("no programs are loaded")
        return 0
    for f in shown:
        print(f"[{f.attention}] {f.type} {f.name or '(no name)'}  id {f.id}  uid {f.owner_uid}  "
              f"loaded {_age(f.age_s)} ago")
        for title, text in (
            ("can", ", ".join(f.abilities) or ("nothing beyond its own maps" if f.abilities_known else "unknown")),
            ("attached", ", ".join(f.attached)),
            ("held by", ", ".join(f"{command}({pid})" for pid, command in f.held_by)),
            ("pinned", ", ".join(f.pins)),
            ("maps", ", ".join(map(str, f.maps))),
            *(("note", remark) for remark in f.remarks),
        ):
            if text:
                print(f"    {title:9} {text}")
    level = max((w for w in _WORDS if findings[0].attention >= w), default=0)
    print(f"{len(findings)} programs, {len(shown)} shown; the most noticeable: {_WORDS[level]}")
    return 0


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
