"""A program that uses `struct sock` and `struct request`, up to the loaded program. Runs under BCC and under us
alike.
"""

from bcc import BPF

TEXT = r"""
#include <uapi/linux/ptrace.h>
#include <net/sock.h>
#include <linux/blk-mq.h>
#include <bcc/proto.h>

struct event_t {
    u64 ts;
    u32 saddr, daddr;
    u16 lport, dport;
    u32 len;
    u64 sector;
    char task[TASK_COMM_LEN];
};
BPF_HASH(start, struct request *);
BPF_HASH(socks, u32, struct sock *);
BPF_PERF_OUTPUT(events);

int trace_connect(struct pt_regs *ctx, struct sock *sk) {
    u32 tid = bpf_get_current_pid_tgid();
    socks.update(&tid, &sk);
    return 0;
}

int trace_connect_return(struct pt_regs *ctx) {
    u32 tid = bpf_get_current_pid_tgid();
    struct sock **skpp = socks.lookup(&tid);
    if (skpp == 0)
        return 0;
    struct sock *sk = *skpp;
    struct event_t event = {};
    event.ts = bpf_ktime_get_ns();
    event.saddr = sk->__sk_common.skc_rcv_saddr;
    event.daddr = sk->__sk_common.skc_daddr;
    event.lport = sk->__sk_common.skc_num;
    u16 dport = sk->__sk_common.skc_dport;
    event.dport = ntohs(dport);
    bpf_get_current_comm(&event.task, sizeof(event.task));
    events.perf_submit(ctx, &event, sizeof(event));
    socks.delete(&tid);
    return 0;
}

int trace_start(struct pt_regs *ctx, struct request *req) {
    u64 ts = bpf_ktime_get_ns();
    start.update(&req, &ts);
    return 0;
}

int trace_done(struct pt_regs *ctx, struct request *req) {
    u64 *tsp = start.lookup(&req);
    if (tsp == 0)
        return 0;
    struct event_t event = {};
    event.ts = bpf_ktime_get_ns() - *tsp;
    event.len = req->__data_len;
    event.sector = req->__sector;
    events.perf_submit(ctx, &event, sizeof(event));
    start.delete(&req);
    return 0;
}
"""

b = BPF(text=TEXT)
for name in ("trace_connect", "trace_connect_return", "trace_start", "trace_done"):
    b.load_func(name, BPF.KPROBE)
