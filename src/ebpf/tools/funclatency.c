#include "common.h"
#include "histogram.h"

struct call {
    __u32 tid;
    __u32 depth;                /* functions that call themselves */
};

const volatile __u64 unit_ns = 1;
const volatile bool by_process = false;

HASH(starts, struct call, __u64, 65536);
HASH(depths, __u32, __u32, 65536);
HASH(counts, __u32, struct histogram, 10240);

static __always_inline int enter(void)
{
    struct call call = { .tid = bpf_get_current_pid_tgid() };
    __u64 now = bpf_ktime_get_ns();
    __u32 *depth, next;

    if (!wanted())
        return 0;
    depth = bpf_map_lookup_elem(&depths, &call.tid);
    next = depth ? *depth + 1 : 1;
    call.depth = next;
    bpf_map_update_elem(&starts, &call, &now, BPF_ANY);
    bpf_map_update_elem(&depths, &call.tid, &next, BPF_ANY);
    return 0;
}

static __always_inline int leave(void)
{
    __u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns(), *began;
    struct call call = { .tid = id };
    __u32 *depth = bpf_map_lookup_elem(&depths, &call.tid), key, before;
    struct histogram *histogram;

    if (!depth)
        return 0;
    call.depth = *depth;
    before = call.depth - 1;
    if (before)
        bpf_map_update_elem(&depths, &call.tid, &before, BPF_ANY);
    else
        bpf_map_delete_elem(&depths, &call.tid);
    began = bpf_map_lookup_elem(&starts, &call);
    if (!began)
        return 0;
    key = by_process ? id >> 32 : 0;
    histogram = FIND_OR_MAKE(&counts, &key, &no_counts);
    if (histogram) {
        if (by_process && !histogram->comm[0])
            bpf_get_current_comm(histogram->comm, sizeof(histogram->comm));
        count_in(histogram, (now - *began) / unit_ns);
    }
    bpf_map_delete_elem(&starts, &call);
    return 0;
}

SEC("kprobe")
int enter_kernel(struct pt_regs *ctx)
{
    return enter();
}

SEC("kretprobe")
int leave_kernel(struct pt_regs *ctx)
{
    return leave();
}

SEC("uprobe")
int enter_user(struct pt_regs *ctx)
{
    return enter();
}

SEC("uretprobe")
int leave_user(struct pt_regs *ctx)
{
    return leave();
}
