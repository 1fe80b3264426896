"""What this kernel has in place of a hook that it lacks, by the table of `ebpf.abi.renamed`."""

from __future__ import annotations

import os

from ebpf.abi.renamed import replacements
from ebpf.errors import EbpfError
from ebpf.kernel.tracepipe import tracefs


def replacement(probe: str) -> str | None:
    """Of ``"kprobe:NAME"`` or ``"tracepoint:CATEGORY:NAME"``: the hook that does its work here, or None."""
    return next(iter(replacements_here(probe)), None)


def replacements_here(probe: str) -> list[str]:
    """All hooks that may do its work here, the best one first."""
    return [found for found in replacements(probe) if exists(found)]


def exists(probe: str) -> bool:
    """Whether this kernel has such a function or tracepoint."""
    kind, _, name = probe.partition(":")
    if kind == "tracepoint":
        try:
            return os.path.isdir(f"{tracefs()}/events/{name.replace(':', '/')}")
        except EbpfError:
            return False
    from ebpf.kernel.symbols import kernel_symbols

    return name in kernel_symbols()
