"""``python -m bench [NAME…] [--once]``: run the benchmarks and print the table."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
import sys
from pathlib import Path

from bench.harness import HEADER, Report

NAMES = ("startup", "types", "maps", "ringbuf", "growth", "interpreter", "machine_maps", "verifier", "jit", "trace",
         "trace_events", "tracing", "data", "functions", "function_costs", "bulk", "attach_many", "objects", "tools")

_SUMMARY = re.compile(r"(\d+) figures, (\d+) missed, (\d+) skipped")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--once", action="store_true", help="one round each: shows that they run, measures little")
    parser.add_argument("--guest", metavar="KERNEL", help="run them in a guest under that kernel, as root")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target was missed")
    options = parser.parse_args()
    names = options.names or list(NAMES)
    if options.guest:
        again = [flag for flag in ("--once", "--strict") if flag in sys.argv]
        guest = ["./dev", "guest", "--kernel", options.guest, "--timeout", "3600", "--"]
        root = Path(__file__).resolve().parents[1]
        return subprocess.run([*guest, sys.executable, "-m", "bench", *names, *again], cwd=root, check=False).returncode
    print(HEADER, flush=True)
    figures, missed, skipped = _one(names[0], options.once) if len(names) == 1 else _several(names, options.once)
    print(f"\n{figures} figures, {missed} missed, {skipped} skipped")
    return 1 if missed and options.strict else 0


def _one(name: str, once: bool) -> tuple[int, int, int]:
    report = Report(rounds=1 if once else 7)
    importlib.import_module(f"bench.{name}").run(report)
    return len(report.rows), sum(row.ok is False for row in report.rows), len(report.skipped)


def _several(names: list[str], once: bool) -> tuple[int, int, int]:
    """Each in a process of its own: what a process measures of its children's memory begins with its own."""
    total = [0, 0, 0]
    for name in names:
        command = [sys.executable, "-m", "bench", name, *(["--once"] if once else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                found = _SUMMARY.fullmatch(line.strip())
                if found:
                    total = [a + int(b) for a, b in zip(total, found.groups(), strict=True)]
                elif line.strip() and line.strip() != HEADER.strip():
                    print(line, end="", flush=True)
        if process.returncode:
            sys.exit(process.returncode)
    return total[0], total[1], total[2]


if __name__ == "__main__":
    sys.exit(main())
