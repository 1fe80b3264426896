"""Declarations of every kind of container, and programs that use them: bodies are Python, objects come from C.

So the containers are tested by themselves, whatever the compiler of Python functions makes of the bodies.
"""

from __future__ import annotations

from functools import cache

import ebpf
from ebpf import chars, u8, u32, u64
from ebpf.session.functions.function import Function


class Key(ebpf.Struct):
    prefix: u32
    address: u8[4]  # type: ignore[valid-type, misc]


class Pair(ebpf.Struct):
    a: u32
    comm: chars[16]  # type: ignore[valid-type]
    b: u64


opens = ebpf.Hash(u32, u64, max_entries=1000)
pairs = ebpf.Hash(u32, Pair, max_entries=100)
percpu = ebpf.PerCpuHash(u32, u64, max_entries=10)
totals = ebpf.Array(u64, 8)
percpu_totals = ebpf.PerCpuArray(u64, 4)
blocked = ebpf.LpmTrie(Key, u32, max_entries=100)
waiting = ebpf.Queue(u64, 4)
pile = ebpf.Stack(u64, 4)
events = ebpf.RingBuf(Pair, 1 << 16)
wanted = ebpf.Global(u32, 3)
limit = ebpf.Global(u32, 5, const=True)

TEXT = r"""
struct key { u32 prefix; u8 address[4]; };
struct pair { u32 a; char comm[16]; u64 b; };
#define MAP(kind, entries, k, v, name) \
    struct { __uint(type, kind); __uint(max_entries, entries); __type(key, k); __type(value, v); } name SEC(".maps")
MAP(BPF_MAP_TYPE_HASH, 1000, u32, u64, opens);
MAP(BPF_MAP_TYPE_HASH, 100, u32, struct pair, pairs);
MAP(BPF_MAP_TYPE_PERCPU_HASH, 10, u32, u64, percpu);
MAP(BPF_MAP_TYPE_ARRAY, 8, u32, u64, totals);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 4, u32, u64, percpu_totals);
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 100); __uint(map_flags, 1);
         __type(key, struct key); __type(value, u32); } blocked SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 4); __type(value, u64); } waiting SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK); __uint(max_entries, 4); __type(value, u64); } pile SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct pair); }
    events SEC(".maps");
u32 wanted = 3;
const volatile u32 limit = 5;

SEC("xdp") int count(struct xdp_md *ctx)
{
    u32 key = 1;
    u64 one = 1, *value = bpf_map_lookup_elem(&opens, &key);
    struct pair p = { .a = wanted, .comm = "hello", .b = limit };
    if (value)
        __sync_fetch_and_add(value, 1);
    else
        bpf_map_update_elem(&opens, &key, &one, BPF_ANY);
    bpf_ringbuf_output(&events, &p, sizeof(p), 0);
    return XDP_DROP;
}
char LICENSE[] SEC("license") = "GPL";
"""


@cache
def _object() -> ebpf.Object:
    return ebpf.compile(TEXT)


def make() -> Function:
    """A program that uses all of them."""

    @ebpf.xdp
    def count(ctx):  # type: ignore[no-untyped-def]
        """Counts."""
        opens, pairs, percpu, totals, percpu_totals, blocked, waiting, pile, events  # noqa: B018
        return wanted.value + limit.value

    count._life.object = _object()
    return count
