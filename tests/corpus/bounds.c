// Indices and lengths that were compared in one width and are used in another: a bound must reach the kernel.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct wide { __u64 seen[69]; char text[100]; };
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct wide);
} wide SEC(".maps");

SEC("raw_tp/sys_enter")
int bounds(struct bpf_raw_tracepoint_args *ctx)
{
    __u32 number = ctx->args[1], zero = 0;
    int offset = ctx->args[0];
    unsigned char small = ctx->args[0] >> 8;
    if (number >= 69)
        return 0;
    struct wide *w = bpf_map_lookup_elem(&wide, &zero);
    if (!w)
        return 0;
    w->seen[number]++;
    if (offset >= 0 && offset < 69)
        w->seen[offset] += 2;
    if (small < 69)
        *(w->seen + small) += 3;
    __u32 length = bpf_get_prandom_u32();
    if (length > sizeof(w->text))
        length = sizeof(w->text);
    bpf_probe_read_kernel(w->text, length, (void *)ctx->args[0]);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
