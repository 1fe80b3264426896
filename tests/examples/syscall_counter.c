/* examples/functions/syscall_counter.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __s64);
    __type(value, __u64);
} counts SEC(".maps");

SEC("tracepoint/raw_syscalls/sys_enter") int count(struct trace_event_raw_sys_enter *ctx)
{
    __s64 id = ctx->id;
    __u64 one = 1, *n = bpf_map_lookup_elem(&counts, &id);

    if (!n) {
        /* Another CPU may be making the entry just now: then it is there. */
        if (!bpf_map_update_elem(&counts, &id, &one, BPF_NOEXIST))
            return 0;
        n = bpf_map_lookup_elem(&counts, &id);
    }
    if (n)
        __sync_fetch_and_add(n, 1);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
