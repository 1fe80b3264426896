"""``ebpf trace`` and ``bpftrace``: scripts of the tracing language, run, checked, or listed what they could attach to.

What scripts print goes to standard output; all else to standard error.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.cli import _privileges

if TYPE_CHECKING:
    from collections.abc import Sequence

# What -d shows: the plan (probes, records, maps) or the instructions; bpftrace's words mean the nearer one.
_STAGES = {"plan": "plan", "dis": "dis", "ast": "plan", "parse": "plan", "types": "plan", "codegen": "dis",
           "codegen-opt": "dis", "verifier": "dis", "libbpf": "dis"}
# Settings that are taken from the environment: those of today, and two that had other names in bpftrace 0.17.
_SETTINGS = ("max_strlen", "max_map_keys", "max_probes", "max_bpf_progs", "max_cat_bytes", "log_size", "perf_rb_pages",
             "stack_mode", "str_trunc_trailer", "missing_probes", "print_maps_on_exit", "on_stack_limit",
             "cache_user_symbols", "lazy_symbolication", "cpp_demangle", "license")
_OLD_NAMES = {"BPFTRACE_STRLEN": "max_strlen", "BPFTRACE_MAP_KEYS_MAX": "max_map_keys",
              "BPFTRACE_CAT_BYTES_MAX": "max_cat_bytes"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.usage = (f"{parser.prog} [OPTION...] FILE [PARAMETER...]\n"
                    f"       {parser.prog} [OPTION...] -e 'SCRIPT' [PARAMETER...]")
    what = parser.add_argument_group("what to do")
    what.add_argument("-e", dest="script", metavar="SCRIPT", help="the script itself")
    what.add_argument("-l", dest="list", action="store_true",
                      help="list the probes that match a pattern (all if there is none); with -v their arguments")
    what.add_argument("--check", action="store_true",
                      help="say whether the script is right for this kernel; loads nothing, needs no privilege")
    what.add_argument("--btf", metavar="FILE", help="--check: for the kernel with these types (a vmlinux or its BTF)")
    what.add_argument("--formats", metavar="DIR",
                      help="--check: for the kernel with these tracepoints (tracefs' events)")
    what.add_argument("--dry-run", action="store_true", help="compile and load, then end: nothing fires")
    what.add_argument("--info", action="store_true", help="what this kernel offers to scripts")
    what.add_argument("-d", dest="stage", choices=list(_STAGES), metavar="STAGE",
                      help="show what the compiler makes of the script: plan (default) or dis, the instructions")
    what.add_argument("--emit-elf", metavar="FILE", help="write the object, and end")
    run = parser.add_argument_group("running")
    run.add_argument("-c", dest="command", metavar="COMMAND",
                     help="start it, traced from its first instruction; end with it")
    run.add_argument("-p", dest="pid", type=int, metavar="PID",
                     help="trace that process (uprobes, counters); end with it")
    run.add_argument("--record", metavar="FILE", help="write down what the probes see, for --replay, here or elsewhere")
    run.add_argument("--replay", metavar="FILE",
                     help="run it on such a recording, as any user; without a script: the one that was recorded")
    run.add_argument("--unsafe", action="store_true", help="allow what may harm: system(), signal(), override()")
    run.add_argument("--backend", choices=("kernel", "machine"), help="where it runs; default: where this user may")
    run.add_argument("-I", dest="include_dirs", action="append", default=[], metavar="DIR",
                     help="where headers are looked for")
    run.add_argument("--include", dest="includes", action="append", default=[], metavar="FILE",
                     help="#include it first")
    run.add_argument("-k", dest="helper_errors", action="count", default=0,
                     help="tell when a kernel helper fails (-kk: also reads)")
    _privileges.add_option(run)
    run.add_argument("--no-cache", action="store_true", help="compile anew, and keep nothing")
    out = parser.add_argument_group("output")
    out.add_argument("-f", dest="format", default="text", choices=("text", "json"), help="text (default) or JSON lines")
    out.add_argument("-o", dest="output", metavar="FILE", help="write it to a file")
    out.add_argument("-B", dest="buffering", default="line", choices=("line", "full", "none"),
                     help="write output as it comes (line), when there is much of it (full), each piece (none)")
    out.add_argument("-q", dest="quiet", action="store_true", help="do not say how many probes are attached")
    out.add_argument("-v", dest="verbose", action="store_true", help="say more")
    out.add_argument("--no-warnings", action="store_true", help="do not warn")
    parser.add_argument("arguments", nargs="*", metavar="FILE PARAMETER", help=argparse.SUPPRESS)
    parser.set_defaults(parser=parser)


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Options may stand anywhere; ``-d`` may lack its stage, as in bpftrace 0.17."""
    words: list[str] = []
    for at, word in enumerate(argv):
        if word == "--":
            words += argv[at:]
            break
        words.append("-d" if word == "-dd" else word)
        if word in ("-d", "-dd") and (at + 1 >= len(argv) or argv[at + 1] not in _STAGES):
            words.append("plan")
    return parser.parse_intermixed_args(words)


def main(argv: list[str] | None = None) -> int:
    """The command ``bpftrace``."""
    from ebpf import cli

    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in ("-V", "--version"):
        print(f"bpftrace v0.24.0 (ebpf {ebpf.__version__})")
        return 0
    return cli.main(["trace", *arguments], prog="bpftrace")


def run(args: argparse.Namespace) -> int:
    # What must be closed is closed below; to look for circles in all else before the process ends takes a twentieth of
    # a start.
    atexit.register(gc.freeze)
    if args.info:
        from ebpf.cli._trace_info import print_info

        return print_info()
    if args.list:
        return _list(args)
    text, name, params = _script(args)
    trace = ebpf.trace(text, *params, filename=name, pid=args.pid, command=_command(args.command),
                       unsafe=args.unsafe or args.check, backend=args.backend, cache=not args.no_cache,
                       options=_options(args), btf=args.btf, formats=args.formats, replay=args.replay,
                       warn=_ignore if args.no_warnings else _warn)
    if args.stage:
        print(trace.dump(_STAGES[args.stage]))
        return 0
    if args.emit_elf:
        with open(args.emit_elf, "wb") as file:
            file.write(trace.elf)
        return 0
    if args.check:
        trace.check()
        print(f"{name}: right for {'the kernel given' if args.btf or args.formats else 'this kernel'}")
        return 0
    if args.dry_run:
        trace.load()
        trace.close()
        return 0
    if args.record:
        with ebpf.record(args.record) as recorder:
            try:
                return _run(trace, args)
            finally:
                recorder.close()
                lost = f", {recorder.lost} lost: they came faster than they could be written" if recorder.lost else ""
                print(f"ebpf: {args.record}: {recorder.events} events{lost}", file=sys.stderr)
    return _run(trace, args)


def _script(args: argparse.Namespace) -> tuple[str, str, Sequence[str]]:
    """The script's text, its name, and its parameters."""
    words = list(args.arguments)
    if args.script is not None:
        return args.script, "stdin", words
    if not words and args.replay:
        return "", args.replay, words
    if not words:
        example = f"{args.parser.prog} -e 'BEGIN {{ printf(\"hello\\n\"); }}'"
        raise ebpf.UsageError("no script", helps=(f"{example}, or name a file",))
    path, *params = words
    if path == "-":
        return sys.stdin.read(), "stdin", params
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(), path, params


def _command(text: str | None) -> Sequence[str]:
    if text is None:
        return ()
    import shlex

    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ebpf.UsageError(f"-c {text!r}: {error}") from None
    if not words:
        raise ebpf.UsageError("-c: the command is empty")
    return words


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """What the compiler is told: settings of the environment, headers."""
    config = {name: value for name in _SETTINGS if (value := os.environ.get(f"BPFTRACE_{name.upper()}")) is not None}
    for variable, name in _OLD_NAMES.items():
        if variable in os.environ:
            config.setdefault(name, os.environ[variable])
    return {"config": config, "include_dirs": tuple(args.include_dirs), "includes": tuple(args.includes),
            "helper_errors": args.helper_errors}


def _list(args: argparse.Namespace) -> int:
    pattern = args.arguments[0] if args.arguments else "*"
    found = 0
    for probe in ebpf.list_probes(pattern, arguments=args.verbose, pid=args.pid):
        found += 1
        print(probe.name)
        for line in probe.arguments:
            print(f"    {line}")
    if not found:
        print(f"ebpf: no probe matches {pattern!r}", file=sys.stderr)
    return 0 if found else 1


def _run(trace: ebpf.Trace, args: argparse.Namespace) -> int:
    stream = open(args.output, "w", encoding="utf-8", errors="surrogateescape") if args.output else sys.stdout
    if stream is sys.stdout and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="surrogateescape")
    write: Any = stream.write
    if args.buffering == "none":
        def write(text: str) -> None:
            stream.write(text)
            stream.flush()

    flush = stream.flush if args.buffering == "line" else _nothing
    if args.verbose:
        for probe in trace.plan.probes:
            insns = len(trace.obj.programs[probe.program].code) // 8
            print(f"ebpf: {probe.name}: program {probe.program}, {insns} instructions", file=sys.stderr)
    _handle_signals(trace)
    try:
        return trace.run(write, format=args.format, quiet=args.quiet, flush=flush, reader_gone=_number(stream),
                         attached=partial(_attached, args.drop_privileges))
    finally:
        if stream is not sys.stdout:
            stream.close()


def _attached(user: str | None, session: ebpf.Session) -> None:
    """END and signals' probes run by a test run, which takes CAP_BPF."""
    _privileges.drop(session, user, keep=("CAP_BPF", "CAP_PERFMON"))


def _number(stream: Any) -> int:
    try:
        return int(stream.fileno())
    except (OSError, ValueError):
        return -1


def _handle_signals(trace: ebpf.Trace) -> None:
    """Ctrl-C ends the script in order; a second one at once. SIGTERM as the first."""
    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        trace.stop()

    try:
        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGUSR1, lambda number, frame: trace.signal("SIGUSR1"))
    except ValueError:  # not the main thread: whoever calls us handles signals
        pass


def _warn(text: str) -> None:
    print(text if text.startswith("warning[") else f"ebpf: warning: {text}", file=sys.stderr)  # a diagnostic is whole


def _ignore(text: str) -> None:
    """``--no-warnings``."""


def _nothing() -> None:
    """Python's own buffering."""
