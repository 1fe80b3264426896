/* examples/functions/exitsnoop.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct ended { __u32 pid; __s32 ppid, code; __u64 age_ns; char comm[16]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct ended);
} ended SEC(".maps");

SEC("tracepoint/sched/sched_process_exit") int process_exit(void *ctx)
{
    __u64 id = bpf_get_current_pid_tgid();
    struct task_struct *task;
    struct ended *e;

    if (id >> 32 != (__u32)id)
        return 0;
    e = bpf_ringbuf_reserve(&ended, sizeof(*e), 0);
    if (!e)
        return 0;
    __builtin_memset(e, 0, sizeof(*e));
    task = (void *)bpf_get_current_task();
    e->pid = id >> 32;
    e->ppid = BPF_CORE_READ(task, real_parent, tgid);
    e->code = BPF_CORE_READ(task, exit_code);
    e->age_ns = bpf_ktime_get_ns() - BPF_CORE_READ(task, start_time);
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
