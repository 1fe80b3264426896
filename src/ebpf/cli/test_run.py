"""``ebpf test-run``: a program on packets or contexts that the command line gives; nothing is attached.

The packet of ``--data`` (a file of raw bytes, hexadecimal digits, or ``-`` for standard input), or every packet of
``--pcap``, goes through the program: what it returned, what became of the packet, how long a run took. It runs in the
kernel where this user may load programs, else in the userspace machine.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.cli import _build
from ebpf.cli.output import json_line, print_json

if TYPE_CHECKING:
    import argparse

_HEX = re.compile(r"(?:0x)?(?:[0-9a-fA-F]{2}[\s:.-]*)*")
_ROW_BYTES = 16


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("file", metavar="FILE", help="prog.c or prog.o")
    parser.add_argument("--program", metavar="NAME", help="which of its programs (not needed if it has one)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--data", metavar="FILE|HEX|-", help="the packet, from its Ethernet header on")
    what.add_argument("--pcap", metavar="FILE", help="every packet of a capture (pcap, pcapng)")
    parser.add_argument("--ctx", metavar="FIELD=VALUE", action="append", default=[],
                        help="a field of the context by name; the others are 0")
    parser.add_argument("--context", metavar="FILE|HEX|-", help="the whole context as bytes")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run N times on each packet (the same maps)")
    parser.add_argument("--out", metavar="FILE", help="write the packet after the run (after the last of N); with "
                                                      "--pcap a capture of all packets, whatever their verdict")
    parser.add_argument("--maps", action="store_true", help="show the maps at the end")
    parser.add_argument("--json", action="store_true", help="one JSON object a run")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--kernel", dest="backend", action="store_const", const="kernel", help="run in the kernel")
    where.add_argument("--machine", dest="backend", action="store_const", const="machine",
                       help="run in the userspace machine; no privilege is needed")
    parser.add_argument("--engine", choices=("interpreter", "jit"), default="",
                        help="how the machine runs the program (implies --machine)")
    _build.add_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.repeat < 1:
        raise ebpf.UsageError(f"--repeat {args.repeat}: at least one run")
    if args.ctx and args.context:
        raise ebpf.UsageError("--ctx and --context: a context is given by its fields or whole, not both")
    obj = (_build.open_object(args.file) if args.file.endswith(".o") else
           ebpf.compile(args.file, **_build.options(args)))
    name = _choose(obj, args)
    if args.engine:
        ebpf.use(args.backend, engine=args.engine)
    data = None if args.data is None else _bytes("--data", args.data)
    context = _bytes("--context", args.context) if args.context else _fields(args.ctx)
    with ebpf.load(obj, backend=args.backend, load_programs=[name]) as session:
        program = session.programs[name]
        if args.pcap is None:
            found = _Report(program, args)
            found.run(data or b"", context)
            if args.out:
                with open(args.out, "wb") as file:
                    file.write(found.last.data)
        else:
            found = _Report(program, args)
            _run_capture(found, args, context)
        if args.maps:
            from ebpf.cli.run import _print_maps

            _print_maps(session, args.json)
    return 0


def _choose(obj: ebpf.Object, args: argparse.Namespace) -> str:
    names = list(obj.programs)
    if args.program is None:
        if len(names) == 1:
            return names[0]
        raise ebpf.UsageError(f"{args.file} has {len(names) or 'no'} programs",
                              helps=(f"--program {names[0]} (or {', '.join(names[1:])})",) if names else ())
    if args.program not in obj.programs:
        raise ebpf.UnknownName(f"{args.file} has no program {args.program!r}", name=args.program,
                               helps=(f"it has {', '.join(names)}",))
    return str(args.program)


def _bytes(option: str, text: str) -> bytes:
    """What ``FILE|HEX|-`` means: a file of that name, if there is one, goes before digits."""
    if text == "-":
        return sys.stdin.buffer.read()
    if os.path.exists(text):
        with open(text, "rb") as file:
            data = file.read()
        if option == "--data" and data[:4] in (b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1",
                                               b"\xa1\xb2\x3c\x4d", b"\n\r\r\n"):
            raise ebpf.UsageError(f"{text} is a capture, not one packet", helps=(f"--pcap {text}",))
        return data
    if text and _HEX.fullmatch(text):
        return bytes.fromhex(re.sub(r"^0x|[\s:.-]", "", text))
    raise ebpf.UsageError(f"{option} {text}: neither a file nor an even number of hexadecimal digits",
                          helps=("digits may be apart: '45 00 00 54', 45:00:00:54",))


def _fields(words: list[str]) -> dict[str, Any]:
    """``FIELD=VALUE``: a number, several (``cb=1,2,3``), or text for an array of characters."""
    fields: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ebpf.UsageError(f"--ctx {word}: a field and its value, as in mark=5")
        try:
            numbers = tuple(int(part, 0) for part in value.split(","))
        except ValueError:
            fields[name] = value.encode()
            continue
        fields[name] = numbers[0] if len(numbers) == 1 else numbers
    return fields


def _run_capture(report: _Report, args: argparse.Namespace, context: Any) -> None:
    packets = []
    damage: ebpf.FormatError | None = None
    try:
        for packet in ebpf.read_pcap(args.pcap):
            packets.append(packet)
    except ebpf.FormatError as error:
        if not packets:
            raise
        damage = error  # what stands before it is good, and is run
    after = []
    for packet in packets:
        report.run(packet.ethernet(), context)
        after.append(packet._replace(data=report.last.data, length=len(report.last.data), link_type=1))
    if args.out:
        ebpf.write_pcap(args.out, after)
    if not args.json:
        report.totals()
    if damage is not None:
        raise damage


class _Report:
    """Runs a program, tells what came, and keeps count."""

    def __init__(self, program: ebpf.Program, args: argparse.Namespace) -> None:
        self.program = program
        self.args = args
        self.counts: dict[str, int] = {}
        self.total_ns = 0
        self.last: Any = None

    def run(self, data: bytes, context: Any) -> None:
        args, program = self.args, self.program
        # Kernels want 0, and not 1, for contexts alone.
        done = self.last = program.test_run(data, context, repeat=args.repeat if args.repeat > 1 else 0)
        name = program.result_name(done.result)
        said = f"{name} ({done.result})" if name else f"{done.result}"
        number = sum(self.counts.values()) + 1
        self.counts[said] = self.counts.get(said, 0) + 1
        self.total_ns += done.duration_ns
        if args.json:
            row = {"program": program.name, "result": done.result, "name": name, "bytes_in": len(data),
                   "bytes_out": len(done.data), "changed": done.data != data, "data": done.data.hex(),
                   "context": done.context.hex(), "duration_ns": done.duration_ns, "repeat": args.repeat}
            if args.pcap is not None:
                print(json_line({"packet": number, **row}))
            else:
                print_json(row)
        elif args.pcap is not None:
            change = "" if data == done.data else f", {_change(data, done.data)}"
            print(f"{number:5}  {len(data):5} bytes  {said}{change}")
        else:
            print(f"{program.name}: {said}")
            if data:
                print(f"packet: {_change(data, done.data)}")
                for line in _differences(data, done.data):
                    print(line)
            runs = "one run" if args.repeat == 1 else f"the mean of {args.repeat} runs"
            print(f"time: {done.duration_ns} ns, {runs}")

    def totals(self) -> None:
        number = sum(self.counts.values())
        rows = ", ".join(f"{count} {said}" for said, count in sorted(self.counts.items(), key=lambda row: -row[1]))
        mean = f"; {self.total_ns // number} ns a packet" if number else ""
        print(f"{number} packets: {rows or 'nothing to run'}{mean}")


def _change(before: bytes, after: bytes) -> str:
    """In words."""
    if before == after:
        return f"{len(before)} bytes, unchanged"
    if len(before) != len(after):
        return f"{len(before)} bytes before, {len(after)} after"
    differing = sum(a != b for a, b in zip(before, after, strict=True))
    return f"{len(before)} bytes, {differing} of them changed"


def _differences(before: bytes, after: bytes) -> list[str]:
    """Rows of 16 bytes that differ, as `diff` would show them; those from before first."""
    lines = []
    for at in range(0, max(len(before), len(after)), _ROW_BYTES):
        old, new = before[at:at + _ROW_BYTES], after[at:at + _ROW_BYTES]
        if old != new:
            lines += [f"{sign} {at:04x}  {row.hex(' ')}" for sign, row in (("-", old), ("+", new)) if row]
    return lines
