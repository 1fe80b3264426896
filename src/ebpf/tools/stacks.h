/* Stacks, each kept once under a hash of its addresses.
 *
 * Not a BPF_MAP_TYPE_STACK_TRACE: that has one place for each hash modulo its size, so that of some thousand stacks
 * every tenth finds its place taken. Here only a full map loses one, and a stack's key is the same in each interval. */
#ifndef EBPF_TOOLS_STACKS_H
#define EBPF_TOOLS_STACKS_H

#define DEPTH 127
#define NO_STACK 0
#define LOST_STACK 1

const volatile bool user_stacks = true;
const volatile bool kernel_stacks = true;

struct stack {
    __u64 addresses[DEPTH];             /* innermost first; zeros behind the last */
};

HASH(stacks, __u64, struct stack, 32768);

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct stack);
} room_for_stack SEC(".maps");

struct stack_key {
    __u32 pid;
    __u32 tid;
    __u64 kernel;                       /* a key of stacks, NO_STACK or LOST_STACK */
    __u64 user;
    char comm[16];
};

/* The key of the stack of the task on the CPU, which is built in ROOM: nobody else may write there meanwhile. */
static __always_inline __u64 keep_stack_in(void *ctx, struct stack *room, __u64 flags)
{
    long length = bpf_get_stack(ctx, room->addresses, sizeof(room->addresses), flags);
    __u64 hash = 0xcbf29ce484222325;

    if (length <= 0)
        return NO_STACK;
    for (int i = 0; i < DEPTH && room->addresses[i]; i++) {
        hash = (hash ^ room->addresses[i]) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 29;
    }
    hash |= 2;                          /* neither NO_STACK nor LOST_STACK */
    if (!bpf_map_lookup_elem(&stacks, &hash) && bpf_map_update_elem(&stacks, &hash, room, BPF_ANY)) {
        COUNT_LOST();
        return LOST_STACK;
    }
    return hash;
}

/* The same where no other program of ours can come in between on this CPU: everywhere but in uprobes. */
static __always_inline __u64 keep_stack(void *ctx, __u64 flags)
{
    struct stack *room;
    __u32 first = 0;

    room = bpf_map_lookup_elem(&room_for_stack, &first);
    return room ? keep_stack_in(ctx, room, flags) : NO_STACK;
}

static __always_inline void take_stacks(void *ctx, struct stack_key *key)
{
    key->kernel = kernel_stacks ? keep_stack(ctx, 0) : NO_STACK;
    key->user = user_stacks ? keep_stack(ctx, BPF_F_USER_STACK) : NO_STACK;
}

#endif
