/* array, percpu_array: all elements are there from the beginning, zero, and never go (kernel/bpf/arraymap.c). */
#ifndef EBPF_ARRAY_H
#define EBPF_ARRAY_H

#include "map.h"

ALWAYS_INLINE u32 array_index(const void *key)
{
	return (u32)load_bytes(key, 4);
}

u64 ebpf_array_lookup(struct ebpf_map *map, const void *key, u32 cpu)
{
	u32 index = array_index(key);

	(void)cpu;
	return index < map->max_entries ? map->values + index * map->stride : 0;
}

u64 ebpf_percpu_array_lookup(struct ebpf_map *map, const void *key, u32 cpu)
{
	u32 index = array_index(key);

	if (index >= map->max_entries || cpu >= map->cpus)
		return 0;
	return map->values + index * map->stride + cpu * map->cpu_stride;
}

#ifndef EBPF_LOOKUPS_ONLY

ALWAYS_INLINE s64 array_check(const struct ebpf_map *map, u32 index, u64 flags)
{
	if ((flags & ~BPF_F_LOCK_) > BPF_EXIST_)
		return -EINVAL_;
	if (index >= map->max_entries)
		return -E2BIG_;
	if (flags & BPF_NOEXIST_)
		return -EEXIST_;
	if (flags & BPF_F_LOCK_ && map->lock_offset == NO_LOCK)
		return -EINVAL_;
	return 0;
}

s64 ebpf_array_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu)
{
	u32 index = array_index(key);
	s64 error = array_check(map, index, flags);
	u8 *to = (u8 *)(map->values + index * map->stride);

	(void)cpu;
	if (error)
		return error;
	if (flags & BPF_F_LOCK_)
		copy_locked(map, to, value);
	else
		copy_value(map, to, value);
	return 0;
}

s64 ebpf_percpu_array_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu)
{
	u32 index = array_index(key);
	s64 error = flags > BPF_EXIST_ ? -EINVAL_ : array_check(map, index, flags);

	if (!error)
		copy_in((u8 *)(map->values + index * map->stride + cpu * map->cpu_stride), value, map->value_size);
	return error;
}

s64 ebpf_percpu_array_set_cpus(struct ebpf_map *map, const void *key, const void *values, u64 flags)
{
	u32 index = array_index(key);
	s64 error = flags > BPF_EXIST_ ? -EINVAL_ : array_check(map, index, flags);
	u64 step = round_up_8(map->value_size);

	if (!error)
		for (u32 cpu = 0; cpu < map->cpus; cpu++)
			copy_in((u8 *)(map->values + index * map->stride + cpu * map->cpu_stride),
				(const u8 *)values + cpu * step, map->value_size);
	return error;
}

void ebpf_array_read(struct ebpf_map *map, void *values)
{
	u32 copies = map->type == KIND_PERCPU_ARRAY ? map->cpus : 1;
	u64 size = map->type == KIND_PERCPU_ARRAY ? map->stride : map->value_size;
	u8 *to = values;

	for (u64 index = 0; index < map->max_entries; index++)
		for (u32 cpu = 0; cpu < copies; cpu++, to += size)
			copy_out(to, (u8 *)(map->values + index * map->stride + cpu * map->cpu_stride), size);
}

s64 ebpf_array_delete(struct ebpf_map *map, const void *key)
{
	(void)map;
	(void)key;
	return -EINVAL_;
}

s64 ebpf_percpu_array_delete(struct ebpf_map *map, const void *key)
{
	return ebpf_array_delete(map, key);
}

#endif
#endif
