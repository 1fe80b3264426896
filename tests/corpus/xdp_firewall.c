// libbpf style: packets parsed with bounds, per-CPU counters, a blocklist in an LPM trie.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct key { __u32 prefix; __u32 address; };
struct stats { __u64 packets, bytes; };

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 1024);
    __type(key, struct key);
    __type(value, __u32);
} blocked SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 256);
    __type(key, __u32);
    __type(value, struct stats);
} per_protocol SEC(".maps");

const volatile __u16 closed_port = 23;
__u64 malformed;

static __always_inline int parse(void *data, void *data_end, struct iphdr **ip)
{
    struct ethhdr *eth = data;
    if ((void *)(eth + 1) > data_end)
        return -1;
    if (eth->h_proto != bpf_htons(ETH_P_IP))
        return 0;
    *ip = (void *)(eth + 1);
    if ((void *)(*ip + 1) > data_end)
        return -1;
    return 1;
}

static __noinline void count(__u32 protocol, __u32 bytes)
{
    struct stats *s = bpf_map_lookup_elem(&per_protocol, &protocol);
    if (s) {
        s->packets++;
        s->bytes += bytes;
    }
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct iphdr *ip = NULL;
    int kind = parse(data, data_end, &ip);
    if (kind < 0) {
        __sync_fetch_and_add(&malformed, 1);
        return XDP_DROP;
    }
    if (kind == 0 || !ip)
        return XDP_PASS;
    struct key key = { .prefix = 32, .address = ip->saddr };
    if (bpf_map_lookup_elem(&blocked, &key))
        return XDP_DROP;
    count(ip->protocol, data_end - data);
    if (ip->protocol == IPPROTO_TCP) {
        struct tcphdr *tcp = (void *)ip + sizeof(*ip);
        if ((void *)(tcp + 1) > data_end)
            return XDP_PASS;
        if (tcp->dest == bpf_htons(closed_port) && tcp->syn && !tcp->ack)
            return XDP_DROP;
    }
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
