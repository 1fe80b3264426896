"""A packet that a program works on: its bytes between headroom and tailroom, and the context that describes it.

The packet lies below 4 GiB, because contexts give its address in 32 bits (``ctx->data``). What a program can reach is
exactly ``data_meta`` to ``data_end``; when a helper moves or resizes the packet it gets another address, and pointers
from before lead nowhere. A packet is laid out as BPF_PROG_TEST_RUN does it: 256 bytes of headroom, a page in all where
it fits.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from ebpf.abi.context_layouts import context_layout
from ebpf.abi.programs import ProgType
from ebpf.errors import UsageError
from ebpf.machine.memory import SHIFT

if TYPE_CHECKING:
    from ebpf.machine.environment import Environment

HEADROOM_BYTES = 256
PAGE_BYTES = 4096
SHARED_INFO_BYTES = 320  # struct skb_shared_info, at the end of a frame
XDP_FRAME_BYTES = 40  # struct xdp_frame, at its beginning
ETHERNET_BYTES = 14
MAX_BYTES = 1 << 16
_NET_OFF, _LL_OFF = -0x100000, -0x200000

# Program types whose packets begin with the Ethernet header; those of all others begin behind it.
WITH_ETHERNET = frozenset(int(t) for t in (ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.LWT_XMIT))
PACKET_TYPES = frozenset(int(t) for t in (
    ProgType.SOCKET_FILTER, ProgType.SCHED_CLS, ProgType.SCHED_ACT, ProgType.XDP, ProgType.CGROUP_SKB, ProgType.LWT_IN,
    ProgType.LWT_OUT, ProgType.LWT_XMIT, ProgType.SK_SKB))


@cache
def _offsets(type: int) -> dict[str, int]:
    """Where each field of the context is."""
    layout = context_layout(type)
    return {field.name: field.offset for field in layout.fields} if layout is not None else {}


class Packet:
    """``data`` as it arrives (from the Ethernet header on), for a program of that type, with its context."""

    def __init__(self, environment: Environment, type: int, data: bytes, context: bytes = b"") -> None:
        if len(data) < ETHERNET_BYTES:
            raise UsageError(f"a packet has at least {ETHERNET_BYTES} bytes (its Ethernet header), not {len(data)}")
        if len(data) > MAX_BYTES:
            raise UsageError(f"a packet of {len(data)} bytes: at most {MAX_BYTES} are possible")
        layout = context_layout(type)
        assert layout is not None  # every type in PACKET_TYPES has one
        self.environment = environment
        self.is_xdp = type == ProgType.XDP
        self.with_ethernet = type in WITH_ETHERNET or (environment.raw_socket and type == ProgType.SOCKET_FILTER)
        frame = max(PAGE_BYTES, HEADROOM_BYTES + len(data) + SHARED_INFO_BYTES)
        self.buffer = environment.space.packet_buffer(frame - SHARED_INFO_BYTES)
        self.mac = HEADROOM_BYTES  # where the Ethernet header is
        self.start = HEADROOM_BYTES + (0 if self.with_ethernet else ETHERNET_BYTES)
        self.meta = self.start
        self.end = HEADROOM_BYTES + len(data)
        self.buffer[HEADROOM_BYTES:self.end] = data
        self.network = HEADROOM_BYTES + ETHERNET_BYTES
        self.context = bytearray(context[:layout.size].ljust(layout.size, b"\0"))
        self.offsets = _offsets(type)
        self.window = 0
        self.checksum_level = -1  # how many checksums are known to be right, less one
        self.encapsulated = False
        self._first = 0, 0, b""
        if not self.is_xdp:
            self._describe(data)
        elif not context:
            self.set("ingress_ifindex", 1)
        self.place()

    def _describe(self, data: bytes) -> None:
        """The fields of ``struct __sk_buff`` that follow from the packet, as eth_type_trans fills them in for ``lo``.
        """
        destination = data[:6]
        kind = self.environment.packet_type
        if kind is None:
            kind = 1 if destination == b"\xff" * 6 else 2 if destination[0] & 1 else 0 if destination == bytes(6) else 3
        self.set("pkt_type", kind)
        protocol = data[12:14]
        if int.from_bytes(protocol, "big") < 1536:  # a length: 802.3
            protocol = b"\x00\x04"
        self.set("protocol", int.from_bytes(protocol, "little"))
        if not self.get("ifindex"):
            self.set("ifindex", 1)

    def get(self, field: str) -> int:
        """A 32-bit field of the context."""
        at = self.offsets[field]
        return int.from_bytes(self.context[at:at + 4], "little")

    def set(self, field: str, value: int) -> None:
        at = self.offsets[field]
        self.context[at:at + 4] = (value & 0xFFFFFFFF).to_bytes(4, "little")

    @property
    def length(self) -> int:
        return self.end - self.start

    def place(self) -> None:
        """Give the packet an address and enter it in the context, after it came or changed its bounds."""
        space = self.environment.space
        if self.window:
            space.hide(self.window)
        self.window = space.reserve_low()
        base = space.show(self.window, memoryview(self.buffer)[self.meta:self.end])
        self.set("data_meta", base)
        self.set("data", base + self.start - self.meta)
        self.set("data_end", base + self.end - self.meta)
        if not self.is_xdp:
            self.set("len", self.length)

    def remember(self) -> None:
        """Before the first run: what `refill` goes back to."""
        self._first = self.window, self.length, bytes(self.context)

    def refill(self, data: bytes) -> None:
        """Another packet in the same memory, with the context as it was before the first run. One of the same length
        lies at the same address, unless the program before moved its own.
        """
        window, length, context = self._first
        self.checksum_level, self.encapsulated = -1, False
        self.context[:] = context
        if self.window == window and self.mac == HEADROOM_BYTES and len(data) == self.end - HEADROOM_BYTES and (
                self.length == length):
            self.buffer[HEADROOM_BYTES:self.end] = data
        else:
            self.environment.space.hide(self.window)
            needed = max(PAGE_BYTES - SHARED_INFO_BYTES, HEADROOM_BYTES + len(data))
            self.buffer = self.environment.space.packet_buffer(needed)
            self.mac = HEADROOM_BYTES
            self.start = self.meta = HEADROOM_BYTES + (0 if self.with_ethernet else ETHERNET_BYTES)
            self.end = HEADROOM_BYTES + len(data)
            self.buffer[HEADROOM_BYTES:self.end] = data
            self.network = HEADROOM_BYTES + ETHERNET_BYTES
            self.place()
            self._first = self.window, self.length, bytes(self.context)
        if not self.is_xdp:
            self._describe(data)

    def remove(self) -> None:
        """The packet has gone its way: its memory is no longer there."""
        self.environment.space.hide(self.window)

    def data(self) -> bytes:
        """The bytes that the program sees as its packet."""
        return bytes(self.buffer[self.start:self.end])

    def result(self) -> bytes:
        """The packet after the run, from the Ethernet header on (zeros, as in the kernel, where the program did not
        see it).
        """
        return self.data() if self.with_ethernet else bytes(ETHERNET_BYTES) + self.data()

    def read(self, offset: int, size: int) -> bytes | None:
        """Bytes from the packet's start; None where there are none."""
        return self.data_at(self.start + offset, size)

    def data_at(self, at: int, size: int) -> bytes | None:
        """Bytes at a place in the buffer; None outside of the packet."""
        if at < 0 or at + size > self.end:
            return None
        return bytes(self.buffer[at:at + size])

    def write(self, offset: int, data: bytes) -> bool:
        """Store into the packet; whether it fits."""
        at = self.start + offset
        if at + len(data) > self.end:
            return False
        self.buffer[at:at + len(data)] = data
        return True

    def load(self, offset: int, size: int) -> bytes | None:
        """A legacy load: an offset (unsigned 32 bits) of at least 2**31 is relative to a header."""
        if offset >> 31:
            offset -= 1 << 32
            if offset >= _NET_OFF:
                at = self.network + offset - _NET_OFF
            elif offset >= _LL_OFF:
                at = self.mac + offset - _LL_OFF
            else:
                return None
            return self.data_at(at, size)
        return self.read(offset, size)

    def resize(self, start: int, end: int) -> None:
        """Other bounds; what is new at the end is zero."""
        if end > self.end:
            if end > len(self.buffer):
                # Views of the buffer keep the old one: replace it.
                self.environment.space.hide(self.window)
                old, self.buffer = self.buffer, self.environment.space.packet_buffer(end)
                self.buffer[:len(old)] = old
            self.buffer[self.end:end] = bytes(end - self.end)
        self.start, self.end = start, end
        self.meta = min(self.meta, start)
        self.place()


assert MAX_BYTES + PAGE_BYTES < 1 << SHIFT
