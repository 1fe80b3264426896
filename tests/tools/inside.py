"""In a guest, as root: the tools watch while the work is done once; BCC's beside them. Results are one file.

``python -m tests.tools.inside SHARE [--theirs] NAME…``. Programs are those that the host compiled for this kernel
(``SHARE/objects``) where they are there: a guest's processor is too slow for a compiler.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from typing import Any

import ebpf
from ebpf.tools._columns import jsonable
from ebpf.tools._tool import Report
from tests.bcc.compare import work
from tests.tools.cases import CASES

_MODULES = "loop ext4 sch_netem kvm"
_THEIRS_READY_S = 900.0
_WAITING = {"x86_64": ("7", "232", "281", "441", "35", "230", "23", "270", "271"), "aarch64": ("22", "441", "101", "115", "72", "73")}


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


def _waits(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/syscall") as file:
            return file.read().split()[0] in _WAITING[os.uname().machine]
    except (OSError, IndexError):
        return False


def _start_theirs(names: list[str]) -> dict[str, tuple[subprocess.Popen[bytes], Any]]:
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("EBPF_", "PYTHONPATH"))} | {"PYTHONUNBUFFERED": "1"}
    started = {}
    for name in names:
        if CASES[name].theirs is not None:
            out = tempfile.TemporaryFile()
            started[name] = subprocess.Popen(["/usr/bin/python3", f"/usr/sbin/{name}-bpfcc", *str(CASES[name].theirs).split()],
                                             env=plain, stdout=out, stderr=out, start_new_session=True), out
    end, quiet = time.monotonic() + _THEIRS_READY_S, 0
    while quiet < 8 and time.monotonic() < end:
        time.sleep(0.25)
        quiet = quiet + 1 if all(process.poll() is not None or _waits(process.pid) for process, _ in started.values()) else 0
    return started


def main(argv: list[str]) -> int:
    share, theirs, names = argv[0], "--theirs" in argv, [a for a in argv[1:] if not a.startswith("-")] or list(CASES)
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    for module in _MODULES.split():
        subprocess.run(["modprobe", "-q", module], check=False)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=False)
    os.makedirs("/tmp/wl", exist_ok=True)
    kernel = os.uname().release
    _use_objects(f"{share}/objects/{'.'.join(kernel.split('.')[:2])}")
    pieces = list(dict.fromkeys(piece for name in names for piece in CASES[name].work.split()))
    disk = any([work.prepare(piece).get("device") for piece in pieces])  # noqa: C419  # each is prepared
    witnesses = _start_theirs(names) if theirs else {}
    told: dict[str, dict[str, Any]] = {name: {"error": "", "ours": [], "theirs": None, "disk": disk} for name in names}
    live = {}
    for name in names:
        tool = import_module(f"ebpf.tools.{name}").TOOL
        words = CASES[name].args
        try:
            options = tool.parse(words)
            began = time.monotonic()
            live[name] = tool, options, tool.load(options)
            told[name]["seconds"] = round(time.monotonic() - began, 2)
        except ebpf.EbpfError as error:
            told[name]["error"] = str(error)
        print(name, told[name].get("seconds"), told[name]["error"][:3000], flush=True)
    began = time.monotonic()
    for piece in pieces:
        work.run(piece)
    time.sleep(0.5)
    for name, (tool, options, session) in live.items():
        try:
            items, lines = _read(tool, session, options, time.monotonic() - began)
            told[name]["ours"] = [jsonable(item) for item in items]
            told[name]["text"] = lines[:200]
            told[name]["lost"] = tool.lost(session)
        except ebpf.EbpfError as error:
            told[name]["error"] = str(error)
        session.close()
    for name, (process, out) in witnesses.items():
        if process.poll() is None:
            os.killpg(process.pid, 2)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        out.seek(0)
        told[name]["theirs"] = out.read().decode("utf-8", "replace")
    os.makedirs(f"{share}/results", exist_ok=True)
    with open(f"{share}/results/{kernel}{'-theirs' if theirs else ''}.json", "w") as file:
        json.dump(told, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
