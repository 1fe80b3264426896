// Headers that come and go: results, packets and contexts must be the same in the machine and in a kernel. What is done
// to a packet is told by its first bytes.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } out SEC(".maps");

static __always_inline void put(__u32 key, __u64 value)
{
    __u64 *slot = bpf_map_lookup_elem(&out, &key);
    if (slot)
        *slot = value;
}

// What a program can see of its packet.
static __always_inline void describe(struct __sk_buff *skb, __u32 key)
{
    __u8 first[24] __attribute__((aligned(8))) = {}, network[4] __attribute__((aligned(4))) = {};
    bpf_skb_load_bytes(skb, 0, first, 20);
    bpf_skb_load_bytes_relative(skb, 0, network, sizeof(network), BPF_HDR_START_NET);
    put(key, skb->len | (__u64)skb->protocol << 32 | (__u64)skb->vlan_present << 48);
    put(key + 1, skb->vlan_tci | (__u64)skb->vlan_proto << 32);
    put(key + 2, *(__u64 *)(first + 8) ^ *(__u64 *)(first + 16) ^ (__u64)*(__u32 *)network << 32);
}

SEC("tc") int vlan(struct __sk_buff *skb)
{
    __u8 steps[8] = {};
    int result = 0;
    bpf_skb_load_bytes(skb, 0, steps, sizeof(steps));
    for (int i = 0; i < 6; i++) {
        int error = steps[i] & 1 ? bpf_skb_vlan_push(skb, steps[i] & 2 ? bpf_htons(0x88a8) : steps[i] & 4 ? bpf_htons(0x8100) : 0, steps[i] << 4)
                                 : bpf_skb_vlan_pop(skb);
        result = result * 3 + (error == 0 ? 0 : error == -12 ? 1 : 2);
        if (i & 1)
            describe(skb, i / 2 * 3);
    }
    return result;
}

SEC("tc") int room(struct __sk_buff *skb)
{
    __u8 how[8] = {};
    bpf_skb_load_bytes(skb, 0, how, sizeof(how));
    int size = how[0] & 1 ? how[1] & 63 : -(int)(how[1] & 31);
    if (how[0] == 2)
        size = 4096;
    __u64 flags = 0;
    if (how[2] & 1)
        flags = (how[2] >> 1 & 0x7f) | (__u64)(how[3] & 15) << 56;
    if (how[2] & 16)
        flags = (__u64)(how[3] & 3) << 7;
    int error = bpf_skb_adjust_room(skb, size, how[4] & 3, flags);
    describe(skb, 0);
    int again = bpf_skb_adjust_room(skb, 40, how[5] & 1, how[5] & 2 ? 2 : 0);
    describe(skb, 3);
    return (-error & 0xffff) | (-again & 0xffff) << 16;
}

SEC("tc") int proto(struct __sk_buff *skb)
{
    __u8 how[2] = {};
    bpf_skb_load_bytes(skb, 0, how, sizeof(how));
    int a = bpf_skb_change_proto(skb, how[0] & 1 ? bpf_htons(0x86dd) : bpf_htons(0x800), how[0] & 8 ? 1 : 0);
    describe(skb, 0);
    int b = bpf_skb_change_proto(skb, how[1] & 1 ? bpf_htons(0x86dd) : bpf_htons(0x800), 0);
    describe(skb, 3);
    return (-a & 0xffff) | (-b & 0xffff) << 16;
}

SEC("tc") int mark(struct __sk_buff *skb)
{
    int a = bpf_skb_ecn_set_ce(skb);
    describe(skb, 0);
    int b = bpf_skb_ecn_set_ce(skb);
    return a | b << 8;
}

SEC("tc") int levels(struct __sk_buff *skb)
{
    __u8 steps[8] = {};
    __u64 result = 0;
    bpf_skb_load_bytes(skb, 0, steps, sizeof(steps));
    for (int i = 0; i < 8; i++) {
        long said = bpf_csum_level(skb, steps[i] & 7);
        result = result * 7 + said + bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY);
    }
    put(0, result);
    return result;
}

char LICENSE[] SEC("license") = "GPL";
