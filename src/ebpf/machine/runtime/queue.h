/* queue, stack (kernel/bpf/queue_stack_maps.c): a ring of max_entries + 1 values, one of them empty; under a lock. */
#ifndef EBPF_QUEUE_H
#define EBPF_QUEUE_H

#include "map.h"

ALWAYS_INLINE u32 ring_after(const struct ebpf_map *map, u32 index)
{
	return index + 1 < map->slots ? index + 1 : 0;
}

ALWAYS_INLINE u8 *ring_value(const struct ebpf_map *map, u32 index)
{
	return (u8 *)(map->values + index * map->stride);
}

/* BPF_EXIST pushes the oldest value out of a full one. */
s64 ebpf_queue_push(struct ebpf_map *map, const void *value, u64 flags)
{
	s64 result = 0;

	if (flags & BPF_NOEXIST_ || flags > BPF_EXIST_)
		return -EINVAL_;
	lock_word(&map->lock);
	if (ring_after(map, map->head) == map->tail) {
		if (flags & BPF_EXIST_)
			map->tail = ring_after(map, map->tail);
		else
			result = -E2BIG_;
	}
	if (!result) {
		copy_in(ring_value(map, map->head), value, map->value_size);
		map->head = ring_after(map, map->head);
	}
	unlock_word(&map->lock);
	return result;
}

/* A program's destination is cleared when there is nothing to give. */
static s64 ring_get(struct ebpf_map *map, u8 *value, int newest, int take)
{
	s64 result = 0;

	lock_word(&map->lock);
	if (map->head == map->tail) {
		for (u32 n = 0; n < map->value_size; n++)
			value[n] = 0;
		result = -ENOENT_;
	} else {
		u32 last = map->head ? map->head - 1 : map->slots - 1;

		copy_out(value, ring_value(map, newest ? last : map->tail), map->value_size);
		if (take && newest)
			map->head = last;
		else if (take)
			map->tail = ring_after(map, map->tail);
	}
	unlock_word(&map->lock);
	return result;
}

s64 ebpf_queue_pop(struct ebpf_map *map, void *value)
{
	return ring_get(map, value, 0, 1);
}

s64 ebpf_queue_peek(struct ebpf_map *map, void *value)
{
	return ring_get(map, value, 0, 0);
}

s64 ebpf_stack_push(struct ebpf_map *map, const void *value, u64 flags)
{
	return ebpf_queue_push(map, value, flags);
}

s64 ebpf_stack_pop(struct ebpf_map *map, void *value)
{
	return ring_get(map, value, 1, 1);
}

s64 ebpf_stack_peek(struct ebpf_map *map, void *value)
{
	return ring_get(map, value, 1, 0);
}

#endif
