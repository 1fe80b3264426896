/* Every kind of map as a program sees it; results go to `out`, which the test reads. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

#define MAP(KIND, NAME, ENTRIES) \
	struct { __uint(type, BPF_MAP_TYPE_##KIND); __type(key, __u32); __type(value, __u64); __uint(max_entries, ENTRIES); } NAME SEC(".maps")

struct lpm_key { __u32 bits; __u8 address[4]; };

MAP(ARRAY, out, 64);
MAP(HASH, hash, 4);
MAP(LRU_HASH, lru, 64);
MAP(PERCPU_HASH, per_cpu, 4);
MAP(PERCPU_ARRAY, cpu_array, 4);
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __type(key, struct lpm_key); __type(value, __u64); __uint(max_entries, 8); __uint(map_flags, BPF_F_NO_PREALLOC); } trie SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __type(value, __u64); __uint(max_entries, 2); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK); __type(value, __u64); __uint(max_entries, 2); } stack SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __type(value, __u64); __uint(max_entries, 100); } bloom SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct locked { struct bpf_spin_lock lock; __u32 n; __u64 sum; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, struct locked); __uint(max_entries, 4); } locks SEC(".maps");
char LICENSE[] SEC("license") = "GPL";

static __always_inline void put(__u32 index, __u64 value)
{
	bpf_map_update_elem(&out, &index, &value, BPF_ANY);
}

static __always_inline __u64 at(void *map, const void *key)
{
	__u64 *value = bpf_map_lookup_elem(map, key);

	return value ? *value : 0xdead;
}

static long visit(void *map, const void *key, void *value, void *ctx)
{
	*(__u64 *)ctx += *(__u32 *)key + *(__u64 *)value;
	return 0;
}

SEC("xdp")
int hashes(struct xdp_md *ctx)
{
	__u64 value = 10, sum = 0;
	__u32 key;

	for (int i = 1; i <= 5; i++) {
		key = i;
		value = key * 10;
		put(key, bpf_map_update_elem(&hash, &key, &value, BPF_ANY));	/* 1..4: 0; 5: -E2BIG */
	}
	key = 3;
	put(6, at(&hash, &key));
	__u64 *found = bpf_map_lookup_elem(&hash, &key);
	if (found)
		__sync_fetch_and_add(found, 7);
	put(7, at(&hash, &key));
	put(8, bpf_map_update_elem(&hash, &key, &value, BPF_NOEXIST));
	put(9, bpf_map_delete_elem(&hash, &key));
	put(10, bpf_map_delete_elem(&hash, &key));
	put(11, at(&hash, &key));
	put(12, bpf_map_update_elem(&hash, &key, &value, BPF_EXIST));
	put(13, bpf_for_each_map_elem(&hash, visit, &sum, 0));
	put(14, sum);
	for (int i = 0; i < 200; i++) {
		value = key = i;
		bpf_map_update_elem(&lru, &key, &value, BPF_ANY);
	}
	key = 199;
	put(15, at(&lru, &key));
	key = 0;
	put(16, at(&lru, &key));
	value = 5;
	put(17, bpf_map_update_elem(&per_cpu, &key, &value, BPF_ANY));
	put(18, at(&per_cpu, &key));
	found = bpf_map_lookup_percpu_elem(&per_cpu, &key, bpf_get_smp_processor_id());
	put(19, found ? *found : 0xdead);
	put(20, bpf_map_lookup_percpu_elem(&per_cpu, &key, 5000) != 0);
	key = 2;
	found = bpf_map_lookup_elem(&cpu_array, &key);
	if (found)
		*found += 3;
	put(21, at(&cpu_array, &key));
	key = 4;
	put(22, at(&cpu_array, &key));
	put(23, bpf_map_update_elem(&out, &key, &value, 64));
	return XDP_PASS;
}

SEC("xdp")
int others(struct xdp_md *ctx)
{
	struct lpm_key wide = {8, {10}}, narrow = {24, {10, 1, 2}}, ask = {32, {10, 1, 2, 3}}, other = {32, {11, 1, 2, 3}};
	__u64 value = 8, got = 0;

	put(0, bpf_map_update_elem(&trie, &wide, &value, BPF_ANY));
	value = 24;
	put(1, bpf_map_update_elem(&trie, &narrow, &value, BPF_ANY));
	put(2, at(&trie, &ask));
	put(3, at(&trie, &other));
	put(4, bpf_map_delete_elem(&trie, &narrow));
	put(5, at(&trie, &ask));
	for (int i = 1; i <= 3; i++) {
		value = i;
		put(5 + i, bpf_map_push_elem(&queue, &value, 0));
		put(8 + i, bpf_map_push_elem(&stack, &value, BPF_EXIST));
	}
	put(12, bpf_map_pop_elem(&queue, &got));
	put(13, got);
	put(14, bpf_map_peek_elem(&stack, &got));
	put(15, got);
	bpf_map_pop_elem(&stack, &got);
	bpf_map_pop_elem(&stack, &got);
	put(16, bpf_map_pop_elem(&stack, &got));
	put(17, got);
	value = 4711;
	put(18, bpf_map_push_elem(&bloom, &value, 0));
	put(19, bpf_map_peek_elem(&bloom, &value));
	value = 1234567;
	put(20, bpf_map_peek_elem(&bloom, &value));
	__u64 *record = bpf_ringbuf_reserve(&ring, 16, 0);
	if (record) {
		record[0] = 1;
		record[1] = 2;
		bpf_ringbuf_submit(record, 0);
	}
	record = bpf_ringbuf_reserve(&ring, 8, 0);
	if (record)
		bpf_ringbuf_discard(record, 0);
	put(21, bpf_ringbuf_output(&ring, &value, 8, 0));
	put(22, bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA));
	put(23, bpf_ringbuf_query(&ring, BPF_RB_PROD_POS));
	put(24, bpf_ringbuf_output(&ring, &value, 8, 64));
	__u32 key = 1;
	struct locked initial = {.n = 1, .sum = 100};
	put(25, bpf_map_update_elem(&locks, &key, &initial, BPF_ANY));
	struct locked *held = bpf_map_lookup_elem(&locks, &key);
	if (held) {
		bpf_spin_lock(&held->lock);
		held->sum += held->n;
		bpf_spin_unlock(&held->lock);
		put(26, held->sum);
	}
	initial.sum = 7;
	put(27, bpf_map_update_elem(&locks, &key, &initial, BPF_EXIST | BPF_F_LOCK));
	put(28, held ? held->sum : 0xdead);
	return XDP_PASS;
}
