// BCC's dialect: every kind of table and its methods.
// types: entry=KPROBE jumped=KPROBE sampled=PERF_EVENT
#include <linux/sched.h>

struct key_t { u32 pid; int stack; };
struct leaf_t { u64 count; u64 total; char name[TASK_COMM_LEN]; };
struct slot_key { u32 cpu; u64 slot; };

BPF_HASH(plain);
BPF_HASH(by_key, struct key_t, struct leaf_t, 512);
BPF_TABLE("percpu_hash", u32, u64, percpu, 128);
BPF_TABLE("lru_hash", u32, struct leaf_t, recent, 256);
BPF_ARRAY(numbers, u64, 16);
BPF_PERCPU_ARRAY(scratch, struct leaf_t, 1);
BPF_HISTOGRAM(dist);
BPF_HISTOGRAM(per_cpu_dist, struct slot_key);
BPF_STACK_TRACE(stacks, 1000);
BPF_PROG_ARRAY(next, 4);
BPF_CGROUP_ARRAY(groups, 2);
BPF_PERF_ARRAY(counters, 128);
BPF_QUEUE(pending, struct key_t, 64);
BPF_STACK(undo, u64, 64);
BPF_RINGBUF_OUTPUT(ring, 8);
BPF_PERF_OUTPUT(events);
BPF_LRU_HASH(lru, u32);
BPF_PERCPU_HASH(busy, u32);

static void note(struct leaf_t *leaf)
{
    leaf->count++;
    lock_xadd(&leaf->total, 2);
}

int entry(struct pt_regs *ctx, int fd)
{
    u64 id = bpf_get_current_pid_tgid(), *p;
    u32 pid = id >> 32, zero = 0, cpu = bpf_get_smp_processor_id();
    struct key_t key = { .pid = pid, .stack = stacks.get_stackid(ctx, BPF_F_USER_STACK) };
    struct leaf_t initial = {}, *leaf;

    plain.increment(id);
    plain.atomic_increment(id, 3);
    leaf = by_key.lookup_or_try_init(&key, &initial);
    if (leaf)
        note(leaf);
    leaf = by_key.lookup_or_init(&key, &initial);
    bpf_get_current_comm(&leaf->name, sizeof(leaf->name));
    by_key.insert(&key, &initial);
    p = percpu.lookup(&pid);
    if (p)
        (*p)++;
    else
        percpu.update(&pid, &id);
    recent.delete(&pid);
    numbers.increment(fd & 15, 2);
    numbers.atomic_increment(1);
    leaf = scratch.lookup(&zero);
    if (!leaf)
        return 0;
    leaf->count = counters.perf_read(cpu);
    struct bpf_perf_event_value reading = {};
    if (counters.perf_counter_value(cpu, &reading, sizeof(reading)) == 0)
        leaf->total = reading.counter;
    dist.increment(bpf_log2l(leaf->count));
    dist.atomic_increment(bpf_log2(leaf->total));
    struct slot_key slot = { .cpu = cpu, .slot = bpf_log2l(id) };
    per_cpu_dist.increment(slot);
    pending.push(&key, BPF_EXIST);
    u64 last;
    if (undo.pop(&last) == 0 && undo.peek(&last) == 0)
        undo.push(&last, 0);
    struct leaf_t *out = ring.ringbuf_reserve(sizeof(struct leaf_t));
    if (out) {
        *out = initial;
        if (fd < 0)
            ring.ringbuf_discard(out, 0);
        else
            ring.ringbuf_submit(out, BPF_RB_NO_WAKEUP);
    }
    ring.ringbuf_output(&initial, sizeof(initial), 0);
    events.perf_submit(ctx, leaf, sizeof(*leaf));
    if (groups.check_current_task(0) > 0)
        next.call(ctx, fd & 3);
    busy.increment(pid);
    lru.increment(pid);
    return 0;
}

int jumped(struct pt_regs *ctx)
{
    struct key_t key = {};
    if (pending.pop(&key))
        return 0;
    by_key.delete(&key);
    return 0;
}

int sampled(struct bpf_perf_event_data *ctx)
{
    u64 ip = ctx->regs.ip, key = ip & ~0xfffULL;
    plain.increment(key, ctx->sample_period);
    return stacks.get_stackid(&ctx->regs, 0);
}
