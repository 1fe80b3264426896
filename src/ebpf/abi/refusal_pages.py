"""A page for each of the verifier's codes: the rule, why it exists, C that it refuses and the same C mended, a kernel's words.

`ebpf explain CODE` and docs/messages.md print them. Every example is compiled and verified by the tests: the first is refused with
that code, the second accepted. In the examples ``counts`` is a hash of u32 to u64, ``events`` a ring buffer, ``locked`` an array of
``struct locked { struct bpf_spin_lock lock; u32 n; }``, ``jumps`` a program array; `PRELUDE` declares them.
"""

# ruff: noqa: E501  (prose and C, a page a row)
from __future__ import annotations

from typing import NamedTuple


class Page(NamedTuple):
    """What `ebpf explain` tells of a code. ``kernel``: how a kernel's verifier says it, as an example."""

    rule: str
    why: str
    refused: str = ""
    mended: str = ""
    kernel: str = ""


PRELUDE = """
struct locked { struct bpf_spin_lock lock; u32 n; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct locked); } locked SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 4); __type(key, u32); __type(value, u32); } jumps SEC(".maps");
char LICENSE[] SEC("license") = "GPL";
"""

PAGES: dict[str, Page] = {
    "V0100": Page(
        "The kernel refused the program, and its words fit none of the reasons known here.",
        "The verifier proves that a program cannot read or write what it should not, and that it ends. What it cannot prove it refuses. "
        "The message shows its last words; `--log` (or `VerifierError.log`) has all of them.",
    ),
    "V0101": Page(
        "A program calls only helpers that its type of program has, and that the running kernel has.",
        "A helper relies on what its callers have: a packet, a current task, a place where sleeping is allowed. Called elsewhere it would read what is not there.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    char comm[16];\n    bpf_get_current_comm(comm, sizeof(comm));\n    return XDP_PASS;\n}',
        'SEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    char comm[16];\n    bpf_get_current_comm(comm, sizeof(comm));\n    return 0;\n}',
        "program of this type cannot use helper bpf_get_current_comm#16",
    ),
    "V0102": Page(
        "Some helpers are for programs under a licence compatible with the GPL.",
        "This is no matter of safety: the kernel exports these helpers under its own licence.",
        'char LICENSE[] SEC("license") = "Proprietary";\nSEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    bpf_printk("read");\n    return 0;\n}',
        'char LICENSE[] SEC("license") = "GPL";\nSEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    bpf_printk("read");\n    return 0;\n}',
        "cannot call GPL-restricted function from non-GPL compatible program",
    ),
    "V0103": Page(
        "Each argument of a helper is of the kind that the helper expects: a map, memory, the context, a number.",
        "A helper uses its arguments without looking: a number taken for an address would make it write anywhere.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 *value = bpf_map_lookup_elem(&counts, (void *)8);\n    return value ? XDP_DROP : XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u32 key = 8;\n    u64 *value = bpf_map_lookup_elem(&counts, &key);\n    return value ? XDP_DROP : XDP_PASS;\n}',
        "R2 type=scalar expected=fp",
    ),
    "V0104": Page(
        "Every instruction is reached on some path, no jump leaves its function, every path ends in `exit`.",
        "What runs past the end of a program runs whatever lies behind it in memory. Code that is never reached is most often a mistake, so kernels refuse it too. Compiled C does not come here: assembly and code made by programs do.",
        kernel="unreachable insn 2",
    ),
    "V0201": Page(
        "A pointer that may be NULL is compared with NULL before it is used, and used only where it is not.",
        "A look-up finds nothing, a ring buffer is full: then there is no memory, and address 0 must not be read. The check counts for all copies of that pointer, and for that look-up alone.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u32 key = 1;\n    u64 *value = bpf_map_lookup_elem(&counts, &key);\n    *value += 1;\n    return XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u32 key = 1;\n    u64 *value = bpf_map_lookup_elem(&counts, &key);\n    if (value)\n        *value += 1;\n    return XDP_PASS;\n}',
        "R0 invalid mem access 'map_value_or_null'",
    ),
    "V0202": Page(
        "An access to a map's value lies inside the value, for every number that its index may be.",
        "Behind the value lies another value, or other memory of the kernel.",
        'u64 table[16];\nSEC("xdp") int f(struct xdp_md *ctx) {\n    u32 i = bpf_get_prandom_u32();\n    if (i > 16)\n        return XDP_DROP;\n    table[i] = 1;\n    return XDP_PASS;\n}',
        'u64 table[16];\nSEC("xdp") int f(struct xdp_md *ctx) {\n    u32 i = bpf_get_prandom_u32();\n    if (i >= 16)\n        return XDP_DROP;\n    table[i] = 1;\n    return XDP_PASS;\n}',
        "invalid access to map value, value_size=128 off=128 size=8",
    ),
    "V0203": Page(
        "Bytes of a packet are read only where a comparison with `data_end` has shown, on this path, that the packet is that long.",
        "Packets are as short as their sender likes. A helper that may move or resize the packet makes all earlier comparisons void.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n    if (data + 12 > end)\n        return XDP_DROP;\n    return data[13] == 8 ? XDP_PASS : XDP_DROP;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;\n    if (data + 14 > end)\n        return XDP_DROP;\n    return data[13] == 8 ? XDP_PASS : XDP_DROP;\n}',
        "invalid access to packet, off=13 size=1, R1(id=0,off=0,r=12)",
    ),
    "V0204": Page(
        "An access to the stack lies inside the 512 bytes of the function's frame; a pointer saved there is read back whole; no address of a local variable outlives its function.",
        "Behind the frame lies the kernel's own stack.",
        'SEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    char comm[8];\n    bpf_get_current_comm(comm, 16);\n    return comm[0];\n}',
        'SEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    char comm[16];\n    bpf_get_current_comm(comm, sizeof(comm));\n    return comm[0];\n}',
        "invalid indirect access to stack R1 off=-8 size=16",
    ),
    "V0205": Page(
        "Stack memory is written before it is read or handed to a helper. (Kernels since 6.3 let privileged programs read it; our verifier does the same.)",
        "What was left there by the kernel must not get out: not in a map's key, not in an event, not in padding between members.",
        kernel="invalid indirect read from stack R2 off -8+0 size 8",
    ),
    "V0206": Page(
        "A register is written before it is read, on every path. A call leaves nothing in R1 to R5; a function ends with a value in R0.",
        "What happens to be in a register is the kernel's, and differs from run to run. Compiled C seldom comes here (a compiler fills in a value): assembly and code made by programs do.",
        kernel="R0 !read_ok",
    ),
    "V0207": Page(
        "The context is read field by field, as wide as the fields are, and only what this type of program may see; few fields may be written.",
        "The context that a program sees is not what lies in memory: kernels rewrite each access to a field into one to their own structures.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    ctx->ingress_ifindex = 3;\n    return XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    return ctx->ingress_ifindex == 3 ? XDP_DROP : XDP_PASS;\n}',
        "invalid bpf_context access off=12 size=4",
    ),
    "V0208": Page(
        "Memory behind a plain number (an argument in a register, what `bpf_get_current_task` gives) is read by a probe read.",
        "The address may be anything, a user's too. A probe read fails with an error code where a plain one would crash the kernel.",
        'SEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    int *p = (int *)ctx->di;\n    return *p;\n}',
        'SEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    int *p = (int *)ctx->di, x = 0;\n    bpf_probe_read_kernel(&x, sizeof(x), p);\n    return x;\n}',
        "R1 invalid mem access 'scalar'",
    ),
    "V0209": Page(
        "Memory is reached through pointers that the verifier follows from where they come; a number is none of them.",
        "Nobody knows what lies at the address.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    return *(volatile int *)0x1000 ? XDP_DROP : XDP_PASS;\n}',
        'int setting;\nSEC("xdp") int f(struct xdp_md *ctx) {\n    return *(volatile int *)&setting ? XDP_DROP : XDP_PASS;\n}',
        "R1 invalid mem access 'scalar'",
    ),
    "V0210": Page(
        "An access to the stack, to the context or by an atomic operation starts at a multiple of its size.",
        "The verifier follows the stack in aligned slots, kernels rewrite the context field by field, and a crooked atomic operation is not atomic.",
        'struct __attribute__((packed)) pair { char c; u64 n; };\nstruct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct pair); } pairs SEC(".maps");\nSEC("xdp") int f(struct xdp_md *ctx) {\n    u32 key = 0;\n    struct pair *p = bpf_map_lookup_elem(&pairs, &key);\n    if (p)\n        __sync_fetch_and_add((u64 *)((char *)p + 1), 1);\n    return XDP_PASS;\n}',
        'struct pair { char c; u64 n; };\nstruct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct pair); } pairs SEC(".maps");\nSEC("xdp") int f(struct xdp_md *ctx) {\n    u32 key = 0;\n    struct pair *p = bpf_map_lookup_elem(&pairs, &key);\n    if (p)\n        __sync_fetch_and_add(&p->n, 1);\n    return XDP_PASS;\n}',
        "misaligned stack access off (0x0; 0x0)+-9+0 size 8",
    ),
    "V0211": Page(
        "A number that becomes an offset, an index or a length has a lower and an upper bound on every path.",
        "Without one it may reach any byte.",
        'SEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    char buf[64];\n    u32 n = bpf_get_prandom_u32();\n    bpf_probe_read_kernel(buf, n, (void *)ctx->di);\n    return 0;\n}',
        'SEC("kprobe/vfs_read") int f(struct pt_regs *ctx) {\n    char buf[64];\n    u32 n = bpf_get_prandom_u32();\n    if (n > sizeof(buf))\n        n = sizeof(buf);\n    bpf_probe_read_kernel(buf, n, (void *)ctx->di);\n    return 0;\n}',
        "R2 unbounded memory access, use 'var &= const' or 'if (var < const)'",
    ),
    "V0212": Page(
        "To a pointer a bounded number may be added or subtracted, in 64 bits; nothing else. Some pointers (a map, the packet's end) cannot be moved at all.",
        "After any other arithmetic nobody can say what the address means.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u32 key = 1;\n    u64 *value = bpf_map_lookup_elem(&counts, &key);\n    if (!value)\n        return XDP_PASS;\n    value = (u64 *)((u64)value & ~63ull);\n    return *value ? XDP_DROP : XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u32 key = 1;\n    u64 *value = bpf_map_lookup_elem(&counts, &key);\n    if (!value)\n        return XDP_PASS;\n    return *value ? XDP_DROP : XDP_PASS;\n}',
        "R0 pointer arithmetic with &= operator prohibited",
    ),
    "V0213": Page(
        "What is read-only is not written: constants, maps made read-only for programs, packets of programs that only look.",
        "A `const` global is frozen when the program is loaded, and the verifier relies on its value. A packet may be shared.",
        'const volatile u32 limit = 8;\nSEC("xdp") int f(struct xdp_md *ctx) {\n    *(volatile u32 *)&limit = 9;\n    return XDP_PASS;\n}',
        'u32 limit = 8;\nSEC("xdp") int f(struct xdp_md *ctx) {\n    *(volatile u32 *)&limit = 9;\n    return XDP_PASS;\n}',
        "write into map forbidden, value_size=4 off=0 size=4",
    ),
    "V0214": Page(
        "What was given back (a submitted record, a released socket) is not used any more, nor a packet's place after a helper that may move it.",
        "It belongs to somebody else from then on, or is gone.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 *record = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!record)\n        return XDP_PASS;\n    bpf_ringbuf_submit(record, 0);\n    *record = 1;\n    return XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 *record = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!record)\n        return XDP_PASS;\n    *record = 1;\n    bpf_ringbuf_submit(record, 0);\n    return XDP_PASS;\n}',
        "R6 invalid mem access 'scalar'",
    ),
    "V0215": Page(
        "An access to a block of memory (a ring-buffer record, an argument of a global function) lies inside it.",
        "Behind it lies what others reserved.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 *record = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!record)\n        return XDP_PASS;\n    record[1] = 1;\n    bpf_ringbuf_submit(record, 0);\n    return XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 *record = bpf_ringbuf_reserve(&events, 16, 0);\n    if (!record)\n        return XDP_PASS;\n    record[0] = 0;\n    record[1] = 1;\n    bpf_ringbuf_submit(record, 0);\n    return XDP_PASS;\n}',
        "invalid access to memory, mem_size=8 off=8 size=8",
    ),
    "V0216": Page(
        "The kernel's own structures are read at members that their types have, and never written.",
        "The types say what a read gives. A write past the kernel's own rules would break whatever relies on them.",
        'extern const int bpf_prog_active __ksym;\nSEC("xdp") int f(struct xdp_md *ctx) {\n    *(volatile int *)&bpf_prog_active = 1;\n    return XDP_PASS;\n}',
        'extern const int bpf_prog_active __ksym;\nSEC("xdp") int f(struct xdp_md *ctx) {\n    return *(volatile int *)&bpf_prog_active ? XDP_DROP : XDP_PASS;\n}',
        "only read is supported",
    ),
    "V0301": Page(
        "What a program takes (a ring-buffer record, a socket, an iterator) it gives back on every path, once.",
        "Nobody else can: a record that is never submitted blocks the ring buffer for good, a socket that is never released is never freed.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 *record = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!record)\n        return XDP_PASS;\n    *record = ctx->ingress_ifindex;\n    if (ctx->ingress_ifindex == 3)\n        return XDP_PASS;\n    bpf_ringbuf_submit(record, 0);\n    return XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 *record = bpf_ringbuf_reserve(&events, 8, 0);\n    if (!record)\n        return XDP_PASS;\n    *record = ctx->ingress_ifindex;\n    if (ctx->ingress_ifindex == 3) {\n        bpf_ringbuf_discard(record, 0);\n        return XDP_PASS;\n    }\n    bpf_ringbuf_submit(record, 0);\n    return XDP_PASS;\n}',
        "Unreleased reference id=2 alloc_insn=4",
    ),
    "V0302": Page(
        "One lock at a time, taken and given back in the same value; no helper or function is called while it is held; it is given back on every path.",
        "Whoever waits for a lock waits on its CPU: a program that keeps one stops the machine.",
        'SEC("tc") int f(struct __sk_buff *ctx) {\n    u32 key = 0;\n    struct locked *value = bpf_map_lookup_elem(&locked, &key);\n    if (!value)\n        return 0;\n    bpf_spin_lock(&value->lock);\n    value->n++;\n    return 0;\n}',
        'SEC("tc") int f(struct __sk_buff *ctx) {\n    u32 key = 0;\n    struct locked *value = bpf_map_lookup_elem(&locked, &key);\n    if (!value)\n        return 0;\n    bpf_spin_lock(&value->lock);\n    value->n++;\n    bpf_spin_unlock(&value->lock);\n    return 0;\n}',
        "bpf_spin_unlock is missing",
    ),
    "V0401": Page(
        "All paths of a program are followed; the work must end before a budget (a kernel's: a million instructions) is used up.",
        "Nobody waits for a proof for ever. Loops that are followed round by round, and many conditions one after the other, multiply the paths.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u32 i = 0;\n    do {\n        i += 2;\n        asm volatile("" : "+r"(i));\n    } while (i != 9); // 4,294,967,296 rounds, and still not\n    return XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u32 i = 0;\n    do {\n        i += 2;\n        asm volatile("" : "+r"(i));\n    } while (i < 9);\n    return XDP_PASS;\n}',
        "BPF program is too large. Processed 1000001 insn",
    ),
    "V0402": Page(
        "Every loop ends: something changes in each round and meets its limit, or a helper, an iterator or `may_goto` counts the rounds.",
        "A program that never ends never gives its CPU back.",
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 x = bpf_get_prandom_u32() | 1;\n    while (x != 2)\n        x = x * 6364136223846793005ull + 1;\n    return XDP_PASS;\n}',
        'SEC("xdp") int f(struct xdp_md *ctx) {\n    u64 x = bpf_get_prandom_u32() | 1;\n    for (int i = 0; i < 100 && x != 2; i++)\n        x = x * 6364136223846793005ull + 1;\n    return XDP_PASS;\n}',
        "infinite loop detected at insn 2",
    ),
    "V0403": Page(
        "Functions that call each other use at most 512 bytes of stack together, are at most 8 deep, and never call themselves.",
        "The kernel's stack is 16 KiB for all that runs on it.",
        'static __noinline int deep(char *out) {\n    char buf[300];\n    bpf_probe_read_kernel(buf, sizeof(buf), (void *)out);\n    return buf[9];\n}\nSEC("xdp") int f(struct xdp_md *ctx) {\n    char buf[300];\n    bpf_probe_read_kernel(buf, sizeof(buf), ctx);\n    return deep(buf) ? XDP_PASS : XDP_DROP;\n}',
        'static __noinline int deep(char *out) {\n    char buf[100];\n    bpf_probe_read_kernel(buf, sizeof(buf), (void *)out);\n    return buf[9];\n}\nSEC("xdp") int f(struct xdp_md *ctx) {\n    char buf[300];\n    bpf_probe_read_kernel(buf, sizeof(buf), ctx);\n    return deep(buf) ? XDP_PASS : XDP_DROP;\n}',
        "combined stack size of 2 calls is 608. Too large",
    ),
    "V0501": Page(
        "A program (and a callback) returns one of the values that its caller understands, on every path.",
        "The caller acts on it: of a cgroup hook 0 means no and 1 yes, and there is no third answer.",
        'SEC("cgroup/dev") int f(struct bpf_cgroup_dev_ctx *ctx) {\n    return bpf_get_prandom_u32();\n}',
        'SEC("cgroup/dev") int f(struct bpf_cgroup_dev_ctx *ctx) {\n    return bpf_get_prandom_u32() & 1;\n}',
        "At program exit the register R0 has unknown scalar value should have been in [0, 1]",
    ),
    "V0502": Page(
        "A program of a user without CAP_PERFMON lets no address of the kernel's out: not as its result, not in a map.",
        "Whoever knows the kernel's addresses is half way to attacking it. Our own verifier judges programs as if they were privileged.",
        kernel="R0 leaks addr as return value",
    ),
}
