"""``ebpf doctor``: what this kernel and this user can do; each problem with what to change."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import ebpf
from ebpf.cli.output import colors, print_json

if TYPE_CHECKING:
    import argparse

_MARKS = {"ok": ("yes", "32"), "no": ("no", "31"), "denied": ("not you", "33"), "unknown": ("unknown", "33"),
          "info": ("", "")}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.description = """What eBPF can do on this kernel for this user, found out by trying; nothing is attached to
anybody. "no": this kernel or its set-up cannot; "not you": with more privilege it would work. The exit status is
0 where programs can be loaded, 3 where this user may not, 1 where the kernel cannot."""
    parser.add_argument("--json", action="store_true", help="every fact as a JSON object")


def run(args: argparse.Namespace) -> int:
    findings = list(ebpf.examine())
    if args.json:
        print_json(findings)
    else:
        _print(findings)
    loads = next((f.state for f in findings if (f.group, f.name) == ("hooks", "socket filter")), "unknown")
    return {"ok": 0, "denied": 3}.get(loads, 1)


def _print(findings: list[ebpf.Finding]) -> None:
    paint = colors(sys.stdout)
    width = max(len(f.name) for f in findings)
    group = ""
    for finding in findings:
        if finding.group != group:
            print(f"\n{finding.group}" if group else finding.group)
            group = finding.group
        word, color = _MARKS[finding.state]
        mark = f"{word:7}"
        if paint and color:
            mark = f"\x1b[{color}m{mark}\x1b[0m"
        print(f"  {finding.name:{width}}  {mark}  {finding.detail}".rstrip())
        if finding.help:
            print(f"  {'':{width}}  {'':7}  = help: {finding.help}")
