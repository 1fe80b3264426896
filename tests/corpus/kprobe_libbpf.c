// libbpf style kprobes: BPF_KPROBE, BPF_KRETPROBE, stack arrays, a loop with a bound, atomics.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>

#define SLOTS 20
struct hist { __u32 slots[SLOTS]; };

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, __u64);
} started SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct hist);
} hists SEC(".maps");

static __always_inline __u32 log2_of(__u64 v)
{
    __u32 n = 0;
    for (int i = 5; i >= 0; i--) {
        if (v >> (1 << i)) {
            v >>= 1 << i;
            n += 1 << i;
        }
    }
    return n;
}

SEC("kprobe/vfs_read")
int BPF_KPROBE(enter, struct file *file, char *buf, size_t count)
{
    __u32 tid = bpf_get_current_pid_tgid();
    __u64 now = bpf_ktime_get_ns();
    umode_t mode = BPF_CORE_READ(file, f_inode, i_mode);
    if ((mode & S_IFMT) != S_IFREG || count == 0)
        return 0;
    bpf_map_update_elem(&started, &tid, &now, BPF_ANY);
    return 0;
}

SEC("kretprobe/vfs_read")
int BPF_KRETPROBE(leave, long ret)
{
    __u32 tid = bpf_get_current_pid_tgid(), zero = 0;
    __u64 *then = bpf_map_lookup_elem(&started, &tid);
    struct hist *h = bpf_map_lookup_elem(&hists, &zero);
    if (then && h && ret >= 0) {
        __u32 slot = log2_of((bpf_ktime_get_ns() - *then) / 1000);
        if (slot >= SLOTS)
            slot = SLOTS - 1;
        __sync_fetch_and_add(&h->slots[slot], 1);
    }
    bpf_map_delete_elem(&started, &tid);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
