/* A program for each hook, that counts its calls and lets everything pass. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";
unsigned long long hits;

#define PROGRAM(section, name, verdict) \
	SEC(section) int name(void *ctx) { __sync_fetch_and_add(&hits, 1); return verdict; }

struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __type(key, int); __type(value, long long); __uint(max_entries, 4); }
	socks SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_CPUMAP); __type(key, int); __type(value, struct bpf_cpumap_val);
	 __uint(max_entries, 4); } cpus SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_DEVMAP); __type(key, int); __type(value, struct bpf_devmap_val);
	 __uint(max_entries, 4); } devices SEC(".maps");

PROGRAM("ksyscall/getpgid", kprobe, 0)
PROGRAM("kretsyscall/getpgid", kretprobe, 0)
PROGRAM("kprobe.multi/__x64_sys_getpgi*", kprobe_multi, 0)
PROGRAM("kretprobe.multi/__x64_sys_getpgi*", kretprobe_multi, 0)
PROGRAM("kprobe.session/__x64_sys_getpgi*", kprobe_session, 0)
PROGRAM("tp/sched/sched_process_fork", tracepoint, 0)
PROGRAM("raw_tp/task_newtask", raw_tracepoint, 0)
PROGRAM("tp_btf/task_newtask", btf_tracepoint, 0)
PROGRAM("fentry/bpf_fentry_test1", fentry, 0)
PROGRAM("fexit/bpf_fentry_test1", fexit, 0)
PROGRAM("fmod_ret/security_bpf", fmod_ret, 0)
PROGRAM("uprobe/c:getpgid", uprobe, 0)
PROGRAM("uretprobe/c:getpgid", uretprobe, 0)
PROGRAM("uprobe.multi/c:getpgi*", uprobe_multi, 0)
PROGRAM("uprobe.session/c:getpgi*", uprobe_session, 0)
PROGRAM("perf_event", perf_event, 0)

PROGRAM("socket", socket_filter, 0xffff)
PROGRAM("sk_reuseport", reuseport, SK_PASS)
PROGRAM("xdp", xdp, XDP_PASS)
PROGRAM("xdp.frags", xdp_frags, XDP_PASS)
PROGRAM("xdp/cpumap", xdp_on_cpu, XDP_PASS)
PROGRAM("xdp/devmap", xdp_on_device, XDP_DROP)
SEC("xdp") int xdp_to_cpu(struct xdp_md *ctx) { return bpf_redirect_map(&cpus, 0, XDP_PASS); }
SEC("xdp") int xdp_to_device(struct xdp_md *ctx) { return bpf_redirect_map(&devices, 0, XDP_PASS); }
PROGRAM("tcx/ingress", tcx_ingress, -1)
PROGRAM("tcx/egress", tcx_egress, -1)
PROGRAM("tc", tc, 0)
PROGRAM("netkit/primary", netkit, -1)
PROGRAM("netfilter", netfilter, 1)
PROGRAM("lwt_in", lwt_in, 0)
PROGRAM("lwt_out", lwt_out, 0)
PROGRAM("lwt_xmit", lwt_xmit, 0)
PROGRAM("lwt_seg6local", lwt_seg6local, 0)
PROGRAM("flow_dissector", flow_dissector, 0)
PROGRAM("sk_lookup", sk_lookup, 1)
PROGRAM("sk_msg", sk_msg, SK_PASS)
PROGRAM("sk_skb/stream_verdict", sk_skb_verdict, SK_PASS)
SEC("sk_skb/stream_parser") int sk_skb_parser(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&hits, 1);
	return skb->len;
}

PROGRAM("sockops", sockops, 1)
PROGRAM("cgroup_skb/ingress", cgroup_skb_ingress, 1)
PROGRAM("cgroup_skb/egress", cgroup_skb_egress, 1)
PROGRAM("cgroup/sock_create", cgroup_sock_create, 1)
PROGRAM("cgroup/sock_release", cgroup_sock_release, 1)
PROGRAM("cgroup/post_bind4", cgroup_post_bind4, 1)
PROGRAM("cgroup/post_bind6", cgroup_post_bind6, 1)
PROGRAM("cgroup/bind4", cgroup_bind4, 1)
PROGRAM("cgroup/bind6", cgroup_bind6, 1)
PROGRAM("cgroup/connect4", cgroup_connect4, 1)
PROGRAM("cgroup/connect6", cgroup_connect6, 1)
PROGRAM("cgroup/sendmsg4", cgroup_sendmsg4, 1)
PROGRAM("cgroup/sendmsg6", cgroup_sendmsg6, 1)
PROGRAM("cgroup/recvmsg4", cgroup_recvmsg4, 1)
PROGRAM("cgroup/recvmsg6", cgroup_recvmsg6, 1)
PROGRAM("cgroup/getpeername4", cgroup_getpeername4, 1)
PROGRAM("cgroup/getpeername6", cgroup_getpeername6, 1)
PROGRAM("cgroup/getsockname4", cgroup_getsockname4, 1)
PROGRAM("cgroup/getsockname6", cgroup_getsockname6, 1)
PROGRAM("cgroup/connect_unix", cgroup_connect_unix, 1)
PROGRAM("cgroup/sendmsg_unix", cgroup_sendmsg_unix, 1)
PROGRAM("cgroup/recvmsg_unix", cgroup_recvmsg_unix, 1)
PROGRAM("cgroup/getpeername_unix", cgroup_getpeername_unix, 1)
PROGRAM("cgroup/getsockname_unix", cgroup_getsockname_unix, 1)
PROGRAM("cgroup/sysctl", cgroup_sysctl, 1)
PROGRAM("cgroup/dev", cgroup_device, 1)
SEC("cgroup/getsockopt") int cgroup_getsockopt(struct bpf_sockopt *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	ctx->optlen = 0;
	return 1;
}
SEC("cgroup/setsockopt") int cgroup_setsockopt(struct bpf_sockopt *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	ctx->optlen = 0;
	return 1;
}
PROGRAM("lsm/bpf_prog", lsm, 0)
PROGRAM("lsm_cgroup/socket_bind", lsm_cgroup, 1)

struct row { unsigned long long session, number; };
struct any { struct bpf_iter_meta *meta; };
SEC("iter/task") int rows(struct any *ctx)
{
	struct bpf_iter_meta *meta = ctx->meta;
	struct row row = { .session = meta->session_id, .number = meta->seq_num };
	bpf_seq_write(meta->seq, &row, sizeof(row));
	return 0;
}

__attribute__((noinline)) int replaceable(struct xdp_md *ctx)
{
	volatile int result = 2;
	return result;
}
SEC("xdp") int asks(struct xdp_md *ctx) { return replaceable(ctx); }
SEC("freplace/replaceable") int freplace(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return 1;
}

struct arguments { unsigned int number; };
SEC("syscall") int in_a_syscall(struct arguments *ctx)
{
	__sync_fetch_and_add(&hits, 1);
	return ctx->number + 1;
}
