"""Who makes native code here, and for which processor: what the cache's keys begin with."""

from __future__ import annotations

import os
from functools import cache


@cache
def identity() -> str:
    """Changes with the files of ours that accept or shape the code, with LLVM, and with the processor."""
    from ebpf.compiler.cache import llvm_identity

    here = os.path.dirname(os.path.abspath(__file__))
    parts = [llvm_identity(), os.uname().machine, _cpu()]
    machine = os.path.dirname(here)
    package = os.path.dirname(machine)
    for folder in (here, machine, f"{machine}/runtime", f"{package}/verifier", f"{package}/isa", f"{package}/abi"):
        try:
            with os.scandir(folder) as entries:
                rows = sorted((e.name, e.stat()) for e in entries if e.name.endswith((".py", ".c", ".h")))
        except OSError:  # inside a zip archive
            from ebpf import __version__

            parts.append(__version__)
            continue
        parts += [f"{name}:{status.st_mtime_ns}:{status.st_size}" for name, status in rows]
    return "\n".join(parts)


def _cpu() -> str:
    """The processor and what it can do, as the system tells it of the first one."""
    try:
        with open("/proc/cpuinfo", "rb", buffering=0) as file:
            text = file.read(4096).decode("ascii", "replace")
    except OSError:
        return ""
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "Features", "CPU implementer", "CPU part")
    first = text.partition("\n\n")[0]
    return "\n".join(line for line in first.splitlines() if line.partition("\t")[0].strip() in wanted)
