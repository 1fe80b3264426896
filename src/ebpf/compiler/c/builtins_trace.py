"""Macros of tracing programs: registers (``PT_REGS_*``), printk and its relatives, small helpers of bpf_helpers.h."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ebpf.abi.registers import REGISTERS, RegisterNames
from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.builtins import Handler, pointer_arg, take
from ebpf.compiler.c.builtins_core import PROBE_READ_KERNEL, raise_poison, read_value
from ebpf.compiler.c.conversions import POISON, cast, is_integer, is_pointer, promote, target_of, unqualified
from ebpf.compiler.c.kernel_types import ABI_ARCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ebpf.compiler.c.checker_expr import ExprChecker

# ---------------------------------------------------------------------------------------------------------- registers


def registers(c: ExprChecker) -> RegisterNames:
    """The row of the architecture that is compiled for."""
    arch = getattr(c.options, "arch", None) or c.facts.arch
    return REGISTERS[ABI_ARCH.get(arch, arch)]


def register(c: ExprChecker, context: tree.Expr, name: str, node: ast.Node, *, helper: int = 0) -> tree.Expr:
    """The value of a register in the ``struct pt_regs`` that ``context`` points to; ``helper`` reads it if it is
    not a context.
    """
    target = C.strip(target_of(context.type)) if is_pointer(context.type) else None
    if not isinstance(target, C.Record) or target.tag not in ("pt_regs", "user_pt_regs"):
        known = c.file_scope.find_tag("pt_regs")
        target = known if isinstance(known, C.Record) else c.kernel.record("struct", "pt_regs")
        context = cast(context, C.Pointer(target))
    place: tree.Expr = tree.Deref(target, node.loc, node.end, context)
    member, _, index = name.partition("[")
    place = c.select(place, target, member, node)
    if index:
        inner = C.strip(place.type)
        assert isinstance(inner, C.Array)
        place = tree.ElementOf(inner.element, node.loc, node.end, place, c.int_const(node, int(index[:-1]), C.LONG))
    if helper:
        return read_value(c, place, helper, node)
    return tree.Convert(unqualified(place.type), node.loc, node.end, "load", place)


def _register_macro(row: str, index: int, *, core: bool = False, syscall: bool = False) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        (a,) = take(c, node, 1)
        context = c.value(a)
        if context.type is POISON:
            raise_poison(c, node)
        if not is_pointer(context.type) and not is_integer(context.type):
            c.refuse("C0306", a, f"a pointer to `struct pt_regs` is wanted here, not {c.words(context.type)}")
        regs = registers(c)
        names: Sequence[str] = getattr(regs, row) if row in ("args", "syscall_args") else (getattr(regs, row),)
        if index >= len(names):
            c.refuse(
                "C0354",
                node,
                f"only {len(names)} arguments are passed in registers on {c.facts.arch}",
                helps=["read further ones from the stack, at PT_REGS_SP"],
            )
        if context.type is not None and not is_pointer(context.type):
            context = cast(context, C.Pointer(c.kernel.record("struct", "pt_regs")))
        return register(c, context, names[index], node, helper=PROBE_READ_KERNEL if core else 0)

    return handle


def has_syscall_wrapper(c: ExprChecker) -> bool:
    """Whether a system call's function gets one pointer to the inner pt_regs."""
    known = c.facts.kconfig("CONFIG_ARCH_HAS_SYSCALL_WRAPPER") if c.facts is not None else None
    if known is not None:
        return known == "y"
    return c.facts.syscall_prefix() not in ("sys_", "")


def _syscall_regs(c: ExprChecker, node: ast.Call) -> tree.Expr:
    (a,) = take(c, node, 1)
    context = c.value(a)
    record = c.kernel.record("struct", "pt_regs")
    if not has_syscall_wrapper(c):
        return cast(context, C.Pointer(record))
    return cast(register(c, context, registers(c).args[0], node), C.Pointer(record))


# ------------------------------------------------------------------------------------------------------------- printk

_CONVERSION = re.compile(rb"%(?:%|[-+ #0]*\d*(?:\.\d+)?(hh|h|ll|l|z)?([a-zA-Z]))")


def check_format(c: ExprChecker, node: ast.Expr, text: bytes, args: Sequence[tree.Expr], most: int | None) -> None:
    """Warn where a format and its arguments disagree."""
    found = [m for m in _CONVERSION.finditer(text) if m.group(0) != b"%%"]
    if len(found) != len(args):
        c.warn(
            "C0335",
            node,
            f"this format wants {len(found)} argument{'' if len(found) == 1 else 's'}, and {len(args)} follow",
        )
        return
    if most is not None and len(found) > most:
        c.warn("C0335", node, f"bpf_trace_printk prints at most {most} values, and these are {len(found)}")
    for m, a in zip(found, args, strict=True):
        kind = m.group(2)
        word = m.group(0).decode()
        if kind in b"eEfFgGaA":
            c.warn("C0335", node, f"`{word}` prints a floating-point number, and BPF has none")
        elif kind == b"s" and not is_pointer(a.type) and a.type is not POISON:
            c.warn("C0335", node, f"`{word}` prints a string, and its argument is {c.words(a.type)}")


def format_text(c: ExprChecker, node: ast.Expr) -> bytes:
    if not isinstance(node, ast.StringLiteral):
        c.refuse("C0353", node, "the format has to be a string constant")
    return node.value


def argument_values(c: ExprChecker, nodes: Iterable[ast.Expr]) -> list[tree.Expr]:
    """Values for ``...``: integers promoted, pointers as they are."""
    out = []
    for n in nodes:
        e = c.value(n)
        if is_integer(e.type):
            e = promote(e)
        elif not is_pointer(e.type):
            c.refuse("C0306", n, f"a number or a pointer can be printed, not {c.words(e.type)}")
        out.append(e)
    return out


def word_array(c: ExprChecker, values: Sequence[tree.Expr], node: ast.Node) -> tuple[tree.Expr, int]:
    """A local ``u64[]`` of the values, as (pointer, bytes): what the vprintk family takes."""
    if not values:
        return c.int_const(node, 0, C.Pointer(C.VOID)), 0
    t = C.Array(C.ULLONG, len(values))
    v = c.new_local("", t, node)
    v.init = tree.Initializer(t, [tree.InitPart(8 * i, cast(e, C.ULLONG)) for i, e in enumerate(values)])
    literal = tree.CompoundLiteral(t, node.loc, node.end, v)
    return tree.Convert(C.Pointer(C.ULLONG), node.loc, node.end, "decay", literal), 8 * len(values)


def rodata_string(c: ExprChecker, text: bytes, node: ast.Node) -> tree.Expr:
    value = text + b"\0"
    s = tree.StringConst(C.Array(C.CHAR, len(value)), node.loc, node.end, value)
    return tree.Convert(C.Pointer(C.CHAR), node.loc, node.end, "decay", s)


def _printk(c: ExprChecker, node: ast.Call) -> tree.Expr:
    """``bpf_printk(fmt, …)``: bpf_trace_printk up to three values, else bpf_trace_vprintk (5.16)."""
    args = take(c, node, 1, 99)
    text = format_text(c, args[0])
    values = argument_values(c, args[1:])
    check_format(c, args[0], text, values, None)
    fmt = rodata_string(c, text, args[0])
    size = c.int_const(node, len(text) + 1, C.UINT)
    if len(values) <= 3:
        return c.call_helper("bpf_trace_printk", [fmt, size, *values], node)
    data, length = word_array(c, values, node)
    return c.call_helper("bpf_trace_vprintk", [fmt, size, data, c.int_const(node, length, C.UINT)], node)


def _snprintf(c: ExprChecker, node: ast.Call) -> tree.Expr:
    """``BPF_SNPRINTF(out, size, fmt, …)`` (5.13)."""
    args = take(c, node, 3, 99)
    text = format_text(c, args[2])
    values = argument_values(c, args[3:])
    check_format(c, args[2], text, values, None)
    out = pointer_arg(c, args[0], "the first argument")
    size = c.fit(c.value(args[1]), C.UINT, args[1], "passed as")
    data, length = word_array(c, values, node)
    return c.call_helper(
        "bpf_snprintf", [out, size, rodata_string(c, text, args[2]), data, c.int_const(node, length, C.UINT)], node
    )


def _seq_printf(c: ExprChecker, node: ast.Call) -> tree.Expr:
    """``BPF_SEQ_PRINTF(seq, fmt, …)`` (5.10)."""
    args = take(c, node, 2, 99)
    text = format_text(c, args[1])
    values = argument_values(c, args[2:])
    check_format(c, args[1], text, values, None)
    seq = pointer_arg(c, args[0], "the first argument")
    data, length = word_array(c, values, node)
    return c.call_helper(
        "bpf_seq_printf",
        [
            seq,
            rodata_string(c, text, args[1]),
            c.int_const(node, len(text) + 1, C.UINT),
            data,
            c.int_const(node, length, C.UINT),
        ],
        node,
    )


def _ksym_exists(c: ExprChecker, node: ast.Call) -> tree.Expr:
    (a,) = take(c, node, 1)
    e = c.expr(a)
    pointer = c.rvalue(e) if isinstance(e, tree.FunctionRef) else c.address(e)
    return tree.Binary(C.INT, node.loc, node.end, "!=", pointer, c.int_const(node, 0, pointer.type))


def _usdt(name: str) -> Handler:
    def handle(c: ExprChecker, node: ast.Call) -> tree.Expr:
        from ebpf.compiler.c.usdt import HANDLERS

        return HANDLERS[name](c, node)

    return handle


TRACE: dict[str, Handler] = {
    "bpf_printk": _printk,
    "__bpf_printk": _printk,
    "__bpf_vprintk": _printk,
    "BPF_SNPRINTF": _snprintf,
    "BPF_SEQ_PRINTF": _seq_printf,
    "bpf_ksym_exists": _ksym_exists,
    "PT_REGS_SYSCALL_REGS": _syscall_regs,
    "bpf_usdt_arg": _usdt("bpf_usdt_arg"),
    "bpf_usdt_arg_cnt": _usdt("bpf_usdt_arg_cnt"),
    "bpf_usdt_cookie": _usdt("bpf_usdt_cookie"),
    **{
        f"PT_REGS_PARM{i}{form}": _register_macro(
            "syscall_args" if "SYSCALL" in form else "args", i - 1, core="CORE" in form
        )
        for i in range(1, 9)
        for form in ("", "_CORE", "_SYSCALL", "_CORE_SYSCALL")
    },
    **{
        f"PT_REGS_{name}{form}": _register_macro(row, 0, core=bool(form))
        for name, row in (("RC", "rc"), ("SP", "sp"), ("IP", "ip"), ("FP", "fp"), ("RET", "ret"))
        for form in ("", "_CORE")
    },
}
