// BCC's dialect: unpacked arguments, reads through kernel pointers, a hash with a struct key, a histogram, events.
#include <uapi/linux/ptrace.h>
#include <net/sock.h>
#include <linux/sched.h>

struct key_t { u32 pid; u16 family; u16 port; char comm[TASK_COMM_LEN]; };
struct data_t { u64 ts; u32 pid; u32 saddr, daddr; u16 dport; char task[TASK_COMM_LEN]; };

BPF_HASH(starts, u64, struct sock *);
BPF_HASH(counts, struct key_t);
BPF_HISTOGRAM(sizes);
BPF_PERF_OUTPUT(events);

int trace_connect(struct pt_regs *ctx, struct sock *sk)
{
    u64 id = bpf_get_current_pid_tgid();
    starts.update(&id, &sk);
    return 0;
}

int trace_return(struct pt_regs *ctx)
{
    int ret = PT_REGS_RC(ctx);
    u64 id = bpf_get_current_pid_tgid();
    struct sock **skpp = starts.lookup(&id);
    if (skpp == 0)
        return 0;
    if (ret != 0) {
        starts.delete(&id);
        return 0;
    }
    struct sock *skp = *skpp;
    struct key_t key = { .pid = id >> 32, .family = skp->__sk_common.skc_family };
    key.port = ntohs(skp->__sk_common.skc_dport);
    bpf_get_current_comm(&key.comm, sizeof(key.comm));
    counts.increment(key);
    sizes.increment(bpf_log2l(skp->sk_rcvbuf));
    struct data_t data = { .pid = id >> 32, .ts = bpf_ktime_get_ns() };
    data.saddr = skp->__sk_common.skc_rcv_saddr;
    data.daddr = skp->__sk_common.skc_daddr;
    data.dport = key.port;
    bpf_get_current_comm(&data.task, sizeof(data.task));
    events.perf_submit(ctx, &data, sizeof(data));
    starts.delete(&id);
    bpf_trace_printk("connect %d from %d\\n", data.dport, data.pid);
    return 0;
}
