/* examples/functions/vfsstat.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 5);
    __type(key, __u32);
    __type(value, __u64);
} entered SEC(".maps");

static int counted(__u32 which)
{
    __u64 *n = bpf_map_lookup_elem(&entered, &which);

    if (n)
        *n += 1;
    return 0;
}

SEC("kprobe/vfs_read") int vfs_read(void *ctx) { return counted(0); }
SEC("kprobe/vfs_write") int vfs_write(void *ctx) { return counted(1); }
SEC("kprobe/vfs_fsync_range") int vfs_fsync(void *ctx) { return counted(2); }
SEC("kprobe/vfs_open") int vfs_open(void *ctx) { return counted(3); }
SEC("kprobe/vfs_create") int vfs_create(void *ctx) { return counted(4); }

char LICENSE[] SEC("license") = "GPL";
