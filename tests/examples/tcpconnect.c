/* examples/functions/tcpconnect.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

struct connected { __u32 pid; __be32 source, target; __be16 port; char comm[16]; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, __u64);
} sockets SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct connected);
} connected SEC(".maps");

SEC("kprobe/tcp_v4_connect") int BPF_KPROBE(tcp_v4_connect, struct sock *sk)
{
    __u32 tid = bpf_get_current_pid_tgid();
    __u64 address = (__u64)sk;

    bpf_map_update_elem(&sockets, &tid, &address, BPF_ANY);
    return 0;
}

SEC("kretprobe/tcp_v4_connect") int BPF_KRETPROBE(tcp_v4_connected, int ret)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 tid = id;
    __u64 *address = bpf_map_lookup_elem(&sockets, &tid);
    struct connected *e;
    struct sock *sk;

    if (!address)
        return 0;
    sk = (void *)*address;
    bpf_map_delete_elem(&sockets, &tid);
    if (ret)
        return 0;
    e = bpf_ringbuf_reserve(&connected, sizeof(*e), 0);
    if (!e)
        return 0;
    __builtin_memset(e, 0, sizeof(*e));
    e->pid = id >> 32;
    e->source = BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr);
    e->target = BPF_CORE_READ(sk, __sk_common.skc_daddr);
    e->port = BPF_CORE_READ(sk, __sk_common.skc_dport);
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
