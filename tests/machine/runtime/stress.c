/* Several threads on each kind of map at once; what must always hold is checked. Built with -fsanitize=thread, and with
 * address,undefined: those find what no check can. Exit status 0, or a line that says what broke. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef SEPARATE	/* the runtime is linked, as another compiler made it */
#include "map.h"
#else
#include "runtime.c"
#endif

#ifndef ROUNDS
#define ROUNDS 20000
#endif
#define THREADS 4
#define KEYS 64
#define FACTOR 0x9e3779b97f4a7c15ull

static struct ebpf_map *make(u32 type, u32 key_size, u32 value_size, u32 max_entries)
{
	struct ebpf_map shape = {.type = type, .key_size = key_size, .value_size = value_size,
				 .max_entries = max_entries, .cpus = 2, .seed = 42, .lock_offset = NO_LOCK};
	u64 bytes = ebpf_map_bytes(&shape);
	struct ebpf_map *map = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	*map = shape;
	ebpf_map_init(map);
	return map;
}

static void check(int right, const char *what)
{
	if (!right) {
		printf("broken: %s\n", what);
		exit(1);
	}
}

static u32 next_random(u32 *state)
{
	return *state = *state * 1664525 + 1013904223;
}

/* ---- hash kinds: keys of 12 bytes; a value says which key it belongs to ---- */

struct key { u32 words[3]; };
struct value { u64 key, again; };

static struct key key_of(u32 n)
{
	return (struct key){{n, n * 3, n ^ 0x55}};
}

static struct ebpf_map *shared;

static void *hash_thread(void *argument)
{
	u32 state = (u32)(u64)argument, keep = 0;

	for (int i = 0; i < ROUNDS; i++) {
		u32 what = next_random(&state) >> 20, n = next_random(&state) >> 8 & (KEYS - 1);
		struct key key = key_of(n), walked;
		struct value value[2] = {{n * FACTOR, n * FACTOR}, {n * FACTOR, n * FACTOR}}, got[2] = {{0}};
		u64 at;

		switch (what & 7) {
		case 0:
		case 1:
		case 2:
			check(ebpf_hash_set_cpus(shared, &key, value, what & 8 ? BPF_ANY_ : BPF_NOEXIST_) <= 0, "update");
			break;
		case 3:
			ebpf_hash_delete(shared, &key);
			break;
		case 4:
			at = shared->type == KIND_LRU_HASH ? ebpf_lru_hash_lookup(shared, &key, 0)
							   : ebpf_hash_lookup(shared, &key, 0);
			if (at)	/* may be another key's by now: but some key's, whole words */
				check(load_relaxed((u64 *)at) % FACTOR == 0 || load_relaxed((u64 *)at), "a value of no key");
			break;
		case 5:
			if (!ebpf_hash_get(shared, &key, got))
				check(got[0].key == n * FACTOR && got[0].again == n * FACTOR, "a copy of another key's value");
			break;
		case 6:
			if (!ebpf_hash_next_key(shared, &key, &walked))
				check(walked.words[1] == walked.words[0] * 3 && walked.words[0] < KEYS, "a torn key");
			break;
		case 7:
			if (!ebpf_hash_take(shared, &key, got))
				check(got[0].key == n * FACTOR && got[0].again == n * FACTOR, "another key's value taken");
			break;
		}
		if ((i & 255) == 0) {
			struct key keys[KEYS + 16];
			struct value values[2 * (KEYS + 16)];
			u32 cursor = 0, count = ebpf_hash_read(shared, keys, values, KEYS + 16, &cursor, 0);
			u64 step = shared->cpu_stride ? shared->cpus : 1, seen = 0;

			for (u32 k = 0; k < count; k++) {
				check(keys[k].words[1] == keys[k].words[0] * 3, "a torn key in bulk");
				check(values[k * step].key == keys[k].words[0] * FACTOR, "key and value do not belong together");
				check(!(seen >> keys[k].words[0] & 1), "a key twice");
				seen |= 1ull << keys[k].words[0];
			}
			keep += count;
		}
	}
	return (void *)(u64)keep;
}

static void run(void *(*thread)(void *), int threads)
{
	pthread_t ids[THREADS + 1];

	for (int i = 0; i < threads; i++)
		pthread_create(&ids[i], 0, thread, (void *)(u64)(i + 1));
	for (int i = 0; i < threads; i++)
		pthread_join(ids[i], 0);
}

static void hashes(u32 type, u32 max_entries)
{
	struct key keys[KEYS + 16];
	struct value values[2 * (KEYS + 16)];
	u32 cursor = 0, count, found = 0;

	shared = make(type, sizeof(struct key), sizeof(struct value), max_entries);
	run(hash_thread, THREADS);
	count = ebpf_hash_read(shared, keys, values, KEYS + 16, &cursor, 0);
	check(cursor > shared->mask, "bulk did not end");
	check(count == shared->count && count <= max_entries, "elements and their count");
	for (u32 n = 0; n < KEYS; n++) {
		struct key key = key_of(n);

		found += ebpf_hash_find(shared, &key) != 0;
	}
	check(found == count, "what is walked is found");
	/* No slot got lost: as many as fit can be put in again. */
	cursor = 0;
	ebpf_hash_read(shared, 0, 0, 1000, &cursor, 1);
	check(shared->count == 0, "emptied");
	for (u32 n = 0; n < max_entries && n < KEYS; n++) {
		struct key key = key_of(n);

		check(!ebpf_hash_set_cpus(shared, &key, values, BPF_NOEXIST_), "no room in an empty map");
	}
}

/* A key that is updated all the time, and never deleted, is found all the time. */
static void *updater(void *argument)
{
	struct key key = key_of(7);
	struct value value = {7 * FACTOR, 7 * FACTOR}, got;

	for (int i = 0; i < ROUNDS; i++)
		if ((u64)argument & 1) {
			check(!ebpf_hash_update(shared, &key, &value, BPF_EXIST_, 0), "an existing key");
		} else {
			check(ebpf_hash_lookup(shared, &key, 0) != 0, "a key that is there was not found");
			check(!ebpf_hash_get(shared, &key, &got) && got.again == 7 * FACTOR, "its value");
		}
	return 0;
}

/* ---- queue: everything that was pushed comes out once ---- */

static u64 pushed, popped;

static void *queue_thread(void *argument)
{
	u64 base = (u64)argument << 32, sum_in = 0, sum_out = 0, value;

	for (u32 i = 1; i <= ROUNDS; i++) {
		value = base | i;
		if (!ebpf_queue_push(shared, &value, BPF_ANY_))
			sum_in += value;
		if (!(shared->type == KIND_QUEUE ? ebpf_queue_pop(shared, &value) : ebpf_stack_pop(shared, &value)))
			sum_out += value;
	}
	__atomic_fetch_add(&pushed, sum_in, __ATOMIC_RELAXED);
	__atomic_fetch_add(&popped, sum_out, __ATOMIC_RELAXED);
	return 0;
}

static void queues(u32 type)
{
	u64 value;

	pushed = popped = 0;
	shared = make(type, 0, 8, 8);
	run(queue_thread, THREADS);
	while (!ebpf_queue_pop(shared, &value))
		popped += value;
	check(pushed == popped, "what goes in comes out");
}

/* ---- bloom ---- */

static void *bloom_thread(void *argument)
{
	for (u64 i = 0; i < ROUNDS / 8; i++) {
		u64 value = (u64)argument << 40 | i;

		check(!ebpf_bloom_push(shared, &value, BPF_ANY_) && !ebpf_bloom_peek(shared, &value), "pushed, so it is there");
	}
	return 0;
}

/* ---- trie: /8 is always there, /24 and /32 come and go ---- */

struct prefix { u32 bits; u8 address[4]; };

static void *trie_thread(void *argument)
{
	u32 state = (u32)(u64)argument;

	for (int i = 0; i < ROUNDS; i++) {
		u32 what = next_random(&state) >> 24, bits = what & 4 ? 24 : 32;
		struct prefix key = {bits, {10, 1, (u8)(next_random(&state) >> 28), (u8)(bits == 32 ? what : 0)}}, next;
		u64 value = bits, at;

		if (what & 1) {
			key.bits = 32;
			at = ebpf_lpm_trie_lookup(shared, &key, 0);
			check(at != 0, "the widest prefix always matches");
			value = load_relaxed((u64 *)at);
			check(value == 8 || value == 24 || value == 32, "a value of no prefix");
			check(!ebpf_lpm_trie_get(shared, &key, &value) && (value == 8 || value == 24 || value == 32), "copy");
		} else if (what & 2) {
			ebpf_lpm_trie_update(shared, &key, &value, BPF_ANY_, 0);
		} else if (what & 8) {
			ebpf_lpm_trie_delete(shared, &key);
		} else {
			check(!ebpf_lpm_trie_next_key(shared, 0, &next), "there is a first key");
		}
	}
	return 0;
}

static void tries(void)
{
	struct prefix wide = {8, {10}}, key, next;
	u64 value = 8;
	u32 walked = 0;

	shared = make(KIND_LPM_TRIE, sizeof(struct prefix), 8, 200);
	check(!ebpf_lpm_trie_update(shared, &wide, &value, BPF_ANY_, 0), "the first");
	run(trie_thread, THREADS);
	for (s64 more = ebpf_lpm_trie_next_key(shared, 0, &key); !more; more = ebpf_lpm_trie_next_key(shared, &key, &next), key = next)
		walked++;
	check(walked == shared->count, "as many as were counted");
	while (!ebpf_lpm_trie_next_key(shared, 0, &key))
		check(!ebpf_lpm_trie_delete(shared, &key), "what is walked can be deleted");
	check(!shared->root && !shared->count, "nothing is left, no joint either");
}

/* ---- ring buffer: several producers, each one's records in order, none lost that was committed ---- */

static u64 sent[THREADS + 1], kept[THREADS + 1];

static void *producer(void *argument)
{
	u64 me = (u64)argument;
	u32 state = (u32)me;

	for (u64 i = 1; i <= ROUNDS; i++) {
		u64 size = 16 + (next_random(&state) >> 24) % 80;
		u64 *record;

		if ((i & 3) == 0) {
			u64 data[2] = {me, i};

			while (ebpf_ringbuf_output(shared, data, sizeof(data), 0))
				sched_yield();
			sent[me]++;
			continue;
		}
		while (!(record = (u64 *)ebpf_ringbuf_reserve(shared, size, 0)))
			sched_yield();
		record[0] = me;
		record[1] = i;
		if ((i & 7) == 1) {
			ebpf_ringbuf_discard(record, 0);
		} else {
			ebpf_ringbuf_submit(record, 0);
			sent[me]++;
		}
	}
	__atomic_fetch_add(&kept[0], 1, __ATOMIC_RELEASE);	/* this one has ended */
	return 0;
}

static void *consumer(void *argument)
{
	u64 last[THREADS + 1] = {0};
	int ended = 0;

	(void)argument;
	for (;;) {
		u64 data[512];
		u32 sizes[64], count, at = 0;

		ended = __atomic_load_n(&kept[0], __ATOMIC_ACQUIRE) == THREADS - 1;
		ebpf_ringbuf_drain(shared, data, sizeof(data), sizes, 64, &count);
		for (u32 n = 0; n < count; n++) {
			u64 who = data[at], number = data[at + 1];

			check(who >= 1 && who < THREADS && number > last[who], "a record out of order");
			last[who] = number;
			kept[who]++;
			at += (u32)round_up_8(sizes[n]) / 8;
		}
		if (!count && ended)
			return 0;
		if (!count)
			sched_yield();
	}
}

static void *ring_thread(void *argument)
{
	return (u64)argument == THREADS ? consumer(argument) : producer(argument);
}

int main(void)
{
	const u32 kinds[] = {KIND_HASH, KIND_PERCPU_HASH, KIND_LRU_HASH, KIND_LRU_PERCPU_HASH};
	struct value value = {7 * FACTOR, 7 * FACTOR};
	struct key seven = key_of(7);

	for (u32 i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		hashes(kinds[i], KEYS);
		hashes(kinds[i], KEYS / 4);
	}
	shared = make(KIND_HASH, sizeof(struct key), sizeof(struct value), 4);
	check(!ebpf_hash_update(shared, &seven, &value, BPF_ANY_, 0), "the key");
	run(updater, THREADS);
	queues(KIND_QUEUE);
	queues(KIND_STACK);
	shared = make(KIND_BLOOM_FILTER, 0, 8, 1000);
	run(bloom_thread, THREADS);
	tries();
	shared = make(KIND_RINGBUF, 0, 0, 4096);
	run(ring_thread, THREADS);
	for (u32 n = 1; n < THREADS; n++)
		check(sent[n] && sent[n] == kept[n], "what was submitted was received");
	check(ebpf_ringbuf_query(shared, 0) == 0, "the ring is empty");
	puts("ok");
	return 0;
}
