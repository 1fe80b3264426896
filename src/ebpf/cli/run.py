"""``ebpf run``: a C program, an object file or a Python script, until it is done, Ctrl-C, or ``--duration``.

Programs of C and object files are attached where their sections say. What they print (bpf_printk) and send (ring
buffers, perf event arrays) goes to standard output as it comes; programs that do neither show their maps at the end.
What concerns the run itself goes to standard error.

They run in the kernel where this user may load programs, else in the userspace machine, which watches a small
demonstration of its own. A command behind ``--`` is what the machine traces instead, with all its children; the run
ends when the command does.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli import _attach, _build, _privileges
from ebpf.cli.output import json_line, print_line, progress, show

if TYPE_CHECKING:
    from collections.abc import Callable

_PRINTK_HELPERS = (6, 177)  # bpf_trace_printk, bpf_trace_vprintk
_CALL_OPCODE = 0x85
_EVENT_MAPS = ("RINGBUF", "PERF_EVENT_ARRAY")
_UNREADABLE_MAPS = (*_EVENT_MAPS, "PROG_ARRAY", "STACK_TRACE", "STRUCT_OPS", "ARENA", "USER_RINGBUF",
                    "CGROUP_ARRAY", "XSKMAP", "BLOOM_FILTER", "SK_STORAGE", "TASK_STORAGE", "INODE_STORAGE",
                    "CGRP_STORAGE", "QUEUE", "STACK")


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.usage = "ebpf run [OPTION...] FILE [ARG...] [-- COMMAND [ARG...]]"
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--kernel", dest="backend", action="store_const", const="kernel", help="run in the kernel")
    where.add_argument("--machine", dest="backend", action="store_const", const="machine",
                       help="run in the userspace machine; no privilege is needed")
    parser.add_argument("--pcap", metavar="FILE", default="",
                        help="the machine's network: packets of this capture (pcap, pcapng) arrive")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="end after that time")
    _attach.add_options(parser)
    parser.add_argument("--maps", action="store_true", help="show the maps at the end in any case")
    parser.add_argument("--json", action="store_true", help="events and maps as JSON, one object a line")
    _privileges.add_option(parser)
    parser.add_argument("--log", action="store_true", help="the verifier's log whole, where it refuses a program")
    _build.add_options(parser)
    parser.add_argument("file", metavar="FILE", help="prog.c, prog.o or script.py")
    parser.add_argument("args", nargs=argparse.REMAINDER, metavar="ARG", help="a script's own arguments")
    parser.set_defaults(parser=parser, command=[])


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """The options, and what stands behind ``--``: argparse would lose where that was."""
    if "--" in argv:
        at = argv.index("--")
        if not argv[at + 1:]:
            parser.error("there is no command behind --")
        parser.set_defaults(command=argv[at + 1:])
        argv = argv[:at]
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> int:
    _use(args)
    kind = _kind(args.file)
    if kind == "script":
        from ebpf.cli._script import run_script

        return run_script(args.file, args.args)
    if args.args:  # options may stand behind what takes no arguments
        path = args.file
        args = args.parser.parse_args([*args.args, path], argparse.Namespace(**{**vars(args), "args": []}))
        if args.file != path or args.args:
            raise ebpf.UsageError(f"{path} takes no arguments")
        if args.backend is not None or args.pcap:
            _use(args)
    try:
        return _run_object(build_object(args), args)
    except ebpf.VerifierError as error:
        if args.log and error.log:
            progress(error.log.rstrip())
        raise


def build_object(args: argparse.Namespace) -> ebpf.Object:
    """The object that the command line names, compiled if it is C."""
    if _kind(args.file) == "object":
        return _build.open_object(args.file)
    with open(args.file, encoding="utf-8", errors="surrogateescape") as file:
        return ebpf.compile(file.read(), filename=args.file, **_build.options(args))


def _use(args: argparse.Namespace) -> None:
    """What the options say of the backend; nothing, and EBPF_BACKEND counts."""
    if args.backend is not None or args.command or args.pcap:
        ebpf.use(args.backend, command=args.command, pcap=args.pcap)


def _kind(path: str) -> str:
    with open(path, "rb") as file:
        start = file.read(64)
    if start.startswith(b"\x7fELF"):
        return "object"
    if path.endswith(".py") or (start.startswith(b"#!") and b"python" in start.partition(b"\n")[0]):
        return "script"
    if path.endswith((".c", ".h")):
        return "c"
    raise ebpf.UsageError(f"{path}: neither C text (.c), nor an object file, nor a Python script",
                          helps=("name it .c or .py, or begin a script with #!/usr/bin/env python3",))


def _run_object(obj: ebpf.Object, args: argparse.Namespace) -> int:
    with ebpf.load(obj) as session:
        # Readers first: what the first event says must not be lost.
        sources = _readers(session, args.json)
        _attach.attach(session, args)
        for link in session.links:
            progress(f"attached: {link.program} ({link.kind}) to {link.target}")
        if not session.links:
            progress("loaded; nothing is attached")
        _privileges.drop(session, args.drop_privileges)
        end = None if args.duration is None else time.monotonic() + args.duration
        try:
            _pump(session, sources, end)
        except KeyboardInterrupt:
            if sys.stdout.isatty():
                print()
        if args.maps or not sources:
            _print_maps(session, args.json)
        if session.lost:
            progress(f"lost: {session.lost} events came faster than they were read")
    return 0


def _readers(session: ebpf.Session, as_json: bool) -> dict[int, Callable[[], None]]:
    """What to watch: descriptor → what to do when it is readable."""
    readers: dict[int, Callable[[], None]] = {}
    maps = [map for map in session.maps.values() if map.type.name in _EVENT_MAPS]
    for map in maps:
        stream = map.events()
        name = map.name if as_json or len(maps) > 1 else ""

        def take(stream: ebpf.EventStream = stream, name: str = name) -> None:
            stream.consume(lambda event: print_line(json_line({"map": name, "event": event}) if as_json else
                                                    f"{name}: {show(event)}" if name else show(event)))

        readers[stream.fileno()] = take
    if any(_prints(spec.code) for spec in (*session.obj.programs.values(), *session.obj.functions.values())):
        pipe = session.trace_pipe()

        def copy() -> None:
            while (line := pipe.read_line(0)) is not None:
                text = line.decode(errors="replace")
                print_line(json_line({"printk": text}) if as_json else text)

        readers[pipe.fileno()] = copy
    return readers


def _prints(code: bytes) -> bool:
    """Whether the code calls bpf_printk's helpers (an instruction is 8 bytes: opcode, registers, offset, imm)."""
    return any(code[at] == _CALL_OPCODE and not code[at + 1] >> 4
               and int.from_bytes(code[at + 4:at + 8], "little") in _PRINTK_HELPERS for at in range(0, len(code), 8))


def _pump(session: ebpf.Session, readers: dict[int, Callable[[], None]], end: float | None) -> None:
    """Until ``end``, or what the machine traces has ended and is read."""
    import select

    slice_s = 0.5 if session.backend == "kernel" else 0.05
    ended = False
    while not ended:
        left = slice_s if end is None else min(slice_s, end - time.monotonic())
        if left <= 0:
            return
        ended = session.ended  # what it left behind is read below
        if not readers:
            time.sleep(left)
        for fd in select.select(list(readers), [], [], left)[0] if readers else ():
            readers[fd]()
        sys.stdout.flush()


def _print_maps(session: ebpf.Session, as_json: bool) -> None:
    for map in session.maps.values():
        if map.type.name in _UNREADABLE_MAPS or (map.spec is not None and map.spec.is_data):
            continue
        entries = _sorted(map.items())
        if as_json:
            print(json_line({"map": map.name, "entries": [{"key": key, "value": value} for key, value in entries]}))
            continue
        print(f"{map.name}: {len(entries)} {'entry' if len(entries) == 1 else 'entries'}")
        # An array has every index from the start: those that nobody wrote to say nothing.
        shown = [(k, v) for k, v in entries if "ARRAY" not in map.type.name or not _is_zero(v)]
        for key, value in shown:
            print(f"  {show(key)}: {show(value)}")
        if len(shown) < len(entries):
            print(f"  {'all' if not shown else f'the other {len(entries) - len(shown)}'} zero")


def _sorted(entries: list[tuple[object, object]]) -> list[tuple[object, object]]:
    try:
        return sorted(entries, key=lambda entry: entry[0])  # type: ignore[arg-type, return-value]
    except TypeError:
        return entries


def _is_zero(value: object) -> bool:
    if isinstance(value, (bytes, bytearray)):
        return not any(value)
    return all(map(_is_zero, value)) if isinstance(value, tuple) else not value
