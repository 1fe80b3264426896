"""``ctx.ipv4`` and the other headers: what they are for packets of every kind, beside a reading of the bytes."""

from __future__ import annotations

import struct
from typing import Any

import pytest

import ebpf
from ebpf import be16, be32, linux, u8, u32

NONE = 0xFFFFFFFF


class Found(ebpf.Struct):
    ethernet: u32
    ipv4: u32
    ipv6: u32
    tcp: u32
    udp: u32
    icmp: u32


found = ebpf.Array(Found, 1)


def note(ctx):
    out = found.get(0)
    if out is None:
        return
    ip, ip6, tcp, udp, icmp = NONE, NONE, NONE, NONE, NONE
    if (a := ctx.ipv4) is not None:
        ip = a.target
    if (b := ctx.ipv6) is not None:
        ip6 = b.target[15]
    if (c := ctx.tcp) is not None:
        tcp = c.target
    if (d := ctx.udp) is not None:
        udp = d.target
    if (e := ctx.icmp) is not None:
        icmp = e.type
    out.ipv4, out.ipv6, out.tcp, out.udp, out.icmp = ip, ip6, tcp, udp, icmp


@ebpf.xdp
def at_xdp(ctx):
    out = found.get(0)
    eth = ctx.ethernet
    if out is not None:
        out.ethernet = NONE
        if eth is not None:
            out.ethernet = eth.type
    note(ctx)
    return linux.XDP_PASS


@ebpf.tc("ingress")
def at_tc(ctx):
    note(ctx)
    return 0


@ebpf.cgroup_skb("ingress")
def at_cgroup(ctx):
    note(ctx)
    return 1


def ipv4(protocol: int, rest: bytes, *, options: int = 0, fragment: int = 0, words: int | None = None) -> bytes:
    length = 5 + options if words is None else words
    return struct.pack(">BBHHHBBH4s4s", 0x40 | length, 0, 0, 1, fragment, 64, protocol, 0, bytes(4),
                       bytes((10, 1, 2, 3))) + bytes(4 * options) + rest


def ipv6(following: int, rest: bytes) -> bytes:
    return struct.pack(">IHBB16s16s", 6 << 28, len(rest), following, 64, bytes(16), bytes(15) + b"\x2a") + rest


TCP = struct.pack(">HHIIBBHHH", 1000, 80, 1, 2, 0x50, 2, 100, 0, 0)
UDP = struct.pack(">HHHH", 1000, 53, 8, 0)
ICMP = bytes((8, 0)) + bytes(6)
ADDRESS = 0x0A010203
PACKETS: dict[str, tuple[int, bytes, dict[str, int]]] = {
    "tcp": (0x0800, ipv4(6, TCP), {"ipv4": ADDRESS, "tcp": 80}),
    "udp": (0x0800, ipv4(17, UDP), {"ipv4": ADDRESS, "udp": 53}),
    "icmp": (0x0800, ipv4(1, ICMP), {"ipv4": ADDRESS, "icmp": 8}),
    "options": (0x0800, ipv4(17, UDP, options=10), {"ipv4": ADDRESS, "udp": 53}),
    "too few words": (0x0800, ipv4(17, UDP, words=4), {"ipv4": ADDRESS}),
    "more words than there are": (0x0800, ipv4(17, UDP, words=15), {"ipv4": ADDRESS}),
    "first fragment": (0x0800, ipv4(17, UDP, fragment=0x2000), {"ipv4": ADDRESS, "udp": 53}),
    "later fragment": (0x0800, ipv4(17, UDP, fragment=0x0010), {"ipv4": ADDRESS}),
    "cut tcp": (0x0800, ipv4(6, TCP[:19]), {"ipv4": ADDRESS}),
    "cut ip": (0x0800, ipv4(6, b"")[:19], {}),
    "tcp over ipv6": (0x86DD, ipv6(6, TCP), {"ipv6": 42, "tcp": 80}),
    "udp over ipv6": (0x86DD, ipv6(17, UDP), {"ipv6": 42, "udp": 53}),
    "icmp over ipv6": (0x86DD, ipv6(58, ICMP), {"ipv6": 42, "icmp": 8}),
    "icmp of ipv4 over ipv6": (0x86DD, ipv6(1, ICMP), {"ipv6": 42}),
    "extension header": (0x86DD, ipv6(0, bytes(8) + TCP), {"ipv6": 42}),
    "vlan": (0x8100, b"\0\1\x08\0" + ipv4(17, UDP), {}),
    "arp": (0x0806, bytes(28), {}),
}


@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=pytest.mark.kernel), "machine"])
@pytest.mark.parametrize("program", [at_xdp, at_tc, at_cgroup], ids=lambda p: str(p.name))
def test_headers(program: Any, backend: str) -> None:
    with ebpf.load(program, backend=backend):
        for name, (kind, data, expected) in PACKETS.items():
            if program is at_cgroup and name in ("vlan", "arp", "cut ip"):
                continue  # never seen there
            if backend == "kernel" and program is not at_xdp and len(data) < 20:
                continue  # the kernel takes no such packet
            program.test_run(bytes(12) + struct.pack(">H", kind) + data)
            seen = {n: v for n, v in zip(Found.fields, found[0], strict=True) if n != "ethernet" and v != NONE}
            assert seen == expected, name
            if program is at_xdp:
                assert found[0].ethernet == kind


def test_what_a_header_costs() -> None:
    @ebpf.xdp
    def by_hand(ctx):
        eth = ctx.load(Ethernet)
        if eth is None or eth.type != 0x0800:
            return 2
        ip = ctx.load(IPv4, 14)
        if ip is None:
            return 2
        return ip.protocol

    @ebpf.xdp
    def by_name(ctx):
        ip = ctx.ipv4
        if ip is None:
            return 2
        return ip.protocol

    assert len(by_name.object.programs["by_name"].code) <= len(by_hand.object.programs["by_hand"].code)


class Ethernet(ebpf.Struct):
    ends: u8[12]
    type: be16


class IPv4(ebpf.Struct):
    start: u8[9]
    protocol: u8
    checksum: be16
    source: be32
    target: be32


@pytest.mark.parametrize("decorate, name, said", [
    (ebpf.cgroup_skb("ingress"), "ethernet", "packets begin with their IP header here, so there is no `ethernet`"),
    (ebpf.sk_skb("stream_verdict"), "tcp", "programs of `sk_skb/stream_verdict` see no headers, so there is no `tcp`"),
    (ebpf.socket_filter, "ipv4", "programs of `socket` see no headers, so there is no `ipv4`"),
])
def test_where_there_are_none(decorate: Any, name: str, said: str, tmp_path: Any) -> None:
    module: dict[str, Any] = {}
    path = tmp_path / "program.py"
    path.write_text(f"def f(ctx):\n    return 1 if ctx.{name} is None else 0\n")
    exec(compile(path.read_text(), str(path), "exec"), module)
    with pytest.raises(ebpf.CompileError) as refused:
        _ = decorate(module["f"]).object
    (diagnostic,) = refused.value.diagnostics
    assert (diagnostic.code, diagnostic.message, diagnostic.span.line) == ("P0307", said, 2)


def test_a_header_may_be_missing() -> None:
    @ebpf.xdp
    def careless(ctx):
        return ctx.ipv4.protocol

    with pytest.raises(ebpf.CompileError, match="`ctx.ipv4` is IPv4 or None"):
        _ = careless.object
