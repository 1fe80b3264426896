#include "common.h"
#include "sockets.h"

struct connected {
    struct who who;
    struct ends ends;
};

const volatile __u16 only_port = 0;

EVENTS(struct connected);

/* A connection begins in its process's own context; the source port is chosen a moment later. */
SEC("tracepoint/sock/inet_sock_set_state")
int set_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
    struct connected *event;

    if (ctx->protocol != 6 || ctx->newstate != TCP_SYN_SENT || !wanted())
        return 0;
    if (only_port && ctx->dport != only_port)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        COUNT_LOST();
        return 0;
    }
    fill_who(&event->who);
    fill_ends(&event->ends, ctx->skaddr);
    event->ends.remote_port = ctx->dport;
    bpf_ringbuf_submit(event, 0);
    return 0;
}
