// Global and static functions, globals of every section, wide arithmetic, a bounded search.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct config { __u32 limit; __u32 steps[8]; };
const volatile struct config config = { .limit = 100, .steps = { 1, 2, 3, 5, 8, 13, 21, 34 } };
static __u64 history[16];
__u32 rounds;

__noinline int weigh(__u32 value, __u32 step) { return value * 31 + step; }

static __noinline __u64 search(__u32 wanted)
{
    for (__u32 i = 0; i < 8; i++)
        if (config.steps[i] >= wanted)
            return i;
    return 8;
}

static __u64 mean(__u64 a, __u64 b) { return ((unsigned __int128)a + b) / 2; }

SEC("socket")
int run(struct __sk_buff *skb)
{
    __u32 length = skb->len;
    __u64 at = search(length);
    history[at & 15] = mean(history[at & 15], length);
    rounds++;
    int weight = weigh(length, at);
    if (weight < 0)
        weight = -weight;
    return weight % 1000 > config.limit ? length : 0;
}

char LICENSE[] SEC("license") = "GPL";
