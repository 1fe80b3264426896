// libbpf style: CO-RE reads through task_struct, records in a ring buffer.
// needs: 5.8
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

struct event {
    __u32 pid, ppid;
    __u64 start;
    char comm[TASK_COMM_LEN];
    char parent[TASK_COMM_LEN];
    bool kernel_thread;
};

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} events SEC(".maps");

SEC("tracepoint/sched/sched_process_exit")
int on_exit(void *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->ppid = BPF_CORE_READ(task, real_parent, tgid);
    e->start = BPF_CORE_READ(task, start_time);
    e->kernel_thread = BPF_CORE_READ(task, flags) & PF_KTHREAD;
    bpf_get_current_comm(&e->comm, sizeof(e->comm));
    struct task_struct *parent = BPF_CORE_READ(task, real_parent);
    bpf_core_read_str(&e->parent, sizeof(e->parent), &parent->comm);
    if (bpf_core_field_exists(task->exit_code) && bpf_core_type_exists(struct cgroup))
        e->kernel_thread |= bpf_core_enum_value_exists(enum bpf_map_type, BPF_MAP_TYPE_HASH) ? 0 : 2;
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
