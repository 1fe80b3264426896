"""``python -m tests.bcc.compare [--kernel 6.1] [--all | NAME…]``: run in a guest what has no result yet, and say what came out.

Results are kept on disk (``$EBPF_COMPARE_DIR``, else the user's cache directory), by kernel. ``--table`` writes the table of
docs/bcc.md from all of them; ``--sample`` runs ours alone on ten, and compares with what ``--record`` kept of BCC's run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bcc.compare.judge import Verdict, as_recorded, judge, words_of
from tests.bcc.compare.plan import CASES
from tests.guests import store

_ROOT = Path(__file__).resolve().parents[3]
_BATCH = 200
_RECORDED = Path(__file__).with_name("recorded.json")
SAMPLE = ("opensnoop", "filelife", "execsnoop", "exitsnoop", "killsnoop", "syncsnoop", "shmsnoop", "tcpconnect",
          "bindsnoop", "tcpaccept")


def home() -> Path:
    """Where results are kept."""
    base = os.environ.get("EBPF_COMPARE_DIR") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ebpf-bcc-compare")
    return Path(base)


def results(kernel: str) -> dict[str, tuple[dict[str, Any], Verdict]]:
    """What there is: by case, what the tools said and whether that is the same."""
    found = {}
    for name, case in CASES.items():
        path = home() / kernel / "results" / f"{name}.json"
        if path.exists():
            told = json.loads(path.read_text())
            found[name] = (told, judge(case, told))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bcc.compare", description=__doc__)
    parser.add_argument("--kernel", default=store.SAMPLE)
    parser.add_argument("--all", action="store_true", help="every case anew")
    parser.add_argument("--bad", action="store_true", help="those anew that were not found equal")
    parser.add_argument("--ours", action="store_true", help="without BCC, whose compiling takes most of the time")
    parser.add_argument("--show", action="store_true", help="run nothing: what the last results were")
    parser.add_argument("--table", action="store_true", help="run nothing: write the table of docs/bcc.md")
    parser.add_argument("--sample", action="store_true", help="ours alone on ten, beside BCC's words that were kept")
    parser.add_argument("--record", action="store_true", help="run nothing: keep BCC's words for --sample")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    if args.table:
        from tests.bcc.compare.table import write

        write()
        return 0
    if args.record:
        record()
        return 0
    if args.sample:
        return sample()
    known = results(args.kernel)
    if args.names:
        names = args.names
    elif args.all:
        names = list(CASES)
    else:
        names = [n for n in CASES if n not in known or (args.bad and known[n][1].result not in ("equal", "started"))]
    if not args.show:
        for at in range(0, len(names), _BATCH):
            _run(args.kernel, names[at:at + _BATCH], theirs=args.kernel == store.SAMPLE and not args.ours)
    counts: dict[str, int] = {}
    for name, (told, verdict) in results(args.kernel).items():
        if args.names and name not in args.names:
            continue
        counts[verdict.result] = counts.get(verdict.result, 0) + 1
        ready = "/".join(str(told[who]["ready_s"]) for who in ("theirs", "ours") if who in told)
        print(f"{name:16} {verdict.result:10} {ready:12} {verdict.reason}"[:400])
    print(counts)
    return 1 if counts.get("failed") or counts.get("different") else 0


def record() -> None:
    """Keep what BCC said of the sample."""
    found = results(store.SAMPLE)
    words = {name: words_of(CASES[name], found[name][0]["theirs"]) for name in SAMPLE}
    _RECORDED.write_text(json.dumps(words, indent=1) + "\n")


def sample() -> int:
    """Ours alone on the sample: does it say what BCC said when that was recorded?"""
    _run(store.SAMPLE, list(SAMPLE), theirs=False)
    found, recorded = results(store.SAMPLE), json.loads(_RECORDED.read_text())
    verdicts = {name: as_recorded(CASES[name], found[name][0], recorded[name]) for name in SAMPLE if name in found}
    for name, verdict in verdicts.items():
        print(f"{name:16} {verdict.result:10} {verdict.reason}")
    return int([verdict.result for verdict in verdicts.values()] != ["equal"] * len(SAMPLE))


def headers(share: Path) -> None:
    """The kernel's headers as one file with a file system in it: BCC reads thousands of them, over the network each."""
    image, sources = share / "headers.img", sorted(Path("/usr/src").glob("linux-headers-*"))
    if image.exists() or not sources:
        return
    with tempfile.TemporaryDirectory() as folder:
        for source in sources:
            shutil.copytree(source, f"{folder}/{source.name}", symlinks=True)
        new = share / "headers.new"
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", folder, "-N", "60000", str(new), "256M"],
                       check=True)
        new.rename(image)


def _run(kernel: str, names: list[str], *, theirs: bool) -> None:
    from tests.bcc.compare.outside import Compiler
    from tests.guests.guest import Guest

    share = home() / kernel
    share.mkdir(parents=True, exist_ok=True)
    (share / "cache").mkdir(mode=0o700, exist_ok=True)
    if theirs:
        headers(share)
    lane = f"lane-{os.getpid()}"
    compiler = Compiler(share, lane)
    compiler.start()
    try:
        result = Guest(kernel, memory="3G", shares=[str(share)]).run(
            [sys.executable, "-m", "tests.bcc.compare.inside", str(share), *["--theirs"] * theirs,
             *["--mixed"] * (kernel != store.SAMPLE), *names], cwd=str(_ROOT),
            env={**os.environ, "EBPF_COMPARE_LANE": f"{share}/{lane}"}, timeout_s=120 + 150 * len(names), on_stdout=lambda data: print(data.decode(errors="replace"), end="", flush=True))
        if result.returncode:
            print(result.stderr.decode(errors="replace")[-3000:], file=sys.stderr)
    finally:
        compiler.stop()
        shutil.rmtree(share / lane)


if __name__ == "__main__":
    sys.exit(main())
