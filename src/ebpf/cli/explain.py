"""``ebpf explain``: what an error's code means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ebpf

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("code", nargs="?", metavar="CODE", help='as in "error[V0201]"; without: all codes')


def run(args: argparse.Namespace) -> int:
    found = ebpf.explain(args.code or "")
    if not found:
        raise ebpf.UsageError(f"there is no code {args.code!r}", helps=("`ebpf explain` lists them",))
    for row in found:
        print(f"{row.code}  {row.title}")
        if len(found) == 1:
            for help in row.helps:
                print(f"  = help: {help}")
    return 0
