"""The proof: every tool in a guest of each kernel, on work that must show; the table of docs/tools.md.

``python -m tests.tools [--kernels 6.1,7.2] [--theirs] [CASE…]`` compiles each tool for each kernel here (a guest's
processor is emulated), runs them there, and judges. Results are kept on disk (``$EBPF_TOOLS_DIR``, else the user's cache
directory), by kernel; ``--table`` writes the table from all of them. ``--theirs``: BCC's tools of those names watch the
same work, and must have seen the same; ``--show`` runs nothing and judges what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import ebpf
from ebpf.session.build import compile_bytes
from ebpf.tools import TOOLS
from ebpf.tools._tool import HERE
from tests.guests import store
from tests.guests.guest import Guest
from tests.tools.cases import CASES
from tests.tools.judge import judge

_ROOT = Path(__file__).resolve().parents[2]
_DOCUMENT = _ROOT / "docs" / "tools.md"
_BEGIN, _END = "<!-- table: guests -->", "<!-- end of table -->"
_WORST = ("fails", "works", "agrees")


def home() -> Path:
    """Where results are kept."""
    return Path(os.environ.get("EBPF_TOOLS_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ebpf-tools"))


def compile_for(share: Path, names: list[str]) -> None:
    """Objects that are missing or older than what they are made of."""
    btf = ebpf.Btf.parse((share / "btf" / "vmlinux").read_bytes())
    newest = max(path.stat().st_mtime for path in Path(HERE).glob("*.h"))
    for name in dict.fromkeys(name.split()[0] for name in names):
        path, made = Path(f"{HERE}/{name}.c"), share / "objects" / f"{name}.o"
        if not made.exists() or made.stat().st_mtime < max(newest, path.stat().st_mtime):
            made.write_bytes(compile_bytes(path.read_text(), filename=str(path), dialect="libbpf", include_dirs=(HERE,), btf=btf))


def run(kernel: str, names: list[str], theirs: bool) -> None:
    """Watch them in a guest, and keep what they said."""
    share = home() / kernel
    for folder in ("objects", "results", "theirs", "btf"):
        (share / folder).mkdir(parents=True, exist_ok=True)
    guest = Guest(kernel, memory="3G", shares=[str(share)])
    if not (share / "btf" / "vmlinux").exists():
        guest.run(["cp", "/sys/kernel/btf/vmlinux", str(share / "btf")], timeout_s=120)
    if theirs:
        from tests.bcc.compare.__main__ import headers

        headers(share)
    compile_for(share, names)
    argv = [sys.executable, "-m", "tests.tools.inside", str(share), *(["--theirs"] if theirs else []), *names]
    done = guest.run(argv, cwd=str(_ROOT), env={**os.environ, "PYTHONPATH": f"{_ROOT}/src"}, timeout_s=120 + 150 * len(names),
                     on_stdout=lambda data: print(f"{kernel}: {data.decode(errors='replace')}", end="", flush=True))
    if done.returncode:
        raise SystemExit(f"{kernel}: {done.stderr.decode(errors='replace')[-3000:]}")


def results(kernel: str, kind: str = "results") -> dict[str, dict[str, Any]]:
    """What is kept, by case; ``kind`` "theirs": of runs beside BCC's."""
    return {name: json.loads(path.read_text()) for name in CASES
            if (path := home() / kernel / kind / f"{name}.json").exists()}


def judged(kernel: str) -> dict[str, tuple[str, str]]:
    """By case; where there was no run but the one beside BCC's, by that."""
    alone, beside = results(kernel), results(kernel, "theirs")
    return {name: judge(name, alone.get(name) or beside[name], beside.get(name)) for name in CASES if name in alone or name in beside}


def verdicts(kernel: str) -> dict[str, tuple[str, str]]:
    """By tool: the worst of its cases."""
    found: dict[str, tuple[str, str]] = {}
    for name, one in judged(kernel).items():
        tool = name.split()[0]
        if tool not in found or _WORST.index(one[0]) < _WORST.index(found[tool][0]):
            found[tool] = one
    return found


def table() -> str:
    """Markdown: a row for each tool, a column for each kernel."""
    dates = [told["date"] for kernel in store.KERNELS for told in results(kernel).values()]
    by_kernel = {kernel: verdicts(kernel) for kernel in store.KERNELS}
    lines = [f"Run from {min(dates)} to {max(dates)}." if min(dates) != max(dates) else f"Run on {min(dates)}.", "",
             f"| tool | {' | '.join(by_kernel)} |", f"|---|{'---|' * len(by_kernel)}"]
    for name in sorted(TOOLS):
        cells = [found.get(name, ("-", "")) for found in by_kernel.values()]
        lines.append(f"| {name} | " + " | ".join(word + (f": {why}" if why else "") for word, why in cells) + " |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Into the document, between its marks."""
    document = _DOCUMENT.read_text()
    _DOCUMENT.write_text(re.sub(f"{_BEGIN}.*?{_END}", lambda _: f"{_BEGIN}\n\n{text}\n\n{_END}", document, flags=re.DOTALL))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools", description=__doc__)
    parser.add_argument("--kernels", default=",".join(store.KERNELS))
    parser.add_argument("--theirs", action="store_true", help="beside BCC's")
    parser.add_argument("--show", action="store_true", help="run nothing: what the last results were")
    parser.add_argument("--table", action="store_true", help="run nothing: write the table of docs/tools.md")
    parser.add_argument("names", nargs="*", metavar="CASE")
    args = parser.parse_args()
    if args.table:
        write(table())
        return 0
    failed = False
    for kernel in args.kernels.split(","):
        if not args.show:
            run(kernel, args.names or list(CASES), args.theirs)
        for name, (word, why) in judged(kernel).items():
            if args.names and name not in args.names:
                continue
            failed |= word == "fails"
            print(f"{kernel:5} {name:16} {word:7} {why}"[:300])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
