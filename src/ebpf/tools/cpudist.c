#include "common.h"
#include "histogram.h"
#include "tasks.h"

const volatile bool by_process = false;
const volatile bool by_thread = false;
const volatile bool off_cpu = false;
const volatile __u64 unit_ns = 1000;

HASH(starts, __u32, __u64, 65536);
HASH(counts, __u32, struct histogram, 10240);

static __always_inline void start(struct task_struct *task, __u64 now)
{
    __u32 tid = BPF_CORE_READ(task, pid);

    if (tid && task_wanted(task))
        bpf_map_update_elem(&starts, &tid, &now, BPF_ANY);
}

static __always_inline void stop(struct task_struct *task, __u64 now)
{
    __u32 tid = BPF_CORE_READ(task, pid), key;
    __u64 *began = bpf_map_lookup_elem(&starts, &tid);
    struct histogram *histogram;

    if (!began)
        return;
    key = by_thread ? tid : by_process ? BPF_CORE_READ(task, tgid) : 0;
    histogram = FIND_OR_MAKE(&counts, &key, &no_counts);
    if (histogram) {
        if (key && !histogram->comm[0])
            BPF_CORE_READ_STR_INTO(&histogram->comm, task, comm);
        count_in(histogram, (now - *began) / unit_ns);
    }
    bpf_map_delete_elem(&starts, &tid);
}

SEC("raw_tp/sched_switch")
int switched(__u64 *ctx)
{
    struct task_struct *from = (struct task_struct *)ctx[1], *to = (struct task_struct *)ctx[2];
    __u64 now = bpf_ktime_get_ns();

    if (off_cpu) {
        start(from, now);
        stop(to, now);
    } else {
        stop(from, now);
        start(to, now);
    }
    return 0;
}
