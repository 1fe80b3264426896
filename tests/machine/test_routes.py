"""bpf_fib_lookup over a table that the user gives; without one it refuses by name."""

from __future__ import annotations

import socket
import struct
from functools import cache

import pytest

from ebpf.errors import NotSupported
from ebpf.machine import Machine, Route
from ebpf.object import Object

PROGRAM = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct bpf_fib_lookup); } answer SEC(".maps");
// The packet: family, flags, length (2 bytes), destination (16 bytes).
SEC("xdp") int ask(struct xdp_md *ctx)
{
    unsigned char in[20] = {};
    __u32 key = 0;
    if (bpf_xdp_load_bytes(ctx, 0, in, sizeof(in)))
        return 100;
    struct bpf_fib_lookup params = { .family = in[0], .tot_len = in[2] | in[3] << 8, .ifindex = ctx->ingress_ifindex };
    __builtin_memcpy(params.ipv6_dst, in + 4, 16);
    long result = bpf_fib_lookup(ctx, &params, sizeof(params), in[1]);
    bpf_map_update_elem(&answer, &key, &params, 0);
    return result;
}
char LICENSE[] SEC("license") = "GPL";
"""
ROUTES = (
    Route("0.0.0.0/0", 2, b"\2\0\0\0\0\2", b"\2\0\0\0\0\1", gateway="192.0.2.1", source="192.0.2.2"),
    Route("10.0.0.0/8", 3, dmac=b"\2\0\0\0\0\3", mtu=1400, metric=7),
    Route("10.9.0.0/16", kind="blackhole"), Route("10.8.0.0/16", kind="unreachable"), Route("10.7.0.0/16", kind="prohibit"),
    Route("192.0.2.2/32", kind="local"), Route("192.0.2.0/24", 2), Route("2001:db8::/32", 4, dmac=b"\2\0\0\0\0\4", gateway="2001:db8::1"),
)
NAMES = {v: k for k, v in {"SUCCESS": 0, "BLACKHOLE": 1, "UNREACHABLE": 2, "PROHIBIT": 3, "NOT_FWDED": 4, "NO_NEIGH": 7, "FRAG_NEEDED": 8, "NO_SRC_ADDR": 9}.items()}


@cache
def program() -> Object:
    import ebpf

    return ebpf.compile(PROGRAM)


def ask(address: str, routes: tuple[Route, ...] = ROUTES, flags: int = 0, length: int = 100) -> tuple[str, dict[str, object]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    machine = Machine(program())
    machine.environment.routes = routes
    packet = struct.pack("<BBH16s", family, flags, length, socket.inet_pton(family, address)).ljust(60, b"\0")
    result = machine.run("ask", packet, ctx={"ingress_ifindex": 9}).result
    row = struct.unpack("<BxxxxxHII16s16sHH6s6s", machine.maps["answer"].lookup(bytes(4)) or b"")
    return NAMES[result], {"family": row[0], "mtu": row[1], "ifindex": row[2], "metric": row[3], "src": row[4][:4], "dst": row[5], "smac": row[8], "dmac": row[9]}


@pytest.mark.parametrize(("address", "name", "ifindex"), [
    ("8.8.8.8", "SUCCESS", 2), ("10.1.2.3", "SUCCESS", 3), ("10.9.1.1", "BLACKHOLE", 9), ("10.8.1.1", "UNREACHABLE", 9), ("10.7.1.1", "PROHIBIT", 9),
    ("192.0.2.2", "NOT_FWDED", 9), ("192.0.2.7", "NO_NEIGH", 2), ("2001:db8::7", "SUCCESS", 4), ("2001:db9::7", "NOT_FWDED", 9),
])
def test_the_longest_prefix_decides(address: str, name: str, ifindex: int) -> None:
    found, params = ask(address)
    assert (found, params["ifindex"]) == (name, ifindex)


def test_what_the_answer_holds() -> None:
    _, params = ask("8.8.8.8")
    assert params["smac"] == b"\2\0\0\0\0\2" and params["dmac"] == b"\2\0\0\0\0\1" and params["mtu"] == 1500
    assert bytes(params["dst"])[:4] == socket.inet_aton("192.0.2.1"), "the gateway"  # type: ignore[call-overload]
    _, params = ask("10.1.2.3")
    assert (params["mtu"], params["metric"], params["smac"]) == (1400, 7, bytes(6))
    assert ask("10.1.2.3", length=1401)[0] == "FRAG_NEEDED"
    assert ask("192.0.2.7", flags=4)[0] == "SUCCESS", "BPF_FIB_LOOKUP_SKIP_NEIGH"
    assert ask("8.8.8.8", flags=16)[1]["src"] == socket.inet_aton("192.0.2.2")
    assert ask("10.1.2.3", flags=16)[0] == "NO_SRC_ADDR"


def test_no_table_no_answer() -> None:
    with pytest.raises(NotSupported, match="bpf_fib_lookup without a table of routes"):
        ask("8.8.8.8", ())
