#include "common.h"
#include "histogram.h"
#include "tasks.h"
#include "stacks.h"

struct away {
    __u64 since_ns;
    struct stack_key key;
};

const volatile __u64 at_least_ns = 1000;
const volatile __u64 at_most_ns = ~0ULL;

HASH(gone, __u32, struct away, 65536);
HASH(counts, struct stack_key, __u64, 65536);
static const __u64 nothing;

SEC("raw_tp/sched_switch")
int switched(__u64 *ctx)
{
    struct task_struct *from = (struct task_struct *)ctx[1], *to = (struct task_struct *)ctx[2];
    __u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), delta, *total;
    __u32 tid = id;
    struct away away = {}, *before;

    /* The one that goes is still the one on the CPU here: its stacks can be taken. */
    if (tid && wanted()) {
        away.since_ns = now;
        away.key.pid = id >> 32;
        away.key.tid = tid;
        bpf_get_current_comm(away.key.comm, sizeof(away.key.comm));
        take_stacks(ctx, &away.key);
        bpf_map_update_elem(&gone, &tid, &away, BPF_ANY);
    }
    tid = BPF_CORE_READ(to, pid);
    before = bpf_map_lookup_elem(&gone, &tid);
    if (!before)
        return 0;
    delta = now - before->since_ns;
    if (delta >= at_least_ns && delta <= at_most_ns) {
        total = FIND_OR_MAKE(&counts, &before->key, &nothing);
        if (total)
            __sync_fetch_and_add(total, delta);
    }
    bpf_map_delete_elem(&gone, &tid);
    return 0;
}
