"""``--info``: what this kernel offers to scripts, a line each."""

from __future__ import annotations

import os

import ebpf

_WORDS = {"ok": "yes"}


def print_info() -> int:
    """Print it; 0."""
    system = os.uname()
    print("System")
    print(f"  OS: {system.sysname} {system.release} {system.version}")
    print(f"  Arch: {system.machine}")
    area = ""
    for finding in ebpf.examine():
        if finding.group != area:
            area = finding.group
            print(f"\n{area.capitalize()}")
        detail = f" ({finding.detail})" if finding.detail else ""
        print(f"  {finding.name}: {_WORDS.get(finding.state, finding.state)}{detail}")
    return 0
