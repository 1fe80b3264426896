"""C declarations of context, packet and helper-argument structs: the layouts of the kernel's user ABI, one text each.

Read once from the types of a 6.18 kernel. Bit-fields are those of a little-endian host.
"""

from __future__ import annotations

DECLARATIONS: dict[str, str] = {
    # Contexts and arguments of helpers
    "xdp_md": """\
struct xdp_md {
    __u32 data;
    __u32 data_end;
    __u32 data_meta;
    __u32 ingress_ifindex;
    __u32 rx_queue_index;
    __u32 egress_ifindex;
};
""",
    "__sk_buff": """\
struct __sk_buff {
    __u32 len;
    __u32 pkt_type;
    __u32 mark;
    __u32 queue_mapping;
    __u32 protocol;
    __u32 vlan_present;
    __u32 vlan_tci;
    __u32 vlan_proto;
    __u32 priority;
    __u32 ingress_ifindex;
    __u32 ifindex;
    __u32 tc_index;
    __u32 cb[5];
    __u32 hash;
    __u32 tc_classid;
    __u32 data;
    __u32 data_end;
    __u32 napi_id;
    __u32 family;
    __u32 remote_ip4;
    __u32 local_ip4;
    __u32 remote_ip6[4];
    __u32 local_ip6[4];
    __u32 remote_port;
    __u32 local_port;
    __u32 data_meta;
    struct bpf_flow_keys *flow_keys;
    __u64 tstamp;
    __u32 wire_len;
    __u32 gso_segs;
    struct bpf_sock *sk;
    __u32 gso_size;
    __u8 tstamp_type;
    __u64 hwtstamp;
};
""",
    "bpf_sock": """\
struct bpf_sock {
    __u32 bound_dev_if;
    __u32 family;
    __u32 type;
    __u32 protocol;
    __u32 mark;
    __u32 priority;
    __u32 src_ip4;
    __u32 src_ip6[4];
    __u32 src_port;
    __be16 dst_port;
    __u32 dst_ip4;
    __u32 dst_ip6[4];
    __u32 state;
    __s32 rx_queue_mapping;
};
""",
    "bpf_tcp_sock": """\
struct bpf_tcp_sock {
    __u32 snd_cwnd;
    __u32 srtt_us;
    __u32 rtt_min;
    __u32 snd_ssthresh;
    __u32 rcv_nxt;
    __u32 snd_nxt;
    __u32 snd_una;
    __u32 mss_cache;
    __u32 ecn_flags;
    __u32 rate_delivered;
    __u32 rate_interval_us;
    __u32 packets_out;
    __u32 retrans_out;
    __u32 total_retrans;
    __u32 segs_in;
    __u32 data_segs_in;
    __u32 segs_out;
    __u32 data_segs_out;
    __u32 lost_out;
    __u32 sacked_out;
    __u64 bytes_received;
    __u64 bytes_acked;
    __u32 dsack_dups;
    __u32 delivered;
    __u32 delivered_ce;
    __u32 icsk_retransmits;
};
""",
    "bpf_sock_tuple": """\
struct bpf_sock_tuple {
    union {
        struct {
            __be32 saddr;
            __be32 daddr;
            __be16 sport;
            __be16 dport;
        } ipv4;
        struct {
            __be32 saddr[4];
            __be32 daddr[4];
            __be16 sport;
            __be16 dport;
        } ipv6;
    };
};
""",
    "bpf_sock_addr": """\
struct bpf_sock_addr {
    __u32 user_family;
    __u32 user_ip4;
    __u32 user_ip6[4];
    __u32 user_port;
    __u32 family;
    __u32 type;
    __u32 protocol;
    __u32 msg_src_ip4;
    __u32 msg_src_ip6[4];
    struct bpf_sock *sk;
};
""",
    "bpf_sock_ops": """\
struct bpf_sock_ops {
    __u32 op;
    union {
        __u32 args[4];
        __u32 reply;
        __u32 replylong[4];
    };
    __u32 family;
    __u32 remote_ip4;
    __u32 local_ip4;
    __u32 remote_ip6[4];
    __u32 local_ip6[4];
    __u32 remote_port;
    __u32 local_port;
    __u32 is_fullsock;
    __u32 snd_cwnd;
    __u32 srtt_us;
    __u32 bpf_sock_ops_cb_flags;
    __u32 state;
    __u32 rtt_min;
    __u32 snd_ssthresh;
    __u32 rcv_nxt;
    __u32 snd_nxt;
    __u32 snd_una;
    __u32 mss_cache;
    __u32 ecn_flags;
    __u32 rate_delivered;
    __u32 rate_interval_us;
    __u32 packets_out;
    __u32 retrans_out;
    __u32 total_retrans;
    __u32 segs_in;
    __u32 data_segs_in;
    __u32 segs_out;
    __u32 data_segs_out;
    __u32 lost_out;
    __u32 sacked_out;
    __u32 sk_txhash;
    __u64 bytes_received;
    __u64 bytes_acked;
    struct bpf_sock *sk;
    void *skb_data;
    void *skb_data_end;
    __u32 skb_len;
    __u32 skb_tcp_flags;
    __u64 skb_hwtstamp;
};
""",
    "sk_msg_md": """\
struct sk_msg_md {
    void *data;
    void *data_end;
    __u32 family;
    __u32 remote_ip4;
    __u32 local_ip4;
    __u32 remote_ip6[4];
    __u32 local_ip6[4];
    __u32 remote_port;
    __u32 local_port;
    __u32 size;
    struct bpf_sock *sk;
};
""",
    "sk_reuseport_md": """\
struct sk_reuseport_md {
    void *data;
    void *data_end;
    __u32 len;
    __u32 eth_protocol;
    __u32 ip_protocol;
    __u32 bind_inany;
    __u32 hash;
    struct bpf_sock *sk;
    struct bpf_sock *migrating_sk;
};
""",
    "bpf_sysctl": """\
struct bpf_sysctl {
    __u32 write;
    __u32 file_pos;
};
""",
    "bpf_cgroup_dev_ctx": """\
struct bpf_cgroup_dev_ctx {
    __u32 access_type;
    __u32 major;
    __u32 minor;
};
""",
    "bpf_sockopt": """\
struct bpf_sockopt {
    struct bpf_sock *sk;
    void *optval;
    void *optval_end;
    __s32 level;
    __s32 optname;
    __s32 optlen;
    __s32 retval;
};
""",
    "bpf_perf_event_data": """\
struct bpf_perf_event_data {
    struct pt_regs regs;
    __u64 sample_period;
    __u64 addr;
};
""",
    "bpf_perf_event_value": """\
struct bpf_perf_event_value {
    __u64 counter;
    __u64 enabled;
    __u64 running;
};
""",
    "bpf_raw_tracepoint_args": """\
struct bpf_raw_tracepoint_args {
    __u64 args[0];
};
""",
    "bpf_sk_lookup": """\
struct bpf_sk_lookup {
    union {
        union {
            struct bpf_sock *sk;
        };
        __u64 cookie;
    };
    __u32 family;
    __u32 protocol;
    __u32 remote_ip4;
    __u32 remote_ip6[4];
    __be16 remote_port;
    __u32 local_ip4;
    __u32 local_ip6[4];
    __u32 local_port;
    __u32 ingress_ifindex;
};
""",
    "bpf_flow_keys": """\
struct bpf_flow_keys {
    __u16 nhoff;
    __u16 thoff;
    __u16 addr_proto;
    __u8 is_frag;
    __u8 is_first_frag;
    __u8 is_encap;
    __u8 ip_proto;
    __be16 n_proto;
    __be16 sport;
    __be16 dport;
    union {
        struct {
            __be32 ipv4_src;
            __be32 ipv4_dst;
        };
        struct {
            __u32 ipv6_src[4];
            __u32 ipv6_dst[4];
        };
    };
    __u32 flags;
    __be32 flow_label;
};
""",
    "bpf_fib_lookup": """\
struct bpf_fib_lookup {
    __u8 family;
    __u8 l4_protocol;
    __be16 sport;
    __be16 dport;
    union {
        __u16 tot_len;
        __u16 mtu_result;
    };
    __u32 ifindex;
    union {
        __u8 tos;
        __be32 flowinfo;
        __u32 rt_metric;
    };
    union {
        __be32 ipv4_src;
        __u32 ipv6_src[4];
    };
    union {
        __be32 ipv4_dst;
        __u32 ipv6_dst[4];
    };
    union {
        struct {
            __be16 h_vlan_proto;
            __be16 h_vlan_TCI;
        };
        __u32 tbid;
    };
    union {
        struct {
            __u32 mark;
        };
        struct {
            __u8 smac[6];
            __u8 dmac[6];
        };
    };
};
""",
    "bpf_redir_neigh": """\
struct bpf_redir_neigh {
    __u32 nh_family;
    union {
        __be32 ipv4_nh;
        __u32 ipv6_nh[4];
    };
};
""",
    "bpf_tunnel_key": """\
struct bpf_tunnel_key {
    __u32 tunnel_id;
    union {
        __u32 remote_ipv4;
        __u32 remote_ipv6[4];
    };
    __u8 tunnel_tos;
    __u8 tunnel_ttl;
    union {
        __u16 tunnel_ext;
        __be16 tunnel_flags;
    };
    __u32 tunnel_label;
    union {
        __u32 local_ipv4;
        __u32 local_ipv6[4];
    };
};
""",
    "bpf_xfrm_state": """\
struct bpf_xfrm_state {
    __u32 reqid;
    __u32 spi;
    __u16 family;
    __u16 ext;
    union {
        __u32 remote_ipv4;
        __u32 remote_ipv6[4];
    };
};
""",
    "bpf_spin_lock": """\
struct bpf_spin_lock {
    __u32 val;
};
""",
    "bpf_timer": """\
struct bpf_timer {
    __u64 __opaque[2];
} __attribute__((aligned(8)));
""",
    "bpf_dynptr": """\
struct bpf_dynptr {
    __u64 __opaque[2];
} __attribute__((aligned(8)));
""",
    "bpf_list_head": """\
struct bpf_list_head {
    __u64 __opaque[2];
} __attribute__((aligned(8)));
""",
    "bpf_list_node": """\
struct bpf_list_node {
    __u64 __opaque[3];
} __attribute__((aligned(8)));
""",
    "bpf_rb_root": """\
struct bpf_rb_root {
    __u64 __opaque[2];
} __attribute__((aligned(8)));
""",
    "bpf_rb_node": """\
struct bpf_rb_node {
    __u64 __opaque[4];
} __attribute__((aligned(8)));
""",
    "bpf_refcount": """\
struct bpf_refcount {
    __u32 __opaque[1];
};
""",
    "bpf_pidns_info": """\
struct bpf_pidns_info {
    __u32 pid;
    __u32 tgid;
};
""",
    "btf_ptr": """\
struct btf_ptr {
    void *ptr;
    __u32 type_id;
    __u32 flags;
};
""",
    "bpf_devmap_val": """\
struct bpf_devmap_val {
    __u32 ifindex;
    union {
        int fd;
        __u32 id;
    } bpf_prog;
};
""",
    "bpf_cpumap_val": """\
struct bpf_cpumap_val {
    __u32 qsize;
    union {
        int fd;
        __u32 id;
    } bpf_prog;
};
""",
    "bpf_stack_build_id": """\
struct bpf_stack_build_id {
    __s32 status;
    unsigned char build_id[20];
    union {
        __u64 offset;
        __u64 ip;
    };
};
""",
    "bpf_cgroup_storage_key": """\
struct bpf_cgroup_storage_key {
    __u64 cgroup_inode_id;
    __u32 attach_type;
};
""",
    "bpf_nf_ctx": """\
struct bpf_nf_ctx {
    const struct nf_hook_state *state;
    struct sk_buff *skb;
};
""",
    "bpf_iter_num": """\
struct bpf_iter_num {
    __u64 __opaque[1];
} __attribute__((aligned(8)));
""",
    "bpf_wq": """\
struct bpf_wq {
    __u64 __opaque[2];
} __attribute__((aligned(8)));
""",
    "bpf_lpm_trie_key": """\
struct bpf_lpm_trie_key {
    __u32 prefixlen;
    __u8 data[0];
};
""",
    "bpf_map_def": """\
struct bpf_map_def {
    unsigned int type;
    unsigned int key_size;
    unsigned int value_size;
    unsigned int max_entries;
    unsigned int map_flags;
};
""",
    # Packets, addresses, times
    "ethhdr": """\
struct ethhdr {
    unsigned char h_dest[6];
    unsigned char h_source[6];
    __be16 h_proto;
};
""",
    "iphdr": """\
struct iphdr {
    __u8 ihl : 4;
    __u8 version : 4;
    __u8 tos;
    __be16 tot_len;
    __be16 id;
    __be16 frag_off;
    __u8 ttl;
    __u8 protocol;
    __sum16 check;
    union {
        struct {
            __be32 saddr;
            __be32 daddr;
        };
        struct {
            __be32 saddr;
            __be32 daddr;
        } addrs;
    };
};
""",
    "ipv6hdr": """\
struct ipv6hdr {
    __u8 priority : 4;
    __u8 version : 4;
    __u8 flow_lbl[3];
    __be16 payload_len;
    __u8 nexthdr;
    __u8 hop_limit;
    union {
        struct {
            struct in6_addr saddr;
            struct in6_addr daddr;
        };
        struct {
            struct in6_addr saddr;
            struct in6_addr daddr;
        } addrs;
    };
};
""",
    "in6_addr": """\
struct in6_addr {
    union {
        __u8 u6_addr8[16];
        __be16 u6_addr16[8];
        __be32 u6_addr32[4];
    } in6_u;
};
""",
    "tcphdr": """\
struct tcphdr {
    __be16 source;
    __be16 dest;
    __be32 seq;
    __be32 ack_seq;
    __u16 res1 : 4;
    __u16 doff : 4;
    __u16 fin : 1;
    __u16 syn : 1;
    __u16 rst : 1;
    __u16 psh : 1;
    __u16 ack : 1;
    __u16 urg : 1;
    __u16 ece : 1;
    __u16 cwr : 1;
    __be16 window;
    __sum16 check;
    __be16 urg_ptr;
};
""",
    "udphdr": """\
struct udphdr {
    __be16 source;
    __be16 dest;
    __be16 len;
    __sum16 check;
};
""",
    "icmphdr": """\
struct icmphdr {
    __u8 type;
    __u8 code;
    __sum16 checksum;
    union {
        struct {
            __be16 id;
            __be16 sequence;
        } echo;
        __be32 gateway;
        struct {
            __be16 __unused;
            __be16 mtu;
        } frag;
        __u8 reserved[4];
    } un;
};
""",
    "icmp6hdr": """\
struct icmp6hdr {
    __u8 icmp6_type;
    __u8 icmp6_code;
    __sum16 icmp6_cksum;
    union {
        __be32 un_data32[1];
        __be16 un_data16[2];
        __u8 un_data8[4];
        struct {
            __be16 identifier;
            __be16 sequence;
        } u_echo;
    } icmp6_dataun;
};
""",
    "vlan_hdr": """\
struct vlan_hdr {
    __be16 h_vlan_TCI;
    __be16 h_vlan_encapsulated_proto;
};
""",
    "vlan_ethhdr": """\
struct vlan_ethhdr {
    union {
        struct {
            unsigned char h_dest[6];
            unsigned char h_source[6];
        };
        struct {
            unsigned char h_dest[6];
            unsigned char h_source[6];
        } addrs;
    };
    __be16 h_vlan_proto;
    __be16 h_vlan_TCI;
    __be16 h_vlan_encapsulated_proto;
};
""",
    "arphdr": """\
struct arphdr {
    __be16 ar_hrd;
    __be16 ar_pro;
    unsigned char ar_hln;
    unsigned char ar_pln;
    __be16 ar_op;
};
""",
    "ip_auth_hdr": """\
struct ip_auth_hdr {
    __u8 nexthdr;
    __u8 hdrlen;
    __be16 reserved;
    __be32 spi;
    __be32 seq_no;
    __u8 auth_data[0];
};
""",
    "ipv6_opt_hdr": """\
struct ipv6_opt_hdr {
    __u8 nexthdr;
    __u8 hdrlen;
};
""",
    "in_addr": """\
struct in_addr {
    __be32 s_addr;
};
""",
    "sockaddr": """\
struct sockaddr {
    unsigned short sa_family;
    char sa_data[14];
};
""",
    "sockaddr_in": """\
struct sockaddr_in {
    unsigned short sin_family;
    __be16 sin_port;
    struct in_addr sin_addr;
    unsigned char __pad[8];
};
""",
    "sockaddr_in6": """\
struct sockaddr_in6 {
    unsigned short sin6_family;
    __be16 sin6_port;
    __be32 sin6_flowinfo;
    struct in6_addr sin6_addr;
    __u32 sin6_scope_id;
};
""",
    "timespec64": """\
struct timespec64 {
    long long tv_sec;
    long tv_nsec;
};
""",
    "perf_event_header": """\
struct perf_event_header {
    __u32 type;
    __u16 misc;
    __u16 size;
};
""",
    "timeval": """\
struct timeval {
    long tv_sec;
    long tv_usec;
};
""",
    "timespec": """\
struct timespec {
    long tv_sec;
    long tv_nsec;
};
""",
}
"""Struct name → its C declaration. What a declaration needs is in the table too, or is only pointed to."""

ARCH_DECLARATIONS: dict[str, dict[str, str]] = {
    "x86_64": {
        "pt_regs": """\
struct pt_regs {
    unsigned long r15;
    unsigned long r14;
    unsigned long r13;
    unsigned long r12;
    unsigned long bp;
    unsigned long bx;
    unsigned long r11;
    unsigned long r10;
    unsigned long r9;
    unsigned long r8;
    unsigned long ax;
    unsigned long cx;
    unsigned long dx;
    unsigned long si;
    unsigned long di;
    unsigned long orig_ax;
    unsigned long ip;
    unsigned long cs;
    unsigned long flags;
    unsigned long sp;
    unsigned long ss;
};
""",
    },
    "aarch64": {
        "pt_regs": """\
struct pt_regs {
    __u64 regs[31];
    __u64 sp;
    __u64 pc;
    __u64 pstate;
    __u64 orig_x0;
    __s32 syscallno;
    __u32 unused2;
};
""",
        "user_pt_regs": """\
struct user_pt_regs {
    __u64 regs[31];
    __u64 sp;
    __u64 pc;
    __u64 pstate;
};
""",
    },
}
"""Architecture (``platform.machine()``'s name) → struct name → declaration."""
