"""Options that ``ebpf compile`` and ``ebpf run`` share: how C becomes an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import ebpf

if TYPE_CHECKING:
    import argparse


class BuildOptions(TypedDict):
    """Keyword arguments of `ebpf.compile`."""

    dialect: str
    mcpu: str
    cc: str | None
    defines: tuple[str, ...]
    include_dirs: tuple[str, ...]
    cache: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("compiling")
    group.add_argument("--dialect", default="auto", choices=("auto", "libbpf", "bcc"),
                       help="of the C text; auto looks at the text (default)")
    group.add_argument("--mcpu", default="v3", choices=("v1", "v2", "v3", "v4"), help="instruction set (default: v3)")
    group.add_argument("--cc", metavar="CLANG", nargs="?", const="clang",
                       help="use clang instead of our compiler: a command, or `clang` from PATH or the ziglang wheel")
    group.add_argument("-I", dest="include_dirs", action="append", default=[], metavar="DIR",
                       help='where #include "file" is looked for')
    group.add_argument("-D", dest="defines", action="append", default=[], metavar="NAME[=VALUE]", help="define a macro")
    group.add_argument("--no-cache", action="store_true", help="compile anew, and keep nothing")


def open_object(path: str) -> ebpf.Object:
    """`ebpf.open`; a missing file is worded as one, by name."""
    with open(path, "rb"):
        pass
    return ebpf.open(path)


def options(args: argparse.Namespace) -> BuildOptions:
    return {"dialect": args.dialect, "mcpu": args.mcpu, "cc": args.cc, "defines": tuple(args.defines),
            "include_dirs": tuple(args.include_dirs), "cache": not args.no_cache}
