#include "common.h"
#include "block.h"

struct begun {
    struct who who;             /* whoever wanted the data: the request may be sent by a kernel thread */
    __u64 inserted_ns;
    __u64 issued_ns;
};

struct done {
    struct who who;             /* .time_ns is the end */
    __u64 queued_ns;
    __u64 latency_ns;
    __u64 sector;
    __u32 length;
    __u32 device;
    __u32 flags;
    int error;
};

const volatile __u32 only_device = 0;
const volatile __u64 at_least_ns = 0;

EVENTS(struct done);
HASH(requests, __u64, struct begun, 65536);

static __always_inline int begin(struct request *request)
{
    __u64 id = (__u64)request;
    struct begun begun = {};

    if (!wanted())
        return 0;
    fill_who(&begun.who);
    begun.inserted_ns = begun.who.time_ns;
    bpf_map_update_elem(&requests, &id, &begun, BPF_ANY);
    return 0;
}

SEC("raw_tp/block_io_start")
int io_start(__u64 *ctx)
{
    return begin((struct request *)ctx[0]);
}

/* before 6.5 */
SEC("kprobe/blk_account_io_start")
int BPF_KPROBE(account_io_start, struct request *request)
{
    return begin(request);
}

/* What is not accounted for (flushes, passthrough), and all where neither of these can be watched: the sender's. */
static __always_inline int send(struct request *request)
{
    __u64 id = (__u64)request;
    struct begun *begun = bpf_map_lookup_elem(&requests, &id);

    if (!begun) {
        begin(request);
        begun = bpf_map_lookup_elem(&requests, &id);
    }
    if (begun)
        begun->issued_ns = bpf_ktime_get_ns();
    return 0;
}

/* Before 5.11 the queue came first; a program that reads a second argument can be attached only where there is one. */
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
    __u64 id = (__u64)request, now = bpf_ktime_get_ns();
    struct begun *begun = bpf_map_lookup_elem(&requests, &id);
    __u32 device = device_of(request);
    struct done *event;

    if (!begun)
        return 0;
    if (!begun->issued_ns)
        begun->issued_ns = begun->inserted_ns;
    if ((only_device && device != only_device) || now - begun->issued_ns < at_least_ns)
        goto out;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        COUNT_LOST();
        goto out;
    }
    event->who = begun->who;
    event->who.time_ns = now;
    event->queued_ns = begun->issued_ns - begun->inserted_ns;
    event->latency_ns = now - begun->issued_ns;
    event->sector = BPF_CORE_READ(request, __sector);
    event->length = ctx[2];
    event->device = device;
    event->flags = BPF_CORE_READ(request, cmd_flags);
    event->error = ctx[1];
    bpf_ringbuf_submit(event, 0);
out:
    bpf_map_delete_elem(&requests, &id);
    return 0;
}
