"""The command ``ebpf``: one module per subcommand, imported only when it is the one that was asked for.

Exit status:

====  ===========================================================================
0     done
1     refused or failed: compile error, verifier's refusal, no such hook, ...
2     the command line is wrong
3     this user may not do that (what would allow it is said)
4     this kernel cannot do that
70    a bug of ours
130   ended by Ctrl-C; 143 by SIGTERM; 141 because nobody reads our output any more
====  ===========================================================================

A script's own status (``ebpf run script.py``) is passed on.
"""

from __future__ import annotations

import sys

# Name → what `ebpf --help` says of it. The module of that name has `configure(parser)` and `run(args) -> int`.
COMMANDS = {
    "run": "run a C program, an object file or a Python script",
    "trace": "run a script of the tracing language (bpftrace's), or list what it could attach to",
    "tools": "tools that show what a system does: opensnoop, execsnoop, biolatency, ...",
    "debug": "step through a program: source lines, registers, stack, maps",
    "test-run": "run a program on given packets or contexts, without attaching it",
    "record": "write down what a program's events look like, in a kernel or the machine",
    "replay": "feed the events of a recording to a program, anywhere",
    "compile": "compile C to an object file (or assembly, or LLVM IR)",
    "verify": "prove a program safe without loading it, or show where it is not",
    "disasm": "show the instructions of an object file or of a loaded program",
    "prog": "programs in the kernel: list, show, dump, profile",
    "map": "maps in the kernel: list, show, dump",
    "link": "several objects as one; links in the kernel: list, show",
    "top": "what programs in the kernel cost, live",
    "audit": "what is loaded, whose it is, and what it could do to others",
    "stubs": "the kernel's types and hooks for editors and type checkers",
    "doctor": "what this kernel and this user can do, and what to change",
    "explain": "what an error's code means",
}

FAILED, WRONG_USAGE, NOT_PERMITTED, NOT_SUPPORTED, OUR_BUG, INTERRUPTED, NO_READER = 1, 2, 3, 4, 70, 130, 141


def main(argv: list[str] | None = None, *, prog: str = "") -> int:
    """Runs the command line ``argv`` (default: the process's own); returns the exit status.

    ``prog``: the name of a command of its own (``bpftrace``) that is one of ours by another name.
    """
    arguments = sys.argv[1:] if argv is None else argv
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us; its number must not become a map's
            setattr(sys, name, open("/dev/null", mode))
    try:
        _end_like_ctrl_c_on_sigterm()
        status = _dispatch(arguments, prog)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return NO_READER
    except Exception as error:
        return _report(error)


def _dispatch(arguments: list[str], prog: str = "") -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if name in ("-V", "--version"):
        from ebpf import __version__

        print(f"ebpf {__version__}")
        return 0
    if name not in COMMANDS:
        from difflib import get_close_matches

        close = get_close_matches(name, COMMANDS, n=1)
        print(f"ebpf: there is no command {name!r}" + (f"; did you mean {close[0]!r}?" if close else "")
              + "\n`ebpf --help` lists them", file=sys.stderr)
        return WRONG_USAGE
    import argparse
    from importlib import import_module

    module = import_module(f"ebpf.cli.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(prog=prog or f"ebpf {name}", description=COMMANDS[name], allow_abbrev=False,
                                     formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
                                         prog, width=_columns() - 2))
    module.configure(parser)
    parse = getattr(module, "parse", argparse.ArgumentParser.parse_args)
    status: int = module.run(parse(parser, arguments[1:]))
    return status


def _columns() -> int:
    """As argparse finds it, which asks for it with each argument added, and imports all of shutil for that."""
    import os

    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80


def _overview() -> str:
    rows = "\n".join(f"  {name:9} {what}" for name, what in COMMANDS.items())
    return ("usage: ebpf COMMAND [ARGUMENT...]\n\n"
            "Compile, load, attach and look at eBPF programs.\n\n"
            f"{rows}\n\n`ebpf COMMAND --help` says more. Exit status: 0 done, 1 failed, 2 wrong usage,\n"
            "3 not permitted, 4 not supported by this kernel, 130 ended by Ctrl-C.")


def _end_like_ctrl_c_on_sigterm() -> None:
    import signal

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    try:
        signal.signal(signal.SIGTERM, end)
    except ValueError:  # not the main thread: whoever calls us handles signals
        pass


def _forget_output() -> None:
    """Nobody reads any more: what is still buffered must not be written, and not complained about, at exit."""
    import os

    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _report(error: Exception) -> int:
    from ebpf import EbpfError, InternalError, NotSupported, PrivilegeError, UsageError

    if isinstance(error, EbpfError):
        print_error(error)
        if isinstance(error, InternalError):
            return OUR_BUG
        for kind, status in ((PrivilegeError, NOT_PERMITTED), (NotSupported, NOT_SUPPORTED), (UsageError, WRONG_USAGE)):
            if isinstance(error, kind):
                return status
        return FAILED
    if isinstance(error, OSError) and error.filename is not None:
        print(f"ebpf: {error.filename}: {error.strerror}", file=sys.stderr)
        return NOT_PERMITTED if isinstance(error, PermissionError) else FAILED
    if (words := _short_of(error)) is not None:
        _forget_output()
        print(f"ebpf: {words}", file=sys.stderr)
        return FAILED
    import os
    import traceback

    if os.environ.get("EBPF_TRACEBACK"):
        traceback.print_exception(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    print(f"ebpf: a bug of ours: {type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})\n"
          "  = help: please report it with the input; EBPF_TRACEBACK=1 shows where it comes from", file=sys.stderr)
    return OUR_BUG


def _short_of(error: Exception) -> str | None:
    """What the machine is short of, and what to do; None if that is not what is wrong."""
    import errno

    if isinstance(error, MemoryError):
        return "not enough memory\n  = help: raise the limit (ulimit -v, the cgroup's memory.max)"
    if not isinstance(error, OSError):
        return None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        return f"the output cannot be written: {error.strerror}"
    help = {errno.EMFILE: "raise the limit of open files: ulimit -n 1024", errno.ENFILE: "close other programs",
            errno.EAGAIN: "raise the limit of processes: ulimit -u",
            errno.ENOMEM: "free memory, or raise the limit (ulimit -v)"}
    found = help.get(error.errno or 0)
    return None if found is None else f"{error.strerror}\n  = help: {found}"


def print_error(error: Exception) -> None:
    """An error of ours, on standard error, coloured where somebody looks at it."""
    from ebpf import EbpfError, format_error
    from ebpf.cli.output import colors

    assert isinstance(error, EbpfError)
    sys.stdout.flush()
    text = format_error(error, color=colors(sys.stderr))
    print(text if error.diagnostics else f"ebpf: {text}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
