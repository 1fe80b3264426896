"""C programs for the tests of this directory, and how to compile them."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache

HEAD = """
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
#define __ulong2(name, val, n) enum { __unique_##n = val } name
#define __ulong1(name, val, n) __ulong2(name, val, n)
#define __ulong(name, val) __ulong1(name, val, __COUNTER__)
#define noinline __attribute__((noinline))
#define __ksym SEC(".ksyms")
#define __kconfig SEC(".kconfig")
#define __weak __attribute__((weak))
#define __hidden __attribute__((visibility("hidden")))
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*bpf_ktime_get_ns)(void) = (void *)5;
static long (*bpf_tail_call)(void *ctx, void *map, u32 i) = (void *)12;
static long (*bpf_for_each_map_elem)(void *map, void *cb, void *ctx, u64 flags) = (void *)164;
"""

HELLO = """
struct event { u32 pid; char comm[16]; };
struct { __uint(type, 1); __type(key, u32); __type(value, struct event); __uint(max_entries, 100); }
    counts SEC(".maps");
SEC("socket") int hello(void *ctx) {
    u32 k = 1; struct event *e = bpf_map_lookup_elem(&counts, &k); if (e) e->pid++; return 0; }
char LICENSE[] SEC("license") = "GPL";
"""

RICH = """
struct key { u32 a; u32 b; };
struct inner { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); };
struct { __uint(type, 2); __uint(max_entries, 4); __type(key, u32); __type(value, u64); }
    in1 SEC(".maps"), in2 SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 3); __type(key, u32); __array(values, struct inner); }
    outer SEC(".maps") = { .values = { [0] = (void *)&in1, [2] = (void *)&in2 } };
struct { __uint(type, 1); __type(key, struct key); __type(value, u64); __uint(max_entries, 10240); __uint(map_flags, 1);
         __uint(pinning, 1); } pinned SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); } rb SEC(".maps");
int tail(void *ctx);
struct { __uint(type, 3); __uint(max_entries, 8); __uint(key_size, 4); __array(values, int (void *)); }
    jumps SEC(".maps") = { .values = { [5] = (void *)&tail } };
struct { __uint(type, 30); __uint(max_entries, 5); __uint(value_size, 8); __uint(map_extra, 3); } bloom SEC(".maps");

int counter = 7; static int hidden_counter = 9; u64 zeroed[4]; const volatile u32 limit = 12;
int custom SEC(".data.custom") = 3;

static noinline u64 leaf(u64 x) { asm volatile("" : "+r"(x)); return x * 3; }
static noinline u64 middle(u64 x) { asm volatile("" : "+r"(x)); return leaf(x) + leaf(x + 1); }
__weak noinline int global_sub(u32 x) { asm volatile("" : "+r"(x)); return x + (int)middle(x); }
__hidden noinline int hidden_sub(u32 x) { asm volatile("" : "+r"(x)); return x ^ 5; }
static long visit(void *map, u32 *key, u64 *value, void *ctx) { hidden_counter++; return 0; }

SEC("socket/first") int unnamed(void *ctx) { return (int)middle(limit) + global_sub(3); }
SEC("socket") int first(void *ctx) { u32 k = 0; u64 *v = bpf_map_lookup_elem(&in1, &k);
    counter++; zeroed[2] += bpf_ktime_get_ns(); if (v) *v += custom + hidden_counter;
    bpf_tail_call(ctx, &jumps, 5); return (int)middle(limit) + global_sub(3); }
SEC("socket") int second(void *ctx) { bpf_for_each_map_elem(&in2, visit, 0, 0); return hidden_sub(4); }
SEC("socket") int tail(void *ctx) { return (int)leaf(1); }
SEC("?xdp.frags") int off(void *ctx) { return 2; }
SEC("license") char LICENSE[] = "Dual BSD/GPL";
SEC("version") u32 VERSION = 0x50a00;
"""

EXTERNS = """
extern u32 CONFIG_HZ __kconfig; extern u8 CONFIG_X __kconfig __weak; extern u64 LINUX_KERNEL_VERSION __kconfig;
extern const int some_variable __ksym; extern const void some_symbol __ksym;
extern u64 some_kfunc(u64 x) __ksym; extern void other_kfunc(void) __ksym __weak;
struct task_struct { int pid; int tgid; } __attribute__((preserve_access_index));
SEC("tp_btf/sched_switch") int f(u64 *ctx) {
    struct task_struct *t = (void *)ctx[1];
    if (other_kfunc) other_kfunc();
    return CONFIG_HZ + CONFIG_X + (int)LINUX_KERNEL_VERSION + (int)(long)&some_symbol + some_variable + some_kfunc(3)
        + t->tgid;
}
"""

CALLS = """
static noinline u64 leaf(u64 x) { asm volatile("" : "+r"(x)); return x * 3; }
static noinline u64 twig(u64 x) { asm volatile("" : "+r"(x)); return leaf(x) - 1; }
static noinline u64 branch(u64 x) { asm volatile("" : "+r"(x)); return leaf(x) + twig(x + 1); }
static noinline u64 unused(u64 x) { asm volatile("" : "+r"(x)); return branch(x) + 1; }
SEC("socket") int other(void *ctx) { return (int)unused(1); }
SEC("socket") int calls(void *ctx) { return (int)(twig(3) + branch(4) + leaf(5)); }
"""

LEGACY = """
struct bpf_map_def { u32 type, key_size, value_size, max_entries, map_flags; };
struct bpf_map_def SEC("maps") one = { .type = 1, .key_size = 4, .value_size = 8, .max_entries = 16, .map_flags = 1 };
struct bpf_map_def SEC("maps") two = { .type = 2, .key_size = 4, .value_size = 2, .max_entries = 17 };
SEC("socket") int f(void *ctx) { u32 k = 1; return bpf_map_lookup_elem(&two, &k) != 0; }
"""

ULONG = """
struct { __uint(type, 33); __uint(map_flags, 1024); __uint(max_entries, 10); __ulong(map_extra, 0x10000000); }
    arena SEC(".maps");
"""

STRUCT_OPS = """
struct some_ops { int flags; int (*first)(void *); int (*second)(void *, int); char name[16]; };
SEC("struct_ops/first") int first(void *ctx) { return 1; }
SEC("struct_ops.s/second") int second(void *ctx) { return 2; }
SEC(".struct_ops") struct some_ops one = { .flags = 3, .second = (void *)second, .name = "one" };
SEC(".struct_ops.link") struct some_ops two = { .first = (void *)first, .second = (void *)second, .name = "two" };
"""

SOURCES = {"struct_ops": STRUCT_OPS, "calls": CALLS, "legacy": LEGACY, "ulong": ULONG, "hello": HELLO, "rich": RICH, "externs": EXTERNS}


@cache
def compiled(name: str, *flags: str) -> bytes:
    """The object that clang-14 makes of one of `SOURCES`. Skips the calling test where there is no clang."""
    return compile_c(HEAD + SOURCES[name], *flags)


def compile_c(text: str, *flags: str) -> bytes:
    """The same for any C program."""
    import pytest

    if not shutil.which("clang-14"):
        pytest.skip("clang-14 is not installed")
    command = ["clang-14", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wno-everything", *flags, "-x", "c", "-c",
               "-", "-o", "-"]
    done = subprocess.run(command, input=text.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def slim(name: str) -> bytes:
    """What the compiler makes of LLVM's output."""
    from ebpf.object import ElfImage, read_object

    data = compiled(name)
    btf = read_object(data).btf
    assert btf is not None
    image = ElfImage.parse(data)
    image.drop(".debug*", ".eh_frame", ".rel.BTF", ".nothing")
    image.replace(".BTF", btf.data)
    image.add_events({"counts": 5})
    return image.emit()
