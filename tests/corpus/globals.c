// Variables of every section, helpers through function pointers, strings, static locals, custom data sections.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct settings { __u32 sample; __u64 limits[3]; char name[8]; };

const volatile struct settings settings = { .sample = 10, .limits = { 1, 1 << 10, 1 << 20 }, .name = "fast" };
const volatile int debug;
__u64 counts[4] = { 1, 2, [3] = 4 };
static __u64 hidden;
__u64 total;
long signed_total = -5;
int pair[2] SEC(".data.pair") = { 3, 4 };
static const char *const words[] = { "zero", "one", "two" };
static const __u8 popcount[16] = { 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4 };

static __u64 (*my_time)(void) = (void *)BPF_FUNC_ktime_get_ns;

static int bits_in(__u32 v)
{
    int n = 0;
    for (int i = 0; i < 8; i++, v >>= 4)
        n += popcount[v & 15];
    return n;
}

SEC("socket")
int globals(struct __sk_buff *skb)
{
    static int calls;
    __u32 slot = bits_in(skb->len) & 3;
    counts[slot] += settings.limits[slot % 3];
    if (++calls % settings.sample == 0)
        hidden += my_time() & 0xff;
    __sync_fetch_and_add(&total, skb->len);
    signed_total = -signed_total / 2;
    pair[slot & 1] = settings.name[slot] == 'f';
    if (debug) {
        char text[] = "called";
        bpf_printk("%s %d, slot %d", text, calls, slot);
        bpf_trace_printk(words[1], 4);
    }
    return hidden > total ? pair[0] : pair[1];
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
