// Declarations of maps: maps in maps, program arrays filled from the text, queues, LRU, storage, old style sizes, tail calls.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct inner {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, __u32);
    __type(value, __u64);
} first SEC(".maps"), second SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __uint(max_entries, 2);
    __type(key, __u32);
    __array(values, struct inner);
} outer SEC(".maps") = { .values = { &first, &second } };

struct {
    __uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
    __uint(max_entries, 8);
    __uint(key_size, sizeof(int));
    __array(values, struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __uint(max_entries, 16);
        __type(key, __u32);
        __type(value, __u32);
    });
} by_port SEC(".maps");

int step(struct __sk_buff *skb);
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __uint(max_entries, 4);
    __uint(key_size, sizeof(__u32));
    __array(values, int (struct __sk_buff *));
} chain SEC(".maps") = { .values = { [1] = (void *)&step } };

struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 32);
    __type(value, __u64);
} waiting SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
    __uint(max_entries, 1024);
    __uint(key_size, 16);
    __uint(value_size, sizeof(__u64));
} recent SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct { __u32 packets; struct bpf_spin_lock lock; });
} sockets SEC(".maps");

SEC("tc")
int step(struct __sk_buff *skb)
{
    __u64 item = skb->len;
    bpf_map_push_elem(&waiting, &item, BPF_EXIST);
    return TC_ACT_OK;
}

SEC("tc")
int maps(struct __sk_buff *skb)
{
    __u32 which = skb->ifindex & 1, slot = skb->protocol & 3;
    char name[16] = "recent packets ";
    void *map = bpf_map_lookup_elem(&outer, &which);
    if (!map)
        return TC_ACT_UNSPEC;
    __u64 *value = bpf_map_lookup_elem(map, &slot), one = 1;
    if (value)
        __sync_fetch_and_add(value, one);
    map = bpf_map_lookup_elem(&by_port, &slot);
    if (map)
        bpf_map_update_elem(map, &slot, &which, BPF_ANY);
    bpf_map_update_elem(&recent, name, &one, BPF_ANY);
    if (bpf_map_pop_elem(&waiting, &one) == 0 && one > 1500)
        return TC_ACT_SHOT;
    bpf_tail_call(skb, &chain, 1);
    return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
