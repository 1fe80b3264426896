/* examples/functions/hello.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct cloned { __u32 pid; char comm[16]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct cloned);
} clones SEC(".maps");

SEC("ksyscall/clone") int hello(void *ctx)
{
    struct cloned *e;
    char comm[16] = {};

    bpf_get_current_comm(comm, sizeof(comm));
    bpf_printk("hello from %s", comm);
    e = bpf_ringbuf_reserve(&clones, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    __builtin_memset(e->comm, 0, sizeof(e->comm)); /* Linux 6.1 leaves what is behind the name */
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
