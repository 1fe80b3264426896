"""The two ends of a connection."""

from __future__ import annotations

from typing import Any, NamedTuple

from ebpf.tools import _values

NEEDS_KERNEL = "connections are made inside the kernel, where only a program of its own sees both ends"


class Ends(NamedTuple):
    """Addresses and ports; an IPv4 address that IPv6 wraps is told as what it is."""

    ip: int
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int


def ends_of(record: Any) -> Ends:
    """A ``struct ends``."""
    ends = record.ends
    family, local, remote = ends.family, bytes(ends.local), bytes(ends.remote)
    if family == 10 and all(raw[:12] == bytes(10) + b"\xff\xff" for raw in (local, remote)):
        family, local, remote = 2, local[12:], remote[12:]
    return Ends(4 if family == 2 else 6, _values.address(family, local), ends.local_port,
                _values.address(family, remote), ends.remote_port)
