"""Unit tests of the examples: ``pytest examples/functions``. No privilege is needed: programs run in the machine.

Where a program has a C version, both see the same packets and have to agree.
"""

from __future__ import annotations

import sys
from ipaddress import ip_address
from pathlib import Path
from struct import pack, unpack

import pytest

import ebpf

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import balancer  # noqa: E402
import firewall  # noqa: E402
import xdp_counter  # noqa: E402

DROP, PASS, TX = 1, 2, 3


def checksum(header: bytes) -> int:
    total = sum(map(int, unpack(f">{len(header) // 2}H", header)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(source: str, target: str, *, protocol: int = 17, port: int = 53, kind: int = 0x0800) -> bytes:
    ends = ip_address(source).packed + ip_address(target).packed
    header = pack(">BBHHHBBH", 0x45, 0, 40, 1, 0, 64, protocol, 0) + ends
    header = header[:10] + pack(">H", checksum(header)) + header[12:]
    return bytes.fromhex("02000000000a 02000000000b") + pack(">H", kind) + header + pack(">HH", 4000, port) + bytes(16)


@pytest.fixture
def wall():
    with ebpf.load(firewall.firewall, backend="machine") as session:
        firewall.block("10.1.0.0/16")
        firewall.block("192.0.2.7/32")
        firewall.ports[25] = 1
        yield session.programs["firewall"]


CASES = [
    (packet("198.51.100.1", "192.0.2.1"), PASS),
    (packet("10.1.2.3", "192.0.2.1"), DROP),
    (packet("10.2.2.3", "192.0.2.1"), PASS),
    (packet("192.0.2.7", "192.0.2.1"), DROP),
    (packet("192.0.2.8", "192.0.2.1"), PASS),
    (packet("198.51.100.1", "192.0.2.1", port=25, protocol=6), DROP),
    (packet("198.51.100.1", "192.0.2.1", port=25, protocol=1), PASS),
    (packet("10.1.2.3", "192.0.2.1", kind=0x86DD), PASS),
    (packet("198.51.100.1", "192.0.2.1")[:30], DROP),
    (packet("198.51.100.1", "192.0.2.1")[:36], DROP),
]


@pytest.mark.parametrize("given, verdict", CASES, ids=map(str, range(len(CASES))))
def test_firewall(wall, given: bytes, verdict: int) -> None:
    assert wall.test_run(given).result == verdict


def test_the_firewall_counts(wall) -> None:
    for source in ("10.1.2.3", "198.51.100.1", "198.51.100.2"):
        wall.test_run(packet(source, "192.0.2.1"))
    assert [sum(each) for each in firewall.verdicts] == [1, 2]


def test_the_balancer_keeps_connections_together() -> None:
    balancer.virtual.initial = int(ip_address("192.0.2.100"))
    machines = [(f"10.0.0.{i}", bytes((2, 0, 0, 0, 1, i))) for i in range(1, 5)]
    with ebpf.load(balancer.balance, backend="machine") as session:
        program = session.programs["balance"]
        given = packet("198.51.100.1", "192.0.2.100")
        assert program.test_run(given).result == DROP  # nobody to give it to
        balancer.use(machines)
        assert program.test_run(packet("198.51.100.1", "192.0.2.101")).result == PASS
        chosen = set()
        for i in range(64):
            given = packet(f"198.51.100.{i}", "192.0.2.100")
            first, second = program.test_run(given), program.test_run(given)
            assert first.result == TX and first.data == second.data
            out = first.data
            assert checksum(out[14:34]) == 0
            target = str(ip_address(out[30:34]))
            assert (target, out[:6]) in machines and out[6:12] == given[:6] and out[34:] == given[34:]
            chosen.add(target)
        assert len(chosen) == len(machines)


COUNTER = """
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); }
    packets SEC(".maps");
SEC("xdp") int count(struct xdp_md *ctx)
{
    u32 key = 0;
    u64 *n = bpf_map_lookup_elem(&packets, &key);
    if (n)
        *n += 1;
    return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


def test_the_counter_is_as_good_as_c() -> None:
    ours = xdp_counter.count.object.programs["count"].code
    theirs = ebpf.compile(COUNTER).programs["count"].code
    assert len(ours) <= len(theirs) * 1.1


NAMES = sorted(p.stem for p in HERE.glob("*.py") if p.stem not in ("packets", "test_functions"))


@pytest.mark.kernel
@pytest.mark.parametrize("name", NAMES)
def test_the_kernel_takes_it(name: str) -> None:
    module = __import__(name)
    with ebpf.load(list(module.PROGRAMS), backend="kernel"):
        pass
