"""One object with every kind of map that the tests of `session` and `bcc` use, and programs that feed them."""

from __future__ import annotations

from functools import cache

import ebpf

TEXT = r"""
struct pair { u32 a; char comm[16]; u64 b; };

#define MAP(kind, entries, k, v, name) \
    struct { __uint(type, kind); __uint(max_entries, entries); __type(key, k); __type(value, v); } name SEC(".maps")

MAP(BPF_MAP_TYPE_HASH, 1000, u64, u64, counts);
MAP(BPF_MAP_TYPE_HASH, 4, u32, u32, tiny);
MAP(BPF_MAP_TYPE_HASH, 100, struct pair, struct pair, pairs);
MAP(BPF_MAP_TYPE_ARRAY, 4, u32, u64, arr);
MAP(BPF_MAP_TYPE_HASH, 65, int, u64, hist);
MAP(BPF_MAP_TYPE_PERCPU_HASH, 16, u32, u32, percpu);
MAP(BPF_MAP_TYPE_PERCPU_ARRAY, 4, u32, u64, percpu_arr);
MAP(BPF_MAP_TYPE_LRU_HASH, 16, u32, u64, lru);
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 4); __type(value, u64); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct pair); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __uint(key_size, 4); __uint(value_size, 4); }
    progs SEC(".maps");

SEC("xdp") int count(struct xdp_md *ctx)
{
    u64 key = 1, one = 1, *value = bpf_map_lookup_elem(&counts, &key);
    if (value)
        __sync_fetch_and_add(value, 1);
    else
        bpf_map_update_elem(&counts, &key, &one, BPF_ANY);
    return XDP_PASS;
}

SEC("xdp") int to_ring(struct xdp_md *ctx)
{
    struct pair p = { .a = 7, .comm = "hello", .b = 9 };
    bpf_ringbuf_output(&ring, &p, sizeof(p), 0);
    return XDP_DROP;
}

SEC("xdp") int to_perf(struct xdp_md *ctx)
{
    struct pair p = { .a = 5, .comm = "perf", .b = 11 };
    bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &p, sizeof(p));
    return XDP_DROP;
}

SEC("kprobe/no_such_function_anywhere") int nowhere(struct pt_regs *ctx) { return 0; }

char LICENSE[] SEC("license") = "GPL";
"""

PACKET = bytes(64)


@cache
def built() -> ebpf.Object:
    """The object, compiled once for a whole run."""
    return ebpf.compile(TEXT, filename="objects.c", dialect="libbpf")


def loaded(*programs: str) -> ebpf.Session:
    """A session with those programs loaded."""
    return ebpf.load(built(), load_programs=programs or ("count",))
