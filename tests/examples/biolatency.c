/* examples/functions/biolatency.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u64);
    __type(value, __u64);
} issued SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} latency SEC(".maps");

static __u32 log2l(__u64 v)
{
    __u32 r = 0;

#define HALVE(n) if (v >> n) { v >>= n; r += n; }
    HALVE(32) HALVE(16) HALVE(8) HALVE(4) HALVE(2) HALVE(1)
    return r;
}

SEC("raw_tracepoint/block_rq_issue") int block_rq_issue(struct bpf_raw_tracepoint_args *ctx)
{
    __u64 request = ctx->args[0], now = bpf_ktime_get_ns();

    bpf_map_update_elem(&issued, &request, &now, BPF_ANY);
    return 0;
}

SEC("raw_tracepoint/block_rq_complete") int block_rq_complete(struct bpf_raw_tracepoint_args *ctx)
{
    __u64 request = ctx->args[0], *start = bpf_map_lookup_elem(&issued, &request), us, *n;
    __u32 slot;

    if (!start)
        return 0;
    us = (bpf_ktime_get_ns() - *start) / 1000;
    slot = log2l(us);
    n = bpf_map_lookup_elem(&latency, &slot);
    if (n)
        *n += 1;
    bpf_map_delete_elem(&issued, &request);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
