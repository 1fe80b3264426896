#include "common.h"

struct call {
    int target;
    int signal;
    char function[8];
};

struct sent {
    struct who who;
    int target;
    int signal;
    int result;
};

const volatile int only_signal = 0;
const volatile int only_target = 0;
const volatile bool failed_only = false;

EVENTS(struct sent);
HASH(calls, __u32, struct call, 10240);

static __always_inline int enter(int target, int signal)
{
    struct call call = { .target = target, .signal = signal };
    __u32 tid = bpf_get_current_pid_tgid();

    if ((only_signal && signal != only_signal) || (only_target && target != only_target) || !wanted())
        return 0;
    bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
    return 0;
}

static __always_inline int leave(long result)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct sent *event;

    if (!call)
        return 0;
    if (!failed_only || result < 0) {
        event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
        if (event) {
            fill_who(&event->who);
            event->target = call->target;
            event->signal = call->signal;
            event->result = result;
            bpf_ringbuf_submit(event, 0);
        } else {
            COUNT_LOST();
        }
    }
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_kill")
int enter_kill(struct trace_event_raw_sys_enter *ctx)
{
    return enter(ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_tkill")
int enter_tkill(struct trace_event_raw_sys_enter *ctx)
{
    return enter(ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_tgkill")
int enter_tgkill(struct trace_event_raw_sys_enter *ctx)
{
    return enter(ctx->args[1], ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_kill")
int exit_kill(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_tkill")
int exit_tkill(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_tgkill")
int exit_tgkill(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}
