// Every statement: switch with ranges and fall-through, goto, all loops, statement expressions, unrolling, commas.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define clamp_to(v, low, high) ({ typeof(v) _v = (v); _v < (low) ? (low) : _v > (high) ? (high) : _v; })

static __always_inline int classify(int c)
{
    switch (c) {
    case 'a' ... 'z':
    case 'A' ... 'Z':
        return 1;
    case '0' ... '9': {
        int digit = c - '0';
        if (digit == 7)
            break;
        return 2;
    }
    case ' ':
        c = 9;
        __attribute__((fallthrough));
    default:
        return c < 32 ? 3 : 4;
    }
    return 5;
}

struct seen { __u32 kinds[8]; __u64 hash; };
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct seen);
} seen SEC(".maps");

SEC("socket")
int control(struct __sk_buff *skb)
{
    __u32 zero = 0, length = clamp_to(skb->len, 1u, 24u), i = 0, j;
    char bytes[16] = {};
    struct seen *s = bpf_map_lookup_elem(&seen, &zero);
    if (!s || bpf_skb_load_bytes(skb, 0, bytes, sizeof(bytes)) < 0)
        goto out;

    #pragma unroll
    for (i = 0; i < 16; i++)
        s->kinds[classify(bytes[i]) & 7]++;

    for (i = 0, j = length; i < j; i++, j--) {
        if (i == 3)
            continue;
        if (i > 20)
            break;
        s->hash = s->hash * 31 + i;
    }
    i = 0;
    do {
        s->hash ^= s->hash >> 7;
    } while (++i < 5 && s->hash);
    while (length) {
        s->hash += length & 1;
        length >>= 1;
    }
    i = 0;
again:
    s->kinds[i] = ({ __u32 k = s->kinds[i]; if (k > 1000) k = 0; k; });
    if (++i < 8)
        goto again;
    return s->hash ? (i = skb->len, i) : 0;
out:
    return -1 & 0;
}

char LICENSE[] SEC("license") = "GPL";
