/* bloom_filter (kernel/bpf/bloom_filter.c): bits that values set, `hashes` of them each. */
#ifndef EBPF_BLOOM_H
#define EBPF_BLOOM_H

#include "map.h"

ALWAYS_INLINE u64 bloom_bit(const struct ebpf_map *map, u64 hash, u32 n)
{
	/* Double hashing: any number of places from the two halves of one hash. */
	return (hash + n * (hash >> 32 | 1)) & map->mask;
}

s64 ebpf_bloom_push(struct ebpf_map *map, const void *value, u64 flags)
{
	u64 hash = hash_bytes(value, map->value_size, map->seed);

	if (flags != BPF_ANY_)
		return -EINVAL_;
	for (u32 n = 0; n < map->hashes; n++) {
		u64 bit = bloom_bit(map, hash, n);

		__atomic_fetch_or((u64 *)map->buckets + bit / 64, 1ull << (bit & 63), __ATOMIC_RELAXED);
	}
	return 0;
}

s64 ebpf_bloom_peek(struct ebpf_map *map, const void *value)
{
	u64 hash = hash_bytes(value, map->value_size, map->seed);

	for (u32 n = 0; n < map->hashes; n++) {
		u64 bit = bloom_bit(map, hash, n);

		if (!(load_relaxed((u64 *)map->buckets + bit / 64) >> (bit & 63) & 1))
			return -ENOENT_;
	}
	return 0;
}

#endif
