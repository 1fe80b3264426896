"""What a program's answer means for its packet: on, away, out again. And the VLAN tag, which a `__sk_buff` has beside
its data.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from struct import pack, unpack_from
from typing import TYPE_CHECKING

from ebpf.abi.actions import (
    TC_ACT_QUEUED,
    TC_ACT_REDIRECT,
    TC_ACT_SHOT,
    TC_ACT_STOLEN,
    TC_ACT_TRAP,
    XDP_PASS,
    XDP_REDIRECT,
    XDP_TX,
)
from ebpf.abi.context_layouts import context_layout
from ebpf.abi.maps import MapType
from ebpf.abi.programs import ProgType

if TYPE_CHECKING:
    from ebpf.machine.environment import Redirect
    from ebpf.machine.machine import Machine, Run

_INGRESS = 1  # BPF_F_INGRESS
_TAGS = (b"\x81\x00", b"\x88\xa8")


class Way(Enum):
    """Where a frame goes from a program."""

    ON = "on"  #: the way that it was on
    DROP = "drop"
    OUT = "out"  #: leaves the device, past the programs
    OUT_AGAIN = "out again"  #: leaves the device through its egress programs
    IN_AGAIN = "in again"  #: as if it had just arrived


def xdp_way(run: Run, ifindex: int, machine: Machine) -> Way:
    """After an XDP program on the device ``ifindex``. A redirect to another device leads nowhere: there is none."""
    if run.result == XDP_PASS:
        return Way.ON
    if run.result == XDP_TX:
        return Way.OUT
    redirect = run.redirect
    if run.result != XDP_REDIRECT or redirect is None:
        return Way.DROP
    if redirect.map:
        kind = machine.maps[redirect.map].type
        if kind == MapType.CPUMAP:  # another CPU hands it to the stack
            return Way.ON
        if kind not in (MapType.DEVMAP, MapType.DEVMAP_HASH):
            return Way.DROP  # no socket listens behind an xskmap
    return Way.OUT if redirect.ifindex == ifindex else Way.DROP


def tc_way(verdict: int, redirect: Redirect | None, ifindex: int) -> Way:
    """After a tc program (signed result) on the device ``ifindex``."""
    if verdict in (TC_ACT_SHOT, TC_ACT_STOLEN, TC_ACT_QUEUED, TC_ACT_TRAP):
        return Way.DROP
    if verdict != TC_ACT_REDIRECT:
        return Way.ON
    if redirect is None or redirect.peer or redirect.ifindex != ifindex:
        return Way.DROP
    return Way.IN_AGAIN if redirect.flags & _INGRESS else Way.OUT_AGAIN


# ---- VLAN tags ----

@cache
def _offsets() -> dict[str, int]:
    layout = context_layout(int(ProgType.SCHED_CLS))
    assert layout is not None
    return {field.name: field.offset for field in layout.fields}


def without_tag(frame: bytes) -> tuple[bytes, tuple[int, int] | None]:
    """A frame as the stack holds it, and its outermost tag (protocol, TCI)."""
    if frame[12:14] not in _TAGS or len(frame) < 18:
        return frame, None
    protocol, tci = unpack_from(">HH", frame, 12)
    return frame[:12] + frame[16:], (protocol, tci)


def with_tag(frame: bytes, context: bytes) -> bytes:
    """The other way round, after a program ran: the tag is in its context."""
    at = _offsets()
    if not int.from_bytes(context[at["vlan_present"]:at["vlan_present"] + 4], "little"):
        return frame
    tci = int.from_bytes(context[at["vlan_tci"]:at["vlan_tci"] + 4], "little")
    protocol = context[at["vlan_proto"]:at["vlan_proto"] + 2]
    return frame[:12] + protocol + pack(">H", tci & 0xFFFF) + frame[12:]


def ingress_context(ifindex: int, tag: tuple[int, int] | None, arrived: bool) -> bytes:
    """A ``struct __sk_buff`` with what the device knows of a frame."""
    at = _offsets()
    context = bytearray(max(at.values()) + 8)
    fields = {"ifindex": ifindex, "ingress_ifindex": ifindex * arrived}
    if tag is not None:
        fields |= {"vlan_present": 1, "vlan_tci": tag[1], "vlan_proto": int.from_bytes(pack(">H", tag[0]), "little")}
    for name, value in fields.items():
        context[at[name]:at[name] + 4] = value.to_bytes(4, "little")
    return bytes(context)
