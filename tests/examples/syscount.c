/* examples/functions/syscount.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct usage { __u64 count, total_ns; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, __u64);
} started SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, struct usage);
} usage SEC(".maps");

SEC("tracepoint/raw_syscalls/sys_enter") int sys_enter(struct trace_event_raw_sys_enter *ctx)
{
    __u32 tid = bpf_get_current_pid_tgid();
    __u64 now = bpf_ktime_get_ns();

    bpf_map_update_elem(&started, &tid, &now, BPF_ANY);
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit") int sys_exit(struct trace_event_raw_sys_exit *ctx)
{
    __u64 id = bpf_get_current_pid_tgid(), *start;
    __u32 tid = id, pid = id >> 32;
    struct usage *entry, empty = {};

    start = bpf_map_lookup_elem(&started, &tid);
    if (!start)
        return 0;
    entry = bpf_map_lookup_elem(&usage, &pid);
    if (!entry) {
        bpf_map_update_elem(&usage, &pid, &empty, BPF_NOEXIST);
        entry = bpf_map_lookup_elem(&usage, &pid);
        if (!entry)
            return 0;
    }
    __sync_fetch_and_add(&entry->count, 1);
    __sync_fetch_and_add(&entry->total_ns, bpf_ktime_get_ns() - *start);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
