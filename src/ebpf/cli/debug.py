"""``ebpf debug``: a program, line by line: breakpoints, steps (backwards too), registers, stack, maps.

It runs in the userspace machine; no privilege is needed. On a terminal with Textual (``pip install 'ebpf[debug]'``) it
fills the screen; otherwise, and in pipes, it takes commands line by line (``help`` lists them).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.cli import _build
from ebpf.cli.test_run import _bytes, _fields

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("file", metavar="FILE", help="prog.c, prog.o, or prog.py with programs as functions")
    parser.add_argument("--program", metavar="NAME", help="which of its programs (not needed if it has one)")
    parser.add_argument("--data", metavar="FILE|HEX|-", help="the packet, from its Ethernet header on")
    parser.add_argument("--context", metavar="FIELD=VALUE", action="append", default=[],
                        help="a field of the event by name: filename=/etc/passwd, ingress_ifindex=2")
    parser.add_argument("--break", dest="stops", metavar="WHERE", action="append", default=[],
                        help="stop there: a line, FILE:LINE, a function, #SLOT, map:NAME")
    parser.add_argument("--commands", metavar="COMMANDS|FILE", help="run these (separated by ;) and leave")
    parser.add_argument("--no-tui", action="store_true", help="line by line, on a terminal too")
    _build.add_options(parser)


def run(args: argparse.Namespace) -> int:
    debugger = ebpf.debug(_source(args), None if args.data is None else _bytes("--data", args.data),
                          program=args.program, context=_fields(args.context),
                          compile=_build.options(args) if args.file.endswith(".c") else {})
    with debugger:
        for where in args.stops:
            debugger.break_at(where)
        if args.commands is not None:
            debugger.interact(_commands(args.commands), echo=True)
        elif not sys.stdin.isatty() or not sys.stdout.isatty():
            debugger.interact(sys.stdin, echo=True)
        elif args.no_tui:
            debugger.interact()
        else:
            debugger.full_screen()
    return 0


def _source(args: argparse.Namespace) -> Any:
    if args.file.endswith(".py"):
        return _functions(args.file)
    if args.file.endswith(".o"):
        return _build.open_object(args.file)
    if args.file.endswith(".c"):
        return args.file  # compiled for the debugger, which wants to know where variables live
    return ebpf.compile(args.file, **_build.options(args))


def _functions(path: str) -> list[Any]:
    """The programs of a Python file, which is imported as it would be for its tests."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("__debugged__", path)
    if spec is None or spec.loader is None:
        raise ebpf.UsageError(f"{path} is no Python file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except OSError as error:
        raise ebpf.UsageError(f"{path}: {error.strerror}") from None
    found = [value for value in vars(module).values() if hasattr(value, "attach_options")]
    if not found:
        raise ebpf.UsageError(f"{path} has no program: functions with a decorator such as @ebpf.xdp")
    return found


def _commands(text: str) -> list[str]:
    import os

    if os.path.isfile(text):
        with open(text) as file:
            return file.read().splitlines()
    return [part.strip() for part in text.split(";")]
