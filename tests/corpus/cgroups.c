// The hooks of a control group, one program each, and what each may write.
#include <linux/bpf.h>
#include <linux/in.h>
#include <sys/socket.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct {
    __uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
    __type(key, struct bpf_cgroup_storage_key);
    __type(value, __u64);
} traffic SEC(".maps");

SEC("cgroup_skb/egress")
int egress(struct __sk_buff *skb)
{
    __u64 *bytes = bpf_get_local_storage(&traffic, 0);
    __sync_fetch_and_add(bytes, skb->len);
    return skb->remote_port != bpf_htonl(25 << 16);
}

SEC("cgroup/sock_create")
int create(struct bpf_sock *sk)
{
    if (sk->type == 3)
        return 0;
    sk->priority = sk->family == 2 ? 1 : 2;
    return 1;
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
    return ctx->user_ip4 == bpf_htonl(0x7f000001) || bpf_ntohs(ctx->user_port) >= 1024;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
    for (int i = 0; i < 3; i++)
        if (ctx->user_ip6[i])
            return 1;
    ctx->user_port = bpf_htons(8080);
    return 1;
}

SEC("cgroup/sysctl")
int sysctl(struct bpf_sysctl *ctx)
{
    char name[24] = {};
    if (!ctx->write)
        return 1;
    bpf_sysctl_get_name(ctx, name, sizeof(name), 0);
    return name[0] != 'n' || name[1] != 'e' || name[2] != 't';
}

SEC("cgroup/dev")
int device(struct bpf_cgroup_dev_ctx *ctx)
{
    short type = ctx->access_type & 0xffff, access = ctx->access_type >> 16;
    return type == BPF_DEVCG_DEV_CHAR && !(access & BPF_DEVCG_ACC_MKNOD) && ctx->major == 1;
}

SEC("cgroup/getsockopt")
int getsockopt(struct bpf_sockopt *ctx)
{
    char *value = ctx->optval;
    if (ctx->level != SOL_SOCKET || (void *)(value + 4) > ctx->optval_end)
        return 1;
    ctx->retval = 0;
    *(int *)value = 1;
    return 1;
}

SEC("sockops")
int established(struct bpf_sock_ops *ops)
{
    switch (ops->op) {
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
        bpf_sock_ops_cb_flags_set(ops, BPF_SOCK_OPS_STATE_CB_FLAG);
        break;
    case BPF_SOCK_OPS_RTO_CB:
        ops->reply = ops->snd_cwnd > 10 ? 1 : -1;
    }
    return 1;
}

char LICENSE[] SEC("license") = "GPL";
