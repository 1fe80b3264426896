#include "common.h"
#include "sockets.h"

struct sent_again {
    struct who who;             /* whoever was on the CPU: most of these happen in timers */
    struct ends ends;
    __u8 state;
    bool probe;                 /* a tail loss probe, which asks whether the last packet arrived */
};

EVENTS(struct sent_again);

static __always_inline int send(const struct sock *sock, bool probe)
{
    struct sent_again *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);

    if (!event) {
        COUNT_LOST();
        return 0;
    }
    fill_who(&event->who);
    fill_ends(&event->ends, sock);
    event->state = BPF_CORE_READ(sock, __sk_common.skc_state);
    event->probe = probe;
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("raw_tp/tcp_retransmit_skb")
int retransmit(struct bpf_raw_tracepoint_args *ctx)
{
    return send((const struct sock *)ctx->args[0], false);
}

SEC("kprobe/tcp_send_loss_probe")
int BPF_KPROBE(loss_probe, struct sock *sock)
{
    return send(sock, true);
}
