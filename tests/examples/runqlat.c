/* examples/functions/runqlat.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __s32);
    __type(value, __u64);
} woken SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u64);
} waited SEC(".maps");

static __u32 log2l(__u64 v)
{
    __u32 r = 0;

#define HALVE(n) if (v >> n) { v >>= n; r += n; }
    HALVE(32) HALVE(16) HALVE(8) HALVE(4) HALVE(2) HALVE(1)
    return r;
}

static int wake(struct task_struct *task)
{
    __s32 pid = task->pid;
    __u64 now;

    if (pid) {
        now = bpf_ktime_get_ns();
        bpf_map_update_elem(&woken, &pid, &now, BPF_ANY);
    }
    return 0;
}

SEC("tp_btf/sched_wakeup") int BPF_PROG(sched_wakeup, struct task_struct *task)
{
    return wake(task);
}

SEC("tp_btf/sched_wakeup_new") int BPF_PROG(sched_wakeup_new, struct task_struct *task)
{
    return wake(task);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(sched_switch, bool preempt, struct task_struct *previous, struct task_struct *following)
{
    __s32 pid = following->pid;
    __u64 *start, us, *n;
    __u32 slot;

    if (preempt)
        wake(previous);
    start = bpf_map_lookup_elem(&woken, &pid);
    if (!start)
        return 0;
    us = (bpf_ktime_get_ns() - *start) / 1000;
    slot = log2l(us);
    n = bpf_map_lookup_elem(&waited, &slot);
    if (n)
        *n += 1;
    bpf_map_delete_elem(&woken, &pid);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
