#include "common.h"
#include "histogram.h"
#include "tasks.h"

const volatile bool by_process = false;
const volatile bool by_thread = false;
const volatile __u64 unit_ns = 1000;

HASH(starts, __u32, __u64, 65536);
HASH(counts, __u32, struct histogram, 10240);

static __always_inline int waits(struct task_struct *task)
{
    __u32 tid = BPF_CORE_READ(task, pid);
    __u64 now = bpf_ktime_get_ns();

    if (tid && task_wanted(task))       /* 0: nothing to do */
        bpf_map_update_elem(&starts, &tid, &now, BPF_ANY);
    return 0;
}

SEC("raw_tp/sched_wakeup")
int wakeup(__u64 *ctx)
{
    return waits((struct task_struct *)ctx[0]);
}

SEC("raw_tp/sched_wakeup_new")
int wakeup_new(__u64 *ctx)
{
    return waits((struct task_struct *)ctx[0]);
}

SEC("raw_tp/sched_switch")
int switched(__u64 *ctx)
{
    struct task_struct *from = (struct task_struct *)ctx[1], *to = (struct task_struct *)ctx[2];
    struct histogram *histogram;
    __u32 tid, key;
    __u64 *began, delta;

    if (!state_of(from))                /* runnable, yet taken off: it waits again */
        waits(from);
    tid = BPF_CORE_READ(to, pid);
    began = bpf_map_lookup_elem(&starts, &tid);
    if (!began)
        return 0;
    delta = bpf_ktime_get_ns() - *began;
    bpf_map_delete_elem(&starts, &tid);
    key = by_thread ? tid : by_process ? BPF_CORE_READ(to, tgid) : 0;
    histogram = FIND_OR_MAKE(&counts, &key, &no_counts);
    if (!histogram)
        return 0;
    if (key && !histogram->comm[0])
        BPF_CORE_READ_STR_INTO(&histogram->comm, to, comm);
    count_in(histogram, delta / unit_ns);
    return 0;
}
