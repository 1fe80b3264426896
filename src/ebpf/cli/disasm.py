"""``ebpf disasm``: instructions in the kernel's notation, between the source lines that they come from."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli._build import open_object
from ebpf.cli._kinds import translated_lines
from ebpf.cli.output import colors

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="FILE|ID", help="an object file, or a loaded program's id, name or pinned path")
    parser.add_argument("names", nargs="*", metavar="FUNCTION", help="only these functions of the file")
    parser.add_argument("--no-source", action="store_true", help="instructions only")


def run(args: argparse.Namespace) -> int:
    if os.path.isfile(args.what) and not args.what.startswith("/sys/fs/bpf/"):
        obj = open_object(args.what)
        for line in format_object(obj, args.names, source=not args.no_source, color=colors(sys.stdout)):
            print(line)
        return 0
    if not args.what.isdigit() and (args.what.endswith(".o") or os.sep in args.what) and not os.path.exists(args.what):
        raise FileNotFoundError(2, os.strerror(2), args.what)
    with ebpf.inventory.program(args.what) as program:
        for line in translated_lines(program.xlated()):
            print(line)
    return 0


def format_object(obj: ebpf.Object, names: list[str], *, source: bool, color: bool) -> Iterator[str]:
    """The listing of an object's functions (all, or those named), line by line."""
    functions = {**obj.programs, **obj.functions}
    for name in names:
        if name not in functions:
            raise ebpf.UnknownName(f"{obj.name} has no function {name!r}", name=name,
                                   helps=(f"it has {', '.join(functions)}",))
    for i, name in enumerate(names or functions):
        if i:
            yield ""
        yield from _format_function(functions[name], source, color)


def _format_function(spec: ebpf.ProgramSpec, source: bool, color: bool) -> Iterator[str]:
    kind = f"  // {spec.type.name.lower()}" if spec.type is not None else ""
    yield f'{spec.name}:  SEC("{spec.section}"){kind}' if kind else f"{spec.name}:  // function in {spec.section}"
    lines = {info.insn_off: info for info in spec.line_infos} if source else {}
    symbols = {r.offset: r for r in spec.relocations}
    last = ("", 0)
    for slot, _, text in ebpf.disassemble(spec.code):
        info = lines.get(slot * 8)
        if info is not None and info.line and (info.file, info.line) != last:  # line 0: the compiler's own
            last = (info.file, info.line)
            shown = f"; {info.text.strip() or '?'}  // {os.path.basename(info.file)}:{info.line}"
            yield f"\x1b[2;34m{shown}\x1b[0m" if color else shown
        relocation = symbols.get(slot * 8)
        note = ""
        if relocation is not None:
            addend = f"+{relocation.addend}" if relocation.addend else ""
            note = f"  // {relocation.kind} {relocation.symbol}{addend}"
        yield f"{slot:5}: {text}{note}"
