#include "common.h"
#include "histogram.h"
#include "block.h"

struct key {
    __u32 device;               /* 0 where all disks are one histogram */
    __u32 operation;            /* REQ_OP_…, where they are told apart; ~0 else */
};

const volatile bool by_disk = false;
const volatile bool by_operation = false;
const volatile bool from_queue = false;
const volatile __u32 only_device = 0;
const volatile __u64 unit_ns = 1000;

HASH(starts, __u64, __u64, 65536);
HASH(counts, struct key, struct histogram, 1024);

static __always_inline int start(struct request *request)
{
    __u64 id = (__u64)request, now = bpf_ktime_get_ns();

    if (only_device && device_of(request) != only_device)
        return 0;
    bpf_map_update_elem(&starts, &id, &now, BPF_ANY);
    return 0;
}

static __always_inline int send(struct request *request)
{
    __u64 id = (__u64)request;

    if (from_queue && bpf_map_lookup_elem(&starts, &id))        /* one that never waited begins here */
        return 0;
    return start(request);
}

/* Before 5.11 these tracepoints had the queue as their first argument. A program that reads a second one can be
 * attached only where there is one: that is how the right one of each pair is found. */
SEC("raw_tp/block_rq_insert")
int insert_behind_queue(__u64 *ctx)
{
    return start((struct request *)ctx[1]);
}

SEC("raw_tp/block_rq_insert")
int insert(__u64 *ctx)
{
    return start((struct request *)ctx[0]);
}

SEC("raw_tp/block_rq_issue")
int issue_behind_queue(__u64 *ctx)
{
    return send((struct request *)ctx[1]);
}

SEC("raw_tp/block_rq_issue")
int issue(__u64 *ctx)
{
    return send((struct request *)ctx[0]);
}

SEC("raw_tp/block_rq_complete")
int complete(__u64 *ctx)
{
    struct request *request = (struct request *)ctx[0];
    __u64 id = (__u64)request, *began = bpf_map_lookup_elem(&starts, &id);
    struct histogram *histogram;
    struct key key = { .operation = ~0 };
    __u64 delta;

    if (!began)
        return 0;
    delta = bpf_ktime_get_ns() - *began;
    bpf_map_delete_elem(&starts, &id);
    if (by_disk)
        key.device = device_of(request);
    if (by_operation)
        key.operation = BPF_CORE_READ(request, cmd_flags) & 0xff;
    histogram = FIND_OR_MAKE(&counts, &key, &no_counts);
    if (histogram)
        count_in(histogram, delta / unit_ns);
    return 0;
}
