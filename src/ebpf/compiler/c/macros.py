"""The macros that kernel, libbpf and BCC headers would have defined, in our own words.

One table: the name, and what would follow it in a ``#define``. Nothing here is read before the name is used, and a
program's own ``#define`` or function of the same name wins. What needs types to be understood (``BPF_CORE_READ``,
``container_of``, ``PT_REGS_PARM1``, ``bpf_printk``, map macros, ``BPF_KPROBE``…) is not here: it stays a call for the
checker, or a wrapper for the parser.
"""

from __future__ import annotations

_ATTRIBUTES = {
    "SEC": "(name) __attribute__((section(name), used))",
    "__section": "(name) __attribute__((section(name)))",
    "__always_inline": "inline __attribute__((always_inline))",
    "__noinline": "__attribute__((noinline))",
    "noinline": "__attribute__((noinline))",
    "__weak": "__attribute__((weak))",
    "__hidden": '__attribute__((visibility("hidden")))',
    "__kconfig": '__attribute__((section(".kconfig")))',
    "__ksym": '__attribute__((section(".ksyms")))',
    "__kptr": '__attribute__((btf_type_tag("kptr")))',
    "__kptr_untrusted": '__attribute__((btf_type_tag("kptr_untrusted")))',
    "__percpu_kptr": '__attribute__((btf_type_tag("percpu_kptr")))',
    "__uptr": '__attribute__((btf_type_tag("uptr")))',
    "__arg_ctx": '__attribute__((btf_decl_tag("arg:ctx")))',
    "__arg_nonnull": '__attribute__((btf_decl_tag("arg:nonnull")))',
    "__arg_nullable": '__attribute__((btf_decl_tag("arg:nullable")))',
    "__arg_trusted": '__attribute__((btf_decl_tag("arg:trusted")))',
    "__arg_untrusted": '__attribute__((btf_decl_tag("arg:untrusted")))',
    "__arg_arena": '__attribute__((btf_decl_tag("arg:arena")))',
    "__contains": '(name, node) __attribute__((btf_decl_tag("contains:" #name ":" #node)))',
    "__packed": "__attribute__((packed))",
    "__aligned": "(bytes) __attribute__((aligned(bytes)))",
    "__maybe_unused": "__attribute__((unused))",
    "__unused": "__attribute__((unused))",
    "__used": "__attribute__((used))",
    "__pure": "__attribute__((pure))",
    "__printf": "(format_at, args_at)",
    "__must_check": "",
    "__cold": "",
    "__user": "",
    "__kernel": "",
    "__iomem": "",
    "__rcu": "",
    "__percpu": "",
    "__force": "",
    "__bitwise": "",
    "__init": "",
    "__exit": "",
    "__read_mostly": "",
    "__randomize_layout": "",
    "__nocf_check": "",
    "asmlinkage": "",
    "fallthrough": "__attribute__((fallthrough))",
}

_MAP_FIELDS = {
    "__uint": "(name, val) int (*name)[val]",
    "__type": "(name, val) typeof(val) *name",
    "__array": "(name, val) typeof(val) *name[]",
    "__ulong": "(name, val) enum { _ulong_joined(__unique_value, __COUNTER__) = val } name",
    "_ulong_joined": "(a, b) _ulong_joined2(a, b)",
    "_ulong_joined2": "(a, b) a ## b",
}

_FLOW = {
    "likely": "(x) __builtin_expect(!!(x), 1)",
    "unlikely": "(x) __builtin_expect(!!(x), 0)",
    "barrier": '() asm volatile("" ::: "memory")',
    "barrier_var": '(var) asm volatile("" : "+r"(var))',
    "smp_mb": "() __sync_synchronize()",
    "bpf_for": "(i, first, past) for (typeof(i) _past = ((i) = (first), (past)); (i) < _past; (i)++)",
    "bpf_repeat": "(count) for (int _round = 0, _rounds = (count); _round < _rounds; _round++)",
    "__bpf_unreachable": "() __builtin_trap()",
    "unreachable": "() __builtin_unreachable()",
    "BUILD_BUG_ON": "(condition) _Static_assert(!(condition), #condition)",
    "static_assert": "_Static_assert",
}

_VALUES = {
    "NULL": "((void *)0)",
    "ARRAY_SIZE": "(array) (sizeof(array) / sizeof((array)[0]))",
    "sizeof_field": "(type, member) sizeof(((type *)0)->member)",
    "FIELD_SIZEOF": "(type, member) sizeof(((type *)0)->member)",
    "offsetofend": "(type, member) (offsetof(type, member) + sizeof(((type *)0)->member))",
    "min": "(a, b) ({ typeof(a) _min_a = (a); typeof(b) _min_b = (b); _min_a < _min_b ? _min_a : _min_b; })",
    "max": "(a, b) ({ typeof(a) _max_a = (a); typeof(b) _max_b = (b); _max_a > _max_b ? _max_a : _max_b; })",
    "min_t": "(type, a, b) ({ type _min_a = (a); type _min_b = (b); _min_a < _min_b ? _min_a : _min_b; })",
    "max_t": "(type, a, b) ({ type _max_a = (a); type _max_b = (b); _max_a > _max_b ? _max_a : _max_b; })",
    "clamp": "(value, low, high) min(max(value, low), high)",
    "clamp_t": "(type, value, low, high) min_t(type, max_t(type, value, low), high)",
    "abs": "(x) ({ typeof(x) _abs_x = (x); _abs_x < 0 ? -_abs_x : _abs_x; })",
    "swap": "(a, b) do { typeof(a) _swapped = (a); (a) = (b); (b) = _swapped; } while (0)",
    "BIT": "(n) (1UL << (n))",
    "BIT_ULL": "(n) (1ULL << (n))",
    "GENMASK": "(high, low) ((~0UL << (low)) & (~0UL >> (63 - (high))))",
    "GENMASK_ULL": "(high, low) ((~0ULL << (low)) & (~0ULL >> (63 - (high))))",
    "DIV_ROUND_UP": "(n, d) (((n) + (d) - 1) / (d))",
    "DIV_ROUND_CLOSEST": "(x, divisor) (((x) + ((divisor) / 2)) / (divisor))",
    "ALIGN": "(x, a) (((x) + ((typeof(x))(a) - 1)) & ~((typeof(x))(a) - 1))",
    "round_up": "(x, y) ((((x) - 1) | ((typeof(x))((y) - 1))) + 1)",
    "round_down": "(x, y) ((x) & ~((typeof(x))((y) - 1)))",
    "roundup": "(x, y) ((((x) + ((y) - 1)) / (y)) * (y))",
    "upper_32_bits": "(n) ((unsigned int)(((n) >> 16) >> 16))",
    "lower_32_bits": "(n) ((unsigned int)((n) & 0xffffffff))",
    "div_u64": "(n, d) ((unsigned long long)(n) / (unsigned int)(d))",
    "div64_u64": "(n, d) ((unsigned long long)(n) / (unsigned long long)(d))",
    "do_div": "(n, base) ({ unsigned int _base = (base), _rest = (n) % _base; (n) = (n) / _base; _rest; })",
    "READ_ONCE": "(x) (*(const volatile typeof(x) *)&(x))",
    "WRITE_ONCE": "(x, value) (*(volatile typeof(x) *)&(x) = (value))",
    "rcu_dereference": "(p) (p)",
    "lock_xadd": "(pointer, value) ((void)__sync_fetch_and_add(pointer, value))",
    "IS_ERR": "(p) ((unsigned long)(p) >= (unsigned long)-4095)",
    "IS_ERR_OR_NULL": "(p) (!(p) || IS_ERR(p))",
    "PTR_ERR": "(p) ((long)(p))",
    "IS_ERR_VALUE": "(x) ((unsigned long)(x) >= (unsigned long)-4095)",
    "KERNEL_VERSION": "(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))",
    "MAJOR": "(dev) ((unsigned int)((dev) >> 20))",
    "MINOR": "(dev) ((unsigned int)((dev) & 0xfffff))",
    "MKDEV": "(major, minor) (((major) << 20) | (minor))",
    "TC_H_MAJ": "(handle) ((handle) & TC_H_MAJ_MASK)",
    "TC_H_MIN": "(handle) ((handle) & TC_H_MIN_MASK)",
    "TC_H_MAKE": "(major, minor) (((major) & TC_H_MAJ_MASK) | ((minor) & TC_H_MIN_MASK))",
    "skb_shinfo": "(skb) ((struct skb_shared_info *)((skb)->head + (skb)->end))",
    "S_ISLNK": "(mode) (((mode) & 0170000) == 0120000)",
    "S_ISREG": "(mode) (((mode) & 0170000) == 0100000)",
    "S_ISDIR": "(mode) (((mode) & 0170000) == 0040000)",
    "S_ISCHR": "(mode) (((mode) & 0170000) == 0020000)",
    "S_ISBLK": "(mode) (((mode) & 0170000) == 0060000)",
    "S_ISFIFO": "(mode) (((mode) & 0170000) == 0010000)",
    "S_ISSOCK": "(mode) (((mode) & 0170000) == 0140000)",
    "__stringify": "(x...) __stringify_1(x)",
    "__stringify_1": "(x...) #x",
    "___concat": "(a, b) a ## b",
    "___bpf_concat": "(a, b) a ## b",
    "memset": "(to, byte, size) __builtin_memset(to, byte, size)",
    "memcpy": "(to, from, size) __builtin_memcpy(to, from, size)",
    "memmove": "(to, from, size) __builtin_memmove(to, from, size)",
    "memcmp": "(a, b, size) __builtin_memcmp(a, b, size)",
    # BCC's helpers.h and proto.h
    "cursor_advance": "(cursor, bytes) ((void *)((cursor += (bytes)) - (bytes)))",
    "TP_DATA_LOC": "(field) ((char *)args + (args->data_loc_ ## field & 0xffff))",
    "TP_DATA_LOC_READ": "(to, field, size) bpf_probe_read((void *)(to), size, TP_DATA_LOC(field))",
    "TP_DATA_LOC_READ_CONST": "(to, field, size) bpf_probe_read((void *)(to), size, TP_DATA_LOC(field))",
    "TP_DATA_LOC_READ_STR": "(to, field, size) bpf_probe_read_str((void *)(to), size, TP_DATA_LOC(field))",
}


def _byte_orders() -> dict[str, str]:
    """The network's byte order is big-endian, BPF's on every target of ours little-endian."""
    table: dict[str, str] = {}
    for bits, letter in ((16, "s"), (32, "l")):
        swap = f"(x) ((__u{bits})__builtin_bswap{bits}(x))"
        for name in (f"hton{letter}", f"ntoh{letter}"):
            table[name] = table[f"bpf_{name}"] = table[f"__bpf_{name}"] = table[f"__constant_{name}"] = table[
                f"bpf_constant_{name}"
            ] = swap
    for bits in (16, 32, 64):
        swap, same = f"(x) ((__u{bits})__builtin_bswap{bits}(x))", f"(x) ((__u{bits})(x))"
        for order, text in (("be", swap), ("le", same)):
            for name in (f"cpu_to_{order}{bits}", f"{order}{bits}_to_cpu"):
                table[name] = table[f"__{name}"] = table[f"bpf_{name}"] = table[f"__bpf_{name}"] = table[
                    f"__constant_{name}"
                ] = text
        table[f"swab{bits}"] = table[f"__swab{bits}"] = table[f"__builtin_swab{bits}"] = swap
    table["htonll"] = table["ntohll"] = table["bpf_htonll"] = table["bpf_ntohll"] = "(x) ((__u64)__builtin_bswap64(x))"
    return table


# What clang defines for the BPF target; the kernel's and BCC's own come from the caller (``__KERNEL__``,
# ``__TARGET_ARCH_x86``…).
_COMPILER = {
    "__BPF__": "1",
    "__bpf__": "1",
    "__STDC__": "1",
    "__STDC_VERSION__": "201710L",
    "__STDC_HOSTED__": "0",
    "__clang__": "1",
    "__clang_major__": "22",
    "__clang_minor__": "1",
    "__clang_patchlevel__": "0",
    "__GNUC__": "4",
    "__GNUC_MINOR__": "2",
    "__VERSION__": '"ebpf"',
    "__CHAR_BIT__": "8",
    "__SIZEOF_INT__": "4",
    "__SIZEOF_LONG__": "8",
    "__SIZEOF_LONG_LONG__": "8",
    "__SIZEOF_SHORT__": "2",
    "__SIZEOF_POINTER__": "8",
    "__SIZEOF_SIZE_T__": "8",
    "__SIZEOF_INT128__": "16",
    "__LP64__": "1",
    "_LP64": "1",
    "__ORDER_LITTLE_ENDIAN__": "1234",
    "__ORDER_BIG_ENDIAN__": "4321",
    "__ORDER_PDP_ENDIAN__": "3412",
    "__BYTE_ORDER__": "__ORDER_LITTLE_ENDIAN__",
    "__LITTLE_ENDIAN__": "1",
    "__LITTLE_ENDIAN_BITFIELD": "1",
    "__INT_MAX__": "2147483647",
    "__LONG_MAX__": "9223372036854775807L",
    "__LONG_LONG_MAX__": "9223372036854775807LL",
    "__SHRT_MAX__": "32767",
    "__SCHAR_MAX__": "127",
    "__SIZE_TYPE__": "long unsigned int",
    "__PTRDIFF_TYPE__": "long int",
    "__INT8_TYPE__": "signed char",
    "__INT16_TYPE__": "short",
    "__INT32_TYPE__": "int",
    "__INT64_TYPE__": "long int",
    "__UINT8_TYPE__": "unsigned char",
    "__UINT16_TYPE__": "unsigned short",
    "__UINT32_TYPE__": "unsigned int",
    "__UINT64_TYPE__": "long unsigned int",
    "__UINTPTR_TYPE__": "long unsigned int",
    "__INTPTR_TYPE__": "long int",
    "__OPTIMIZE__": "1",
    "__bool_true_false_are_defined": "1",
}

MACROS: dict[str, str] = {**_ATTRIBUTES, **_MAP_FIELDS, **_FLOW, **_VALUES, **_byte_orders(), **_COMPILER}
