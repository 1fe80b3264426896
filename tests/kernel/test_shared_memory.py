"""Memory that programs and Python share: user ring buffers and arenas, typed on both sides."""

from __future__ import annotations

import os

import pytest

import ebpf
from ebpf.errors import MapFull, UnknownName, UsageError
from ebpf.kernel import sys

pytestmark = pytest.mark.kernel

_DRAIN = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct order { __u32 item, count; };
struct { __uint(type, BPF_MAP_TYPE_USER_RINGBUF); __uint(max_entries, 4096); __type(value, struct order); }
    orders SEC(".maps");
__u64 items, total;
static long take(struct bpf_dynptr *record, void *ctx)
{
    struct order order;
    if (bpf_dynptr_read(&order, sizeof(order), record, 0, 0))
        return 1;
    items += order.item;
    total += order.count;
    return 0;
}
SEC("syscall") int drain(void *ctx) { return bpf_user_ringbuf_drain(&orders, take, 0, 0); }
"""


def test_records_to_a_program() -> None:
    with ebpf.load(ebpf.compile(_DRAIN), backend="kernel") as session:
        orders, drain = session.maps["orders"], session.programs["drain"]
        for n in range(10):
            orders.send({"item": n, "count": 2})
        assert drain.test_run().result == 10
        assert session.variables["items"] == 45 and session.variables["total"] == 20
        sent = 0
        with pytest.raises(MapFull, match="no room"):
            while True:  # 16 bytes each with their header
                orders.send({"item": 1, "count": 1})
                sent += 1
        assert sent == 256 and drain.test_run().result == 256
        orders.send({"item": 1, "count": 1}, timeout=1)
        assert drain.test_run().result == 1
        with pytest.raises(UsageError, match="never fits"):
            orders.raw.user_ring_buffer().send(bytes(5000))


_ARENA = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct node { __u64 number, next; };
struct { __uint(type, BPF_MAP_TYPE_ARENA); __uint(map_flags, BPF_F_MMAPABLE); __uint(max_entries, 4); } heap SEC(".maps");
struct node unused;
"""


def test_an_arena() -> None:
    with ebpf.load(ebpf.compile(_ARENA), backend="kernel") as session:
        heap = session.maps["heap"]
        first = heap.arena.address
        heap.store_type("struct node", first, {"number": 7, "next": first + 4096})
        heap.store_type("struct node", first + 4096, {"number": 8, "next": 0})
        node = heap.load_type("struct node", first)
        assert node.number == 7 and heap.load_type("struct node", node.next).number == 8
        # A program's 32-bit pointer leads to the same place.
        assert heap.load_type("struct node", (first + 4096) & 0xFFFFFFFF).number == 8
        with pytest.raises(UsageError, match="no address in arena"):
            heap.load_type("struct node", first + 4 * 4096)
        with pytest.raises(UnknownName):
            heap.load_type("struct nod", first)


def test_a_forked_child_unmaps_nothing_of_its_own() -> None:
    """The kernel leaves rings out of a child's memory; what the child has at that address stays when ours is freed."""
    attr = sys.perf_event_attr(sys.PERF_TYPE_SOFTWARE, sys.PERF_COUNT_SW_BPF_OUTPUT, sample=1,
                               sample_type=sys.PERF_SAMPLE_RAW, wakeup_events=1)
    fd = sys.perf_event_open(attr, 0, -1)
    assert fd >= 0
    event, length = sys.OwnedFd(fd), 2 * sys.PAGE_SIZE
    ring = sys.Mapping(fd, length, writable=True)
    memory = os.memfd_create("theirs")
    os.truncate(memory, length)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            theirs = sys.Mapping(memory, length, writable=True, address=ring.address)  # EEXIST, were the ring here
            ring.close()
            theirs.view[0] = 7  # a crash, were it gone
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    ring.close()
    event.close()
    os.close(memory)
