"""Unit tests of firewall.c: ``pytest examples/firewall``. No privilege and no kernel is needed; 200 tests, two seconds.

The fixture `ebpf_machine` comes with the package. ``pytest --ebpf-cov=term examples/firewall`` says which lines of
the C the tests have run.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from struct import pack
from typing import TYPE_CHECKING

import pytest

from ebpf.testing import assert_budget

if TYPE_CHECKING:
    from ebpf.testing import Rig
    from ebpf.testing.lab import Lab

PASSED, BLOCKED, CLOSED_PORT, TOO_MANY, FRAGMENT, MALFORMED = range(6)
SYN, ACK, FIN = 2, 16, 1


# ---- packets ----

def ethernet(payload: bytes, kind: int = 0x0800, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else pack(">HH", 0x8100, vlan)
    return bytes.fromhex("020000000001 020000000002") + tag + pack(">H", kind) + payload


def ipv4(source: str, payload: bytes = b"", *, protocol: int = 6, fragment: int = 0, first: int = 0x45) -> bytes:
    header = pack(">BBHHHBBH", first, 0, 20 + len(payload), 1, fragment, 64, protocol, 0)
    return header + ip_address(source).packed + ip_address("192.0.2.1").packed + payload


def ipv6(source: str, payload: bytes = b"", *, protocol: int = 6) -> bytes:
    header = pack(">IHBB", 6 << 28, len(payload), protocol, 64)
    return header + ip_address(source).packed + ip_address("2001:db8::1").packed + payload


def tcp(port: int, flags: int = ACK) -> bytes:
    return pack(">HHIIBBHHH", 40000, port, 1, 1, 5 << 4, flags, 65535, 0, 0)


def udp(port: int) -> bytes:
    return pack(">HHHH", 40000, port, 8, 0)


# ---- the programs ----

@pytest.fixture
def firewall(ebpf_machine: Lab) -> Rig:
    return ebpf_machine.load("firewall.c")


def prefix(text: str) -> dict[str, object]:
    network = ip_network(text)
    return {"bits": network.prefixlen, "address": network.network_address.packed.ljust(16, b"\0")}


def block(firewall: Rig, *networks: str, blocked: int = 1) -> None:
    for text in networks:
        name = "blocked4" if ip_network(text).version == 4 else "blocked6"
        firewall.maps[name][prefix(text)] = blocked


def close(firewall: Rig, *ports: int) -> None:
    for port in ports:
        firewall.maps["closed_ports"][port] = 1


def counts(firewall: Rig) -> list[int]:
    return [firewall.maps["counts"][reason] for reason in range(6)]


# ---- the block list ----

@pytest.mark.parametrize(("network", "source", "verdict"), [
    (network, source, verdict)
    for network, inside, outside in [
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255", "10.1.2.3"], ["9.255.255.255", "11.0.0.0"]),
        ("172.16.0.0/12", ["172.16.0.1", "172.31.255.255"], ["172.15.255.255", "172.32.0.0"]),
        ("192.168.0.0/16", ["192.168.0.0", "192.168.255.1"], ["192.167.0.1", "192.169.0.1"]),
        ("198.51.100.0/24", ["198.51.100.7", "198.51.100.255"], ["198.51.99.255", "198.51.101.0"]),
        ("203.0.113.128/25", ["203.0.113.128", "203.0.113.255"], ["203.0.113.127", "203.0.114.128"]),
        ("203.0.113.4/30", ["203.0.113.4", "203.0.113.7"], ["203.0.113.3", "203.0.113.8"]),
        ("8.8.8.8/32", ["8.8.8.8"], ["8.8.8.9", "8.8.4.8", "9.8.8.8"]),
        ("0.0.0.0/0", ["1.2.3.4", "255.255.255.254", "127.0.0.1", "0.0.0.1"], []),
        ("2001:db8::/32", ["2001:db8::5", "2001:db8:ffff::1", "2001:db8:1:2:3:4:5:6"], ["2001:db9::1", "2001:db7::1"]),
        ("2001:db8:1::/48", ["2001:db8:1::", "2001:db8:1:ffff::"], ["2001:db8:2::", "2001:db8::1", "2001:db8:0:1::"]),
        ("fe80::/10", ["fe80::1", "febf::1", "fe90::"], ["fec0::1", "fe7f::1"]),
        ("::1/128", ["::1"], ["::2", "::"]),
        ("::/0", ["2001:db8::1", "::", "ff02::1"], []),
    ]
    for sources, verdict in ((inside, "XDP_DROP"), (outside, "XDP_PASS")) for source in sources
])
def test_a_source_on_the_block_list_is_dropped(firewall: Rig, network: str, source: str, verdict: str) -> None:
    block(firewall, network)
    packet = ethernet(ipv4(source, tcp(80))) if "." in source else ethernet(ipv6(source, tcp(80)), 0x86DD)
    assert firewall.send(packet) == verdict
    assert counts(firewall)[BLOCKED] == (verdict == "XDP_DROP")


@pytest.mark.parametrize(("source", "verdict"), [
    ("10.1.2.3", "XDP_PASS"), ("10.1.2.4", "XDP_DROP"), ("10.1.3.3", "XDP_PASS"), ("10.9.9.9", "XDP_DROP"),
])
def test_the_longest_prefix_decides(firewall: Rig, source: str, verdict: str) -> None:
    block(firewall, "10.0.0.0/8", "10.1.2.4/32")
    block(firewall, "10.1.0.0/16", blocked=0)
    assert firewall.send(ethernet(ipv4(source, tcp(80)))) == verdict


def test_what_was_blocked_is_free_again_when_it_is_taken_off_the_list(firewall: Rig) -> None:
    block(firewall, "10.0.0.0/8")
    packet = ethernet(ipv4("10.0.0.1", tcp(80)))
    assert firewall.send(packet) == "XDP_DROP"
    del firewall.maps["blocked4"][prefix("10.0.0.0/8")]
    assert firewall.send(packet) == "XDP_PASS"


# ---- ports ----

PORTS = (22, 23, 25, 53, 80, 123, 137, 445, 1900, 3389, 5353, 8080, 65535)


@pytest.mark.parametrize("vlan", [None, 7])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", PORTS)
def test_closed_ports(firewall: Rig, port: int, family: int, vlan: int | None) -> None:
    close(firewall, port)
    for protocol, header in ((6, tcp(port)), (17, udp(port)), (6, tcp(port - 1)), (17, udp(port - 1))):
        closed = header[2:4] == port.to_bytes(2, "big")
        if family == 4:
            packet = ethernet(ipv4("192.0.2.7", header, protocol=protocol), vlan=vlan)
        else:
            packet = ethernet(ipv6("2001:db8::7", header, protocol=protocol), 0x86DD, vlan)
        assert firewall.send(packet) == ("XDP_DROP" if closed else "XDP_PASS")
    assert counts(firewall) == [2, 0, 2, 0, 0, 0]


@pytest.mark.parametrize("port", PORTS)
def test_a_source_port_is_nobodys_business(firewall: Rig, port: int) -> None:
    close(firewall, 40000)
    assert firewall.send(ethernet(ipv4("192.0.2.7", tcp(port)))) == "XDP_PASS"


# ---- connections a second ----

@pytest.mark.parametrize("limit", [1, 2, 5, 20])
def test_a_source_may_open_so_many_connections_in_a_second(ebpf_machine: Lab, limit: int) -> None:
    firewall = ebpf_machine.load("firewall.c", variables={"connections_per_second": limit})
    syn = ethernet(ipv4("192.0.2.9", tcp(80, SYN)))
    assert [firewall.send(syn).name for _ in range(limit + 2)] == ["XDP_PASS"] * limit + ["XDP_DROP"] * 2
    assert counts(firewall)[TOO_MANY] == 2


@pytest.mark.parametrize(("seconds", "verdict"), [
    (0.0, "XDP_DROP"), (0.5, "XDP_DROP"), (0.999_999_999, "XDP_DROP"), (1.0, "XDP_PASS"), (60.0, "XDP_PASS"),
])
def test_a_second_later_it_may_again(firewall: Rig, seconds: float, verdict: str) -> None:
    syn = ethernet(ipv4("192.0.2.9", tcp(80, SYN)))
    for _ in range(20):
        firewall.send(syn)
    firewall.clock.advance(seconds)
    assert firewall.send(syn) == verdict


@pytest.mark.parametrize("flags", [ACK, FIN | ACK, SYN | ACK, 0, 4])
def test_only_first_packets_count(firewall: Rig, flags: int) -> None:
    for _ in range(25):
        assert firewall.send(ethernet(ipv4("192.0.2.9", tcp(80, flags)))) == "XDP_PASS"
    assert len(firewall.maps["rates"]) == 0


def test_sources_do_not_share_a_limit(firewall: Rig) -> None:
    for _ in range(20):
        firewall.send(ethernet(ipv4("192.0.2.9", tcp(80, SYN))))
    assert firewall.send(ethernet(ipv4("192.0.2.10", tcp(80, SYN)))) == "XDP_PASS"
    assert firewall.send(ethernet(ipv4("192.0.2.9", tcp(80, SYN)))) == "XDP_DROP"


# ---- fragments, damaged packets, other protocols ----

@pytest.mark.parametrize(("fragment", "verdict"), [
    (0, "XDP_PASS"), (0x4000, "XDP_PASS"), (0x2000, "XDP_DROP"), (1, "XDP_DROP"), (0x1FFF, "XDP_DROP"),
    (0x2001, "XDP_DROP"), (0x6000, "XDP_DROP"),
])
def test_fragments_are_dropped_and_do_not_fragment_is_none(firewall: Rig, fragment: int, verdict: str) -> None:
    assert firewall.send(ethernet(ipv4("192.0.2.7", tcp(80), fragment=fragment))) == verdict


def test_fragments_of_ipv6(firewall: Rig) -> None:
    assert firewall.send(ethernet(ipv6("2001:db8::7", bytes(8), protocol=44), 0x86DD)) == "XDP_DROP"
    assert counts(firewall)[FRAGMENT] == 1


@pytest.mark.parametrize("length", [14, 15, 20, 33, 34, 35, 40, 53])
def test_a_packet_that_ends_too_early_is_dropped(firewall: Rig, length: int) -> None:
    assert firewall.send(ethernet(ipv4("192.0.2.7", tcp(80)))[:length]) == "XDP_DROP"
    assert counts(firewall)[MALFORMED] == 1


@pytest.mark.parametrize("length", [14, 20, 53, 54, 60, 73])
def test_and_so_is_one_of_ipv6(firewall: Rig, length: int) -> None:
    assert firewall.send(ethernet(ipv6("2001:db8::7", tcp(80)), 0x86DD)[:length]) == "XDP_DROP"
    assert counts(firewall)[MALFORMED] == 1


@pytest.mark.parametrize("length", [14, 16, 17])
def test_and_so_is_half_a_vlan_tag(firewall: Rig, length: int) -> None:
    assert firewall.send(ethernet(b"", vlan=7)[:length]) == "XDP_DROP"


@pytest.mark.parametrize("first", [0x40, 0x44, 0x55, 0x05, 0xF5])
def test_an_impossible_ip_header_is_dropped(firewall: Rig, first: int) -> None:
    assert firewall.send(ethernet(ipv4("192.0.2.7", tcp(80), first=first))) == "XDP_DROP"


@pytest.mark.parametrize("words", range(6, 16))
def test_options_in_front_of_the_ports_are_skipped(firewall: Rig, words: int) -> None:
    close(firewall, 23)
    payload = bytes(4 * (words - 5)) + tcp(23)
    assert firewall.send(ethernet(ipv4("192.0.2.7", payload, first=0x40 | words))) == "XDP_DROP"
    assert counts(firewall)[CLOSED_PORT] == 1


@pytest.mark.parametrize("protocol", [1, 2, 47, 50, 58, 89, 132])
def test_other_protocols_pass(firewall: Rig, protocol: int) -> None:
    close(firewall, 0)
    assert firewall.send(ethernet(ipv4("192.0.2.7", bytes(20), protocol=protocol))) == "XDP_PASS"


@pytest.mark.parametrize("kind", [0x0806, 0x88CC, 0x8847, 0x0000, 0xFFFF])
def test_what_is_not_ip_passes(firewall: Rig, kind: int) -> None:
    assert firewall.send(ethernet(bytes(46), kind)) == "XDP_PASS"


# ---- what is told ----

@pytest.mark.parametrize(("packet", "reason", "port"), [
    (ethernet(ipv4("10.0.0.1", tcp(80))), BLOCKED, 0),
    (ethernet(ipv4("192.0.2.7", tcp(23))), CLOSED_PORT, 23),
    (ethernet(ipv4("192.0.2.7", udp(23), protocol=17)), CLOSED_PORT, 23),
    (ethernet(ipv4("192.0.2.7", tcp(80), fragment=1)), FRAGMENT, 0),
    (ethernet(ipv4("192.0.2.7", b"")), MALFORMED, 0),
], ids=["blocked", "closed", "closed for UDP", "fragment", "malformed"])
def test_each_drop_is_an_event(firewall: Rig, packet: bytes, reason: int, port: int) -> None:
    block(firewall, "10.0.0.0/8")
    close(firewall, 23)
    firewall.send(packet)
    event, = firewall.events()
    assert (event.reason, event.port, event.family) == (reason, port, 2)
    assert bytes(event.source[:4]) == packet[26:30]


def test_the_source_of_ipv6_is_whole(firewall: Rig) -> None:
    block(firewall, "2001:db8::/32")
    firewall.send(ethernet(ipv6("2001:db8::1:2:3", tcp(80)), 0x86DD))
    event, = firewall.events()
    assert (bytes(event.source), event.family) == (ip_address("2001:db8::1:2:3").packed, 10)


@pytest.mark.parametrize("packet", [ethernet(ipv4("192.0.2.7", tcp(80))), ethernet(bytes(46), 0x0806)],
                         ids=["TCP", "ARP"])
def test_a_packet_that_passes_is_unchanged_and_no_event(firewall: Rig, packet: bytes) -> None:
    verdict = firewall.send(packet)
    assert verdict == "XDP_PASS" and not verdict.changed
    assert firewall.events() == []


def test_it_stays_within_its_budget(firewall: Rig) -> None:
    assert_budget(firewall, instructions=1_200, visited=5_000, stack=192)
