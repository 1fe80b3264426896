#include "common.h"

enum operation { MOUNT, UMOUNT, MOVE_MOUNT };

struct call {
    __u64 began_ns;
    __u64 flags;
    const char *source, *target, *type, *data;
    enum operation operation;
};

struct mounted {
    struct who who;
    __u64 latency_ns;
    __u64 flags;
    __u32 namespace;            /* the mount namespace's number */
    enum operation operation;
    int result;
    char type[16];
    char source[256];
    char target[256];
    char data[256];
};

EVENTS(struct mounted);
HASH(calls, __u32, struct call, 1024);

static __always_inline int enter(struct call *call)
{
    __u32 tid = bpf_get_current_pid_tgid();

    call->began_ns = bpf_ktime_get_ns();
    if (wanted())
        bpf_map_update_elem(&calls, &tid, call, BPF_ANY);
    return 0;
}

static __always_inline void copy(char *to, __u32 size, const char *from)
{
    to[0] = 0;
    if (from)
        bpf_probe_read_user_str(to, size, from);
}

static __always_inline int leave(long result)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct mounted *event;

    if (!call)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (event) {
        fill_who(&event->who);
        event->latency_ns = event->who.time_ns - call->began_ns;
        event->flags = call->flags;
        event->namespace = BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum);
        event->operation = call->operation;
        event->result = result;
        copy(event->type, sizeof(event->type), call->type);
        copy(event->source, sizeof(event->source), call->source);
        copy(event->target, sizeof(event->target), call->target);
        copy(event->data, sizeof(event->data), call->data);
        bpf_ringbuf_submit(event, 0);
    } else {
        COUNT_LOST();
    }
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_mount")
int enter_mount(struct trace_event_raw_sys_enter *ctx)
{
    struct call call = { .operation = MOUNT, .source = (const char *)ctx->args[0], .target = (const char *)ctx->args[1],
                         .type = (const char *)ctx->args[2], .flags = ctx->args[3],
                         .data = (const char *)ctx->args[4] };

    return enter(&call);
}

SEC("tracepoint/syscalls/sys_enter_umount")
int enter_umount(struct trace_event_raw_sys_enter *ctx)
{
    struct call call = { .operation = UMOUNT, .target = (const char *)ctx->args[0], .flags = ctx->args[1] };

    return enter(&call);
}

SEC("tracepoint/syscalls/sys_enter_move_mount")
int enter_move_mount(struct trace_event_raw_sys_enter *ctx)
{
    struct call call = { .operation = MOVE_MOUNT, .source = (const char *)ctx->args[1],
                         .target = (const char *)ctx->args[3], .flags = ctx->args[4] };

    return enter(&call);
}

SEC("tracepoint/syscalls/sys_exit_mount")
int exit_mount(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_umount")
int exit_umount(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_move_mount")
int exit_move_mount(struct trace_event_raw_sys_exit *ctx)
{
    return leave(ctx->ret);
}
