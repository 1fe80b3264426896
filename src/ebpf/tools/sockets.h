/* The two ends of a connection. */
#ifndef EBPF_TOOLS_SOCKETS_H
#define EBPF_TOOLS_SOCKETS_H

#define AF_INET 2
#define AF_INET6 10

struct ends {
    __u16 family;
    __u16 local_port;                   /* in this machine's byte order, both */
    __u16 remote_port;
    __u8 local[16];
    __u8 remote[16];
};

static __always_inline void fill_ends(struct ends *ends, const struct sock *sock)
{
    __builtin_memset(ends, 0, sizeof(*ends));
    ends->family = BPF_CORE_READ(sock, __sk_common.skc_family);
    ends->local_port = BPF_CORE_READ(sock, __sk_common.skc_num);
    ends->remote_port = bpf_ntohs(BPF_CORE_READ(sock, __sk_common.skc_dport));
    if (ends->family == AF_INET) {
        BPF_CORE_READ_INTO((__u32 *)ends->local, sock, __sk_common.skc_rcv_saddr);
        BPF_CORE_READ_INTO((__u32 *)ends->remote, sock, __sk_common.skc_daddr);
    } else {
        BPF_CORE_READ_INTO(&ends->local, sock, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
        BPF_CORE_READ_INTO(&ends->remote, sock, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
    }
}

#endif
