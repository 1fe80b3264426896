/* examples/functions/balancer.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct backend { __be32 address; __u8 mac[6]; };

const volatile __u32 virtual = 0;
__u32 count = 0;

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, struct backend);
} backends SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} packets SEC(".maps");

static __u32 mixed(__u32 x)
{
    x = (x ^ (x >> 16)) * 0x7FEB352D;
    x = (x ^ (x >> 15)) * 0x846CA68B;
    return x ^ (x >> 16);
}

SEC("xdp") int balance(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);

    if ((void *)(eth + 1) > end || eth->h_proto != bpf_htons(0x0800))
        return XDP_PASS;
    if ((void *)(ip + 1) > end || bpf_ntohl(ip->daddr) != virtual || ip->protocol != IPPROTO_UDP)
        return XDP_PASS;
    __be16 *ends = (void *)ip + ip->ihl * 4;
    __u32 available = count;
    if ((void *)(ends + 2) > end || !available)
        return XDP_DROP;
    __u32 chosen = mixed(bpf_ntohl(ip->saddr) ^ ((__u32)bpf_ntohs(ends[0]) << 16 | bpf_ntohs(ends[1]))) % available;
    struct backend *backend = bpf_map_lookup_elem(&backends, &chosen);
    __u64 *n = bpf_map_lookup_elem(&packets, &chosen);
    if (!backend)
        return XDP_DROP;
    if (n)
        *n += 1;

    __u32 old = bpf_ntohl(ip->daddr), new = bpf_ntohl(backend->address);
    __u32 total = ~bpf_ntohs(ip->check) & 0xffff;
    total += (~old & 0xffff) + (~(old >> 16) & 0xffff) + (new & 0xffff) + (new >> 16);
    total = (total & 0xffff) + (total >> 16);
    total = (total & 0xffff) + (total >> 16);
    ip->check = bpf_htons((__u16)~total);
    ip->daddr = backend->address;
    __builtin_memcpy(eth->h_source, eth->h_dest, 6);
    __builtin_memcpy(eth->h_dest, backend->mac, 6);
    return XDP_TX;
}

char LICENSE[] SEC("license") = "GPL";
