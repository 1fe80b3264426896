"""``ebpf compile``: C text to an ELF object that any loader takes, or to something to read."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli import _build
from ebpf.cli.output import colors, progress

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = "Compile C for the running kernel's types; no clang and no kernel headers are needed."
    parser.add_argument("source", metavar="FILE.c", help="the C text; - reads standard input")
    parser.add_argument("-o", dest="output", metavar="FILE",
                        help="where to write (default: FILE.o; for asm and ir standard output); - is standard output")
    parser.add_argument("--emit", choices=("obj", "asm", "ir"), default="obj",
                        help="an object file (default), its instructions in the kernel's notation, or LLVM IR")
    parser.add_argument("--partial", action="store_true",
                        help="one of several objects for `ebpf link`: others may define what this one declares")
    _build.add_options(parser)


def run(args: argparse.Namespace) -> int:
    text, name = _read(args.source)
    options = _build.options(args)
    built = ebpf.build(text, filename=name, emit="ir" if args.emit == "ir" else "obj", dialect=options["dialect"],
                       mcpu=options["mcpu"], defines=options["defines"], include_dirs=options["include_dirs"],
                       cc=options["cc"], partial=args.partial)
    for warning in built.warnings:
        progress(ebpf.format_diagnostic(warning, color=colors(sys.stderr)))
    result = built.data
    if args.emit == "asm":
        from ebpf.cli.disasm import format_object

        color = args.output in (None, "-") and colors(sys.stdout)
        result = ("\n".join(format_object(ebpf.open(result), [], source=True, color=color)) + "\n").encode()
    output = args.output or ("-" if args.emit != "obj" else os.path.splitext(os.path.basename(name))[0] + ".o")
    if output == "-" and args.emit == "obj" and sys.stdout.isatty():
        raise ebpf.UsageError("an object file is nothing for a terminal", helps=("name a file: -o prog.o",))
    write_whole(output, result)
    return 0


def _read(source: str) -> tuple[str, str]:
    if source == "-":
        return sys.stdin.buffer.read().decode(errors="surrogateescape"), "<stdin>"
    with open(source, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(), source


def write_whole(output: str, data: bytes) -> None:
    """All of it or nothing: what was there before stays when the disk is full."""
    if output == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if os.path.exists(output) and not os.path.isfile(output):  # /dev/null, a pipe
        with open(output, "wb") as file:
            file.write(data)
        return
    new = f"{output}.{os.getpid()}.new"
    try:
        with open(new, "wb") as file:
            file.write(data)
        os.replace(new, output)
    except BaseException as error:  # SIGTERM, too, arrives as an exception
        try:
            os.unlink(new)
        except OSError:
            pass
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, output) from None
        raise
