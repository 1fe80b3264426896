"""``python -m bench [NAME…] [--once]``: run the benchmarks and print the table."""

from __future__ import annotations

import argparse
import importlib
import sys

from bench.harness import HEADER, Report

NAMES = ("startup", "types", "maps", "ringbuf", "growth", "interpreter", "machine_maps", "verifier", "jit", "trace",
         "tracing")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--once", action="store_true", help="one round each: shows that they run, measures little")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target was missed")
    options = parser.parse_args()
    report = Report(rounds=1 if options.once else 7)
    print(HEADER)
    for name in options.names or NAMES:
        importlib.import_module(f"bench.{name}").run(report)
    missed = [row.name for row in report.rows if row.ok is False]
    print(f"\n{len(report.rows)} figures, {len(missed)} missed, {len(report.skipped)} skipped")
    return 1 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
