// Packet programs whose results, packets and maps must be the same in the machine and in a kernel.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");

int tail_second(struct xdp_md *ctx);
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __uint(key_size, 4); __array(values, int (void *)); }
    jumps SEC(".maps") = { .values = { [1] = (void *)&tail_second } };

struct eth { __u8 to[6], from[6]; __be16 kind; };
struct ip4 { __u8 version, tos; __be16 total, id, frag; __u8 ttl, protocol; __u16 check; __be32 from, to; } __attribute__((packed));

static __always_inline void count(__u32 key)
{
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    if (value)
        __sync_fetch_and_add(value, 1);
}

SEC("xdp") int parse(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct eth *eth = data;
    struct ip4 *ip = data + sizeof(*eth);
    if ((void *)(eth + 1) > end || eth->kind != bpf_htons(0x800))
        return XDP_PASS;
    if ((void *)(ip + 1) > end) {
        count(1);
        return XDP_ABORTED;
    }
    __u32 key = ip->to;
    __u64 one = 1, *value = bpf_map_lookup_elem(&seen, &key);
    if (value)
        __sync_fetch_and_add(value, 1);
    else if (bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST))
        count(3); // full
    __u32 sum = 0;
    __u16 *words = (void *)ip;
    for (int i = 0; i < 10; i++)
        sum += words[i];
    sum = (sum & 0xffff) + (sum >> 16);
    count(ip->protocol == 6 ? 0 : 2);
    ip->ttl--;
    return sum & 1 ? XDP_DROP : XDP_TX;
}

SEC("xdp") int resize(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 20 > end)
        return 9;
    int delta = data[13] % 2 ? -(int)(data[14] & 0x3f) : (data[14] & 15);
    int tail = (data[15] & 1) ? (int)(data[16] & 63) : -(int)(data[16] & 31);
    int a = bpf_xdp_adjust_head(ctx, delta);
    int b = bpf_xdp_adjust_tail(ctx, tail);
    int c = bpf_xdp_adjust_tail(ctx, 5000);
    int d = bpf_xdp_adjust_head(ctx, -300);
    data = (void *)(long)ctx->data;
    end = (void *)(long)ctx->data_end;
    if (data + 14 > end)
        return 8;
    data[0] = 0xaa;
    return (a == 0) | (b == 0) << 1 | (c == 0) << 2 | (d == 0) << 3 | bpf_xdp_get_buff_len(ctx) << 8;
}

SEC("xdp") int load_store(struct xdp_md *ctx)
{
    __u8 buffer[16] = {};
    int a = bpf_xdp_load_bytes(ctx, 14, buffer, 16);
    int b = bpf_xdp_load_bytes(ctx, 40, buffer, 8);
    buffer[0] ^= 0x55;
    int c = bpf_xdp_store_bytes(ctx, 3, buffer, 16);
    int d = bpf_xdp_store_bytes(ctx, 60000, buffer, 16);
    return (-a & 0xff) | (-b & 0xff) << 8 | (-c & 0xff) << 16 | (-d & 0xff) << 24;
}

SEC("xdp") int checksums(struct xdp_md *ctx)
{
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 34 > end)
        return 1;
    __u32 words[5];
    __builtin_memcpy(words, data + 14, 20);
    int a = bpf_csum_diff(0, 0, words, 20, 0);
    int b = bpf_csum_diff(words, 8, words + 2, 12, a);
    int c = bpf_csum_diff(words, 20, 0, 0, b);
    int d = bpf_csum_diff(words, 16, words + 1, 16, words[0]);
    return a ^ b << 3 ^ c << 7 ^ d << 11;
}

SEC("xdp") int encap(struct xdp_md *ctx)
{
    if (bpf_xdp_adjust_head(ctx, -20))
        return XDP_ABORTED;
    __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 54 > end)
        return XDP_DROP;
    __builtin_memcpy(data, data + 20, 14);
    for (int i = 14; i < 34; i++)
        data[i] = i;
    if (bpf_xdp_adjust_meta(ctx, -8))
        return 7;
    __u64 *meta = (void *)(long)ctx->data_meta;
    if ((void *)(meta + 1) > (void *)(long)ctx->data)
        return 8;
    *meta = 77;
    return bpf_xdp_adjust_meta(ctx, 8) ? 6 : XDP_TX;
}

SEC("tc") int tc_edit(struct __sk_buff *skb)
{
    __be32 address = bpf_htonl(0x0a010203);
    __u8 ttl = 9;
    struct ip4 ip;
    if (skb->protocol != bpf_htons(0x800))
        return 3;
    if (bpf_skb_load_bytes(skb, 14, &ip, sizeof(ip)))
        return 4;
    int a = bpf_l3_csum_replace(skb, 24, ip.to, address, 4);
    int b = bpf_skb_store_bytes(skb, 30, &address, 4, BPF_F_RECOMPUTE_CSUM);
    int c = bpf_l4_csum_replace(skb, 50, ip.to, address, BPF_F_PSEUDO_HDR | 4);
    int d = bpf_l4_csum_replace(skb, 40, ip.id, 0x1234, BPF_F_MARK_MANGLED_0 | 2);
    int e = bpf_l3_csum_replace(skb, 24, 0x40, 0x3f, 2);
    int f = bpf_skb_store_bytes(skb, 22, &ttl, 1, 0);
    int g = bpf_l3_csum_replace(skb, 25, 1, 2, 2);
    skb->mark = 5;
    skb->cb[1] = skb->len;
    return (a == 0) | (b == 0) << 1 | (c == 0) << 2 | (d == 0) << 3 | (e == 0) << 4 | (f == 0) << 5 | (g & 0xff) << 8 | skb->cb[1] << 16;
}

SEC("tc") int tc_resize(struct __sk_buff *skb)
{
    __u8 kind = 0;
    bpf_skb_load_bytes(skb, 14, &kind, 1);
    int a = bpf_skb_change_tail(skb, skb->len + (kind & 31), 0);
    int b = bpf_skb_change_tail(skb, skb->len - 3, 0);
    int c = bpf_skb_change_tail(skb, 5, 0);
    int d = bpf_skb_pull_data(skb, 20);
    __u8 *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
    if (data + 16 <= end)
        data[15] ^= 0xff;
    return (a == 0) | (b == 0) << 1 | (c == 0) << 2 | (d == 0) << 3 | skb->len << 8;
}

// Packets of socket filters begin behind the Ethernet header.
SEC("socket") int filter(struct __sk_buff *skb)
{
    __u8 relative[4] = {};
    int a = bpf_skb_load_bytes_relative(skb, 9, relative, 1, BPF_HDR_START_NET);
    int b = bpf_skb_load_bytes_relative(skb, 12, relative + 1, 2, BPF_HDR_START_MAC);
    int c = bpf_skb_load_bytes(skb, 18, relative, 4);
    return skb->len ^ skb->protocol << 4 ^ skb->pkt_type << 20 ^ relative[0] ^ relative[1] << 8 ^ relative[2] << 16 ^ a ^ b << 1 ^ c << 2;
}

struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); } devices SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_DEVMAP_HASH); __uint(max_entries, 4); __type(key, __u32); __type(value, __u32); } by_number SEC(".maps");

SEC("xdp") int to_device(struct xdp_md *ctx)
{
    __u8 bytes[4] = {};
    bpf_xdp_load_bytes(ctx, 6, bytes, 4);
    __u32 *found = bpf_map_lookup_elem(&devices, &(__u32) { bytes[0] & 7 });
    if (bytes[3] & 1)
        return bpf_redirect_map(&devices, bytes[0] & 7, bytes[1] & 7) | (found ? *found << 4 : 0);
    return bpf_redirect_map(&by_number, bytes[0] & 7, bytes[1] & 11) | (found ? *found << 8 : 0);
}

SEC("xdp") int tail_first(struct xdp_md *ctx)
{
    count(0);
    bpf_tail_call(ctx, &jumps, bpf_xdp_get_buff_len(ctx) & 1);
    return 100;
}

SEC("xdp") int tail_second(struct xdp_md *ctx)
{
    count(1);
    bpf_tail_call(ctx, &jumps, 1); // itself, up to the limit
    return 200;
}

char LICENSE[] SEC("license") = "GPL";
