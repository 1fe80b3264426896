"""Counting how often programs run, and for how long: off in the kernel until somebody asks (BPF_ENABLE_STATS)."""

from __future__ import annotations

from ebpf.kernel import sys

_BPF_STATS_RUN_TIME = 0


def enable() -> sys.OwnedFd:
    """Have the kernel count while the result is open (Linux 5.8; needs CAP_SYS_ADMIN)."""
    return sys.OwnedFd(sys.call("ENABLE_STATS", type=_BPF_STATS_RUN_TIME))
