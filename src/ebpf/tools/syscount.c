#include "common.h"
#include "histogram.h"

struct key {
    __u32 pid;                  /* 0 where calls are counted, not processes' calls */
    int call;                   /* -1 where processes are counted */
};

struct total {
    __u64 count;
    __u64 time_ns;
    char comm[16];
};

struct began {
    __u64 time_ns;
    int call;
};

const volatile bool by_process = false;
const volatile bool failed_only = false;
const volatile int only_error = 0;
const volatile int only_call = -1;

HASH(totals, struct key, struct total, 10240);
HASH(calls, __u32, struct began, 65536);
static const struct total no_total;

SEC("tracepoint/raw_syscalls/sys_enter")
int enter(struct trace_event_raw_sys_enter *ctx)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct began began = { .call = ctx->id };

    if ((only_call >= 0 && began.call != only_call) || !wanted())
        return 0;
    began.time_ns = bpf_ktime_get_ns();
    bpf_map_update_elem(&calls, &tid, &began, BPF_ANY);
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int leave(struct trace_event_raw_sys_exit *ctx)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 tid = id;
    struct began *began = bpf_map_lookup_elem(&calls, &tid);
    struct total *total;
    struct key key = {};

    if (!began)
        return 0;
    if ((!failed_only || (ctx->ret < 0 && ctx->ret >= -4095)) && (!only_error || ctx->ret == -only_error)) {
        key.pid = by_process ? id >> 32 : 0;
        key.call = by_process ? -1 : began->call;
        total = FIND_OR_MAKE(&totals, &key, &no_total);
        if (total) {
            __sync_fetch_and_add(&total->count, 1);
            __sync_fetch_and_add(&total->time_ns, bpf_ktime_get_ns() - began->time_ns);
            if (by_process && !total->comm[0])
                bpf_get_current_comm(total->comm, sizeof(total->comm));
        }
    }
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}
