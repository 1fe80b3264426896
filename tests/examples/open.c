/* examples/functions/open.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct opened { __u32 pid; char path[64]; };

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 256 * 1024);
    __type(value, struct opened);
} opens SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_open") int open(struct trace_event_raw_sys_enter *ctx)
{
    struct opened *e = bpf_ringbuf_reserve(&opens, sizeof(*e), 0);

    if (!e)
        return 0;
    __builtin_memset(e, 0, sizeof(*e));
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_probe_read_user_str(e->path, sizeof(e->path), (void *)ctx->args[0]);
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
