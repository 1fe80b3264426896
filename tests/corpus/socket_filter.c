// A socket filter with legacy packet loads and a switch.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 8);
    __type(key, int);
    __type(value, long);
} seen SEC(".maps");

SEC("socket")
int filter(struct __sk_buff *skb)
{
    unsigned char protocol = 0;
    if (bpf_skb_load_bytes(skb, ETH_HLEN + offsetof(struct iphdr, protocol), &protocol, 1))
        return 0;
    int slot;
    switch (protocol) {
    case IPPROTO_ICMP: slot = 1; break;
    case IPPROTO_TCP: slot = 2; break;
    case IPPROTO_UDP: slot = 3; break;
    case 40 ... 90: slot = 4; break;
    default: slot = skb->len > 1000 ? 5 : 0;
    }
    if (skb->protocol == 8 && skb->ifindex == 1)
        slot = 6;
    long *value = bpf_map_lookup_elem(&seen, &slot);
    if (value)
        __sync_fetch_and_add(value, skb->len);
    return skb->len;
}

char _license[] SEC("license") = "GPL";
