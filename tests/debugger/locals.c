typedef unsigned int __u32;
typedef unsigned short __u16;
typedef unsigned long long __u64;
struct __sk_buff { __u32 len; __u32 pkt_type; __u32 mark; };
static __u32 (*bpf_get_prandom_u32)(void) = (void *)7;
#define SEC(x) __attribute__((section(x), used))

struct pair {
    __u32 first;
    __u16 second;
    char name[6];
};

__u64 total;

static __attribute__((noinline)) int twice(int amount, struct pair *p)
{
    int doubled = amount * 2;

    if (p->first)
        doubled += p->second;
    return doubled;
}

static inline __attribute__((always_inline)) __u64 shifted(__u64 start)
{
    __u64 inner = start + 3;

    if (bpf_get_prandom_u32() > 7)
        inner *= 5;
    return inner;
}

SEC("tc")
int pairs(struct __sk_buff *skb)
{
    __u32 odd = skb->len & 1;
    struct pair pair = {skb->len, 7, "abc"};
    __u64 *sum = &total;

    odd += twice(skb->pkt_type + 21, &pair);
    total += shifted(odd);
    if (odd > 5) {
        __u64 odd = 1000;
        *sum += bpf_get_prandom_u32() + odd;
    }
    return odd ? 2 : 0;
}

char LICENSE[] SEC("license") = "GPL";
