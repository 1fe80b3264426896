/* examples/functions/opensnoop.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct opened { __u32 pid, uid; __s32 result, flags; char comm[16]; char path[256]; };
struct call { __u64 path; __s32 flags; };

const volatile __u32 only_pid = 0;

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, struct call);
} calls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct opened);
} opened SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_openat") int enter_openat(struct trace_event_raw_sys_enter *ctx)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 tid = id;
    struct call call = {};

    if (only_pid && only_pid != id >> 32)
        return 0;
    call.path = ctx->args[1];
    call.flags = ctx->args[2];
    bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
    return 0;
}

SEC("tracepoint/syscalls/sys_exit_openat") int exit_openat(struct trace_event_raw_sys_exit *ctx)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 tid = id;
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct opened *e;

    if (!call)
        return 0;
    e = bpf_ringbuf_reserve(&opened, sizeof(*e), 0);
    if (e) {
        __builtin_memset(e->path, 0, sizeof(e->path));
        e->pid = id >> 32;
        e->uid = bpf_get_current_uid_gid();
        e->result = ctx->ret;
        e->flags = call->flags;
        __builtin_memset(e->comm, 0, sizeof(e->comm)); /* Linux 6.1 leaves what is behind the name */
        bpf_get_current_comm(e->comm, sizeof(e->comm));
        bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)call->path);
        bpf_ringbuf_submit(e, 0);
    }
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
