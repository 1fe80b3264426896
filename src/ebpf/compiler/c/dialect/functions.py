"""Functions and macros of BCC's helpers.h that are not helpers of the kernel by the same name and meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.builtins import Handler, take
from ebpf.compiler.c.builtins_trace import argument_values, check_format
from ebpf.compiler.c.conversions import is_pointer
from ebpf.compiler.c.dialect.library import LIBRARY

if TYPE_CHECKING:
    from ebpf.compiler.c.checker_expr import ExprChecker


def _trace_printk(c: ExprChecker, node: ast.Call) -> tree.Expr:
    """``bpf_trace_printk("…", a, b, c)``: the format goes onto the stack. With another first argument it is the
    helper itself.
    """
    args = take(c, node, 1, 99)
    text = args[0]
    if not isinstance(text, ast.StringLiteral):
        found = c.helper_type("bpf_trace_printk")
        assert found is not None
        return tree.CallHelper(
            C.LONG, node.loc, node.end, found[0], "bpf_trace_printk", c.arguments(node, found[1], "bpf_trace_printk")
        )
    values = argument_values(c, args[1:])
    if len(values) > 3:
        c.refuse(
            "C0335",
            node,
            f"bpf_trace_printk prints at most three values, and these are {len(values)}",
            helps=["split it into two calls, or send a struct through BPF_PERF_OUTPUT"],
        )
    check_format(c, text, text.value, values, 3)
    value = text.value + b"\0"
    t = C.Array(C.CHAR, len(value))
    v = c.new_local("", t, text)
    v.init = tree.Initializer(t, [tree.InitPart(0, tree.StringConst(t, text.loc, text.end, value))])
    fmt = tree.Convert(C.Pointer(C.CHAR), text.loc, text.end, "decay", tree.CompoundLiteral(t, text.loc, text.end, v))
    return c.call_helper("bpf_trace_printk", [fmt, c.int_const(text, len(value), C.UINT), *values], node, C.INT)


def _num_cpus(c: ExprChecker, node: ast.Call) -> tree.Expr:
    take(c, node, 0)
    return c.int_const(node, c.facts.cpus_online)


def _load(name: str, t: C.Int) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        skb, offset = take(c, node, 2)
        e = c.value(skb)
        if not is_pointer(e.type):
            c.refuse("C0306", skb, "the first argument is the packet, `skb`")
        return tree.Builtin(C.ULLONG, node.loc, node.end, name, [c.fit(c.value(offset), C.ULLONG, offset, "passed as")])

    return handle


def _load_dword(c: ExprChecker, node: ast.Call) -> tree.Expr:
    from ebpf.compiler.c.dialect.packets import load_bits

    take(c, node, 2)
    c.value(node.args[0])
    return load_bits(c, c.fit(c.value(node.args[1]), C.ULLONG, node.args[1], "passed as"), 0, 64, node)


def _checksum(layer: int) -> Handler:
    """``incr_cksum_l3(&ip->hchecksum, before, after)``; of layer 4 also whether a pseudo header is part of it."""

    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        from ebpf.compiler.c.conversions import cast, to_int
        from ebpf.compiler.c.dialect.library import library_function
        from ebpf.compiler.c.dialect.packets import packet_context

        written = take(c, node, layer)
        place, before, after = (c.value(a) for a in written[:3])
        flags: tree.Expr = c.int_const(node, C.size_of(after.type) or 4, C.ULLONG)
        if layer == 4:
            pseudo = to_int(c.value(written[3]), C.ULLONG)
            one = tree.Binary(C.ULLONG, node.loc, node.end, "&", pseudo, c.int_const(node, 1, C.ULLONG))
            high = tree.Binary(C.ULLONG, node.loc, node.end, "<<", one, c.int_const(node, 4))
            flags = tree.Binary(C.ULLONG, node.loc, node.end, "|", high, flags)
        values = [to_int(v, C.ULLONG) for v in (before, after)]
        args = [packet_context(c, node), cast(place, C.ULLONG), *values, flags]
        return tree.CallFunction(C.INT, node.loc, node.end, library_function(c, f"bpf_l{layer}_csum_replace_"), args)

    return handle


def _usdt(prefix: str, count: int) -> Handler:
    """``bpf_usdt_readarg(1, ctx, &value)``, ``bpf_usdt_readarg_p(1, ctx, buffer, size)``: a call of the function that
    reads that argument of the probe for which the function that we are in was enabled. It stands before the program
    (bcc's `USDT.get_text`).
    """

    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        from ebpf.compiler.c.conversions import cast

        number, ctx, place, *rest = take(c, node, count)
        assert c.function is not None
        function = c.function.decl.name
        found = c.file_scope.names.get(f"{prefix}{function}_{c.constant_of(c.value(number))}")
        if not isinstance(found, tree.FunctionDecl):
            c.refuse(
                "C0409",
                node,
                f"no static probe with such an argument is enabled for the function `{function}`",
                notes=["arguments count from 1, and are read in the function that is attached, not in those it calls"],
                helps=[f'usdt.enable_probe("NAME", "{function}"), and BPF(..., usdt_contexts=[usdt])'],
            )
        target = c.value(place)
        if not isinstance(target.type, C.Pointer):
            c.refuse("C0306", place, "the third argument is where the value goes: an address")
        size = (
            c.fit(c.value(rest[0]), C.ULLONG, rest[0], "passed as")
            if rest
            else c.int_const(node, C.size_of(target.type.target) or 0, C.ULLONG)
        )
        args = [c.value(ctx), cast(target, C.Pointer(C.VOID)), size]
        return tree.CallFunction(C.INT, node.loc, node.end, found, args)

    return handle


def _renamed(helper: str, *extra: int) -> Handler:
    """Another name of a kernel helper."""

    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        found = c.helper_type(helper)
        assert found is not None
        number, t = found
        return tree.CallHelper(t.result, node.loc, node.end, number, helper, c.arguments(node, t, helper))

    return handle


def _library(name: str) -> Handler:
    """A function of our own, in C, that becomes part of the program when it is first called."""

    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        from ebpf.compiler.c.dialect.library import library_function

        decl = library_function(c, name)
        return c.call_function(node, decl)

    return handle


FUNCTIONS: dict[str, Handler] = {
    **{n: _library(n) for n in LIBRARY},
    "bpf_trace_printk": _trace_printk,
    "bpf_num_cpus": _num_cpus,
    "load_byte": _load("load_byte", C.UCHAR),
    "load_half": _load("load_half", C.USHORT),
    "load_word": _load("load_word", C.UINT),
    "load_dword": _load_dword,
    "incr_cksum_l3": _checksum(3),
    "incr_cksum_l4": _checksum(4),
    "bpf_usdt_readarg": _usdt("_bpf_readarg_", 3),
    "bpf_usdt_readarg_p": _usdt("_bpf_readarg_p_", 4),
    "log2l": _library("bpf_log2l"),
    "log2": _library("bpf_log2"),
    "bpf_perf_prog_read_value": _renamed("bpf_perf_prog_read_value"),
}
