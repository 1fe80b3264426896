#include "common.h"
#include "sockets.h"

struct owner {
    __u64 born_ns;
    struct who who;
};

struct lived {
    struct who who;
    struct ends ends;
    __u64 age_ns;
    __u64 sent_bytes;
    __u64 received_bytes;
};

const volatile __u16 only_local_port = 0;
const volatile __u16 only_remote_port = 0;

EVENTS(struct lived);
HASH(owners, __u64, struct owner, 65536);

SEC("tracepoint/sock/inet_sock_set_state")
int set_state(struct trace_event_raw_inet_sock_set_state *ctx)
{
    __u64 socket = (__u64)ctx->skaddr;
    struct owner *owner, made = {};
    struct tcp_sock *tcp = (struct tcp_sock *)ctx->skaddr;
    struct lived *event;

    if (ctx->protocol != 6)
        return 0;
    if (ctx->newstate != TCP_CLOSE && ((only_local_port && ctx->sport && ctx->sport != only_local_port) ||
                                       (only_remote_port && ctx->dport != only_remote_port)))
        return 0;
    owner = bpf_map_lookup_elem(&owners, &socket);
    if (ctx->newstate == TCP_SYN_SENT || ctx->newstate == TCP_SYN_RECV ||
        (ctx->newstate == TCP_ESTABLISHED && !owner)) {
        made.born_ns = bpf_ktime_get_ns();
        if (ctx->newstate == TCP_SYN_SENT) {    /* the only one of these that the owner itself does */
            if (!wanted())
                return 0;
            fill_who(&made.who);
        }
        bpf_map_update_elem(&owners, &socket, &made, BPF_ANY);
        return 0;
    }
    if (!owner)
        return 0;
    /* Whoever closes first is in its own context then; the other side in LAST_ACK. */
    if ((ctx->newstate == TCP_FIN_WAIT1 || ctx->newstate == TCP_LAST_ACK) && !owner->who.pid) {
        if (wanted())
            fill_who(&owner->who);
        else
            bpf_map_delete_elem(&owners, &socket);
        return 0;
    }
    if (ctx->newstate != TCP_CLOSE)
        return 0;
    if (!owner->who.pid && !wanted())
        goto out;
    if ((only_local_port && ctx->sport != only_local_port) || (only_remote_port && ctx->dport != only_remote_port))
        goto out;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        COUNT_LOST();
        goto out;
    }
    if (owner->who.pid)
        event->who = owner->who;
    else
        fill_who(&event->who);
    event->who.time_ns = bpf_ktime_get_ns();
    fill_ends(&event->ends, ctx->skaddr);
    event->ends.local_port = ctx->sport;
    event->ends.remote_port = ctx->dport;
    event->age_ns = event->who.time_ns - owner->born_ns;
    event->sent_bytes = BPF_CORE_READ(tcp, bytes_acked);
    event->received_bytes = BPF_CORE_READ(tcp, bytes_received);
    bpf_ringbuf_submit(event, 0);
out:
    bpf_map_delete_elem(&owners, &socket);
    return 0;
}
