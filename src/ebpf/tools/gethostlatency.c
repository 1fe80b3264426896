#include "common.h"

struct call {
    __u64 began_ns;
    char host[80];
};

struct looked_up {
    struct who who;
    __u64 latency_ns;
    char host[80];
};

EVENTS(struct looked_up);
HASH(calls, __u32, struct call, 10240);

SEC("uprobe")
int BPF_UPROBE(enter, const char *host)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call call = {};

    if (!host || !wanted())
        return 0;
    call.began_ns = bpf_ktime_get_ns();
    bpf_probe_read_user_str(call.host, sizeof(call.host), host);
    bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
    return 0;
}

SEC("uretprobe")
int leave(void *ctx)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct looked_up *event;

    if (!call)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (event) {
        fill_who(&event->who);
        event->latency_ns = event->who.time_ns - call->began_ns;
        __builtin_memcpy(event->host, call->host, sizeof(event->host));
        bpf_ringbuf_submit(event, 0);
    } else {
        COUNT_LOST();
    }
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}
