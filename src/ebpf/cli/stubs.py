"""``ebpf stubs``: what a kernel's types and hooks are like, for editors and type checkers."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import ebpf

if TYPE_CHECKING:
    import argparse

_MODULE = "ebpf_linux.pyi"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE.py", help="programs: what they name of the kernel is written")
    parser.add_argument("-t", "--type", action="append", default=[], dest="types", metavar="NAME",
                        help="this struct too (task_struct)")
    parser.add_argument("-k", "--hook", action="append", default=[], dest="hooks", metavar="SECTION",
                        help="the context of this hook too (tracepoint/sched/sched_switch, fentry/vfs_read)")
    parser.add_argument("--depth", type=int, default=3, metavar="N",
                        help="structs up to N pointers away are known, further ones are Any (default: 3)")
    parser.add_argument("--all", action="store_true", dest="everything", help="every struct of the kernel")
    parser.add_argument("--btf", metavar="FILE", help="the types of another kernel: raw BTF")
    parser.add_argument("-o", "--output", metavar="DIR",
                        help=f"where {_MODULE} is written (default: beside the first file, else here); - for stdout")


def run(args: argparse.Namespace) -> int:
    if not (args.files or args.types or args.hooks or args.everything):
        raise ebpf.UsageError("nothing is asked for", helps=("ebpf stubs program.py", "ebpf stubs --type task_struct"))
    btf = None
    if args.btf:
        with open(args.btf, "rb") as file:
            btf = ebpf.Btf.parse(file.read())
    text = ebpf.stubs(args.files, types=args.types, hooks=args.hooks, depth=args.depth, everything=args.everything,
                      btf=btf)
    if args.output == "-":
        sys.stdout.write(text)
        return 0
    directory = args.output or (os.path.dirname(args.files[0]) if args.files else "") or "."
    path = os.path.join(directory, _MODULE)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    print(f"wrote {path}: ebpf.linux and ebpf.contexts are known to editors and type checkers that find it")
    return 0
