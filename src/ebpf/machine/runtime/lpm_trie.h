/* lpm_trie: the longest prefix that matches (kernel/bpf/lpm_trie.c).
 *
 * A key is a prefix length in bits (u32) and the address, most significant bit first. The trie is binary and skips levels
 * that don't branch; where a branch needs a node that nobody put in, there is one without a value ("joint").
 *
 * Changes happen under a lock, with an odd sequence number; a look-up takes no lock and counts only if the number was even
 * and is the same afterwards. What it walks over meanwhile may be anything, so it goes on only while prefixes get longer:
 * that ends. Nodes are written by release stores and read by acquire loads.
 */
#ifndef EBPF_LPM_TRIE_H
#define EBPF_LPM_TRIE_H

#include "map.h"

#define TRIE_HEADER 24
#define TRIE_BITS_MAX 2048
#define PATIENCE 64

struct ebpf_trie_node {
	u32 child[2];	/* slot + 1; 0: none */
	u32 prefix;	/* bits */
	u32 joint;
	u32 free;	/* in the list of free nodes */
	u32 reserved;
	u64 data[];
};

ALWAYS_INLINE struct ebpf_trie_node *node_at(const struct ebpf_map *map, u32 at)
{
	return (struct ebpf_trie_node *)(map->values - map->value_offset + (at - 1) * map->stride);
}

ALWAYS_INLINE u32 trie_bits(const struct ebpf_map *map)
{
	return (map->key_size - 4) * 8;
}

ALWAYS_INLINE u32 key_bit(const u8 *data, u32 bit)
{
	return data[bit / 8] >> (7 - bit % 8) & 1;
}

ALWAYS_INLINE u32 node_bit(const struct ebpf_trie_node *node, u32 bit)
{
	return (u32)(load_acquire(&node->data[bit / 64]) >> (bit / 8 % 8 * 8 + 7 - bit % 8)) & 1;
}

/* How many leading bits node and key share, at most as many as the shorter prefix has. */
ALWAYS_INLINE u32 common_bits(const struct ebpf_map *map, const struct ebpf_trie_node *node, u32 node_prefix,
			      const u8 *data, u32 prefix)
{
	u32 limit = node_prefix < prefix ? node_prefix : prefix, size = map->key_size - 4;

	for (u32 n = 0; n * 8 < limit; n += 8) {
		u64 difference = load_acquire(&node->data[n / 8]) ^ load_bytes(data + n, size - n);

		if (difference) {
			u32 common = n * 8 + (u32)__builtin_clzll(__builtin_bswap64(difference));

			return common < limit ? common : limit;
		}
	}
	return limit;
}

/* The slot + 1 of the best match; 0: none. */
ALWAYS_INLINE u32 trie_walk(const struct ebpf_map *map, const u8 *data, u32 prefix)
{
	u32 at = load_acquire(&map->root), found = 0;
	s64 longest = -1;

	while (at) {
		const struct ebpf_trie_node *node = node_at(map, at);
		u32 length = load_acquire(&node->prefix);
		u32 common = common_bits(map, node, length, data, prefix);

		if (common < length || length <= longest)
			break;
		longest = length;
		if (!load_acquire(&node->joint))
			found = at;
		if (length >= trie_bits(map))
			break;
		at = load_acquire(&node->child[key_bit(data, length)]);
	}
	return found;
}

u64 ebpf_lpm_trie_lookup(struct ebpf_map *map, const void *key, u32 cpu)
{
	u32 prefix = (u32)load_bytes(key, 4), found = 0;
	const u8 *data = (const u8 *)key + 4;

	(void)cpu;
	if (prefix > trie_bits(map))
		return 0;
	for (u32 tries = 0; tries < PATIENCE; tries++) {
		u32 sequence = load_acquire(&map->sequence);

		if (sequence & 1)
			continue;
		found = trie_walk(map, data, prefix);
		if (load_relaxed(&map->sequence) == sequence)
			return found ? map->values + (found - 1) * map->stride : 0;
	}
	lock_word(&map->lock);	/* others change it all the time: wait for a turn */
	found = trie_walk(map, data, prefix);
	unlock_word(&map->lock);
	return found ? map->values + (found - 1) * map->stride : 0;
}

#ifndef EBPF_LOOKUPS_ONLY

static void trie_lock(struct ebpf_map *map)
{
	lock_word(&map->lock);
	store_relaxed(&map->sequence, map->sequence + 1);
}

static void trie_unlock(struct ebpf_map *map)
{
	store_release(&map->sequence, map->sequence + 1);
	unlock_word(&map->lock);
}

/* Under the lock there is always one: as many joints as entries at most, and one node on its way. */
static u32 node_take(struct ebpf_map *map)
{
	u32 at = (u32)map->free;

	if (!at)
		return ++map->fresh;
	map->free = node_at(map, at)->free;
	return at;
}

static void node_give(struct ebpf_map *map, u32 at)
{
	node_at(map, at)->free = (u32)map->free;
	map->free = at;
}

static void node_fill(struct ebpf_map *map, u32 at, const u8 *data, u32 prefix, u32 joint)
{
	struct ebpf_trie_node *node = node_at(map, at);
	u32 size = map->key_size - 4;

	for (u32 n = 0; n < size; n += 8)
		store_release(&node->data[n / 8], load_bytes(data + n, size - n));
	store_release(&node->prefix, prefix);
	store_release(&node->joint, joint);
}

static void node_link(struct ebpf_map *map, u32 at, u32 left, u32 right)
{
	store_release(&node_at(map, at)->child[0], left);
	store_release(&node_at(map, at)->child[1], right);
}

/* Where a key is, or would be: the link that leads there, the node, the bits that they share. */
struct trie_place {
	u32 *link;
	u32 *link_before;
	u32 at;
	u32 parent;
	u32 common;
};

static void trie_find(struct ebpf_map *map, const u8 *data, u32 prefix, struct trie_place *place)
{
	place->link = place->link_before = &map->root;
	place->at = map->root;
	place->parent = 0;
	place->common = 0;
	while (place->at) {
		struct ebpf_trie_node *node = node_at(map, place->at);

		place->common = common_bits(map, node, node->prefix, data, prefix);
		if (node->prefix != place->common || node->prefix == prefix)
			return;
		place->parent = place->at;
		place->link_before = place->link;
		place->link = &node->child[key_bit(data, node->prefix)];
		place->at = *place->link;
	}
}

static s64 trie_update(struct ebpf_map *map, const u8 *data, u32 prefix, const u8 *value, u64 flags)
{
	struct trie_place place;
	struct ebpf_trie_node *node = 0;
	u32 new, joint;
	int exact;

	trie_find(map, data, prefix, &place);
	if (place.at)
		node = node_at(map, place.at);
	exact = node && node->prefix == prefix && place.common == prefix;
	if (exact && !node->joint) {
		if (flags == BPF_NOEXIST_)
			return -EEXIST_;
	} else {
		if (flags == BPF_EXIST_)
			return -ENOENT_;
		if (map->count >= map->max_entries)
			return -ENOSPC_;
		store_relaxed(&map->count, map->count + 1);
	}
	new = node_take(map);
	node_fill(map, new, data, prefix, 0);
	copy_in((u8 *)node_at(map, new) + map->value_offset, value, map->value_size);
	if (exact) {
		node_link(map, new, node->child[0], node->child[1]);
		store_release(place.link, new);
		node_give(map, place.at);
	} else if (!node) {
		node_link(map, new, 0, 0);
		store_release(place.link, new);
	} else if (place.common == prefix) {	/* in front of what is there */
		u32 bit = node_bit(node, prefix);

		node_link(map, new, bit ? 0 : place.at, bit ? place.at : 0);
		store_release(place.link, new);
	} else {
		u32 bit = key_bit(data, place.common);

		node_link(map, new, 0, 0);
		joint = node_take(map);
		node_fill(map, joint, data, place.common, 1);
		node_link(map, joint, bit ? place.at : new, bit ? new : place.at);
		store_release(place.link, joint);
	}
	return 0;
}

s64 ebpf_lpm_trie_update(struct ebpf_map *map, const void *key, const void *value, u64 flags, u32 cpu)
{
	u32 prefix = (u32)load_bytes(key, 4);
	s64 result;

	(void)cpu;
	if (flags > BPF_EXIST_ || prefix > trie_bits(map))
		return -EINVAL_;
	trie_lock(map);
	result = trie_update(map, (const u8 *)key + 4, prefix, value, flags);
	trie_unlock(map);
	return result;
}

static s64 trie_delete(struct ebpf_map *map, const u8 *data, u32 prefix)
{
	struct trie_place place;
	struct ebpf_trie_node *node, *parent;

	trie_find(map, data, prefix, &place);
	if (!place.at)
		return -ENOENT_;
	node = node_at(map, place.at);
	if (node->prefix != prefix || place.common != prefix || node->joint)
		return -ENOENT_;
	store_relaxed(&map->count, map->count - 1);
	if (node->child[0] && node->child[1]) {
		/* It goes on as a joint in other memory: who has a pointer to its value keeps the value. */
		u32 joint = node_take(map);

		node_fill(map, joint, data, prefix, 1);
		node_link(map, joint, node->child[0], node->child[1]);
		store_release(place.link, joint);
	} else if (!node->child[0] && !node->child[1] && place.parent && node_at(map, place.parent)->joint) {
		parent = node_at(map, place.parent);
		store_release(place.link_before, parent->child[place.link == &parent->child[0]]);
		node_give(map, place.parent);
	} else {
		store_release(place.link, node->child[0] ? node->child[0] : node->child[1]);
	}
	node_give(map, place.at);
	return 0;
}

s64 ebpf_lpm_trie_delete(struct ebpf_map *map, const void *key)
{
	u32 prefix = (u32)load_bytes(key, 4);
	s64 result;

	if (prefix > trie_bits(map))
		return -EINVAL_;
	trie_lock(map);
	result = trie_delete(map, (const u8 *)key + 4, prefix);
	trie_unlock(map);
	return result;
}

/* ---- walking: longer prefixes first, then shorter ones that contain them ---- */

static void trie_key_out(const struct ebpf_map *map, u8 *to, u32 at)
{
	const struct ebpf_trie_node *node = node_at(map, at);

	__builtin_memcpy(to, &node->prefix, 4);
	copy_out(to + 4, (const u8 *)node->data, map->key_size - 4);
}

/* The node that comes first of those under `at`. */
static u32 trie_first(const struct ebpf_map *map, u32 at)
{
	u32 found = 0;

	while (at) {
		struct ebpf_trie_node *node = node_at(map, at);

		if (!node->joint)
			found = at;
		at = node->child[0] ? node->child[0] : node->child[1];
	}
	return found;
}

static u32 trie_after(const struct ebpf_map *map, const u8 *data, u32 prefix)
{
	u32 path[TRIE_BITS_MAX + 1], depth = 0, at = map->root;

	while (at) {
		struct ebpf_trie_node *node = node_at(map, at);

		path[depth++] = at;
		if (common_bits(map, node, node->prefix, data, prefix) != node->prefix)
			return trie_first(map, map->root);
		if (node->prefix == prefix) {
			if (node->joint)
				return trie_first(map, map->root);
			break;
		}
		at = node->child[key_bit(data, node->prefix)];
	}
	if (!at)
		return trie_first(map, map->root);
	for (; depth > 1; depth--) {
		struct ebpf_trie_node *parent = node_at(map, path[depth - 2]);

		if (parent->child[0] == path[depth - 1] && parent->child[1])
			return trie_first(map, parent->child[1]);
		if (!parent->joint)
			return path[depth - 2];
	}
	return 0;
}

s64 ebpf_lpm_trie_next_key(struct ebpf_map *map, const void *key, void *next)
{
	u32 prefix = key ? (u32)load_bytes(key, 4) : 0, found;

	lock_word(&map->lock);
	found = key && prefix <= trie_bits(map) ? trie_after(map, (const u8 *)key + 4, prefix)
						: trie_first(map, map->root);
	if (found)
		trie_key_out(map, next, found);
	unlock_word(&map->lock);
	return found ? 0 : -ENOENT_;
}

/* A copy of the value. */
s64 ebpf_lpm_trie_get(struct ebpf_map *map, const void *key, void *value)
{
	u32 prefix = (u32)load_bytes(key, 4), found = 0;

	if (prefix <= trie_bits(map)) {
		lock_word(&map->lock);
		found = trie_walk(map, (const u8 *)key + 4, prefix);
		if (found)
			copy_out(value, (u8 *)node_at(map, found) + map->value_offset, map->value_size);
		unlock_word(&map->lock);
	}
	return found ? 0 : -ENOENT_;
}

/* All entries, at most `capacity`; how many. */
u32 ebpf_lpm_trie_read(struct ebpf_map *map, void *keys, void *values, u32 capacity)
{
	u32 path[TRIE_BITS_MAX + 1], depth = 0, at, last = 0, count = 0;

	lock_word(&map->lock);
	at = map->root;
	while ((at || depth) && count < capacity) {
		struct ebpf_trie_node *node;

		if (at) {
			path[depth++] = at;
			at = node_at(map, at)->child[0];
			continue;
		}
		node = node_at(map, path[depth - 1]);
		if (node->child[1] && node->child[1] != last) {
			at = node->child[1];
			continue;
		}
		last = path[--depth];
		if (!node->joint) {
			trie_key_out(map, (u8 *)keys + (u64)count * map->key_size, last);
			copy_out((u8 *)values + (u64)count * map->value_size, (u8 *)node + map->value_offset,
				 map->value_size);
			count++;
		}
	}
	unlock_word(&map->lock);
	return count;
}

#endif
#endif
