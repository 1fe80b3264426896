"""``ebpf replay``: feed the events of a recording (``ebpf record``) to a program, in the userspace machine.

What the program prints and sends comes out as it did where it was recorded; a program that does neither shows its maps
at the end. Any user can do that, on any system; the program may have been changed meanwhile.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli import _build, run as run_command
from ebpf.cli.output import progress

if TYPE_CHECKING:
    import argparse


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.add_argument("recording", metavar="RECORDING", help="what `ebpf record` wrote")
    parser.add_argument("file", metavar="FILE", help="prog.c or prog.o")
    parser.add_argument("--maps", action="store_true", help="show the maps at the end in any case")
    parser.add_argument("--json", action="store_true", help="events and maps as JSON, one object a line")
    _build.add_options(parser)


def run(args: argparse.Namespace) -> int:
    if args.file.endswith(".bt"):
        raise ebpf.UsageError(f"{args.file} is a script of the tracing language",
                              helps=(f"ebpf trace --replay {args.recording} {args.file}",))
    with open(args.recording, "rb"):  # before anything is compiled
        pass
    with ebpf.load(run_command.build_object(args), backend="machine") as session:
        readers = run_command._readers(session, args.json)

        def read(_: object = None) -> None:
            for take in readers.values():
                take()

        found = session.replay(args.recording, read if readers else None)
        read()
        sys.stdout.flush()
        if args.maps or not readers:
            run_command._print_maps(session, args.json)
        lost = f"; {found.lost} more were lost when it was made" if found.lost else ""
        progress(f"{args.recording}: {len(found.events)} events of Linux {found.description.get('kernel', '?')}{lost}")
    if found.damage is not None:
        raise found.damage
    return 0
