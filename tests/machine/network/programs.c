// Programs on the frames of a network device.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __uint(max_entries, 4); __uint(key_size, 4); __uint(value_size, 4); } devices SEC(".maps");

struct frame {
    __u8 to[6], from[6]; __be16 kind;
    __u8 version, tos; __be16 total, id, frag; __u8 ttl, protocol; __u16 check; __be32 source, target;
    __be16 source_port, target_port, length; __u16 udp_check;
    __u8 text[2];
} __attribute__((packed));

static __always_inline __u64 count(__u32 key)
{
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    return value ? __sync_fetch_and_add(value, 1) : 0;
}

static __always_inline struct frame *datagram(void *data, void *end)
{
    struct frame *f = data;
    if ((void *)(f + 1) > end || f->kind != bpf_htons(0x800) || f->version != 0x45 || f->protocol != 17)
        return 0;
    return f;
}

// The same frame the other way round; sums stay as they are.
static __always_inline void turn(struct frame *f)
{
    for (int i = 0; i < 6; i++) {
        __u8 byte = f->to[i];
        f->to[i] = f->from[i];
        f->from[i] = byte;
    }
    __be32 address = f->source;
    f->source = f->target;
    f->target = address;
    __be16 port = f->source_port;
    f->source_port = f->target_port;
    f->target_port = port;
}

SEC("xdp") int pass(struct xdp_md *ctx) { count(0); return XDP_PASS; }
SEC("xdp") int abort_all(struct xdp_md *ctx) { count(0); return XDP_ABORTED; }

// Datagrams from port 7 are dropped, all else passes.
SEC("xdp") int no_echo(struct xdp_md *ctx)
{
    struct frame *f = datagram((void *)(long)ctx->data, (void *)(long)ctx->data_end);
    count(f ? 1 : 0);
    return f && f->source_port == bpf_htons(7) ? XDP_DROP : XDP_PASS;
}

// The first three echoes are thrown back at who sent them, the next one may pass.
static __always_inline int bounce(struct xdp_md *ctx, int how)
{
    struct frame *f = datagram((void *)(long)ctx->data, (void *)(long)ctx->data_end);
    if (!f || f->source_port != bpf_htons(7))
        return XDP_PASS;
    if (count(2) >= 3)
        return XDP_PASS;
    turn(f);
    return how == 0 ? XDP_TX : how == 1 ? bpf_redirect(ctx->ingress_ifindex, 0) : bpf_redirect_map(&devices, 1, 0);
}
SEC("xdp") int bounce_tx(struct xdp_md *ctx) { return bounce(ctx, 0); }
SEC("xdp") int bounce_redirect(struct xdp_md *ctx) { return bounce(ctx, 1); }
SEC("xdp") int bounce_map(struct xdp_md *ctx) { return bounce(ctx, 2); }

// "hi" leaves as "ho", with its checksum put right.
SEC("tc/egress") int edit(struct __sk_buff *skb)
{
    struct frame *f = datagram((void *)(long)skb->data, (void *)(long)skb->data_end);
    if (!f || f->text[0] != 'h')
        return TC_ACT_UNSPEC;
    __u16 before = *(__u16 *)f->text, after = 'h' | 'o' << 8;
    bpf_l4_csum_replace(skb, 40, before, after, BPF_F_MARK_MANGLED_0 | 2);
    bpf_skb_store_bytes(skb, 42, &after, 2, 0);
    count(3);
    return TC_ACT_UNSPEC;
}

// Datagrams for port 9999 never leave: they come back as if the far side had sent them.
SEC("tc/egress") int reflect(struct __sk_buff *skb)
{
    struct frame *f = datagram((void *)(long)skb->data, (void *)(long)skb->data_end);
    if (!f || f->target_port != bpf_htons(9999))
        return TC_ACT_OK;
    turn(f);
    return bpf_redirect(skb->ifindex, BPF_F_INGRESS);
}

SEC("tc/ingress") int shot(struct __sk_buff *skb)
{
    struct frame *f = datagram((void *)(long)skb->data, (void *)(long)skb->data_end);
    count(skb->pkt_type == 0 ? 4 : 5);
    return f && f->source_port == bpf_htons(7) ? TC_ACT_SHOT : TC_ACT_OK;
}

// A packet socket's filter sees the Ethernet header; 20 bytes of datagrams are kept.
SEC("socket") int only_datagrams(struct __sk_buff *skb)
{
    __u16 kind;
    __u8 protocol;
    if (bpf_skb_load_bytes(skb, 12, &kind, 2) || bpf_skb_load_bytes(skb, 23, &protocol, 1))
        return 0;
    return kind == bpf_htons(0x800) && protocol == 17 ? 20 + skb->pkt_type : 0;
}

SEC("kprobe/do_nothing") int elsewhere(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
