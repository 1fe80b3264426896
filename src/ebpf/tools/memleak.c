#include "common.h"
#include "stacks.h"

struct block {
    __u64 size;
    __u64 time_ns;
    __u64 stack;
    __u32 pid;
};

struct place {
    __u64 pid;                  /* addresses are a process's own */
    __u64 address;
};

struct call {
    __u64 size;
    __u64 where;                /* posix_memalign: where it puts the address */
    __u64 old;                  /* realloc: what it takes back */
    struct stack room;          /* the thread's own: it may be put off its CPU here */
};

const volatile __u64 at_least = 0;
const volatile __u64 at_most = ~0ULL;
const volatile __u64 every = 1;
__u64 seen = 0;
static const struct call no_call;

HASH(calls, __u32, struct call, 10240);
HASH(blocks, struct place, struct block, 1000000);

static __always_inline int enter(__u64 size, __u64 where, __u64 old)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call *call;
    __u64 number;

    if (size < at_least || size > at_most || !wanted())
        return 0;
    if (every > 1) {
        /* Two threads may see the same number; adding and reading in one step takes Linux 5.12. */
        number = seen;
        __sync_fetch_and_add(&seen, 1);
        if (number % every)
            return 0;
    }
    bpf_map_update_elem(&calls, &tid, &no_call, BPF_ANY);
    call = bpf_map_lookup_elem(&calls, &tid);
    if (!call)
        return 0;
    call->size = size;
    call->where = where;
    call->old = old;
    return 0;
}

/* ROOM: of a call of a program; NULL for the kernel's own. */
static __always_inline int keep(void *ctx, __u64 address, __u64 size, struct stack *room)
{
    struct place place = { .pid = room ? bpf_get_current_pid_tgid() >> 32 : 0, .address = address };
    struct block block = { .size = size, .time_ns = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() >> 32 };

    block.stack = room ? keep_stack_in(ctx, room, BPF_F_USER_STACK) : keep_stack(ctx, 0);
    if (bpf_map_update_elem(&blocks, &place, &block, BPF_ANY))
        COUNT_LOST();
    return 0;
}

static __always_inline int leave(void *ctx, __u64 result)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct place place = { .pid = bpf_get_current_pid_tgid() >> 32 };

    if (!call)
        return 0;
    if (call->where) {
        if (result || bpf_probe_read_user(&result, sizeof(result), (void *)call->where))
            goto out;
    }
    if (!result || result == ~0ULL)
        goto out;
    if (call->old) {
        place.address = call->old;
        bpf_map_delete_elem(&blocks, &place);
    }
    keep(ctx, result, call->size, &call->room);
out:
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}

static __always_inline int forget(__u64 address, bool user)
{
    struct place place = { .pid = user ? bpf_get_current_pid_tgid() >> 32 : 0, .address = address };

    if (address)
        bpf_map_delete_elem(&blocks, &place);
    return 0;
}

SEC("uprobe")
int BPF_UPROBE(enter_malloc, unsigned long size)
{
    return enter(size, 0, 0);
}

SEC("uprobe")
int BPF_UPROBE(enter_calloc, unsigned long count, unsigned long size)
{
    return enter(count * size, 0, 0);
}

SEC("uprobe")
int BPF_UPROBE(enter_realloc, unsigned long old, unsigned long size)
{
    return enter(size, 0, old);
}

SEC("uprobe")
int BPF_UPROBE(enter_posix_memalign, unsigned long where, unsigned long alignment, unsigned long size)
{
    return enter(size, where, 0);
}

SEC("uprobe")
int BPF_UPROBE(enter_aligned_alloc, unsigned long alignment, unsigned long size)
{
    return enter(size, 0, 0);
}

SEC("uretprobe")
int BPF_URETPROBE(leave_any, unsigned long result)
{
    return leave(ctx, result);
}

SEC("uprobe")
int BPF_UPROBE(enter_free, unsigned long address)
{
    return forget(address, true);
}

/* The kernel's own. Both tracepoints have begun with these fields since long before 5.10, under various names. */
struct kernel_block {
    __u64 entry;
    __u64 call_site;
    __u64 address;
    __u64 requested;
    __u64 size;
};

SEC("tracepoint/kmem/kmalloc")
int kmalloc(struct kernel_block *ctx)
{
    if (ctx->size < at_least || ctx->size > at_most || !wanted())
        return 0;
    return keep(ctx, ctx->address, ctx->size, NULL);
}

SEC("tracepoint/kmem/kfree")
int kfree(struct kernel_block *ctx)
{
    return forget(ctx->address, false);
}
