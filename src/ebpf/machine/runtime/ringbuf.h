/* ringbuf (kernel/bpf/ringbuf.c): records in the order in which they were reserved; an open one holds back those behind
 * it.
 *
 * Positions count bytes and grow for ever: 8 for a record's header, then its size rounded up to 8. A record lies in one
 * piece: it may begin before the ring's end and reach behind it, into memory that is there for that alone (the kernel
 * maps the ring twice instead). It is full when the producer would be a whole ring, or more, in front of the consumer.
 *
 * Any number of producers, under a lock; one consumer at a time, whom Python's side sees to.
 */
#ifndef EBPF_RINGBUF_H
#define EBPF_RINGBUF_H

#include "map.h"

#define RECORD_BUSY (1u << 31)
#define RECORD_DISCARD (1u << 30)
#define RECORD_HEADER 8
#define RECORD_MAX 0x3fffffffu
#define RB_NO_WAKEUP 1
#define RB_FORCE_WAKEUP 2

struct ebpf_record {
	u32 length;	/* and the two bits */
	u32 distance;	/* from the map's start, in units of 8 bytes */
};

ALWAYS_INLINE struct ebpf_record *record_at(const struct ebpf_map *map, u64 position)
{
	return (struct ebpf_record *)(map->buckets + (position & map->mask));
}

ALWAYS_INLINE u64 record_bytes(u64 length)
{
	return round_up_8((length & ~(u64)(RECORD_BUSY | RECORD_DISCARD)) + RECORD_HEADER);
}

u64 ebpf_ringbuf_reserve(struct ebpf_map *map, u64 size, u64 flags)
{
	u64 total, position;
	struct ebpf_record *record;

	if (flags || size > RECORD_MAX)
		return 0;
	total = record_bytes(size);
	lock_word(&map->lock);
	position = map->producer;
	if (total > map->mask + 1ull || position + total - load_acquire(&map->consumer) > map->mask) {
		map->refused++;
		unlock_word(&map->lock);
		return 0;
	}
	record = record_at(map, position);
	store_relaxed(&record->length, (u32)size | RECORD_BUSY);
	store_relaxed(&record->distance, (u32)(((u64)record - (u64)map) / 8));
	store_release(&map->producer, position + total);
	unlock_word(&map->lock);
	return (u64)record + RECORD_HEADER;
}

static void record_commit(u64 sample, u64 flags, u32 bits)
{
	struct ebpf_record *record = (struct ebpf_record *)(sample - RECORD_HEADER);
	struct ebpf_map *map = (struct ebpf_map *)((u64)record - 8 * (u64)record->distance);
	u64 consumed;

	/* Whoever reads the header without the busy bit sees the record's bytes. */
	store_release(&record->length, (load_relaxed(&record->length) & ~RECORD_BUSY) | bits);
	/* A consumer that has caught up is told; one that is behind will come here by itself. */
	consumed = load_acquire(&map->consumer);
	if (flags & RB_FORCE_WAKEUP || (record_at(map, consumed) == record && !(flags & RB_NO_WAKEUP)))
		fetch_add(&map->wakeups, 1);
}

void ebpf_ringbuf_submit(void *record, u64 flags)
{
	record_commit((u64)record, flags, 0);
}

void ebpf_ringbuf_discard(void *record, u64 flags)
{
	record_commit((u64)record, flags, RECORD_DISCARD);
}

s64 ebpf_ringbuf_output(struct ebpf_map *map, const void *data, u64 size, u64 flags)
{
	u64 record;

	if (flags & ~(u64)(RB_NO_WAKEUP | RB_FORCE_WAKEUP))
		return -EINVAL_;
	record = ebpf_ringbuf_reserve(map, size, 0);
	if (!record)
		return -EAGAIN_;
	copy_in((u8 *)record, data, size);
	record_commit(record, flags, 0);
	return 0;
}

u64 ebpf_ringbuf_query(struct ebpf_map *map, u64 what)
{
	u64 consumer = load_acquire(&map->consumer), producer = load_acquire(&map->producer);

	switch (what) {
	case 0:
		return producer - consumer;
	case 1:
		return map->mask + 1ull;
	case 2:
		return consumer;
	case 3:
		return producer;
	}
	return 0;
}

/* ---- the consumer ---- */

/* The oldest record's address and size, or 0 if there is none or it is open. Discarded ones are passed over. */
u64 ebpf_ringbuf_next(struct ebpf_map *map, u32 *size)
{
	u64 position = map->consumer;

	while (position != load_acquire(&map->producer)) {
		struct ebpf_record *record = record_at(map, position);
		u32 length = load_acquire(&record->length);

		if (length & RECORD_BUSY)
			return 0;
		if (!(length & RECORD_DISCARD)) {
			*size = length;
			return (u64)record + RECORD_HEADER;
		}
		position += record_bytes(length);
		store_release(&map->consumer, position);
	}
	return 0;
}

void ebpf_ringbuf_release(struct ebpf_map *map)
{
	u64 position = map->consumer;

	store_release(&map->consumer, position + record_bytes(record_at(map, position)->length));
}

/* Copy records out one behind the other, each at a multiple of 8, as many as fit; *count of them, with their sizes. The
 * bytes that were written. */
u64 ebpf_ringbuf_drain(struct ebpf_map *map, void *data, u64 bytes, u32 *sizes, u32 capacity, u32 *count)
{
	u64 written = 0, record;
	u32 size;

	*count = 0;
	while (*count < capacity && (record = ebpf_ringbuf_next(map, &size))) {
		if (round_up_8(size) > bytes - written)
			break;
		copy_out((u8 *)data + written, (const u8 *)record, size);
		written += round_up_8(size);
		sizes[(*count)++] = size;
		ebpf_ringbuf_release(map);
	}
	return written;
}

#endif
