"""In a guest, as root: the tools watch while the work is done once; BCC's beside them. Each tool's result is a file.

``python -m tests.tools.inside SHARE [--theirs] CASE…``. Programs are those that the host compiled for this kernel
(``SHARE/objects``) where they are there: a guest's processor is too slow for a compiler.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any, NoReturn

import ebpf
from ebpf.tools._columns import jsonable
from ebpf.tools._tool import Report
from tests.bcc.compare import inside as compare, work
from tests.tools.cases import CASES

_AT_ONCE = 8
_LINGER_S = 0.5
_READY_S = 60.0
_THEIRS_LINGER_S = 2.5  # what reports each second or two has to say it once more


def _use_objects(folder: str) -> None:
    compile = ebpf.compile

    def compiled(path: str, **options: Any) -> ebpf.Object:
        made = f"{folder}/{os.path.basename(path)[:-2]}.o"
        return ebpf.open(made) if os.path.exists(made) else compile(path, **options)

    ebpf.compile = compiled  # type: ignore[assignment]


def _read(tool: Any, session: ebpf.Session, options: Any, seconds: float) -> tuple[list[Any], list[str]]:
    """What it saw, and how it looks."""
    if tool.summarises:
        report = Report(list(tool.collect(session, options, seconds)), seconds, False)
        return report.items, list(tool.lines(report, options))
    vars(options).update(duration=0.001)
    items = [item for item in tool.items(session, options) if item is not None]
    table = tool.table(options)
    return items, [table.header(), *map(table.line, items)]


def _their_forks() -> compare.Forks:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("EBPF_", "PYTHONPATH"))}
    script = os.path.join(os.path.dirname(compare.__file__), "fork.py")
    return compare.Forks(["/usr/bin/python3", script],
                         {**env, "PYTHONUNBUFFERED": "1", "TERM": "dumb", "LD_LIBRARY_PATH": compare.THEIR_LIBRARIES})


class _Theirs:
    """BCC's tool of that name, and what it said of the work."""

    def __init__(self, forks: compare.Forks, name: str, words: dict[str, str]) -> None:
        given = str(CASES[name].theirs).format(**words).split()
        self.tool = compare.Tool(forks, [f"/usr/sbin/{name.split()[0]}-bpfcc", *given])
        self.runs = self.tool.wait_ready()

    def begin(self) -> None:
        self.tool.note_output()

    def told(self) -> dict[str, Any]:
        said = self.tool.told()
        out = said["out"][said["before"]:]
        last = (said["err"] or said["out"]).strip().splitlines()[-1:]
        return {"theirs": out, "theirs_error": "" if self.runs else (last or [f"it ended with status {said['status']}"])[0]}


def _watch(names: list[str], forks: compare.Forks | None) -> dict[str, dict[str, Any]]:
    """Some tools at once, on the work of all of them; BCC's beside them, or before them where both could not be there."""
    pieces = " ".join(dict.fromkeys(piece for name in names for piece in CASES[name].work.split()))
    words = work.prepare(pieces)
    told: dict[str, dict[str, Any]] = {name: {"error": "", "ours": [], "date": time.strftime("%Y-%m-%d")} for name in names}
    theirs = {name: _Theirs(forks, name, words) for name in names if CASES[name].theirs is not None} if forks else {}
    apart = {name: one for name, one in theirs.items() if CASES[name].apart}
    if apart:
        _work(pieces, list(apart.values()), lambda: None)
        for name in apart:
            told[name] |= theirs.pop(name).told()
    live = {}
    for name in names:
        tool = import_module(f"ebpf.tools.{name.split()[0]}").TOOL
        given = {k: v.format(**words) if isinstance(v, str) else v for k, v in CASES[name].args.items()}
        try:
            options = tool.parse(given)
            began = time.monotonic()
            live[name] = tool, options, tool.load(options)
            told[name]["seconds"] = round(time.monotonic() - began, 2)
        except ebpf.EbpfError as error:
            told[name]["error"] = str(error)
    for tool, options, session in live.values():
        if tool.summarises:
            list(tool.collect(session, options, 1))  # as at the end of an interval: what was before is no part of it

    def read() -> None:
        for name, (tool, options, session) in live.items():
            try:
                items, lines = _read(tool, session, options, 1)
                told[name] |= {"ours": [jsonable(item) for item in items], "text": lines[:200], "lost": tool.lost(session)}
            except ebpf.EbpfError as error:
                told[name]["error"] = str(error)
            session.close()

    _work(pieces, list(theirs.values()), read)
    for name, one in theirs.items():
        told[name] |= one.told()
    work.clean(pieces)
    return told


def _grouped(names: list[str]) -> dict[str, dict[str, Any]]:
    """Tools that look at one container alone: what they see of the work outside, and then of the work inside."""
    folder = "/sys/fs/cgroup/machine.slice/docker-" + "4b1d" * 16 + ".scope/below"
    os.makedirs(folder, exist_ok=True)
    told, live = {}, {}
    for at, name in enumerate(names):
        tool = import_module(f"ebpf.tools.{name.split()[0]}").TOOL
        if "container" not in tool.filters or "pid" in CASES[name].args:
            continue
        given = {"container": "4b1d4b1d4b1d"} if at % 2 else {"cgroup": "/machine.slice"}
        try:
            options = tool.parse({**CASES[name].args, **given})
            live[name] = tool, options, tool.load(options)
        except ebpf.EbpfError as error:
            told[name] = {"error": str(error)}
    pieces = " ".join(dict.fromkeys(piece for name in live for piece in CASES[name].work.split()))
    work.prepare(pieces)
    for where in ("outside", "inside"):
        child = os.fork()
        if child == 0:
            if where == "inside":
                with open(f"{folder}/cgroup.procs", "w") as file:
                    file.write(str(os.getpid()))
            work.run(pieces)
            os._exit(0)
        os.waitpid(child, 0)
        time.sleep(_LINGER_S)
        for name, (tool, options, session) in live.items():
            items, _ = _read(tool, session, options, 1)
            told.setdefault(name, {"error": ""})[where] = [jsonable(item) for item in items]
    for _, _, session in live.values():
        session.close()
    work.clean(pieces)
    return told


def _commands(names: list[str]) -> dict[str, dict[str, Any]]:
    """``ebpf tools NAME --json`` until Ctrl-C: what it prints, how it ends."""
    pieces = " ".join(dict.fromkeys(piece for name in names for piece in CASES[name].work.split()))
    words = work.prepare(pieces)
    children = {}
    for name in names:
        out, err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        child = os.fork()
        if child == 0:
            _command(name, words, out, err)
        children[name] = child, out, err
    until, quiet = time.monotonic() + _READY_S, 0
    while quiet < 4 and time.monotonic() < until:
        time.sleep(0.25)
        quiet = quiet + 1 if all(_waits(child) for child, _, _ in children.values()) else 0
    work.run(pieces)
    time.sleep(2 * _LINGER_S)
    told = {}
    for name, (child, out, err) in children.items():
        os.kill(child, signal.SIGINT)
        _, status = os.waitpid(child, 0)
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read())
        told[name] = {"status": os.waitstatus_to_exitcode(status), "out": said[0], "err": said[1]}
    work.clean(pieces)
    return told


def _command(name: str, words: dict[str, str], out: IO[str], err: IO[str]) -> NoReturn:
    from ebpf.cli import main as ebpf_main

    tool = import_module(f"ebpf.tools.{name.split()[0]}").TOOL
    argv = ["tools", tool.name, "--json"]
    for option in tool.all_options():
        if (value := CASES[name].args.get(option.name)) is not None:
            argv += [option.flags[-1]] * option.flags[-1].startswith("-")
            argv += [] if value is True else [str(value).format(**words)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, file in ((1, out), (2, err)):
        os.dup2(file.fileno(), number)
    status = 99
    try:
        status = ebpf_main(argv)
        sys.stdout.flush()
    finally:
        os._exit(status)


def _waits(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/syscall") as file:
            return file.read().split()[0] in compare.WAITING
    except (OSError, IndexError):
        return False


def _work(pieces: str, theirs: list[_Theirs], then: Callable[[], None]) -> None:
    """Do it, read what ours saw, and end theirs."""
    for one in theirs:
        one.begin()
    work.run(pieces)
    time.sleep(_THEIRS_LINGER_S if theirs else _LINGER_S)
    then()
    for one in theirs:
        one.tool.interrupt()


def main(argv: list[str]) -> int:
    share, names = argv[0], [a for a in argv[1:] if not a.startswith("-")] or list(CASES)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    theirs = "--theirs" in argv
    compare.prepare(share, theirs)
    _use_objects(f"{share}/objects")
    forks = _their_forks() if theirs else None
    for at in range(0, len(names), _AT_ONCE):
        found = _watch(names[at:at + _AT_ONCE], forks)
        grouped, commands = ({}, {}) if theirs else (_grouped(names[at:at + _AT_ONCE]), _commands(names[at:at + _AT_ONCE]))
        for name, result in found.items():
            result |= {"grouped": grouped.get(name), "command": commands.get(name)}
            new = f"{share}/{'theirs' if theirs else 'results'}/{name}"
            with open(f"{new}.new", "w") as file:
                json.dump(result, file, indent=1)
            os.rename(f"{new}.new", f"{new}.json")
            print(name, result.get("seconds"), result["error"][:300], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
