/* Stacks by number. */
#ifndef EBPF_TOOLS_STACKS_H
#define EBPF_TOOLS_STACKS_H

#define DEPTH 127

const volatile bool user_stacks = true;
const volatile bool kernel_stacks = true;

struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(max_entries, 16384);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, DEPTH * sizeof(__u64));
} stacks SEC(".maps");

struct stack_key {
    __u32 pid;
    __u32 tid;
    int kernel;                         /* below zero: none */
    int user;
    char comm[16];
};

/* NUMBER: an error other than "there is none" is a stack that was lost. */
#define TAKE_STACKS(CTX, KEY) do {                                                                                      \
    (KEY)->kernel = kernel_stacks ? bpf_get_stackid(CTX, &stacks, 0) : -1;                                              \
    (KEY)->user = user_stacks ? bpf_get_stackid(CTX, &stacks, BPF_F_USER_STACK) : -1;                                   \
    if ((KEY)->kernel == -17 || (KEY)->user == -17)                                                                     \
        COUNT_LOST();                                                                                                   \
} while (0)

#endif
