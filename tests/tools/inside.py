"""In a guest, as root: the tools watch while the work is done once; BCC's beside them. Each tool's result is a file.

``python -m tests.tools.inside SHARE [--theirs] CASE…``. Programs are those that the host compiled for this kernel
(``SHARE/objects``) where they are there: a guest's processor is too slow for a compiler.
"""

from __future__ import annotations

import json
import os
import sys
import time
from importlib import import_module
from typing import Any

import ebpf
from ebpf.tools._columns import jsonable
from ebpf.tools._tool import Report
from tests.bcc.compare import inside as compare, work
from tests.tools.cases import CASES

_AT_ONCE = 8
_LINGER_S = 0.5
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
    options.__dict__["duration"] = 0.001
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
        self.runs = False

    def wait(self) -> None:
        self.runs = self.tool.wait_ready()

    def begin(self) -> None:
        self.tool.note_output()

    def told(self) -> dict[str, Any]:
        said = self.tool.told()
        out = said["out"][said["before"]:]
        last = (said["err"] or said["out"]).strip().splitlines()[-1:]
        return {"theirs": out, "theirs_error": "" if self.runs else (last or ["it ended"])[0]}


def _watch(names: list[str], forks: compare.Forks | None) -> dict[str, dict[str, Any]]:
    """Some tools at once, on the work of all of them."""
    pieces = " ".join(dict.fromkeys(piece for name in names for piece in CASES[name].work.split()))
    words = work.prepare(pieces)
    told: dict[str, dict[str, Any]] = {name: {"error": "", "ours": [], "date": time.strftime("%Y-%m-%d")} for name in names}
    theirs = {name: _Theirs(forks, name, words) for name in names if CASES[name].theirs is not None} if forks else {}
    for one in theirs.values():
        one.wait()
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
    for one in theirs.values():
        one.begin()
    began = time.monotonic()
    work.run(pieces)
    time.sleep(_THEIRS_LINGER_S if theirs else _LINGER_S)
    for name, (tool, options, session) in live.items():
        try:
            items, lines = _read(tool, session, options, time.monotonic() - began)
            told[name] |= {"ours": [jsonable(item) for item in items], "text": lines[:200], "lost": tool.lost(session)}
        except ebpf.EbpfError as error:
            told[name]["error"] = str(error)
        session.close()
    for one in theirs.values():
        one.tool.interrupt()
    for name, one in theirs.items():
        told[name] |= one.told()
    work.clean(pieces)
    return told


def main(argv: list[str]) -> int:
    share, names = argv[0], [a for a in argv[1:] if not a.startswith("-")] or list(CASES)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    theirs = "--theirs" in argv
    compare.prepare(share, theirs)
    _use_objects(f"{share}/objects")
    forks = _their_forks() if theirs else None
    for at in range(0, len(names), _AT_ONCE):
        for name, result in _watch(names[at:at + _AT_ONCE], forks).items():
            with open(f"{share}/results/{name}.new", "w") as file:
                json.dump(result, file, indent=1)
            os.rename(f"{share}/results/{name}.new", f"{share}/results/{name}.json")
            print(name, result.get("seconds"), result["error"][:300], flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
