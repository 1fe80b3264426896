// Functions handed to helpers: bpf_loop, bpf_for_each_map_elem, a timer.
// needs: 5.17
#include <linux/bpf.h>
#include <linux/time.h>
#include <bpf/bpf_helpers.h>

struct item { __u64 hits; struct bpf_timer timer; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 32);
    __type(key, __u32);
    __type(value, struct item);
} items SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } sums SEC(".maps");

struct walk { __u64 sum; __u32 limit; };

static int add_index(__u32 index, struct walk *walk)
{
    walk->sum += index;
    return walk->sum > walk->limit;
}

static long add_value(struct bpf_map *map, __u32 *key, __u64 *value, struct walk *walk)
{
    walk->sum += *value + *key;
    return 0;
}

static int expired(void *map, int *key, struct item *item)
{
    item->hits = 0;
    return 0;
}

SEC("tc")
int callbacks(struct __sk_buff *skb)
{
    struct walk walk = { .limit = skb->len };
    __u32 key = skb->ifindex;
    bpf_loop(1000, add_index, &walk, 0);
    bpf_for_each_map_elem(&sums, add_value, &walk, 0);
    struct item *item = bpf_map_lookup_elem(&items, &key);
    if (item && item->hits++ == 0) {
        bpf_timer_init(&item->timer, &items, CLOCK_MONOTONIC);
        bpf_timer_set_callback(&item->timer, expired);
        bpf_timer_start(&item->timer, 1000000, 0);
    }
    return walk.sum & 1;
}

char LICENSE[] SEC("license") = "GPL";
