"""BCC's packet headers, run by this kernel: what is read from a packet, and what is written into it."""

from __future__ import annotations

import struct

import pytest

pytestmark = pytest.mark.kernel

FRAME = bytes.fromhex("0102030405060a0b0c0d0e0f0800"  # Ethernet
                      "450000540abc4000400131ea7f0000017f000002")  # IPv4: flags DF, ttl 64, a right checksum
PRELUDE = """
#include <bcc/proto.h>
int test(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
"""


def run(body: str) -> tuple[int, bytes]:
    from ebpf.abi.programs import ProgType
    from ebpf.compiler import Options, compile_c
    from ebpf.errors import KernelError, NotSupported
    from ebpf.kernel.facts import SystemFacts
    from ebpf.kernel.loader import load
    from ebpf.object import read_object

    elf = compile_c(PRELUDE + body + "\n}\n", facts=SystemFacts(), options=Options(dialect="bcc"))
    try:
        loaded = load(read_object(elf, "packets"), types={"test": ProgType.SCHED_CLS})
    except (KernelError, NotSupported) as error:
        if isinstance(error, KernelError) and error.errno not in (1, 13):
            raise
        pytest.skip(str(error))
    with loaded:
        out = loaded.programs["test"].test_run(FRAME)
    return out.result, bytes(out.data[:len(FRAME)])


@pytest.mark.parametrize(("field", "value"), [
    ("ethernet->dst", 0x010203040506), ("ethernet->src", 0x0A0B0C0D0E0F), ("ethernet->type", 0x0800), ("ip->ver", 4),
    ("ip->hlen", 5), ("ip->tlen", 84), ("ip->df", 1), ("ip->mf", 0), ("ip->foffset", 0), ("ip->ttl", 64),
    ("ip->nextp", 1), ("ip->src", 0x7F000001), ("ip->dst", 0x7F000002)])
def test_reads(field: str, value: int) -> None:
    assert run(f"return {field} == {value}ULL;")[0] == 1


@pytest.mark.parametrize(("statement", "at", "written"), [
    ("ethernet->dst = 0xa1a2a3a4a5a6ULL;", 0, "a1a2a3a4a5a6"),
    ("ethernet->type = 0x86dd;", 12, "86dd"),
    ("ip->hlen = 6;", 14, "46"),
    ("ip->tlen += 1;", 16, "0055"),
    ("ip->df = 0;", 20, "0000"),
    ("ip->foffset |= 0x1ff;", 20, "41ff"),
    ("ip->ttl -= 1;", 22, "3f"),
    ("ip->dst = 0x0a0b0c0d;", 30, "0a0b0c0d"),
])
def test_writes_nothing_else(statement: str, at: int, written: str) -> None:
    new = bytes.fromhex(written)
    assert run(f"{statement} return 0;")[1] == FRAME[:at] + new + FRAME[at + len(new):]


def test_an_assignment_has_the_value_assigned() -> None:
    assert run("return ip->ttl = ip->ttl + 256 + 7;")[0] == 71


def test_checksum_follows_the_change() -> None:
    out = run("u32 new = 0x0a000001, old = ip->dst; incr_cksum_l3(&ip->hchecksum, old, new); ip->dst = new; return 0;")[1]
    words = struct.unpack(">10H", out[14:34])
    total = sum(words)
    assert out[30:34] == bytes([10, 0, 0, 1])
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
