// Atomic operations that give the old value, exchange and compare, of both widths.
// needs: 5.12
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct cell { __u64 wide; __u32 narrow; __u32 lock; __s64 balance; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, struct cell);
} cells SEC(".maps");
__u64 winner;

SEC("socket")
int atomics(struct __sk_buff *skb)
{
    __u32 key = skb->len & 63;
    struct cell *c = bpf_map_lookup_elem(&cells, &key);
    if (!c) {
        struct cell fresh = { .wide = skb->len };
        bpf_map_update_elem(&cells, &key, &fresh, BPF_NOEXIST);
        return 0;
    }
    if (__sync_val_compare_and_swap(&c->lock, 0, 1) != 0)
        return 0;
    __u64 old = __sync_fetch_and_add(&c->wide, skb->len);
    __u32 mask = __sync_fetch_and_or(&c->narrow, 1U << (key & 31));
    __sync_fetch_and_and(&c->narrow, ~mask | 1);
    __sync_fetch_and_xor(&c->wide, old);
    __atomic_fetch_sub(&c->balance, 3, __ATOMIC_RELAXED);
    __s64 now = __atomic_add_fetch(&c->balance, 5, __ATOMIC_SEQ_CST);
    __u64 previous = __sync_lock_test_and_set(&winner, old);
    __atomic_exchange_n(&c->lock, 0, __ATOMIC_RELEASE);
    return now > 0 && previous > mask;
}

char LICENSE[] SEC("license") = "GPL";
