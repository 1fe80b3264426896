"""The proof: every tool in a guest of each kernel, on work that must show; the table of docs/tools.md.

``python -m tests.tools [--kernels 6.1,7.2] [--theirs] [--keep FOLDER] [NAME…]`` compiles each tool for each kernel here
(a guest's processor is emulated), runs them there, judges, and writes the table when all tools were run.
``--theirs``: BCC's tools of those names watch the same work, and must have seen the same.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ebpf
from ebpf.session.build import compile_bytes
from ebpf.tools import TOOLS
from ebpf.tools._tool import HERE
from tests.guests import store
from tests.guests.guest import Guest
from tests.tools.cases import CASES

_ROOT = Path(__file__).resolve().parents[2]
_DOCUMENT = _ROOT / "docs" / "tools.md"
_BEGIN, _END = "<!-- table: guests -->", "<!-- end of table -->"


def judge(name: str, told: dict[str, Any]) -> tuple[str, str]:
    """("works", ""), ("agrees", "") beside BCC's, ("attached", why no more can be said), or ("fails", why)."""
    case = CASES[name]
    if told["error"]:
        return "fails", told["error"].splitlines()[0]
    if not told.get("disk") and name in ("biolatency", "biosnoop"):
        return "attached", "no disk here"
    keys = {key for item in told["ours"] if (key := case.key(item)) is not None}
    missing = [key for key in case.expect if key not in keys]
    if missing:
        return "fails", f"not seen: {missing[0]}"
    if told.get("theirs") and (theirs := {key for line in told["theirs"].splitlines() if (key := case.line(line)) is not None}):
        return ("agrees", "") if keys == theirs else ("fails", f"differs from BCC's: {sorted(map(str, keys ^ theirs))[:3]}")
    return "works", ""


def compile_for(kernel: str, share: Path) -> None:
    btf = ebpf.Btf.parse((share / "btf").read_bytes())
    folder = share / "objects" / kernel
    folder.mkdir(parents=True)
    for name in TOOLS:
        path = f"{HERE}/{name}.c"
        (folder / f"{name}.o").write_bytes(compile_bytes(Path(path).read_text(), filename=path, dialect="libbpf",
                                                         include_dirs=(HERE,), btf=btf))


def run(kernel: str, share: Path, names: list[str], theirs: bool) -> dict[str, Any]:
    """The results of one kernel."""
    guest = Guest(kernel, memory="2G", shares=[str(share)])
    guest.run(["cp", "/sys/kernel/btf/vmlinux", str(share / "btf")], timeout_s=120)
    compile_for(kernel, share)
    argv = [sys.executable, "-m", "tests.tools.inside", str(share), *(["--theirs"] if theirs else []), *names]
    done = guest.run(argv, cwd=str(_ROOT), env={"PYTHONPATH": f"{_ROOT}/src"}, timeout_s=1800)
    found = next((share / "results").glob("*.json"), None)
    if found is None:
        raise SystemExit(f"{kernel}: {done}")
    return json.loads(found.read_text())  # type: ignore[no-any-return]


def table(results: dict[str, dict[str, Any]]) -> str:
    """Markdown: a row for each tool, a column for each kernel."""
    kernels = sorted(results, key=lambda k: [int(n) for n in k.split(".")])
    lines = [f"Run on {time.strftime('%Y-%m-%d')}.", "", f"| tool | {' | '.join(kernels)} |", f"|---|{'---|' * len(kernels)}"]
    for name in sorted(TOOLS):
        cells = [judge(name, results[k][name]) if name in results[k] else ("-", "") for k in kernels]
        lines.append(f"| {name} | " + " | ".join(word + (f": {why}" if why else "") for word, why in cells) + " |")
    return "\n".join(lines)


def write(text: str) -> None:
    """Into the document, between its marks."""
    document = _DOCUMENT.read_text()
    _DOCUMENT.write_text(re.sub(f"{_BEGIN}.*?{_END}", lambda _: f"{_BEGIN}\n\n{text}\n\n{_END}", document, flags=re.DOTALL))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools", description=__doc__)
    parser.add_argument("--kernels", default=",".join(store.KERNELS))
    parser.add_argument("--theirs", action="store_true")
    parser.add_argument("--keep", type=Path, help="leave what guests wrote there")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    kernels = args.kernels.split(",")
    base = args.keep or Path(tempfile.mkdtemp(prefix="ebpf-tools-"))
    with ThreadPoolExecutor(2) as pool:
        for kernel in kernels:
            (base / kernel).mkdir(parents=True)
        found = list(pool.map(lambda k: run(k, base / k, args.names, args.theirs), kernels))
    results = dict(zip(kernels, found, strict=True))
    text = table(results)
    print(text)
    if not args.names and set(kernels) == set(store.KERNELS):
        write(text)
    return 0 if not re.search(r"\| fails", text) else 1


if __name__ == "__main__":
    sys.exit(main())
