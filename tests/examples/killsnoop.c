/* examples/functions/killsnoop.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct sent { __u32 pid; __s32 target, signal, result; char comm[16]; };
struct call { __s32 target, signal; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, struct call);
} signals SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct sent);
} sent SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_kill") int enter_kill(struct trace_event_raw_sys_enter *ctx)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call call = { .target = ctx->args[0], .signal = ctx->args[1] };

    bpf_map_update_elem(&signals, &tid, &call, BPF_ANY);
    return 0;
}

SEC("tracepoint/syscalls/sys_exit_kill") int exit_kill(struct trace_event_raw_sys_exit *ctx)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 tid = id;
    struct call *call = bpf_map_lookup_elem(&signals, &tid);
    struct sent *e;

    if (!call)
        return 0;
    e = bpf_ringbuf_reserve(&sent, sizeof(*e), 0);
    if (e) {
        e->pid = id >> 32;
        e->target = call->target;
        e->signal = call->signal;
        e->result = ctx->ret;
        __builtin_memset(e->comm, 0, sizeof(e->comm)); /* Linux 6.1 leaves what is behind the name */
        bpf_get_current_comm(e->comm, sizeof(e->comm));
        bpf_ringbuf_submit(e, 0);
    }
    bpf_map_delete_elem(&signals, &tid);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
