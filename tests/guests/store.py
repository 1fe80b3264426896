"""The package's own store of kernels, under the name that these tests know it by."""

from __future__ import annotations

from ebpf.testing.guests.store import (
    KERNELS,
    QEMU,
    SAMPLE,
    Kernel,
    busybox,
    directory,
    kernel,
    locked,
    replacing,
    slot,
    slots,
    why_not,
)

__all__ = ["KERNELS", "QEMU", "SAMPLE", "Kernel", "busybox", "directory", "kernel", "locked", "replacing", "slot",
           "slots", "why_not"]
