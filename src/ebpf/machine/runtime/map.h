/* The machine's maps in native memory: what every kind of map has.
 *
 * Plain C11 with the __atomic builtins of gcc and clang, no library, no allocation, no global state: a map is one block
 * of zeroed memory that the caller gives (`ebpf_map_bytes` says how much), with `struct ebpf_map` at its start. All
 * functions may be called from several threads at once. Memory of a deleted element is used again for another element of
 * the same map, never given back: an old pointer to it stays readable and writable, as with a kernel's preallocated maps.
 *
 * Return values are the kernel's: 0 or a negative error number; a look-up gives an address, or 0.
 * The CPU is a parameter, since there is no thread that is bound to one. Little-endian, 64 bits.
 */
#ifndef EBPF_MAP_H
#define EBPF_MAP_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed int s32;
typedef signed long long s64;

#define ALWAYS_INLINE static inline __attribute__((always_inline))

#define EPERM_ 1
#define ENOENT_ 2
#define E2BIG_ 7
#define EAGAIN_ 11
#define ENOMEM_ 12
#define EBUSY_ 16
#define EEXIST_ 17
#define EINVAL_ 22
#define ENOSPC_ 28

#define BPF_ANY_ 0
#define BPF_NOEXIST_ 1
#define BPF_EXIST_ 2
#define BPF_F_LOCK_ 4

/* Numbers of kinds are the kernel's map types. */
#define KIND_HASH 1
#define KIND_ARRAY 2
#define KIND_PERCPU_HASH 5
#define KIND_PERCPU_ARRAY 6
#define KIND_LRU_HASH 9
#define KIND_LRU_PERCPU_HASH 10
#define KIND_LPM_TRIE 11
#define KIND_QUEUE 22
#define KIND_STACK 23
#define KIND_RINGBUF 27
#define KIND_BLOOM_FILTER 30

#define ALL_CPUS 0xffffffffu
#define NO_LOCK 0xffffffffu

struct ebpf_map {
	/* What never changes after ebpf_map_init; the first line is all that a look-up needs. */
	u64 values;		/* address of slot 0's value; slot n: values + n * stride (arrays: element n) */
	u64 stride;		/* bytes from one slot to the next */
	u64 cpu_stride;		/* bytes from one CPU's copy of a value to the next one's */
	u64 buckets;		/* hash: u64 each; bloom: the bits; ring buffer: the data */
	u64 seed;		/* of the hash function */
	u32 mask;		/* buckets - 1, bits - 1, size - 1 */
	u32 key_size;
	u32 max_entries;
	u32 cpus;
	/* second line */
	u32 type;
	u32 flags;
	u32 value_size;
	u32 slots;		/* how many there is memory for: max_entries and some that are on their way */
	u32 value_offset;	/* hash, trie: from an element's start to its value */
	u32 lock_offset;	/* of the bpf_spin_lock in a value; NO_LOCK: it has none */
	u32 hashes;		/* bloom filter */
	u32 reserved;
	u64 used;		/* LRU: address of a byte per slot, 1: used since the hand came by */
	u64 bytes;		/* of the whole block */
	u64 spare[3];
	/* What changes, each line by another party. */
	u64 free;		/* slots that were given back: a count that grows << 32 | slot + 1 */
	u32 fresh;		/* slots from here on were never used */
	u32 count;		/* elements */
	u32 hand;		/* LRU: the slot to be looked at next */
	u32 lock;		/* queue, stack, trie */
	u32 head;		/* queue, stack */
	u32 tail;
	u32 root;		/* trie: slot + 1 */
	u32 sequence;		/* trie: odd while it is being changed */
	u64 spare2[3];
	u64 producer;		/* ring buffer: positions in bytes, growing for ever */
	u64 refused;		/* reservations without room */
	u64 spare3[6];
	u64 consumer;
	u64 wakeups;		/* how often the consumer was to be woken */
	u64 spare4[6];
};

/* How much memory a map needs; 0 for a kind that has no native form. `map` has the fields that ebpf_map_init reads:
 * type, flags, key_size, value_size, max_entries, cpus, hashes, seed, lock_offset. */
u64 ebpf_map_bytes(const struct ebpf_map *map);
/* Make a map of a zeroed block whose start has those fields. */
void ebpf_map_init(struct ebpf_map *map);

/* array, percpu_array: all elements are there. */
u64 ebpf_array_lookup(struct ebpf_map *map, const void *key, u32 cpu);
s64 ebpf_array_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu);
s64 ebpf_array_delete(struct ebpf_map *map, const void *key);
u64 ebpf_percpu_array_lookup(struct ebpf_map *map, const void *key, u32 cpu);	/* 0 too if there is no such CPU */
s64 ebpf_percpu_array_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu);
s64 ebpf_percpu_array_delete(struct ebpf_map *map, const void *key);

/* hash, percpu_hash, lru_hash, lru_percpu_hash. A look-up in an LRU hash counts as use, ebpf_hash_find does not. */
u64 ebpf_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu);
u64 ebpf_percpu_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu);
u64 ebpf_lru_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu);
u64 ebpf_lru_percpu_hash_lookup(struct ebpf_map *map, const void *key, u32 cpu);
u64 ebpf_hash_find(struct ebpf_map *map, const void *key);
s64 ebpf_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu);
s64 ebpf_percpu_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu);
s64 ebpf_lru_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu);
s64 ebpf_lru_percpu_hash_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu);
s64 ebpf_hash_delete(struct ebpf_map *map, const void *key);
s64 ebpf_percpu_hash_delete(struct ebpf_map *map, const void *key);
s64 ebpf_lru_hash_delete(struct ebpf_map *map, const void *key);
s64 ebpf_lru_percpu_hash_delete(struct ebpf_map *map, const void *key);

/* lpm_trie */
u64 ebpf_lpm_trie_lookup(struct ebpf_map *map, const void *key, u32 cpu);
s64 ebpf_lpm_trie_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu);
s64 ebpf_lpm_trie_delete(struct ebpf_map *map, const void *key);

/* queue, stack, bloom: pop and peek copy to `value`. */
s64 ebpf_queue_push(struct ebpf_map *map, const void *value, u64 flags);
s64 ebpf_queue_pop(struct ebpf_map *map, void *value);
s64 ebpf_queue_peek(struct ebpf_map *map, void *value);
s64 ebpf_stack_push(struct ebpf_map *map, const void *value, u64 flags);
s64 ebpf_stack_pop(struct ebpf_map *map, void *value);
s64 ebpf_stack_peek(struct ebpf_map *map, void *value);
s64 ebpf_bloom_push(struct ebpf_map *map, const void *value, u64 flags);
s64 ebpf_bloom_peek(struct ebpf_map *map, const void *value);	/* 0: perhaps there; -ENOENT: certainly not */

/* ringbuf: a record's address, or 0; commit finds its map by the header in front of it. */
u64 ebpf_ringbuf_reserve(struct ebpf_map *map, u64 size, u64 flags);
void ebpf_ringbuf_submit(void *record, u64 flags);
void ebpf_ringbuf_discard(void *record, u64 flags);
s64 ebpf_ringbuf_output(struct ebpf_map *map, const void *data, u64 size, u64 flags);
u64 ebpf_ringbuf_query(struct ebpf_map *map, u64 what);

/* The user's side. Keys and values are written one behind the other; `cursor` begins at 0.
 * next_key: `key` 0 is the beginning. set_cpus: a value for each CPU, cpu_stride apart. */
s64 ebpf_hash_next_key(struct ebpf_map *map, const void *key, void *next);
s64 ebpf_hash_take(struct ebpf_map *map, const void *key, void *value);
s64 ebpf_hash_get(struct ebpf_map *map, const void *key, void *value);	/* a copy, of all CPUs */
s64 ebpf_hash_set_cpus(struct ebpf_map *map, const void *key, const void *values, u64 flags);
u32 ebpf_hash_read(struct ebpf_map *map, void *keys, void *values, u32 capacity, u32 *cursor, u32 take);
s64 ebpf_hash_key_at(struct ebpf_map *map, u32 slot, void *key);
void ebpf_array_read(struct ebpf_map *map, void *values);	/* all elements; of all CPUs */
s64 ebpf_percpu_array_set_cpus(struct ebpf_map *map, const void *key, const void *values, u64 flags);
s64 ebpf_lpm_trie_next_key(struct ebpf_map *map, const void *key, void *next);
s64 ebpf_lpm_trie_get(struct ebpf_map *map, const void *key, void *value);
u32 ebpf_lpm_trie_read(struct ebpf_map *map, void *keys, void *values, u32 capacity);
u32 ebpf_map_update_many(struct ebpf_map *map, const void *keys, const void *values, u32 count, u64 flags, s64 *error);
u64 ebpf_ringbuf_next(struct ebpf_map *map, u32 *size);		/* the oldest record, or 0; discarded ones are passed over */
void ebpf_ringbuf_release(struct ebpf_map *map);		/* the record that ebpf_ringbuf_next gave is no longer needed */
u64 ebpf_ringbuf_drain(struct ebpf_map *map, void *data, u64 bytes, u32 *sizes, u32 capacity, u32 *count);

/* ---- what the kinds are made of ---- */

#define load_relaxed(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define fetch_add(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)
#define fetch_sub(p, v) __atomic_fetch_sub(p, v, __ATOMIC_RELAXED)

ALWAYS_INLINE u64 round_up_8(u64 n)
{
	return (n + 7) & ~7ull;
}

/* Up to eight bytes at any address; missing ones are 0. */
ALWAYS_INLINE u64 load_bytes(const u8 *from, u64 count)
{
	u64 word = 0;

	if (count >= 8) {
		__builtin_memcpy(&word, from, 8);
		return word;
	}
	if (count == 4) {
		u32 half;

		__builtin_memcpy(&half, from, 4);
		return half;
	}
	for (u64 i = 0; i < count; i++)
		word |= (u64)from[i] << (8 * i);
	return word;
}

/* Into a map's own memory, which is aligned and as long as whole words are: other threads see whole words. */
ALWAYS_INLINE void copy_in(u8 *to, const u8 *from, u64 size)
{
	for (u64 n = 0; n < size; n += 8)
		store_relaxed((u64 *)(to + n), load_bytes(from + n, size - n));
}

/* Out of a map's own memory; what is read afterwards is read after it. */
ALWAYS_INLINE void copy_out(u8 *to, const u8 *from, u64 size)
{
	u64 n = 0;

	for (; n + 8 <= size; n += 8) {
		u64 word = load_acquire((const u64 *)(from + n));

		__builtin_memcpy(to + n, &word, 8);
	}
	if (n < size) {
		u64 word = load_acquire((const u64 *)(from + n));

		for (; n < size; n++, word >>= 8)
			to[n] = (u8)word;
	}
}

ALWAYS_INLINE void lock_word(u32 *lock)
{
	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		while (load_relaxed(lock))
			;
}

ALWAYS_INLINE void unlock_word(u32 *lock)
{
	store_release(lock, 0);
}

/* A value, all but the spin lock that it may hold: that stays as it is. */
ALWAYS_INLINE void copy_value(const struct ebpf_map *map, u8 *to, const u8 *from)
{
	if (map->lock_offset == NO_LOCK) {
		copy_in(to, from, map->value_size);
		return;
	}
	for (u32 n = 0; n < map->value_size; n++)
		if (n - map->lock_offset >= 4)
			__atomic_store_n(to + n, from[n], __ATOMIC_RELAXED);
}

/* The same under that lock. */
ALWAYS_INLINE void copy_locked(const struct ebpf_map *map, u8 *to, const u8 *from)
{
	u32 *lock = (u32 *)(to + map->lock_offset);

	lock_word(lock);
	copy_value(map, to, from);
	unlock_word(lock);
}

ALWAYS_INLINE u64 power_of_two(u64 n)
{
	u64 power = 1;

	while (power < n)
		power *= 2;
	return power;
}

ALWAYS_INLINE u64 mix(u64 hash, u64 word)
{
	hash = (hash ^ word) * 0x9fb21c651e98df25ull;
	return hash ^ hash >> 32;
}

ALWAYS_INLINE u64 finish(u64 hash)
{
	hash *= 0xd6e8feb86659fd93ull;
	return hash ^ hash >> 32;
}

/* 64 bits of which all are good. */
ALWAYS_INLINE u64 hash_bytes(const u8 *bytes, u64 size, u64 seed)
{
	u64 hash = seed;

	for (u64 n = 0; n < size; n += 8)
		hash = mix(hash, load_bytes(bytes + n, size - n));
	return finish(hash);
}

#endif
