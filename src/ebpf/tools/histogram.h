/* Histograms by powers of two: slot 0 counts 0 and 1, slot n what is from 2^n to 2^(n+1) - 1. */
#ifndef EBPF_TOOLS_HISTOGRAM_H
#define EBPF_TOOLS_HISTOGRAM_H

#define SLOTS 48

struct histogram {
    __u64 slots[SLOTS];
    char comm[16];
};

static const struct histogram no_counts;

static __always_inline __u32 slot_of(__u64 value)
{
    __u32 slot = 0;

    if (value >> 32) {
        value >>= 32;
        slot += 32;
    }
    if (value >> 16) {
        value >>= 16;
        slot += 16;
    }
    if (value >> 8) {
        value >>= 8;
        slot += 8;
    }
    if (value >> 4) {
        value >>= 4;
        slot += 4;
    }
    if (value >> 2) {
        value >>= 2;
        slot += 2;
    }
    slot += value >> 1;
    return slot < SLOTS ? slot : SLOTS - 1;
}

static __always_inline void count_in(struct histogram *histogram, __u64 value)
{
    __u32 slot = slot_of(value);

    if (slot < SLOTS)
        __sync_fetch_and_add(&histogram->slots[slot], 1);
}

/* The value at a key of a hash, made of zeros if it is new; NULL if the map is full. */
#define FIND_OR_MAKE(MAP, KEY, ZERO) ({                                                                                 \
    void *found_ = bpf_map_lookup_elem(MAP, KEY);                                                                       \
    if (!found_) {                                                                                                      \
        bpf_map_update_elem(MAP, KEY, ZERO, BPF_NOEXIST);                                                               \
        found_ = bpf_map_lookup_elem(MAP, KEY);                                                                         \
        if (!found_)                                                                                                    \
            COUNT_LOST();                                                                                               \
    }                                                                                                                   \
    found_;                                                                                                             \
})

#endif
