"""``ebpf link A.o B.c -o C.o``: several objects as one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli.compile import write_whole
from ebpf.cli.output import colors, progress

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ("Link objects into one: what one declares and another defines becomes one function, map or "
                          "variable. C files are compiled on the way.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="an object file, or C text (FILE.c)")
    parser.add_argument("-o", dest="output", metavar="FILE", required=True, help="where to write the whole")


def run(args: argparse.Namespace) -> int:
    whole = ebpf.link(*[_compiled(file) if file.endswith(".c") else file for file in args.files])
    o = ebpf.open(whole)
    missing = [name for function in (*o.programs.values(), *o.functions.values()) for relocation in function.relocations
               if relocation.kind == "undefined" for name in [relocation.symbol]]
    if missing:
        progress(f"ebpf: nothing defines {', '.join(f'`{n}`' for n in dict.fromkeys(missing))} yet: "
                 f"{args.output} can be linked further, not loaded")
    write_whole(args.output, whole)
    return 0


def _compiled(file: str) -> bytes:
    with open(file, encoding="utf-8", errors="surrogateescape") as source:
        built = ebpf.build(source.read(), filename=file, partial=True)
    for warning in built.warnings:
        progress(ebpf.format_diagnostic(warning, color=colors(sys.stderr)))
    return built.data
