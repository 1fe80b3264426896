/* examples/functions/null_check.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct counter { __u64 calls; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u64);
    __type(value, struct counter);
} syscalls SEC(".maps");

SEC("ksyscall/clone") int checked(void *ctx)
{
    __u64 key = 56;
    struct counter *p = bpf_map_lookup_elem(&syscalls, &key);

    if (p)
        __sync_fetch_and_add(&p->calls, 1);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
