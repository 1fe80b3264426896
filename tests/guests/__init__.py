"""Tests that run in guests: the virtual machines are the package's own (`ebpf.testing.guests`, which users have, too).

======================  =============================================================================
`inside`, `plugin`      pytest: tests marked `guest` run inside, many in one boot
`modules`               the guest's kernel modules, loaded with what they need
`store`, `guest`        the package's modules of these names
======================  =============================================================================

``./dev guest --help`` is the command line.
"""

from __future__ import annotations

from tests.guests.guest import Guest, GuestError, Result
from tests.guests.store import KERNELS, SAMPLE, why_not

__all__ = ["KERNELS", "SAMPLE", "Guest", "GuestError", "Result", "why_not"]
