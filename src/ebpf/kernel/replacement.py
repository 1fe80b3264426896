"""What this kernel has in place of a hook that it lacks, by the table of `ebpf.abi.renamed`."""

from __future__ import annotations

import os

from ebpf.abi.renamed import replacements
from ebpf.errors import EbpfError
from ebpf.kernel.tracepipe import tracefs


def replacement(probe: str) -> str | None:
    """Of ``"kprobe:NAME"`` or ``"tracepoint:CATEGORY:NAME"``: the hook that does its work here, or None."""
    return next((found for found in replacements(probe) if _exists(found)), None)


def _exists(probe: str) -> bool:
    kind, _, name = probe.partition(":")
    if kind == "tracepoint":
        try:
            return os.path.isdir(f"{tracefs()}/events/{name.replace(':', '/')}")
        except EbpfError:
            return False
    from ebpf.kernel.symbols import kernel_symbols

    return name in kernel_symbols()
