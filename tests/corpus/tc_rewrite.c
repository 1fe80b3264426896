// tc: a header rewritten in place and by helpers, checksums, options walked with a bound, a noinline parser.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/in.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define IP_CHECK (ETH_HLEN + offsetof(struct iphdr, check))
#define IP_DST (ETH_HLEN + offsetof(struct iphdr, daddr))

const volatile __be32 target = 0x0100007f;
__u64 options_seen[4];

static __noinline int options(struct __sk_buff *skb, __u32 at, __u32 end)
{
    int mss = 0;
    for (int i = 0; i < 10 && at < end; i++) {
        __u8 head[4];
        if (bpf_skb_load_bytes(skb, at, head, sizeof(head)) < 0 || head[0] == 0)
            break;
        if (head[0] == 1) {
            at++;
            continue;
        }
        if (head[0] == 2)
            mss = head[2] << 8 | head[3];
        options_seen[head[0] & 3]++;
        at += head[1] ? head[1] : 1;
    }
    return mss;
}

SEC("tc")
int rewrite(struct __sk_buff *skb)
{
    void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);
    struct tcphdr *tcp = (void *)(ip + 1);
    if ((void *)(tcp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5 || ip->protocol != IPPROTO_TCP)
        return TC_ACT_OK;
    __u32 start = sizeof(*eth) + sizeof(*ip) + sizeof(*tcp), stop = start - sizeof(*tcp) + tcp->doff * 4;
    __be32 old = ip->daddr, new = target;
    __u8 mac[ETH_ALEN];
    __builtin_memcpy(mac, eth->h_source, ETH_ALEN);
    __builtin_memcpy(eth->h_source, eth->h_dest, ETH_ALEN);
    __builtin_memcpy(eth->h_dest, mac, ETH_ALEN);
    if (__builtin_memcmp(eth->h_source, eth->h_dest, ETH_ALEN) == 0)
        return TC_ACT_SHOT;
    if (options(skb, start, stop) > 1460)
        return TC_ACT_OK;
    bpf_l3_csum_replace(skb, IP_CHECK, old, new, sizeof(new));
    bpf_skb_store_bytes(skb, IP_DST, &new, sizeof(new), 0);
    skb->mark = bpf_ntohl(old) ^ bpf_get_prandom_u32();
    skb->cb[0] = stop;
    return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

char LICENSE[] SEC("license") = "GPL";
