#include "common.h"

#define ROOM 8192

struct call {
    const char *data;
    unsigned long *count;       /* where SSL_read_ex and SSL_write_ex say how many */
    bool writes;
};

struct sniffed {
    struct who who;
    bool writes;
    __u32 length;               /* what went through */
    __u32 kept;                 /* how much of it is here */
    __u8 data[ROOM];
};

EVENTS(struct sniffed);
HASH(calls, __u32, struct call, 10240);

static __always_inline int enter(const void *data, unsigned long *count, bool writes)
{
    struct call call = { .data = data, .count = count, .writes = writes };
    __u32 tid = bpf_get_current_pid_tgid();

    if (wanted())
        bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
    return 0;
}

SEC("uprobe")
int BPF_UPROBE(enter_read, void *ssl, const void *data)
{
    return enter(data, NULL, false);
}

SEC("uprobe")
int BPF_UPROBE(enter_write, void *ssl, const void *data)
{
    return enter(data, NULL, true);
}

SEC("uprobe")
int BPF_UPROBE(enter_read_ex, void *ssl, const void *data, unsigned long room, unsigned long *count)
{
    return enter(data, count, false);
}

SEC("uprobe")
int BPF_UPROBE(enter_write_ex, void *ssl, const void *data, unsigned long room, unsigned long *count)
{
    return enter(data, count, true);
}

SEC("uretprobe")
int BPF_URETPROBE(leave, int result)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct sniffed *event;
    unsigned long count = 0;
    __u32 kept;

    if (!call)
        return 0;
    if (call->count && result > 0)
        bpf_probe_read_user(&count, sizeof(count), call->count);
    else if (result > 0)
        count = result;
    if (!count)
        goto out;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        COUNT_LOST();
        goto out;
    }
    fill_who(&event->who);
    event->writes = call->writes;
    event->length = count;
    kept = count < ROOM ? count : ROOM;
    if (kept > ROOM || bpf_probe_read_user(event->data, kept, call->data))
        kept = 0;
    event->kept = kept;
    bpf_ringbuf_submit(event, 0);
out:
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}
