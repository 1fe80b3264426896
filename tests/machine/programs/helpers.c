// What helpers give, written into `out`: the same in the machine and in a kernel. Addresses and times are not written.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 64); __type(key, __u32); __type(value, __u64); } out SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } numbers SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 3); __type(value, __u32); } line SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_STACK); __uint(max_entries, 3); __type(value, __u32); } pile SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_BLOOM_FILTER); __uint(max_entries, 100); __type(value, __u32); } bloom SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct prefix { __u32 bits; __u8 address[4]; };
struct { __uint(type, BPF_MAP_TYPE_LPM_TRIE); __uint(max_entries, 4); __uint(map_flags, BPF_F_NO_PREALLOC);
         __type(key, struct prefix); __type(value, __u32); } trie SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); } mine SEC(".maps");
struct locked { struct bpf_spin_lock lock; __u32 a; __u64 b; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct locked); } guarded SEC(".maps");
struct inner { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __type(key, __u32); __type(value, __u64); } first SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS); __uint(max_entries, 2); __type(key, __u32); __array(values, struct inner); }
    outer SEC(".maps") = { .values = { [1] = &first } };

static void put(__u32 at, __u64 value)
{
    bpf_map_update_elem(&out, &at, &value, BPF_ANY);
}

static __always_inline __u32 input(struct xdp_md *ctx, __u32 at)
{
    __u32 word = 0;
    bpf_xdp_load_bytes(ctx, at & 31, &word, 4);
    return word;
}

SEC("xdp") int strings(struct xdp_md *ctx)
{
    long value = -1;
    unsigned long number = 1;
    put(0, bpf_strtol("-123 rest", 9, 0, &value));
    put(1, value);
    put(2, bpf_strtol("  0x7fz", 7, 16, &value));
    put(3, value);
    put(4, bpf_strtoul("0777", 4, 0, &number));
    put(5, number);
    put(6, bpf_strtoul("-5", 2, 10, &number));
    put(7, bpf_strtol("abc", 3, 10, &value));
    put(8, bpf_strtol("99999999999999999999", 20, 10, &value));
    put(9, bpf_strtol("-9223372036854775808", 20, 10, &value));
    put(10, value);
    put(11, bpf_strtol("12", 2, 7, &value));
    put(12, bpf_strtoul("18446744073709551615", 20, 10, &number));
    put(13, number);
    char text[8] = "abcdef";
    text[5] = 'a' + (input(ctx, 0) & 7);
    put(14, bpf_strncmp(text, 8, "abcdef"));
    put(15, bpf_strncmp(text, 3, "abc"));
    put(16, bpf_strncmp(text, 8, "abcdefg"));
    return 0;
}

static __always_inline void put_text(__u32 at, char *text)
{
    put(at, *(__u64 *)text);
    put(at + 1, *(__u64 *)(text + 8));
    put(at + 2, *(__u64 *)(text + 16));
    put(at + 3, *(__u64 *)(text + 24));
}

SEC("xdp") int formats(struct xdp_md *ctx)
{
    __u64 data[4] = { input(ctx, 0), -(__u64)input(ctx, 4), input(ctx, 8) & 0xff, 0 };
    __u64 wide[2] = { (__u64)input(ctx, 0) << 31, 7 };
    char word[8] = "word";
    __u8 address[4] = { 10, 0, 200, 7 };
    __u64 pointers[2] = { (__u64)word, (__u64)address };
    __u64 letter = 'x';
    __attribute__((aligned(8))) char text[32] = {};
    put(0, bpf_snprintf(text, 32, "%d|%u|%x", data, 24));
    put_text(1, text);
    put(5, bpf_snprintf(text, 32, "%5d|%-5d|%05d", data, 24));
    put_text(6, text);
    put(10, bpf_snprintf(text, 32, "%llx %+ld", wide, 16));
    put_text(11, text);
    put(15, bpf_snprintf(text, 32, "100%% %c", &letter, 8));
    put_text(16, text);
    put(20, bpf_snprintf(text, 32, "%s %pI4", pointers, 16));
    put_text(21, text);
    put(25, bpf_snprintf(text, 8, "cut %llu short", data, 8));
    put_text(26, text);
    put(30, bpf_snprintf(text, 32, "%X %x", data, 16));
    put(31, bpf_snprintf(text, 32, "%08x %lX", data, 16));
    put_text(32, text);
    put(36, bpf_snprintf(text, 32, "%pi4 %8s", (__u64[2]) { pointers[1], pointers[0] }, 16));
    put_text(37, text);
    return 0;
}

SEC("xdp") int maps(struct xdp_md *ctx)
{
    for (__u32 i = 0; i < 20; i++) {
        __u32 key = input(ctx, i) & 31;
        __u64 value = i;
        put(i, bpf_map_update_elem(&numbers, &key, &value, i % 3 == 0 ? BPF_NOEXIST : i % 3 == 1 ? BPF_EXIST : BPF_ANY));
        key = input(ctx, i + 1) & 31;
        if (i & 1)
            put(20 + i, bpf_map_delete_elem(&numbers, &key));
        __u64 *found = bpf_map_lookup_elem(&numbers, &key);
        put(40 + i, found ? *found + 1 : 0);
    }
    return 0;
}

struct state { __u64 sum, rounds; };

static int each_round(__u32 index, struct state *state)
{
    state->sum = state->sum * 31 + index;
    state->rounds++;
    return state->rounds == 50;
}

static long each_number(void *map, const __u32 *key, __u64 *value, struct state *state)
{
    state->sum += *key * 1000 + *value;
    state->rounds++;
    *value += 1;
    return 0;
}

SEC("xdp") int loops(struct xdp_md *ctx)
{
    struct state state = { input(ctx, 5), input(ctx, 9) & 7 }; // nothing that the verifier could count with
    put(0, bpf_loop(input(ctx, 0) & 127, each_round, &state, 0));
    put(1, state.sum);
    put(2, state.rounds);
    put(3, (int)bpf_loop(1 << 24, each_round, &state, 0)); // where the kernel inlines the call, the upper half is zero
    put(4, bpf_loop(1, each_round, &state, 1));
    for (__u32 i = 0; i < 5; i++) {
        __u32 key = input(ctx, i) & 31;
        __u64 value = i;
        bpf_map_update_elem(&numbers, &key, &value, BPF_ANY);
    }
    state.sum = state.rounds = 0;
    put(5, bpf_for_each_map_elem(&numbers, each_number, &state, 0));
    put(6, state.sum);
    put(7, bpf_for_each_map_elem(&out, each_number, &state, 0));
    return 0;
}

SEC("xdp") int queues(struct xdp_md *ctx)
{
    __u32 value = 0;
    put(0, bpf_map_pop_elem(&line, &value));
    put(1, value);
    for (__u32 i = 0; i < 5; i++) {
        value = input(ctx, i);
        put(2 + i, bpf_map_push_elem(&line, &value, i == 4 ? BPF_EXIST : 0));
        put(8 + i, bpf_map_push_elem(&pile, &value, i == 4 ? BPF_EXIST : 0));
    }
    for (__u32 i = 0; i < 4; i++) {
        put(16 + i, bpf_map_peek_elem(&line, &value));
        put(20 + i, value);
        bpf_map_pop_elem(&line, &value);
        put(24 + i, value);
        put(28 + i, bpf_map_pop_elem(&pile, &value));
        put(32 + i, value);
    }
    value = input(ctx, 3);
    put(40, bpf_map_push_elem(&bloom, &value, 0));
    put(41, bpf_map_peek_elem(&bloom, &value));
    put(42, bpf_map_push_elem(&bloom, &value, BPF_EXIST));
    return 0;
}

SEC("xdp") int ring(struct xdp_md *ctx)
{
    __u64 data[16] = { 1, 2, 3 };
    __u64 *record = bpf_ringbuf_reserve(&events, 100, 0);
    put(0, record != 0);
    put(1, bpf_ringbuf_query(&events, BPF_RB_AVAIL_DATA));
    put(2, bpf_ringbuf_query(&events, BPF_RB_RING_SIZE));
    if (record) {
        record[0] = 5;
        if (input(ctx, 0) & 1)
            bpf_ringbuf_submit(record, 0);
        else
            bpf_ringbuf_discard(record, 0);
    }
    put(3, bpf_ringbuf_query(&events, BPF_RB_PROD_POS));
    for (__u32 i = 0; i < 40; i++)
        put(4 + i, bpf_ringbuf_output(&events, data, 128, 0));
    put(50, bpf_ringbuf_query(&events, BPF_RB_PROD_POS));
    put(51, bpf_ringbuf_query(&events, BPF_RB_CONS_POS));
    record = bpf_ringbuf_reserve(&events, 8192, 0);
    put(52, record != 0);
    if (record)
        bpf_ringbuf_discard(record, 0);
    put(53, bpf_ringbuf_output(&events, data, 8, 64));
    return 0;
}

SEC("xdp") int pointers(struct xdp_md *ctx)
{
    char text[8] = "pointer", copy[16] = "################";
    put(0, bpf_probe_read_kernel(copy, 8, text));
    put(1, *(__u64 *)copy);
    put(2, bpf_probe_read_kernel_str(copy, 5, text));
    put(3, *(__u32 *)copy);
    put(4, bpf_probe_read_kernel_str(copy, 16, text));
    put(5, bpf_probe_read_kernel(copy, 8, 0));
    put(6, *(__u64 *)copy);
    put(7, bpf_probe_read_user(copy, 8, text));
    put(8, bpf_probe_read_kernel_str(copy, 8, 0));
    put(9, bpf_probe_read_kernel(copy, 0, text));
    __u32 key = 1, absent = 7;
    __u64 value = 9, *place;
    put(10, bpf_map_update_elem(&mine, &key, &value, BPF_ANY));
    place = bpf_map_lookup_elem(&mine, &key);
    put(11, place ? *place : 0);
    put(12, bpf_map_lookup_elem(&mine, &absent) != 0);
    place = bpf_map_lookup_percpu_elem(&mine, &key, bpf_get_smp_processor_id());
    put(13, place ? *place : 0);
    place = bpf_map_lookup_percpu_elem(&mine, &key, 100000);
    put(14, place != 0);
    return 0;
}

struct words { __u32 word[12]; };

static int each_prefix(__u32 i, struct words *words)
{
    if (i > 11)
        return 1;
    __u32 word = words->word[i], *found;
    struct prefix key = { .bits = word & 31, .address = { word >> 8 & 3, word >> 16 & 3, 0, 0 } };
    put(i, bpf_map_update_elem(&trie, &key, &i, i & 1 ? BPF_ANY : BPF_NOEXIST));
    key.bits = 32;
    found = bpf_map_lookup_elem(&trie, &key);
    put(16 + i, found ? *found + 1 : 0);
    key.bits = word >> 24 & 31;
    put(32 + i, bpf_map_delete_elem(&trie, &key));
    return 0;
}

SEC("xdp") int prefixes(struct xdp_md *ctx)
{
    struct words words = {};
    bpf_xdp_load_bytes(ctx, 0, &words, sizeof(words));
    put(60, bpf_loop(12, each_prefix, &words, 0));
    return 0;
}

SEC("xdp") int locks(struct xdp_md *ctx)
{
    __u32 key = 0, word = input(ctx, 0);
    struct locked *entry = bpf_map_lookup_elem(&guarded, &key);
    if (!entry)
        return 1;
    bpf_spin_lock(&entry->lock);
    entry->a += word & 15;
    entry->b ^= word;
    __u64 both = entry->a + entry->b;
    bpf_spin_unlock(&entry->lock);
    put(0, both);
    return 0;
}

static __always_inline void look_into(__u32 i)
{
    void *map = bpf_map_lookup_elem(&outer, &i);
    put(i, map != 0);
    if (map) {
        __u32 key = 1;
        __u64 *value = bpf_map_lookup_elem(map, &key);
        if (value)
            put(8 + i, ++*value);
    }
}

SEC("xdp") int nested(struct xdp_md *ctx)
{
    look_into(0);
    look_into(1);
    look_into(2);
    return 0;
}

SEC("xdp") int dynamic(struct xdp_md *ctx)
{
    struct bpf_dynptr ptr;
    __u64 word = input(ctx, 0), back = 0;
    put(0, bpf_ringbuf_reserve_dynptr(&events, 24, 0, &ptr));
    put(1, bpf_dynptr_write(&ptr, 8, &word, 8, 0));
    put(2, bpf_dynptr_write(&ptr, 20, &word, 8, 0));
    put(3, bpf_dynptr_read(&back, 8, &ptr, 8, 0));
    put(4, back);
    __u64 *slice = bpf_dynptr_data(&ptr, 8, 8);
    put(5, slice ? *slice : 0);
    put(6, bpf_dynptr_data(&ptr, 24, 8) != 0);
    bpf_ringbuf_discard_dynptr(&ptr, 0);
    put(7, bpf_ringbuf_query(&events, BPF_RB_PROD_POS));
    return 0;
}

extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

SEC("xdp") int iterators(struct xdp_md *ctx)
{
    struct bpf_iter_num it;
    __u64 sum = input(ctx, 4);
    int start = (int)(input(ctx, 0) & 31) - 16, *number;
    put(0, bpf_iter_num_new(&it, start, start + (int)(input(ctx, 1) & 15) - 2));
    while ((number = bpf_iter_num_next(&it)))
        sum = sum * 3 + *number;
    bpf_iter_num_destroy(&it);
    put(1, sum);
    put(2, bpf_iter_num_new(&it, 0, 1 << 24));
    put(3, bpf_iter_num_next(&it) != 0);
    bpf_iter_num_destroy(&it);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
