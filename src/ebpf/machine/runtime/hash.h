/* hash, lru_hash and their per-CPU forms (kernel/bpf/hashtab.c).
 *
 * Chains of slots. A bucket is one word: the first element's slot + 1 (0: none), and above it a sequence number that is
 * odd while somebody changes the chain. Look-ups take no lock. They may walk over an element that is being deleted and
 * used again, perhaps into another chain; what makes that harmless:
 *
 * - An element's tag holds the upper half of its key's hash and a version, which is odd from the moment the element is
 *   given back until it is whole again. A hit counts only if the tag was even and is the same after the key was compared.
 * - A miss counts only if the bucket's word is what it was at the beginning, and even.
 *
 * Keys are written by release stores after the odd tag and read by acquire loads before the tag is looked at again, so
 * whoever sees a new key's word sees the new tag too.
 *
 * An update of an existing key puts a new element in the old one's place: who still has a pointer to the old value goes
 * on seeing it, until the memory is used again. Per-CPU values, and values with BPF_F_LOCK, are written in place.
 *
 * LRU: the clock algorithm. A look-up by a program marks the slot; to make room a hand goes round, takes marks away and
 * evicts the first element without one.
 */
#ifndef EBPF_HASH_H
#define EBPF_HASH_H

#include "map.h"

#define LOCKED (1ull << 32)
#define ELEMENT_HEADER 16

struct ebpf_element {
	u32 next;	/* in the chain: slot + 1; stays when the element is given back, for those who stand on it */
	u32 free;	/* in the list of free elements */
	u64 tag;	/* version << 32 | upper half of the hash; odd version: no element */
	u64 key[];
};

ALWAYS_INLINE struct ebpf_element *element_at(const struct ebpf_map *map, u32 slot)
{
	return (struct ebpf_element *)(map->values - map->value_offset + slot * map->stride);
}

ALWAYS_INLINE u64 *bucket_of(const struct ebpf_map *map, u64 hash)
{
	return (u64 *)map->buckets + ((u32)hash & map->mask);
}

ALWAYS_INLINE int same_key(const struct ebpf_element *element, const u8 *key, u32 size)
{
	u32 n = 0;

	do {
		if (load_acquire(&element->key[n / 8]) != load_bytes(key + n, size - n))
			return 0;
		n += 8;
	} while (n < size);
	return 1;
}

/* The slot + 1 of the element with this key; 0: there is none. */
ALWAYS_INLINE u32 hash_slot(const struct ebpf_map *map, const u8 *key, u64 hash)
{
	u64 *bucket = bucket_of(map, hash);

	for (;;) {
		u64 word = load_acquire(bucket);
		u32 at = (u32)word;
		int moved = 0;

		while (at) {
			struct ebpf_element *element = element_at(map, at - 1);
			u64 tag = load_acquire(&element->tag);

			if ((u32)tag == (u32)(hash >> 32) && !(tag & LOCKED) &&
			    same_key(element, key, map->key_size)) {
				if (load_relaxed(&element->tag) == tag)
					return at;
				moved = 1;
				break;
			}
			at = load_acquire(&element->next);
		}
		if (!moved && !(word & LOCKED) && load_relaxed(bucket) == word)
			return 0;
	}
}

u64 ebpf_hash_find(struct ebpf_map *map, const void *key)
{
	u32 at = hash_slot(map, key, hash_bytes(key, map->key_size, map->seed));

	return at ? map->values + (at - 1) * map->stride : 0;
}

u64 ebpf_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu)
{
	(void)cpu;
	return ebpf_hash_find(map, key);
}

u64 ebpf_percpu_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu)
{
	u64 value = cpu < map->cpus ? ebpf_hash_find(map, key) : 0;

	return value ? value + cpu * map->cpu_stride : 0;
}

u64 ebpf_lru_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu)
{
	u32 at = hash_slot(map, key, hash_bytes(key, map->key_size, map->seed));
	u8 *used = (u8 *)map->used + at - 1;

	(void)cpu;
	if (!at)
		return 0;
	if (!load_relaxed(used))	/* only the first look-up makes the cache line ours */
		store_relaxed(used, 1);
	return map->values + (at - 1) * map->stride;
}

u64 ebpf_lru_percpu_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu)
{
	u64 value = cpu < map->cpus ? ebpf_lru_hash_lookup(map, key, cpu) : 0;

	return value ? value + cpu * map->cpu_stride : 0;
}

#ifndef EBPF_LOOKUPS_ONLY

/* ---- slots ---- */

/* A slot + 1 that nobody else has; 0 if there is none at the moment. */
static u32 slot_take(struct ebpf_map *map)
{
	u64 free = load_acquire(&map->free);

	while ((u32)free) {
		/* The count in the upper half tells a list that came back to the same head from one that never changed. */
		u32 next = load_relaxed(&element_at(map, (u32)free - 1)->free);
		u64 wanted = ((free >> 32) + 1) << 32 | next;

		if (__atomic_compare_exchange_n(&map->free, &free, wanted, 0, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
			return (u32)free;
	}
	if (load_relaxed(&map->fresh) < map->slots) {
		u32 fresh = fetch_add(&map->fresh, 1);

		if (fresh < map->slots)
			return fresh + 1;
		fetch_sub(&map->fresh, 1);
	}
	return 0;
}

static void slot_give(struct ebpf_map *map, u32 at)
{
	struct ebpf_element *element = element_at(map, at - 1);
	u64 free = load_relaxed(&map->free);

	store_relaxed(&element->tag, (element->tag | LOCKED) >> 32 << 32);
	do
		store_relaxed(&element->free, (u32)free);
	while (!__atomic_compare_exchange_n(&map->free, &free, ((free >> 32) + 1) << 32 | at, 0, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
}

/* ---- buckets ---- */

static u64 bucket_lock(u64 *bucket)
{
	for (;;) {
		u64 word = load_relaxed(bucket);

		if (!(word & LOCKED) &&
		    __atomic_compare_exchange_n(bucket, &word, word + LOCKED, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return word;
	}
}

/* `word` is what bucket_lock gave. */
static void bucket_unlock(u64 *bucket, u64 word, u32 head)
{
	store_release(bucket, ((word + 2 * LOCKED) >> 32) << 32 | head);
}

/* The element's slot + 1 in a chain that is locked, and the one before it (0: it is the first). */
static u32 chain_find(const struct ebpf_map *map, u32 at, const u8 *key, u64 hash, u32 *before)
{
	*before = 0;
	while (at) {
		struct ebpf_element *element = element_at(map, at - 1);

		if ((u32)element->tag == (u32)(hash >> 32) && same_key(element, key, map->key_size))
			return at;
		*before = at;
		at = element->next;
	}
	return 0;
}

/* Take an element out of a chain that is locked; the chain's new head. */
static u32 chain_remove(const struct ebpf_map *map, u32 head, u32 at, u32 before)
{
	u32 next = element_at(map, at - 1)->next;

	if (!before)
		return next;
	store_release(&element_at(map, before - 1)->next, next);
	return head;
}

/* ---- updates ---- */

static int is_per_cpu(const struct ebpf_map *map)
{
	return map->type == KIND_PERCPU_HASH || map->type == KIND_LRU_PERCPU_HASH;
}

static int is_lru(const struct ebpf_map *map)
{
	return map->type == KIND_LRU_HASH || map->type == KIND_LRU_PERCPU_HASH;
}

static void fill_value(const struct ebpf_map *map, u8 *to, const u8 *value, u32 cpu, int new)
{
	u64 step = round_up_8(map->value_size);

	if (!is_per_cpu(map)) {
		copy_value(map, to, value);
		if (map->lock_offset != NO_LOCK)	/* this memory may have been another element's */
			store_relaxed((u32 *)(to + map->lock_offset), 0);
		return;
	}
	for (u32 n = 0; n < map->cpus; n++) {
		if (cpu == ALL_CPUS)
			copy_in(to + n * map->cpu_stride, value + n * step, map->value_size);
		else if (n == cpu)
			copy_in(to + n * map->cpu_stride, value, map->value_size);
		else if (new)	/* the other CPUs' copies begin with zeros */
			for (u64 i = 0; i < step; i += 8)
				store_relaxed((u64 *)(to + n * map->cpu_stride + i), 0);
	}
}

static void fill_element(const struct ebpf_map *map, u32 at, const u8 *key, const u8 *value, u64 hash, u32 cpu)
{
	struct ebpf_element *element = element_at(map, at - 1);
	u64 version = (element->tag | LOCKED) >> 32;

	store_relaxed(&element->tag, version << 32);
	for (u32 n = 0; n < map->key_size; n += 8)
		store_release(&element->key[n / 8], load_bytes(key + n, map->key_size - n));
	fill_value(map, (u8 *)element + map->value_offset, value, cpu, 1);
	store_release(&element->tag, (version + 1) << 32 | hash >> 32);
}

/* 0 if the map is full. Never more than max_entries, not even for a moment: nobody is refused for another's attempt. */
static int count_one_more(struct ebpf_map *map)
{
	u32 count = load_relaxed(&map->count);

	do
		if (count >= map->max_entries)
			return 0;
	while (!__atomic_compare_exchange_n(&map->count, &count, count + 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return 1;
}

/* Make room in an LRU hash: 0, or -ENOMEM if the hand found nothing to take. */
static s64 evict(struct ebpf_map *map)
{
	for (u64 tries = 4 * (u64)map->slots + 64; tries; tries--) {
		u32 slot = fetch_add(&map->hand, 1) % map->slots, before = 0, at;
		struct ebpf_element *element = element_at(map, slot);
		u64 tag = load_acquire(&element->tag), hash = map->seed, word;
		u8 *used = (u8 *)map->used + slot;
		u64 *bucket;

		if (tag & LOCKED || !tag)	/* given back, or never used */
			continue;
		if (load_relaxed(used)) {
			store_relaxed(used, 0);
			continue;
		}
		/* The rest of a stored key's last word is zero, so this is hash_bytes of the key. */
		for (u32 n = 0; n < map->key_size; n += 8)
			hash = mix(hash, load_acquire(&element->key[n / 8]));
		hash = finish(hash);
		bucket = bucket_of(map, hash);
		word = bucket_lock(bucket);
		for (at = (u32)word; at && at != slot + 1; at = element_at(map, at - 1)->next)
			before = at;
		if (!at) {	/* meanwhile it went, or is not in its chain yet */
			bucket_unlock(bucket, word, (u32)word);
			continue;
		}
		bucket_unlock(bucket, word, chain_remove(map, (u32)word, at, before));
		fetch_sub(&map->count, 1);
		slot_give(map, at);
		return 0;
	}
	return -ENOMEM_;
}

/* cpu: whose copy of a per-CPU value is meant, or ALL_CPUS (then `value` holds one for each). */
static s64 hash_update(struct ebpf_map *map, const u8 *key, const u8 *value, u64 flags, u32 cpu)
{
	u64 hash = hash_bytes(key, map->key_size, map->seed);
	u64 *bucket = bucket_of(map, hash);

	if ((flags & ~BPF_F_LOCK_) > BPF_EXIST_)
		return -EINVAL_;
	if (flags & BPF_F_LOCK_ && (map->lock_offset == NO_LOCK || is_per_cpu(map)))
		return -EINVAL_;
	for (;;) {
		u64 word = bucket_lock(bucket);
		u32 head = (u32)word, before, new;
		u32 old = chain_find(map, head, key, hash, &before);
		s64 error = 0;

		if (old && flags & BPF_NOEXIST_)
			error = -EEXIST_;
		else if (!old && flags & BPF_EXIST_)
			error = -ENOENT_;
		if (error) {
			bucket_unlock(bucket, word, head);
			return error;
		}
		if (old && (is_per_cpu(map) || flags & BPF_F_LOCK_)) {
			u8 *to = (u8 *)element_at(map, old - 1) + map->value_offset;

			if (flags & BPF_F_LOCK_)
				copy_locked(map, to, value);
			else
				fill_value(map, to, value, cpu, 0);
			bucket_unlock(bucket, word, head);
			return 0;
		}
		if (!old && !count_one_more(map)) {
			bucket_unlock(bucket, word, head);
			if (!is_lru(map))
				return -E2BIG_;
			error = evict(map);
			if (error)
				return error;
			continue;	/* the chain may look different now */
		}
		/* More slots than elements: those on their way are given back by others who need none of our locks. */
		do
			new = slot_take(map);
		while (!new);
		fill_element(map, new, key, value, hash, cpu);
		if (is_lru(map))	/* a new value of an old key counts as use, a new key has still to be asked for */
			store_relaxed((u8 *)map->used + new - 1, old != 0);
		if (old)
			head = chain_remove(map, head, old, before);
		store_release(&element_at(map, new - 1)->next, head);
		bucket_unlock(bucket, word, new);
		if (old)
			slot_give(map, old);
		return 0;
	}
}

s64 ebpf_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu)
{
	return hash_update(map, key, value, flags, cpu);
}

s64 ebpf_percpu_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu)
{
	return hash_update(map, key, value, flags, cpu);
}

s64 ebpf_lru_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu)
{
	return hash_update(map, key, value, flags, cpu);
}

s64 ebpf_lru_percpu_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu)
{
	return hash_update(map, key, value, flags, cpu);
}

s64 ebpf_hash_set_cpus(struct ebpf_map *map, const void *key, const void *values, u64 flags)
{
	return hash_update(map, key, values, flags, ALL_CPUS);
}

static void key_out(const struct ebpf_map *map, u8 *to, const struct ebpf_element *element)
{
	copy_out(to, (const u8 *)element->key, map->key_size);
}

static void value_out(const struct ebpf_map *map, u8 *to, const struct ebpf_element *element)
{
	const u8 *from = (const u8 *)element + map->value_offset;
	u64 step = round_up_8(map->value_size);

	if (!is_per_cpu(map)) {
		copy_out(to, from, map->value_size);
		return;
	}
	for (u32 n = 0; n < map->cpus; n++)
		copy_out(to + n * step, from + n * map->cpu_stride, step);
}

static u64 value_bytes(const struct ebpf_map *map)
{
	return is_per_cpu(map) ? map->cpus * round_up_8(map->value_size) : map->value_size;
}

/* A copy of the value that the key had at some moment of the call. */
s64 ebpf_hash_get(struct ebpf_map *map, const void *key, void *value)
{
	u64 hash = hash_bytes(key, map->key_size, map->seed);

	for (;;) {
		u32 at = hash_slot(map, key, hash);
		struct ebpf_element *element;
		u64 tag;

		if (!at)
			return -ENOENT_;
		element = element_at(map, at - 1);
		tag = load_acquire(&element->tag);
		if ((u32)tag != (u32)(hash >> 32) || tag & LOCKED || !same_key(element, key, map->key_size))
			continue;
		value_out(map, value, element);	/* by acquire loads */
		if (load_relaxed(&element->tag) == tag)
			return 0;
	}
}

/* The key of the element in a slot; -ENOENT if there is none. */
s64 ebpf_hash_key_at(struct ebpf_map *map, u32 slot, void *key)
{
	struct ebpf_element *element = element_at(map, slot);
	u64 tag = load_acquire(&element->tag);

	if (!tag || tag & LOCKED)
		return -ENOENT_;
	key_out(map, key, element);
	return 0;
}

/* Look up and delete, or only delete. */
s64 ebpf_hash_take(struct ebpf_map *map, const void *key, void *value)
{
	u64 hash = hash_bytes(key, map->key_size, map->seed);
	u64 *bucket = bucket_of(map, hash);
	u64 word = bucket_lock(bucket);
	u32 before, at = chain_find(map, (u32)word, key, hash, &before);

	if (!at) {
		bucket_unlock(bucket, word, (u32)word);
		return -ENOENT_;
	}
	if (value)
		value_out(map, value, element_at(map, at - 1));
	bucket_unlock(bucket, word, chain_remove(map, (u32)word, at, before));
	fetch_sub(&map->count, 1);
	slot_give(map, at);
	return 0;
}

s64 ebpf_hash_delete(struct ebpf_map *map, const void *key)
{
	return ebpf_hash_take(map, key, 0);
}

s64 ebpf_percpu_hash_delete(struct ebpf_map *map, const void *key)
{
	return ebpf_hash_take(map, key, 0);
}

s64 ebpf_lru_hash_delete(struct ebpf_map *map, const void *key)
{
	return ebpf_hash_take(map, key, 0);
}

s64 ebpf_lru_percpu_hash_delete(struct ebpf_map *map, const void *key)
{
	return ebpf_hash_take(map, key, 0);
}

/* ---- walking ---- */

/* The key behind `key`, bucket by bucket; the first one if `key` is 0 or not there (any more). */
s64 ebpf_hash_next_key(struct ebpf_map *map, const void *key, void *next)
{
	u64 *buckets = (u64 *)map->buckets;
	u64 from = 0;

	if (key) {
		u64 hash = hash_bytes(key, map->key_size, map->seed);
		u64 *bucket = bucket_of(map, hash);
		u64 word = bucket_lock(bucket);
		u32 before, at = chain_find(map, (u32)word, key, hash, &before);
		u32 following = at ? element_at(map, at - 1)->next : 0;

		if (following)
			key_out(map, next, element_at(map, following - 1));
		bucket_unlock(bucket, word, (u32)word);
		if (following)
			return 0;
		if (at)
			from = ((u32)hash & map->mask) + 1ull;
	}
	for (u64 n = from; n <= map->mask; n++) {
		u64 word;

		if (!(u32)load_relaxed(buckets + n))
			continue;
		word = bucket_lock(buckets + n);
		if ((u32)word)
			key_out(map, next, element_at(map, (u32)word - 1));
		bucket_unlock(buckets + n, word, (u32)word);
		if ((u32)word)
			return 0;
	}
	return -ENOENT_;
}

#define AHEAD 16

/* As many whole buckets from *cursor on as fit; how many elements. The end: *cursor is past the last bucket (mask). An
 * element that is there all the time is given exactly once. take: they are removed. Nothing given and not at the end: not
 * even one bucket fits. */
u32 ebpf_hash_read(struct ebpf_map *map, void *keys, void *values, u32 capacity, u32 *cursor, u32 take)
{
	u64 *buckets = (u64 *)map->buckets;
	u64 size = value_bytes(map);
	u32 count = 0;
	u64 n = *cursor;

	for (; n <= map->mask; n++) {
		u64 word;
		u32 here = 0;

		if (n + AHEAD <= map->mask) {	/* each bucket's first element is a cache miss of its own */
			u32 ahead = (u32)load_relaxed(buckets + n + AHEAD);

			if (ahead)
				__builtin_prefetch(element_at(map, ahead - 1));
		}
		if (!(u32)load_relaxed(buckets + n))
			continue;
		word = bucket_lock(buckets + n);
		for (u32 at = (u32)word; at; at = element_at(map, at - 1)->next)
			here++;
		if (here > capacity - count) {
			bucket_unlock(buckets + n, word, (u32)word);
			break;
		}
		for (u32 at = (u32)word; at; at = element_at(map, at - 1)->next) {
			struct ebpf_element *element = element_at(map, at - 1);

			if (keys) {
				key_out(map, (u8 *)keys + (u64)count * map->key_size, element);
				value_out(map, (u8 *)values + count * size, element);
			}
			count++;
		}
		bucket_unlock(buckets + n, word, take ? 0 : (u32)word);
		if (take && here) {
			fetch_sub(&map->count, here);
			for (u32 at = (u32)word; at;) {
				u32 next = element_at(map, at - 1)->next;

				slot_give(map, at);
				at = next;
			}
		}
	}
	*cursor = (u32)n;
	return count;
}

#endif
#endif
