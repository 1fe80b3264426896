"""What ``<bpf/usdt.bpf.h>`` declares: arguments of static probes, by specifications that the loader writes into a map.

A probe's arguments are in another place wherever the probe is: the loader reads their description in the file and puts
one ``struct __bpf_usdt_spec`` a place into ``__bpf_usdt_specs``. The program finds its own by the attach cookie, or,
before Linux 5.15, by the address at which it was hit. Names and layout are libbpf's ABI: its loader, bpftool's and ours
(`ebpf.session.usdt_specs`) fill the same maps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.builtins import take
from ebpf.compiler.c.conversions import cast

if TYPE_CHECKING:
    from ebpf.compiler.c.builtins import Handler
    from ebpf.compiler.c.checker_expr import ExprChecker

MOST_ARGUMENTS = 12
"""How many arguments of a probe a specification has room for."""

# The bit-fields beside the type are for operands such as (%rax,%rdx,4): an index register, and log2 of its factor.
TEXT = """
enum __bpf_usdt_arg_type { BPF_USDT_ARG_CONST, BPF_USDT_ARG_REG, BPF_USDT_ARG_REG_DEREF, BPF_USDT_ARG_SIB };
struct __bpf_usdt_arg_spec {
    __u64 val_off;
    __u8 arg_type;
    __u8 __reserved;
    __u16 idx_reg_off : 12;
    __u16 scale_bitshift : 4;
    short reg_off;
    _Bool arg_signed;
    char arg_bitshift;
};
struct __bpf_usdt_spec {
    struct __bpf_usdt_arg_spec args[12];
    __u64 usdt_cookie;
    short arg_cnt;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 256);
    __type(key, int);
    __type(value, struct __bpf_usdt_spec);
} __bpf_usdt_specs __attribute__((section(".maps"), weak, used));
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 256);
    __type(key, long);
    __type(value, __u32);
} __bpf_usdt_ip_to_spec_id __attribute__((section(".maps"), weak, used));
extern const _Bool LINUX_HAS_BPF_COOKIE __attribute__((section(".kconfig")));

static inline __attribute__((always_inline)) struct __bpf_usdt_spec *__bpf_usdt_find(struct pt_regs *ctx)
{
    int id;

    if (LINUX_HAS_BPF_COOKIE) {
        id = (int)bpf_get_attach_cookie(ctx);
    } else {
        long ip = PT_REGS_IP(ctx);
        __u32 *found = bpf_map_lookup_elem(&__bpf_usdt_ip_to_spec_id, &ip);
        if (!found)
            return 0;
        id = *found;
    }
    return bpf_map_lookup_elem(&__bpf_usdt_specs, &id);
}

static inline __attribute__((always_inline)) int bpf_usdt_arg_cnt(struct pt_regs *ctx)
{
    struct __bpf_usdt_spec *spec = __bpf_usdt_find(ctx);
    return spec ? spec->arg_cnt : -3;
}

static inline __attribute__((always_inline)) long bpf_usdt_cookie(struct pt_regs *ctx)
{
    struct __bpf_usdt_spec *spec = __bpf_usdt_find(ctx);
    return spec ? (long)spec->usdt_cookie : 0;
}

static __attribute__((noinline)) int bpf_usdt_arg(struct pt_regs *ctx, __u64 number, long *result)
{
    struct __bpf_usdt_spec *spec = __bpf_usdt_find(ctx);
    struct __bpf_usdt_arg_spec *argument;
    unsigned long value = 0, index = 0;
    int error = 0;

    *result = 0;
    if (!spec)
        return -3;
    if (number >= 12)
        return -2;
    barrier_var(number);
    if (number >= 12 || number >= (__u64)spec->arg_cnt)
        return -2;
    argument = &spec->args[number];
    if (argument->arg_type == BPF_USDT_ARG_CONST) {
        value = argument->val_off;
    } else {
        error = bpf_probe_read_kernel(&value, 8, (void *)ctx + argument->reg_off);
        if (!error && argument->arg_type == BPF_USDT_ARG_SIB) {
            error = bpf_probe_read_kernel(&index, 8, (void *)ctx + argument->idx_reg_off);
            value += index << argument->scale_bitshift;
        }
        if (!error && argument->arg_type >= BPF_USDT_ARG_REG_DEREF)
            error = bpf_probe_read_user(&value, 8, (void *)(value + argument->val_off));
        if (error)
            return error;
    }
    value <<= argument->arg_bitshift;
    *result = argument->arg_signed ? (long)value >> argument->arg_bitshift : (long)(value >> argument->arg_bitshift);
    return 0;
}

static inline __attribute__((always_inline)) long __bpf_usdt_value(struct pt_regs *ctx, __u64 number)
{
    long value;

    bpf_usdt_arg(ctx, number, &value);
    return value;
}
"""


def function(c: ExprChecker, name: str) -> tree.FunctionDecl:
    """One of the functions above as part of the program; the first time brings all of them."""
    from ebpf.compiler.c.dialect.library import add_text

    if name not in c.file_scope.names:
        add_text(c, "<usdt.bpf.h>", TEXT)
    made = c.file_scope.names[name]
    assert isinstance(made, tree.FunctionDecl)
    return made


def argument(c: ExprChecker, context: tree.Expr, number: int, node: ast.Node) -> tree.Expr:
    """The value of an argument, 0 where it cannot be read (``BPF_USDT``)."""
    return _call(c, node, "__bpf_usdt_value", context, c.int_const(node, number, C.ULLONG))


def _call(c: ExprChecker, node: ast.Node, name: str, *arguments: tree.Expr) -> tree.Expr:
    decl = function(c, name)
    assert isinstance(decl.type, C.Function) and decl.type.parameters is not None
    values = [cast(a, p) for a, p in zip(arguments, decl.type.parameters, strict=True)]
    return tree.CallFunction(decl.type.result, node.loc, node.end, decl, values)


def _handler(name: str, count: int) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        return _call(c, node, name, *[c.value(a) for a in take(c, node, count)])

    return handle


HANDLERS: dict[str, Handler] = {
    "bpf_usdt_arg": _handler("bpf_usdt_arg", 3),
    "bpf_usdt_arg_cnt": _handler("bpf_usdt_arg_cnt", 1),
    "bpf_usdt_cookie": _handler("bpf_usdt_cookie", 1),
}
