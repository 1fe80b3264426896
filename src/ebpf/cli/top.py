"""``ebpf top``: which programs run, how often, and what they cost, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli._kinds import holders_text
from ebpf.cli.output import json_line, print_table

if TYPE_CHECKING:
    import argparse

_ORDERS = {
    "cpu": lambda c: -c.run_time_ns, "runs": lambda c: -c.runs, "time": lambda c: -c.ns_per_run,
    "name": lambda c: c.name, "owner": lambda c: c.owner_uid, "id": lambda c: c.id,
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = ("What every program in the kernel costs: runs, nanoseconds for one run, share of a CPU. "
                          "The kernel counts only while this runs.")
    parser.add_argument("--interval", type=float, default=1.0, metavar="SECONDS", help="between two samples (1)")
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after so many samples")
    parser.add_argument("--sort", choices=tuple(_ORDERS), default="cpu", help="what comes first (cpu)")
    parser.add_argument("--all", action="store_true", help="programs that did not run, too")
    parser.add_argument("--json", action="store_true", help="an object a line for each program and sample")


def run(args: argparse.Namespace) -> int:
    if args.interval <= 0 or args.count < 0:
        raise ebpf.UsageError("--interval must be above 0, --count not below")
    live = sys.stdout.isatty() and not args.json
    with ebpf.inventory.statistics() as statistics:
        for number, costs in enumerate(statistics.every(args.interval), 1):
            rows = [c for c in sorted(costs, key=_ORDERS[args.sort]) if c.runs or args.all]
            if args.json:
                for c in rows:
                    print(json_line({"time": round(time.time(), 3), **c._asdict(), "ns_per_run": round(c.ns_per_run, 1),
                                     "cpu_percent": round(c.cpu_percent, 4)}), flush=True)
            else:
                _show(rows, len(costs), live)
            if number == args.count:
                return 0
    return 0


def _show(rows: list[ebpf.ProgramCost], loaded: int, live: bool) -> None:
    if live:
        print("\033[H\033[2J", end="")
    holders = ebpf.inventory.holders(but_us=True)
    total = sum(c.cpu_percent for c in rows)
    print(f"{time.strftime('%H:%M:%S')}  {loaded} programs loaded, {len(rows)} shown, {total:.2f} % of a CPU")
    print_table(("id", "type", "name", "uid", "runs/s", "ns/run", "cpu %", "held by"), (
        (c.id, c.type, c.name, c.owner_uid, round(c.runs_per_second), round(c.ns_per_run), f"{c.cpu_percent:.3f}",
         holders_text(holders, "program", c.id)) for c in rows), "no program ran")
    print("" if not live else "", flush=True)
