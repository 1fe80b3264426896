"""Throw-away virtual machines under stock Debian kernels, for tests that need a whole kernel to themselves.

A guest sees this machine's file system read-only at the same paths, with a layer in memory on top: programs,
the virtual environment and the tests are all there, writes are lost, nothing that happens inside can hurt the host.
There is no network.

======================  =============================================================================
`store`                 where kernels lie, which there are, why guests cannot run here
`fetch`                 Debian packages → a kernel in the store (apt's own signatures; nothing is installed)
`boot`                  the initial RAM disk: the guest's pid 1
`machine`               one QEMU process: its command line, its ports, its snapshot
`guest`                 `Guest.run`: a command in, exit status and output out
`pool`                  many tests in one boot of each kernel, in the background
`kernels`, `inside`     ``pytest --ebpf-kernels``: out here, and in there
======================  =============================================================================

``python -m ebpf.testing.guests --help`` is the command line.
"""

from __future__ import annotations

from ebpf.testing.guests.guest import Guest, GuestError, Result
from ebpf.testing.guests.store import KERNELS, SAMPLE, why_not

__all__ = ["KERNELS", "SAMPLE", "Guest", "GuestError", "Result", "why_not"]
