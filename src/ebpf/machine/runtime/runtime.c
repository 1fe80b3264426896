/* The runtime of the machine's maps: how a map is laid out, and all that its kinds can do. */
#include "array.h"
#include "bloom.h"
#include "hash.h"
#include "lpm_trie.h"
#include "map.h"
#include "queue.h"
#include "ringbuf.h"

#define LINE 64
#define EXTRA_SLOTS 64	/* elements that are on their way, one for each thread that is updating */

static u64 round_up_line(u64 n)
{
	return (n + LINE - 1) & ~(u64)(LINE - 1);
}

/* Set the fields that follow from the others, with addresses counted from 0; the size of the whole. */
static u64 lay_out(struct ebpf_map *map)
{
	u64 at = round_up_line(sizeof(struct ebpf_map));
	u64 value = round_up_8(map->value_size), entries = map->max_entries;

	switch (map->type) {
	case KIND_ARRAY:
		at = (at + 4095) & ~4095ull;	/* pages of its own, that may be shown elsewhere */
		map->values = at;
		map->stride = value;
		return at + entries * value;
	case KIND_PERCPU_ARRAY:
		map->values = at;
		map->stride = value;
		map->cpu_stride = round_up_line(entries * value);
		return at + map->cpus * map->cpu_stride;
	case KIND_HASH:
	case KIND_PERCPU_HASH:
	case KIND_LRU_HASH:
	case KIND_LRU_PERCPU_HASH:
		map->mask = (u32)(power_of_two(entries) - 1);
		map->slots = map->max_entries + EXTRA_SLOTS;
		map->value_offset = ELEMENT_HEADER + (u32)round_up_8(map->key_size);
		map->cpu_stride = is_per_cpu(map) ? value : 0;
		map->stride = map->value_offset + (is_per_cpu(map) ? map->cpus * value : value);
		map->buckets = at;
		at = round_up_line(at + (map->mask + 1ull) * 8);
		if (is_lru(map)) {
			map->used = at;
			at = round_up_line(at + map->slots);
		}
		map->values = at + map->value_offset;
		return at + map->slots * map->stride;
	case KIND_LPM_TRIE:
		map->slots = map->max_entries * 2 + 2;
		map->value_offset = TRIE_HEADER + (u32)round_up_8(map->key_size - 4);
		map->stride = map->value_offset + value;
		map->values = at + map->value_offset;
		return at + map->slots * map->stride;
	case KIND_QUEUE:
	case KIND_STACK:
		map->slots = map->max_entries + 1;
		map->stride = value;
		map->values = at;
		return at + map->slots * value;
	case KIND_BLOOM_FILTER:
		if (!map->hashes)
			map->hashes = 5;
		/* n * k / ln 2 bits, as in the kernel; a power of two of them. */
		map->mask = (u32)(power_of_two(entries * map->hashes * 7 / 5 < 64 ? 64 : entries * map->hashes * 7 / 5) - 1);
		map->buckets = at;
		return at + (map->mask + 1ull) / 8;
	case KIND_RINGBUF:
		map->mask = map->max_entries - 1;
		map->buckets = at;
		return at + 2 * entries;
	}
	return 0;
}

u64 ebpf_map_bytes(const struct ebpf_map *map)
{
	struct ebpf_map copy = *map;

	return lay_out(&copy);
}

void ebpf_map_init(struct ebpf_map *map)
{
	map->bytes = lay_out(map);
	map->values += (u64)map;
	map->buckets += (u64)map;
	map->used += (u64)map;
}

/* Update `count` entries; how many went well before the first that did not (*error says why). */
u32 ebpf_map_update_many(struct ebpf_map *map, const void *keys, const void *values, u32 count, u64 flags, s64 *error)
{
	u64 size = is_per_cpu(map) || map->type == KIND_PERCPU_ARRAY ? map->cpus * round_up_8(map->value_size)
								   : map->value_size;

	*error = 0;
	for (u32 n = 0; n < count; n++) {
		const u8 *key = (const u8 *)keys + (u64)n * map->key_size, *value = (const u8 *)values + n * size;

		switch (map->type) {
		case KIND_ARRAY:
			*error = ebpf_array_update(map, key, value, flags, 0);
			break;
		case KIND_PERCPU_ARRAY:
			*error = ebpf_percpu_array_set_cpus(map, key, value, flags);
			break;
		case KIND_LPM_TRIE:
			*error = ebpf_lpm_trie_update(map, key, value, flags, 0);
			break;
		default:
			*error = ebpf_hash_set_cpus(map, key, value, flags);
		}
		if (*error)
			return n;
	}
	return count;
}
