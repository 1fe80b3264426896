/* examples/functions/echo.py in C. */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");

__u64 echoed = 0;

SEC("sk_skb/stream_parser") int parser(struct __sk_buff *skb)
{
    return skb->len;
}

SEC("sk_skb/stream_verdict") int verdict(struct __sk_buff *skb)
{
    __sync_fetch_and_add(&echoed, skb->len);
    return bpf_sk_redirect_map(skb, &sockets, 0, 0);
}

char LICENSE[] SEC("license") = "GPL";
