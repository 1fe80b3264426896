"""Strategies: valid packets are valid by another reader's account, damaged ones differ, values fit their maps."""

from __future__ import annotations

from pathlib import Path
from struct import unpack_from

from hypothesis import HealthCheck, given, settings, strategies as st

from ebpf.testing import load, strategies as bpf
from ebpf.testing.dissect import layers

FIREWALL = Path(__file__).parents[2] / "examples" / "firewall" / "firewall.c"
FAST = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

TYPES = """
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
enum colour { RED = 3, GREEN = -7 };
struct inner { __u8 a; __s16 b[3]; };
struct value {
    __u64 big; __s32 small; bool yes; char name[8]; struct inner inner; enum colour colour; __u32 low : 3, high : 5;
    union { __u16 x; __u8 y; };
};
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, struct inner);
    __type(value, struct value); } typed SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 5); __type(key, __u32); __type(value, __u64); } row SEC(".maps");
SEC("tc") int mark(struct __sk_buff *skb) { return skb->mark; }
"""


def total(data: bytes) -> int:
    """The plain sum of RFC 1071, another way than the strategy's: 0xffff where a checksum is right."""
    words = sum(unpack_from(f">{len(data) // 2}H", data)) + (data[-1] << 8 if len(data) % 2 else 0)
    return words % 0xFFFF or 0xFFFF


@FAST
@given(bpf.packets(corrupted=False))
def test_valid_packets_are_valid(packet: bytes) -> None:
    found = {layer.name: layer.fields for layer in layers(packet)}
    at = 18 if "VLAN" in found else 14
    if "IPv4" in found:
        header = found["IPv4"]["header_bytes"]
        assert total(packet[at:at + header]) == 0xFFFF
        assert found["IPv4"]["length"] == len(packet) - at
        source, body, protocol = packet[at + 12:at + 20], packet[at + header:], found["IPv4"]["protocol"]
    else:
        assert found["IPv6"]["length"] == len(packet) - at - 40
        source, body, protocol = packet[at + 8:at + 40], packet[at + 40:], found["IPv6"]["next_header"]
    if protocol in (6, 17, 58):
        assert total(source + len(body).to_bytes(4, "big") + bytes([0, 0, 0, protocol]) + body) == 0xFFFF
    elif protocol == 1:
        assert total(body) == 0xFFFF


@FAST
@given(st.data())
def test_damaged_packets_are_others(data: st.DataObject) -> None:
    packet = data.draw(bpf.packets(corrupted=False))
    worse = data.draw(bpf.damaged(packet))
    assert worse != packet and len(worse) >= 14


@FAST
@given(bpf.packets())
def test_the_firewall_never_aborts_and_counts_each_packet_once(packet: bytes) -> None:
    with load(FIREWALL) as firewall:
        verdict = firewall.send(packet)
        assert verdict in ("XDP_PASS", "XDP_DROP") and not verdict.changed
        counts = firewall.maps["counts"]
        assert sum(counts[reason] for reason in range(6)) == 1


@FAST
@given(st.data())
def test_keys_and_values_by_type_fit_their_maps(data: st.DataObject) -> None:
    with load(TYPES) as rig:
        for name in ("typed", "row"):
            map = rig.maps[name]
            for key, value in data.draw(bpf.entries(map, max_size=3)):
                map[key] = value
                stored = map[key]
                if isinstance(value, dict):
                    assert all(stored[member] == expected for member, expected in value.items()
                               if member in ("big", "small", "yes", "name", "low", "high"))
                else:
                    assert stored == value


@FAST
@given(st.data())
def test_contexts_are_taken(data: st.DataObject) -> None:
    with load(TYPES) as rig:
        program = rig.programs["mark"]
        context = data.draw(bpf.contexts(program))
        assert "mark" in program.context_fields and "data" not in program.context_fields
        assert rig.send(bytes(64), **context) == context.get("mark", 0)
