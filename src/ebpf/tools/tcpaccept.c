#include "common.h"
#include "sockets.h"

struct accepted {
    struct who who;
    struct ends ends;
};

const volatile __u16 only_port = 0;

EVENTS(struct accepted);

SEC("kretprobe/inet_csk_accept")
int BPF_KRETPROBE(accepted, struct sock *sock)
{
    struct accepted *event;

    if (!sock || !wanted())
        return 0;
    if (only_port && BPF_CORE_READ(sock, __sk_common.skc_num) != only_port)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) {
        COUNT_LOST();
        return 0;
    }
    fill_who(&event->who);
    fill_ends(&event->ends, sock);
    bpf_ringbuf_submit(event, 0);
    return 0;
}
