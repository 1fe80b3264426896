/* examples/functions/execsnoop.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct executed { __u32 pid; __s32 ppid; __u32 uid; char comm[16]; char path[128]; char argument[64]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct executed);
} executed SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve") int execve(struct trace_event_raw_sys_enter *ctx)
{
    const char *path = (const char *)ctx->args[0], *first = 0, **argv = (const char **)ctx->args[1];
    struct task_struct *task = (void *)bpf_get_current_task();
    struct executed *e;

    bpf_probe_read_user(&first, sizeof(first), &argv[1]);
    e = bpf_ringbuf_reserve(&executed, sizeof(*e), 0);
    if (!e)
        return 0;
    __builtin_memset(e, 0, sizeof(*e));
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->ppid = BPF_CORE_READ(task, real_parent, tgid);
    e->uid = bpf_get_current_uid_gid();
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_probe_read_user_str(e->path, sizeof(e->path), path);
    bpf_probe_read_user_str(e->argument, sizeof(e->argument), first);
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
