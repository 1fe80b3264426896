"""``ebpf verify``: is a program safe? Figures if it is, line and reason if not. Needs no kernel and no privilege."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli import _build
from ebpf.cli.output import colors, print_json

if TYPE_CHECKING:
    import argparse

    from ebpf.verifier import Verified


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Follow every path of a program and prove it safe, or show where it is not. Nothing is loaded."
    parser.add_argument("source", metavar="FILE.c|FILE.o", help="C text or an object file")
    parser.add_argument("names", nargs="*", metavar="PROGRAM", help="only these programs (default: all)")
    parser.add_argument("--json", action="store_true", help="figures and refusals as JSON")
    _build.add_options(parser)


def run(args: argparse.Namespace) -> int:
    obj = (
        _build.open_object(args.source)
        if args.source.endswith(".o")
        else ebpf.compile(args.source, **_build.options(args))
    )
    for name in args.names:
        if name not in obj.programs:
            raise ebpf.UnknownName(
                f"{args.source} has no program {name!r}", name=name, helps=(f"it has {', '.join(obj.programs)}",)
            )
    rows: list[dict[str, object]] = []
    refused = 0
    codes: dict[str, None] = {}
    for name in args.names or obj.programs:
        try:
            found = ebpf.verify(obj, name)
        except ebpf.VerifierError as error:
            refused += 1
            codes.update(dict.fromkeys(d.code for d in error.diagnostics))
            rows.append({"program": name, "safe": False, "diagnostics": [_as_json(d) for d in error.diagnostics]})
            if not args.json:
                print(f"{name}: refused")
                print(ebpf.format_error(error, color=colors(sys.stdout)))
            continue
        rows.append({"program": name, "safe": True, **_figures(found)})
        if not args.json:
            print(_format(name, found))
    if args.json:
        print_json(rows)
    elif codes:
        print(f"`ebpf explain {next(iter(codes))}` tells more" if len(codes) == 1 else
              f"`ebpf explain CODE` tells more: {', '.join(codes)}")
    return 1 if refused else 0


def _figures(found: Verified) -> dict[str, object]:
    return {
        "insns": found.program.length,
        "insns_visited": found.insns_visited,
        "paths": found.paths,
        "states": found.states,
        "stack_bytes": found.stack_bytes,
        "seconds": round(found.seconds, 6),
        "kernel_budget_exceeded": found.kernel_budget_exceeded,
    }


def _format(name: str, found: Verified) -> str:
    line = (
        f"{name}: safe. {_count(found.program.length, 'instruction')}, {found.insns_visited} looked at on "
        f"{_count(found.paths, 'path')}, {_count(found.states, 'state')} kept, {found.stack_bytes} bytes of stack, "
        f"{found.seconds * 1000:.1f} ms"
    )
    if found.kernel_budget_exceeded:
        line += "\n  = note: a kernel would give up: round by round, its loops take more than a million instructions"
    return line


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _as_json(found: ebpf.Diagnostic) -> dict[str, object]:
    out: dict[str, object] = {
        "code": found.code,
        "message": found.message,
        "insn": found.insn,
        "notes": list(found.notes),
        "helps": list(found.helps),
    }
    if found.span is not None:
        out.update(file=found.span.file, line=found.span.line, column=found.span.column)
    out["path"] = [{"file": span.file, "line": span.line, "what": what} for span, what in found.related]
    return out
