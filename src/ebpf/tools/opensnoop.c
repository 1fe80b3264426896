#include "common.h"

struct call {
    const char *path;
    int flags;
    unsigned int mode;
};

struct opened {
    struct who who;
    int result;                 /* a descriptor, or an error number below zero */
    int flags;
    unsigned int mode;
    char path[256];
};

const volatile bool failed_only = false;

EVENTS(struct opened);
HASH(calls, __u32, struct call, 10240);

static __always_inline int enter(const char *path, int flags, unsigned int mode)
{
    struct call call = { .path = path, .flags = flags, .mode = mode };
    __u32 tid = bpf_get_current_pid_tgid();

    if (wanted())
        bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
    return 0;
}

/* The path is read at the end: the kernel has it in memory by then, whatever was paged out before. */
static __always_inline int leave(long result)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct opened *event;

    if (!call)
        return 0;
    if (!failed_only || result < 0) {
        event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
        if (event) {
            fill_who(&event->who);
            event->result = result;
            event->flags = call->flags;
            event->mode = call->mode;
            event->path[0] = 0;
            bpf_probe_read_user_str(event->path, sizeof(event->path), call->path);
            bpf_ringbuf_submit(event, 0);
        } else {
            COUNT_LOST();
        }
    }
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_open")
int enter_open(struct trace_event_raw_sys_enter *ctx)
{
    return enter((const char *)ctx->args[0], ctx->args[1], ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(struct trace_event_raw_sys_enter *ctx)
{
    return enter((const char *)ctx->args[1], ctx->args[2], ctx->args[3]);
}

SEC("tracepoint/syscalls/sys_enter_openat2")
int enter_openat2(struct trace_event_raw_sys_enter *ctx)
{
    struct open_how how = {};

    bpf_probe_read_user(&how, sizeof(how), (const void *)ctx->args[2]);
    return enter((const char *)ctx->args[1], how.flags, how.mode);
}

SEC("tracepoint/syscalls/sys_exit_open")
int exit_open(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_openat")
int exit_openat(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_openat2")
int exit_openat2(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}
