/* An XDP firewall: addresses on a block list (longest prefix wins) and closed ports are dropped, a source that opens too
 * many connections in a second is held back. Fragments and packets that nobody could read are dropped too. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define SECOND_NS 1000000000ull

enum reason { PASSED, BLOCKED, CLOSED_PORT, TOO_MANY, FRAGMENT, MALFORMED, REASONS };

struct prefix {
    __u32 bits;
    __u8 address[16];       /* IPv4 addresses lie in the first four bytes */
};

struct rate {
    __u64 since_ns;
    __u32 opened;
};

struct dropped {
    __u8 source[16];
    __u32 reason;
    __u16 port;
    __u16 family;           /* AF_INET, AF_INET6 */
};

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(max_entries, 1024);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct prefix);
    __type(value, __u8);            /* 1: blocked, 0: allowed, in spite of a shorter prefix */
} blocked4 SEC(".maps"), blocked6 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 256);
    __type(key, __u16);
    __type(value, __u8);
} closed_ports SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct rate);
} rates SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, REASONS);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 65536);
    __type(value, struct dropped);
} drops SEC(".maps");

const volatile __u32 connections_per_second = 20;

static int count(__u32 reason)
{
    __u64 *n = bpf_map_lookup_elem(&counts, &reason);

    if (n)
        __sync_fetch_and_add(n, 1);
    return reason == PASSED ? XDP_PASS : XDP_DROP;
}

static int drop(__u32 reason, const void *source, __u32 bytes, __u16 port)
{
    struct dropped *d = bpf_ringbuf_reserve(&drops, sizeof(*d), 0);

    if (d) {
        __builtin_memset(d->source, 0, sizeof(d->source));
        if (bytes == 4)
            __builtin_memcpy(d->source, source, 4);
        else
            __builtin_memcpy(d->source, source, 16);
        d->reason = reason;
        d->port = port;
        d->family = bytes == 4 ? 2 : 10;
        bpf_ringbuf_submit(d, 0);
    }
    return count(reason);
}

/* Whether the source may open one connection more in this second. */
static bool may_open(__u32 source)
{
    __u64 now = bpf_ktime_get_ns();
    struct rate first = { .since_ns = now, .opened = 1 };
    struct rate *rate = bpf_map_lookup_elem(&rates, &source);

    if (!rate || now - rate->since_ns >= SECOND_NS) {
        bpf_map_update_elem(&rates, &source, &first, BPF_ANY);
        return true;
    }
    rate->opened++;
    return rate->opened <= connections_per_second;
}

static int transport(void *data, void *end, __u8 protocol, const void *source, __u32 bytes)
{
    struct tcphdr *tcp = data;
    struct udphdr *udp = data;
    __u16 port;

    if (protocol == 6) {
        if ((void *)(tcp + 1) > end)
            return drop(MALFORMED, source, bytes, 0);
        port = bpf_ntohs(tcp->dest);
    } else if (protocol == 17) {
        if ((void *)(udp + 1) > end)
            return drop(MALFORMED, source, bytes, 0);
        port = bpf_ntohs(udp->dest);
    } else {
        return count(PASSED);
    }
    if (bpf_map_lookup_elem(&closed_ports, &port))
        return drop(CLOSED_PORT, source, bytes, port);
    if (protocol == 6 && tcp->syn && !tcp->ack && bytes == 4) {
        __u32 address;

        __builtin_memcpy(&address, source, 4);
        if (!may_open(address))
            return drop(TOO_MANY, source, bytes, port);
    }
    return count(PASSED);
}

static int ipv4(struct iphdr *ip, void *end)
{
    struct prefix key = { .bits = 32 };
    __u32 header;
    __u8 *verdict;

    if ((void *)(ip + 1) > end)
        return count(MALFORMED);
    header = ip->ihl * 4;
    if (ip->version != 4 || header < sizeof(*ip))
        return drop(MALFORMED, &ip->saddr, 4, 0);
    __builtin_memcpy(key.address, &ip->saddr, 4);
    verdict = bpf_map_lookup_elem(&blocked4, &key);
    if (verdict && *verdict)
        return drop(BLOCKED, &ip->saddr, 4, 0);
    if (ip->frag_off & bpf_htons(0x3fff))
        return drop(FRAGMENT, &ip->saddr, 4, 0);
    return transport((void *)ip + header, end, ip->protocol, &ip->saddr, 4);
}

static int ipv6(struct ipv6hdr *ip, void *end)
{
    struct prefix key = { .bits = 128 };
    __u8 *verdict;

    if ((void *)(ip + 1) > end)
        return count(MALFORMED);
    __builtin_memcpy(key.address, &ip->saddr, 16);
    verdict = bpf_map_lookup_elem(&blocked6, &key);
    if (verdict && *verdict)
        return drop(BLOCKED, &ip->saddr, 16, 0);
    if (ip->nexthdr == 44)
        return drop(FRAGMENT, &ip->saddr, 16, 0);
    return transport(ip + 1, end, ip->nexthdr, &ip->saddr, 16);
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    void *next = eth + 1;
    __u16 kind;

    if (next > end)
        return count(MALFORMED);
    kind = bpf_ntohs(eth->h_proto);
    if (kind == ETH_P_8021Q) {
        struct vlan_hdr *tag = next;

        if ((void *)(tag + 1) > end)
            return count(MALFORMED);
        kind = bpf_ntohs(tag->h_vlan_encapsulated_proto);
        next = tag + 1;
    }
    if (kind == ETH_P_IP)
        return ipv4(next, end);
    if (kind == ETH_P_IPV6)
        return ipv6(next, end);
    return count(PASSED);
}

char LICENSE[] SEC("license") = "GPL";
