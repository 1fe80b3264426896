/* examples/functions/getdents.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct listed { __u32 pid, cpu; __u64 ns; char comm[16]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct listed);
} listed SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getdents64") int getdents(struct trace_event_raw_sys_enter *ctx)
{
    struct listed *e = bpf_ringbuf_reserve(&listed, sizeof(*e), 0);

    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->cpu = bpf_get_smp_processor_id();
    e->ns = bpf_ktime_get_ns();
    __builtin_memset(e->comm, 0, sizeof(e->comm)); /* Linux 6.1 leaves what is behind the name */
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
