/* examples/functions/firewall.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct prefix { __u32 bits; __u32 address; };

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 10240);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct prefix);
    __type(value, __u64);
} networks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u16);
    __type(value, __u8);
} ports SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} verdicts SEC(".maps");

static int counted(__u32 which)
{
    __u64 *n = bpf_map_lookup_elem(&verdicts, &which);

    if (n)
        *n += 1;
    return which ? XDP_PASS : XDP_DROP;
}

SEC("xdp") int firewall(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(0x0800))
        return XDP_PASS;
    if ((void *)(ip + 1) > end)
        return counted(0);
    struct prefix source = { .bits = 32, .address = ip->saddr };
    if (bpf_map_lookup_elem(&networks, &source))
        return counted(0);
    if (ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP) {
        __be16 *header = (void *)ip + ip->ihl * 4;

        if ((void *)(header + 2) > end)
            return counted(0);
        __u16 port = bpf_ntohs(header[1]);
        if (bpf_map_lookup_elem(&ports, &port))
            return counted(0);
    }
    return counted(1);
}

char LICENSE[] SEC("license") = "GPL";
