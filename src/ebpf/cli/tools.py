"""``ebpf tools``: tools that show what a system does. Without a name, the list of them.

The package's own come first (``ebpf tools NAME --help`` has examples); those that are installed (bpfcc-tools,
bpftrace) are run by it too, by their names.

Own tools run in the kernel where this user may load programs. Behind ``--`` stands a command that is traced instead,
with all its children: most tools do that as an ordinary user, without any privilege.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf.cli.output import print_line, progress
from ebpf.tools import TOOLS

if TYPE_CHECKING:
    from ebpf.tools._tool import ReportTool, Tool

_INSTALLED = (  # folder, ending, package, how it is run
    ("/usr/sbin", "-bpfcc", "bpfcc-tools", "run"),
    ("/usr/share/bcc/tools", "", "bcc-tools", "run"),
    ("/usr/sbin", ".bt", "bpftrace", "trace"),
    ("/usr/share/bpftrace/tools", ".bt", "bpftrace", "trace"),
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = __doc__
    parser.usage = "ebpf tools [NAME [OPTION...] [-- COMMAND [ARG...]]]"
    parser.add_argument("--json", action="store_true", help="the list as JSON, one object a line")


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """What stands behind the tool's name is the tool's own."""
    if argv and not argv[0].startswith("-"):
        return argparse.Namespace(name=argv[0], rest=argv[1:], prog=parser.prog)
    args = parser.parse_args(argv)
    args.name = None
    return args


def run(args: argparse.Namespace) -> int:
    if args.name is None:
        return _print_list(args.json)
    if args.name in TOOLS:
        from importlib import import_module

        return _run_own(import_module(f"ebpf.tools.{args.name}").TOOL, args)
    path, how = _installed().get(args.name, ("", ""))
    if not path:
        return _unknown(args.name)
    from ebpf.cli import main

    return main([how, path, *args.rest])


# ---- the list ----


def _installed() -> dict[str, tuple[str, str]]:
    """Name → (file, "run" or "trace"), of the tools that others have installed. A name of a ``.bt`` keeps its ending
    where the other kind has it too.
    """
    found: dict[str, tuple[str, str]] = {}
    for folder, ending, _, how in _INSTALLED:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            path = f"{folder}/{name}"
            if name.endswith(ending) and not name.endswith(".bt" if how == "run" else "\0") and _is_tool(path, how):
                short = name.removesuffix(ending)
                found.setdefault(name if how == "trace" and short in found else short, (path, how))
                found.setdefault(name, (path, how))
    return found


def _is_tool(path: str, how: str) -> bool:
    if not os.path.isfile(path):
        return False
    if how == "trace":
        return True
    with open(path, "rb") as file:
        first = file.readline(200)
    return first.startswith(b"#!") and b"python" in first


def _about(path: str) -> str:
    """What a script says of itself: in its first lines (``# name  Does this.``), else in its manual page."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = [file.readline().rstrip() for _ in range(8)]
    except OSError:
        return ""
    name = os.path.basename(path).removesuffix("-bpfcc").removesuffix(".bt")
    known = False
    for at, line in enumerate(head):
        text = line.strip(" #*/").replace("\t", "  ", 1)
        first, _, rest = text.partition(" ")
        named = first.lower().removesuffix(".bt").removesuffix(".py") == name
        if rest and (named or (rest.startswith("  ") and not known)):  # some call themselves otherwise
            said = [rest.strip(" -\t")]
            for more in head[at + 1:]:  # the sentence goes on in lines that begin further right
                words = more.strip("#*/")
                if not words.startswith("      ") or said[-1].endswith(".") or words.strip().startswith("For "):
                    break
                said.append(words.strip())
            return _sentence(" ".join(said))
        known |= named
    return _manual(f"/usr/share/man/man8/{os.path.basename(path)}.8.gz")


def _manual(page: str) -> str:
    """The line of a manual page that says what its subject does."""
    import gzip

    try:
        with gzip.open(page, "rt", encoding="utf-8", errors="replace") as file:
            lines = [file.readline() for _ in range(40)]
    except (OSError, EOFError):
        return ""
    names = "".join(lines).partition(".SH NAME\n")[2].partition("\n.")[0]
    return _sentence(" ".join(names.partition(" \\- ")[2].partition(" \\- ")[0].split()))


def _sentence(text: str) -> str:
    return text.partition(" Uses ")[0].partition(". ")[0].strip().rstrip(".")


def _rows() -> list[tuple[str, str, str]]:
    """(name, from where, what it does): each file once, by the first name that it answers to; ours hide namesakes."""
    rows = [(name, "ebpf", what) for name, what in TOOLS.items()]
    seen = set()
    for name, (path, _) in _installed().items():
        if path in seen or name in TOOLS:
            seen.add(path)
            continue
        seen.add(path)
        rows.append((name, _package_of(path), _about(path)))
    return rows


def _package_of(path: str) -> str:
    folder, name = os.path.split(path)
    return next(package for place, ending, package, how in _INSTALLED
                if place == folder and name.endswith(ending) and name.endswith(".bt") == (how == "trace"))


def _print_list(as_json: bool) -> int:
    rows = sorted(_rows(), key=lambda row: (row[1] != "ebpf", row[0]))
    if as_json:
        from ebpf.cli.output import json_line

        for name, origin, what in rows:
            print(json_line({"name": name, "from": origin, "about": what}))
        return 0
    width = max(len(row[0]) for row in rows)
    for name, origin, what in rows:
        print(f"{name:{width}}  {origin:11}  {what}".rstrip())
    return 0


def _unknown(name: str) -> int:
    from difflib import get_close_matches

    close = get_close_matches(name, {**TOOLS, **_installed()}, n=3)
    raise ebpf.UsageError(f"there is no tool {name!r}",
                          helps=(*((f"did you mean {', '.join(close)}?",) if close else ()), "`ebpf tools` lists them"))


# ---- running one of our own ----


def _run_own(tool: Tool, args: argparse.Namespace) -> int:
    argv, command = args.rest, []
    parser = _parser(tool, f"{args.prog} {tool.name}")
    if "--" in argv:
        at = argv.index("--")
        argv, command = argv[:at], argv[at + 1:]
        if not command:
            parser.error("there is no command behind --")
    options = tool.parse(vars(parser.parse_args(argv)))
    with tool.load(options, command) as session:
        try:
            _show(tool, session, options)
        except KeyboardInterrupt:
            if sys.stdout.isatty():
                print()
        lost = tool.lost(session)
        if lost:
            progress(f"lost: {tool.lost_words(lost)}")
    return 0


def _parser(tool: Tool, prog: str) -> argparse.ArgumentParser:
    from ebpf.tools._options import add_to

    lines = [f"  ebpf tools {tool.name} {arguments}".rstrip() for arguments, _ in tool.examples]
    width = max(map(len, lines), default=0)
    shown = "\n".join(f"{line:{width}}   # {what}" for line, (_, what) in zip(lines, tool.examples))
    epilog = f"examples:\n{shown}" + (f"\n\n{tool.kernel_only}" if tool.kernel_only else "")
    parser = argparse.ArgumentParser(prog=prog, description=tool.about, allow_abbrev=False, epilog=epilog,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.usage = f"{prog} [OPTION...]" + "".join(
        f" [{option.metavar or option.name.upper()}]" for option in tool.all_options()
        if not option.flags[0].startswith("-")) + ("" if tool.kernel_only else " [-- COMMAND [ARG...]]")
    add_to(parser, tool.all_options())
    return parser


def _show(tool: Tool, session: ebpf.Session, options: Any) -> None:
    from ebpf.tools._columns import json_line

    if tool.summarises:
        _show_reports(tool, session, options)  # type: ignore[arg-type]
        return
    table = tool.table(options)
    if not options.json and not options.no_header:
        print_line(table.header())
        sys.stdout.flush()
    line = json_line if options.json else table.line
    for item in tool.items(session, options):
        if item is None:
            sys.stdout.flush()
        else:
            print_line(line(item))


def _show_reports(tool: ReportTool, session: ebpf.Session, options: Any) -> None:
    for report in tool.reports(session, options):
        for text in tool.lines(report, options):
            print_line(text)
        sys.stdout.flush()
        if report.interrupted:
            raise KeyboardInterrupt
