// Bit-fields, unions, anonymous members, packed and aligned records, designated and compound initialisers, enums.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum color { RED, GREEN = 5, BLUE, LAST = BLUE } __attribute__((packed));
typedef unsigned char mac_t[6];

struct flags {
    __u32 kind : 3, urgent : 1, : 4, level : 10;
    __s32 delta : 7;
    __u64 wide : 40;
    _Bool on : 1;
};
struct __attribute__((packed)) header {
    mac_t to, from;
    __be16 type;
    union {
        __u32 word;
        struct { __u8 a, b, c, d; };
        __u16 half[2];
    };
    enum color color;
};
struct node {
    struct flags flags;
    struct header header;
    struct { __u64 first; union { __u64 second; void *pointer; }; };
    __u32 table[4][3];
} __attribute__((aligned(16)));

static const struct node model = {
    .flags = { .kind = 5, .level = 1023, .delta = -3, .wide = 1ULL << 39 },
    .header = { .to = { [0] = 2, [3 ... 5] = 0xee }, .type = 8, .b = 7, .color = BLUE },
    .second = 11,
    .table = { [1] = { 1, 2, 3 }, [3][2] = 9 },
};
_Static_assert(sizeof(struct header) == 19, "packed");
_Static_assert(__alignof__(struct node) == 16 && __builtin_offsetof(struct node, header.half[1]) % 2 == 0, "aligned");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, LAST);
    __type(key, __u32);
    __type(value, struct node);
} nodes SEC(".maps");

static __u64 sum(struct node n) { return n.flags.wide + n.header.word + n.second + n.table[1][2]; }

SEC("socket")
int layouts(struct __sk_buff *skb)
{
    __u32 index = skb->len % LAST;
    struct node copy = model, *n = bpf_map_lookup_elem(&nodes, &index);
    if (!n)
        return 0;
    copy.flags.level = skb->protocol;
    copy.flags.delta -= 60;
    copy.flags.on = skb->mark;
    *n = copy;
    n->header = (struct header){ .c = n->flags.level, .color = index > 2 ? GREEN : RED };
    n->flags.kind++;
    __u32 (*row)[3] = &n->table[index & 3];
    (*row)[1] += n->flags.delta < 0 ? -n->flags.delta : n->flags.urgent;
    return sum(*n) & 0x7fff;
}

char LICENSE[] SEC("license") = "GPL";
