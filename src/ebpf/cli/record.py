"""``ebpf record``: write down what a program's events look like, to feed them to it again anywhere (``ebpf replay``).

A C program or an object file is attached where its sections say, a script attaches what it likes; every event of theirs
is written to the file, in a kernel (where this user may load programs) or in the userspace machine. It ends with the
command behind ``--`` (which the machine traces; with ``--kernel`` the whole system is recorded while it runs), with
Ctrl-C, or after ``--duration``.
"""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli import run as run_command
from ebpf.cli._attach import attach
from ebpf.cli.output import progress

if TYPE_CHECKING:
    import argparse

_SLICE_S = 0.05


def configure(parser: argparse.ArgumentParser) -> None:
    run_command.configure(parser)
    parser.description = __doc__
    parser.usage = "ebpf record [-o FILE] [OPTION...] FILE [ARG...] [-- COMMAND [ARG...]]"
    parser.add_argument("-o", "--output", metavar="FILE", help="the recording (default: FILE's name with .rec)")
    parser.add_argument("--piece-bytes", type=int, default=256, metavar="N",
                        help="in a kernel: how much is kept of what each pointer leads to (64 to 1024; default: 256)")


parse = run_command.parse


def run(args: argparse.Namespace) -> int:
    if args.file.endswith(".bt"):
        raise ebpf.UsageError(f"{args.file} is a script of the tracing language",
                              helps=(f"ebpf trace --record FILE {args.file}",))
    output = args.output or os.path.splitext(os.path.basename(args.file))[0] + ".rec"
    with open(args.file, "rb"):  # a program that isn't there must not leave a recording
        pass
    with ebpf.record(output, piece_bytes=args.piece_bytes) as recorder:
        try:
            status = _with_command(args) if args.command and args.backend == "kernel" else run_command.run(args)
        except KeyboardInterrupt:
            status = 0
        finally:
            recorder.close()
            lost = f", {recorder.lost} lost: they came faster than they could be written" if recorder.lost else ""
            progress(f"{output}: {recorder.events} events{lost}")
    return status


def _with_command(args: argparse.Namespace) -> int:
    """In a kernel: the programs see the whole system, while the command runs."""
    if run_command._kind(args.file) == "script":
        raise ebpf.UsageError("a script with a command is recorded in the machine",
                              helps=("--machine, or start the command beside it",))
    with ebpf.load(run_command.build_object(args), backend="kernel") as session:
        readers = run_command._readers(session, args.json)
        attach(session, args)
        child = subprocess.Popen(args.command)
        try:
            end = None if args.duration is None else time.monotonic() + args.duration
            while child.poll() is None and (end is None or time.monotonic() < end):
                run_command._pump(session, readers, time.monotonic() + _SLICE_S)
            for read in readers.values():
                read()
        finally:
            if child.poll() is None:
                child.terminate()
            child.wait()
        if args.maps or not readers:
            run_command._print_maps(session, args.json)
    return 0
