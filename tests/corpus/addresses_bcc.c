// BCC's dialect: IPv6 addresses as unsigned __int128, in keys, in records and read from the kernel; #ifdef'd families.
#include <net/sock.h>
#include <net/inet_sock.h>
#include <bcc/proto.h>

struct flow_key {
    unsigned __int128 saddr;
    unsigned __int128 daddr;
    u16 lport, dport;
    u32 pid;
};
struct event_t {
    u64 ts_us;
    u32 pid;
    unsigned __int128 saddr, daddr;
    u64 ip;
    u16 port;
    char task[TASK_COMM_LEN];
};
BPF_HASH(bytes, struct flow_key);
BPF_PERF_OUTPUT(opened);

int on_send(struct pt_regs *ctx, struct sock *sk, struct msghdr *msg, size_t size)
{
    struct flow_key key = { .pid = bpf_get_current_pid_tgid() >> 32 };
    u16 family = sk->__sk_common.skc_family;
    if (family == AF_INET6) {
        bpf_probe_read_kernel(&key.saddr, sizeof(key.saddr), sk->__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr32);
        bpf_probe_read_kernel(&key.daddr, sizeof(key.daddr), &sk->__sk_common.skc_v6_daddr);
    } else if (family == AF_INET) {
        key.saddr = ((unsigned __int128)0xffff << 32) | ntohl(sk->__sk_common.skc_rcv_saddr);
        key.daddr = ((unsigned __int128)0xffff << 32) | ntohl(sk->__sk_common.skc_daddr);
    } else {
        return 0;
    }
    struct inet_sock *inet = (struct inet_sock *)sk;
    key.lport = sk->__sk_common.skc_num;
    key.dport = ntohs(inet->inet_dport);
    bytes.increment(key, size);
    struct event_t event = { .ts_us = bpf_ktime_get_ns() / 1000, .pid = key.pid, .ip = family == AF_INET ? 4 : 6 };
    event.saddr = key.saddr;
    event.daddr = key.daddr;
    event.port = key.lport + ((u64)(key.daddr >> 64) == 0 ? 0 : key.dport);
    bpf_get_current_comm(&event.task, sizeof(event.task));
    opened.perf_submit(ctx, &event, sizeof(event));
    return 0;
}
