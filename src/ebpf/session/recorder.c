// Runs beside the program that is recorded, on the same hook, and sends what that program can see: context, task, and
// pieces of the memory behind pointers. Programs of XDP, perf events and raw tracepoints are called from here: of those,
// two beside each other do not see the same events.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PIECES 32
#define USER_END (1ULL << 47)
#define MAX_CONTEXT 256
#define MAX_WORDS 8
#define SLOTS 4

#ifndef PIECE_BYTES
#define PIECE_BYTES 256
#endif

struct piece { __u64 address; __u32 size, unused; __u8 bytes[PIECE_BYTES]; };
struct record {
    __u32 attachment, cpu;
    __u64 pid_tgid, uid_gid, time, cgroup;
    __u8 comm[16];
    __u32 context_bytes, packet_bytes;
    __u8 context[MAX_CONTEXT];
    struct piece pieces[PIECES]; // or the packet
};
#define HEAD __builtin_offsetof(struct record, pieces)
#define MAX_PACKET 8191

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 16 << 20); } recorded SEC(".maps");
// A record is put together in one of a CPU's slots. While it is, an interrupt's program may want one, and (of uprobes, since
// 7.0 of raw tracepoints) that of another task, which may not be done first: so slots are taken, not counted up and down.
struct slot { __u32 cpu, number; };
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, SLOTS); __type(key, __u32); __type(value, struct record); } scratch SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16384); __type(key, struct slot); __type(value, __u8); } taken SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64); } missed SEC(".maps");
struct saved { __u64 words[MAX_WORDS]; };
struct { __uint(type, BPF_MAP_TYPE_LRU_HASH); __uint(max_entries, 16384); __type(key, __u32); __type(value, struct saved); } entered SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 4); } next SEC(".maps");

const volatile __u32 attachment = 0;
const volatile __u32 context_bytes = 0;
const volatile __u32 first_word = 0; // of the context, whose words may be pointers
const volatile __u32 words = 0;
const volatile __u32 wrapper = 0;    // the first argument points to the user's registers
const volatile __u32 leaves = 0;     // the arguments are those of when it was entered

static __always_inline void miss(void)
{
    __u32 key = 0;
    __u64 *count = bpf_map_lookup_elem(&missed, &key);
    if (count)
        __sync_fetch_and_add(count, 1);
}

static __always_inline struct record *begin(struct slot *slot)
{
    __u8 one = 1;
    slot->cpu = bpf_get_smp_processor_id();
#pragma unroll
    for (__u32 i = 0; i < SLOTS; i++) {
        slot->number = i;
        if (bpf_map_update_elem(&taken, slot, &one, BPF_NOEXIST))
            continue;
        struct record *r = bpf_map_lookup_elem(&scratch, &slot->number);
        if (!r)
            break;
        r->attachment = attachment;
        r->cpu = slot->cpu;
        r->time = bpf_ktime_get_ns();
        r->packet_bytes = 0xffffffff;
        r->context_bytes = context_bytes;
        return r;
    }
    miss();
    return 0;
}

static __always_inline void send(struct record *r, __u64 size)
{
    if (bpf_ringbuf_output(&recorded, r, size, 0))
        miss();
}

static __always_inline void end(struct slot *slot)
{
    bpf_map_delete_elem(&taken, slot);
}

// A piece of memory, as much of it as there is on its page; how many pieces there are now.
static __noinline __u32 look(struct record *r, __u32 n, __u64 address)
{
    struct piece *p;
    __u32 size = PIECE_BYTES;
    long failed;
    if (!r || n >= PIECES || address < 4096)
        return n;
    p = &r->pieces[n & (PIECES - 1)];
    if (address < USER_END)
        failed = bpf_probe_read_user(p->bytes, PIECE_BYTES, (void *)address);
    else
        failed = bpf_probe_read_kernel(p->bytes, PIECE_BYTES, (void *)address);
    if (failed) {
        size = 4096 - (address & 4095);
        if (size >= PIECE_BYTES)
            return n;
        size &= PIECE_BYTES - 1;
        if (address < USER_END)
            failed = bpf_probe_read_user(p->bytes, size, (void *)address);
        else
            failed = bpf_probe_read_kernel(p->bytes, size, (void *)address);
        if (failed)
            return n;
    }
    p->address = address;
    p->size = size;
    return n + 1;
}

static __always_inline __u64 word_at(struct record *r, __u32 index)
{
    return *(__u64 *)(r->context + (index * 8 & (MAX_CONTEXT - 8)));
}

// The memory behind arguments, and behind the first words of what they point to (argv's strings).
static __always_inline __u32 follow(struct record *r, __u32 n, struct saved *arguments)
{
    for (int i = 0; i < 6; i++)
        n = look(r, n, arguments->words[i]);
    return n;
}

static __always_inline __u32 deeper(struct record *r, __u32 n, __u32 from)
{
    __u32 end = n;
    for (__u32 i = 0; i < 6; i++) {
        __u32 at = from + i;
        if (at >= end || at >= PIECES)
            break;
        struct piece *p = &r->pieces[at & (PIECES - 1)];
        if (p->address >= USER_END)
            continue;
        for (int w = 0; w < 4; w++) {
            __u64 value = *(__u64 *)(p->bytes + w * 8);
            if (value >= 65536 && value < USER_END)
                n = look(r, n, value);
        }
    }
    return n;
}

static __always_inline void finish(void *ctx, struct record *r)
{
    struct saved arguments = {};
    __u32 n = 0, thread;
    bpf_probe_read_kernel(r->context, MAX_CONTEXT, ctx);
    r->pid_tgid = bpf_get_current_pid_tgid();
    r->uid_gid = bpf_get_current_uid_gid();
    r->cgroup = bpf_get_current_cgroup_id();
    bpf_get_current_comm(r->comm, sizeof(r->comm));
    thread = r->pid_tgid;
    if (leaves) {
        struct saved *before = bpf_map_lookup_elem(&entered, &thread);
        if (before)
            arguments = *before;
    } else {
#if defined(__TARGET_ARCH_arm64)
        const __u32 order[6] = { 0, 1, 2, 3, 4, 5 }, entry[6] = { 0, 1, 2, 3, 4, 5 };
#else
        const __u32 order[6] = { 14, 13, 12, 11, 9, 8 }, entry[6] = { 14, 13, 12, 7, 9, 8 }; // di si dx cx|r10 r8 r9
#endif
        for (__u32 i = 0; i < 6; i++)
            arguments.words[i] = words ? (i < words ? word_at(r, first_word + i) : 0) : word_at(r, order[i]);
        if (wrapper) {
            __u64 regs = arguments.words[0];
            n = look(r, n, regs);
            if (n == 1) {
                for (__u32 i = 0; i < 6; i++)
                    arguments.words[i] = *(__u64 *)(r->pieces[0].bytes + entry[i] * 8);
            }
        }
        bpf_map_update_elem(&entered, &thread, &arguments, BPF_ANY);
    }
    __u32 from = n;
    n = follow(r, n, &arguments);
    n = deeper(r, n, from);
    if (n > PIECES)
        n = PIECES;
    send(r, HEAD + n * sizeof(struct piece));
}

static __always_inline void record(void *ctx)
{
    struct slot slot = {};
    struct record *r = begin(&slot);
    if (!r)
        return;
    finish(ctx, r);
    end(&slot);
}

SEC("kprobe") int record_kprobe(void *ctx)
{
    record(ctx);
    return 0;
}

SEC("tracepoint") int record_tracepoint(void *ctx)
{
    record(ctx);
    return 0;
}

SEC("raw_tp") int record_raw_tracepoint(void *ctx)
{
    record(ctx);
    // A raw tracepoint's program does not run while it runs already on this CPU: for an interrupt or (7.0) another task.
    bpf_tail_call(ctx, &next, 0);
    return 0;
}

SEC("perf_event") int record_perf_event(struct bpf_perf_event_data *ctx)
{
    struct slot slot = {};
    struct record *r = begin(&slot);
    if (!r)
        goto next;
    // Word by word, at constant offsets: the context that a program sees is not how the kernel keeps it.
#define WORD(n) *(__u64 *)(r->context + (n) * 8) = *(__u64 *)((__u8 *)ctx + (n) * 8);
#define WORDS(n) WORD(n) WORD(n + 1) WORD(n + 2) WORD(n + 3) WORD(n + 4) WORD(n + 5) WORD(n + 6)
    WORDS(0) WORDS(7) WORDS(14)
#if defined(__TARGET_ARCH_arm64)
    WORDS(21) WORDS(28)
#else
    WORD(21) // the period, behind the registers
#endif
    r->pid_tgid = bpf_get_current_pid_tgid();
    r->uid_gid = bpf_get_current_uid_gid();
    r->cgroup = 0;
    bpf_get_current_comm(r->comm, sizeof(r->comm));
    send(r, HEAD);
    end(&slot);
next:
    bpf_tail_call(ctx, &next, 0); // two samplers would not see the same samples
    return 0;
}

SEC("xdp") int record_xdp(struct xdp_md *ctx)
{
    struct slot slot = {};
    struct record *r = begin(&slot);
    if (r) {
        __u64 size = ctx->data_end - ctx->data;
        r->pid_tgid = r->uid_gid = r->cgroup = 0;
        *(__u64 *)r->comm = *(__u64 *)(r->comm + 8) = 0;
        *(__u64 *)r->context = *(__u64 *)(r->context + 8) = *(__u64 *)(r->context + 16) = 0;
        ((__u32 *)r->context)[3] = ctx->ingress_ifindex;
        ((__u32 *)r->context)[4] = ctx->rx_queue_index;
        if (size > MAX_PACKET)
            size = MAX_PACKET;
        size &= MAX_PACKET;
        if (!bpf_probe_read_kernel(r->pieces, size, (void *)(long)ctx->data)) {
            r->packet_bytes = size;
            send(r, HEAD + size);
        } else {
            miss();
        }
        end(&slot);
    }
    bpf_tail_call(ctx, &next, 0);
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
