/* A TCP congestion control that grows its window by one packet with every acknowledgement, up to a hundred. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";
int started, acknowledged;

static inline struct tcp_sock *tcp_sk(const struct sock *sk)
{
	return (struct tcp_sock *)sk;
}

SEC("struct_ops/creep_init")
void BPF_PROG(creep_init, struct sock *sk)
{
	__sync_fetch_and_add(&started, 1);
}

SEC("struct_ops/creep_ssthresh")
__u32 BPF_PROG(creep_ssthresh, struct sock *sk)
{
	return 2;
}

SEC("struct_ops/creep_undo")
__u32 BPF_PROG(creep_undo, struct sock *sk)
{
	return tcp_sk(sk)->snd_cwnd;
}

SEC("struct_ops/creep_avoid")
void BPF_PROG(creep_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
	struct tcp_sock *tp = tcp_sk(sk);

	__sync_fetch_and_add(&acknowledged, 1);
	if (tp->snd_cwnd < 100)
		tp->snd_cwnd = tp->snd_cwnd + 1;
}

SEC(".struct_ops.link")
struct tcp_congestion_ops creep = {
	.init = (void *)creep_init,
	.ssthresh = (void *)creep_ssthresh,
	.cong_avoid = (void *)creep_avoid,
	.undo_cwnd = (void *)creep_undo,
	.name = "ebpf_creep",
};
