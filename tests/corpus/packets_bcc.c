// BCC's dialect on packets: cursors and protocol headers read by field, direct access, tunnel and checksum helpers.
// types: filter=SOCKET_FILTER classify=SCHED_CLS drop=XDP
#include <uapi/linux/bpf.h>
#include <uapi/linux/if_ether.h>
#include <uapi/linux/ip.h>
#include <uapi/linux/tcp.h>
#include <uapi/linux/pkt_cls.h>
#include <bcc/proto.h>

struct conn { u32 src, dst; u16 sport, dport; };
BPF_HASH(conns, struct conn, u64, 1024);
BPF_ARRAY(verdicts, u64, 8);

int filter(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    if (ethernet->type != 0x0800)
        return 0;
    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
    if (ip->nextp != IPPROTO_TCP || ip->hlen < 5)
        return 0;
    struct tcp_t *tcp = cursor_advance(cursor, sizeof(*tcp));
    struct conn conn = { .src = ip->src, .dst = ip->dst, .sport = tcp->src_port, .dport = tcp->dst_port };
    if (tcp->flag_syn && !tcp->flag_ack)
        conns.increment(conn);
    return load_byte(skb, 0) == 0xff ? 0 : -1;
}

int classify(struct __sk_buff *skb)
{
    u8 *cursor = 0;
    struct ethernet_t *ethernet = cursor_advance(cursor, sizeof(*ethernet));
    if (ethernet->type != 0x0800)
        return TC_ACT_OK;
    struct ip_t *ip = cursor_advance(cursor, sizeof(*ip));
    u32 old = ip->dst, new_dst = 0x0a000001;
    if (ip->nextp == IPPROTO_UDP) {
        struct udp_t *udp = cursor_advance(cursor, sizeof(*udp));
        incr_cksum_l4(&udp->crc, old, new_dst, 1);
        incr_cksum_l3(&ip->hchecksum, old, new_dst);
        ip->dst = new_dst;
        bpf_clone_redirect(skb, skb->ifindex, 0);
    }
    verdicts.increment(skb->tc_index & 7);
    return TC_ACT_OK;
}

int drop(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    u64 offset = sizeof(*eth);
    if (data + offset > data_end)
        return XDP_DROP;
    if (eth->h_proto != htons(ETH_P_IP))
        return XDP_PASS;
    struct iphdr *iph = data + offset;
    if ((void *)&iph[1] > data_end)
        return XDP_DROP;
    int index = iph->protocol & 7;
    u64 *verdict = verdicts.lookup(&index);
    if (verdict)
        *verdict += 1;
    return iph->ttl < 2 ? XDP_DROP : XDP_PASS;
}
