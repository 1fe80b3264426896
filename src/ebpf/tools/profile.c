#include "common.h"
#include "histogram.h"
#include "stacks.h"

const volatile bool idle_too = false;

HASH(counts, struct stack_key, __u64, 65536);
static const __u64 nothing;

SEC("perf_event")
int sample(struct bpf_perf_event_data *ctx)
{
    __u64 id = bpf_get_current_pid_tgid(), *total;
    struct stack_key key = { .pid = id >> 32, .tid = id };

    if ((!key.tid && !idle_too) || !wanted())
        return 0;
    bpf_get_current_comm(key.comm, sizeof(key.comm));
    take_stacks(ctx, &key);
    total = FIND_OR_MAKE(&counts, &key, &nothing);
    if (total)
        __sync_fetch_and_add(total, 1);
    return 0;
}
