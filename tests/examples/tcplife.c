/* examples/functions/tcplife.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_core_read.h>

struct life { __u32 pid; __be32 source, target; __u16 source_port, target_port; __u64 ns; char comm[16]; };
struct owner { __u32 pid; char comm[16]; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u64);
    __type(value, __u64);
} born SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u64);
    __type(value, struct owner);
} owners SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct life);
} lives SEC(".maps");

SEC("raw_tracepoint/inet_sock_set_state") int set_state(struct bpf_raw_tracepoint_args *ctx)
{
    struct sock *sk = (void *)ctx->args[0];
    int new = ctx->args[2];
    __u64 key = (__u64)sk, now, *start;
    struct owner *owner;
    struct life life = {};

    if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || BPF_CORE_READ(sk, __sk_common.skc_family) != 2)
        return 0;
    if (new < TCP_FIN_WAIT1) {
        now = bpf_ktime_get_ns();
        bpf_map_update_elem(&born, &key, &now, BPF_ANY);
    }
    if (new == TCP_SYN_SENT || new == TCP_LAST_ACK) {
        struct owner us = { .pid = bpf_get_current_pid_tgid() >> 32 };

        bpf_get_current_comm(us.comm, sizeof(us.comm));
        bpf_map_update_elem(&owners, &key, &us, BPF_ANY);
    }
    if (new != TCP_CLOSE)
        return 0;
    start = bpf_map_lookup_elem(&born, &key);
    if (!start)
        return 0;
    life.ns = bpf_ktime_get_ns() - *start;
    bpf_map_delete_elem(&born, &key);
    owner = bpf_map_lookup_elem(&owners, &key);
    life.source = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
    life.target = BPF_CORE_READ(sk, __sk_common.skc_daddr);
    life.source_port = BPF_CORE_READ(sk, __sk_common.skc_num);
    life.target_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
    if (owner) {
        life.pid = owner->pid;
        __builtin_memcpy(life.comm, owner->comm, sizeof(life.comm));
    } else {
        life.pid = bpf_get_current_pid_tgid() >> 32;
        bpf_get_current_comm(life.comm, sizeof(life.comm));
    }
    bpf_ringbuf_output(&lives, &life, sizeof(life), 0);
    bpf_map_delete_elem(&owners, &key);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
