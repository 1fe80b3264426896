// A cgroup hook: the context is read and written, in branches that an optimiser likes to merge.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 128);
    __type(key, __u32);
    __type(value, __u64);
} ports SEC(".maps");

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
    __u32 port = bpf_ntohs(ctx->user_port);
    __u64 one = 1, *n = bpf_map_lookup_elem(&ports, &port);
    if (n)
        __sync_fetch_and_add(n, 1);
    else
        bpf_map_update_elem(&ports, &port, &one, BPF_NOEXIST);
    __u32 value;
    if (ctx->type == 1)
        value = ctx->user_ip4;
    else
        value = ctx->family;
    if (value == bpf_htonl(0x0a000001)) {
        ctx->user_ip4 = bpf_htonl(0x7f000001);
        ctx->user_port = bpf_htons(8080);
    }
    return 1;
}

char LICENSE[] SEC("license") = "GPL";
