"""Macros that head a function: ``BPF_KPROBE(name, T a)``, ``BPF_PROG``, ``TRACEPOINT_PROBE`` and their sisters.

Each becomes one program with the kernel's own parameter, ``ctx`` (or ``args``); the parameters that were written
become locals made from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ebpf.abi.renamed import moved, replacements
from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.builtins_core import PROBE_READ_KERNEL
from ebpf.compiler.c.builtins_trace import has_syscall_wrapper, register, registers
from ebpf.compiler.c.conversions import POISON, cast, decayed, is_scalar

if TYPE_CHECKING:
    from ebpf.compiler.c.checker import Checker

Locals = list[tuple[tree.Variable, tree.Expr | None]]
Expansion = tuple[str, str | None, C.Function, list[tree.Variable], Locals]
"""Name, section (None: as written), type, parameters, locals with their values."""


def expand_wrapper(c: Checker, node: ast.FunctionDef) -> Expansion | None:
    assert node.wrapper is not None
    handler = WRAPPERS.get(node.wrapper.kind)
    if handler is None:
        c.refuse("C0352", node.wrapper, f"`{node.wrapper.kind}` is not known")
    return handler(c, node, node.wrapper)


def context(c: Checker, t: C.CType, node: ast.Node, name: str = "ctx") -> tree.Variable:
    return tree.Variable(name, C.Pointer(t), "parameter", node.loc, node.end)


def pt_regs(c: Checker) -> C.Record:
    known = c.file_scope.find_tag("pt_regs")
    return known if isinstance(known, C.Record) else c.kernel.record("struct", "pt_regs")


def _program(
    name: str, section: str | None, node: ast.FunctionDef, c: Checker, ctx: tree.Variable, locals: Locals
) -> Expansion:
    result = c.type_of(node.type.result)
    return name, section, C.Function(result, (ctx.type,), False, (ctx.name,)), [ctx], locals


def written(c: Checker, node: ast.FunctionDef) -> list[tree.Variable]:
    """The parameters after the wrapper's names, as locals without value."""
    out = []
    for p in node.type.parameters or ():
        if p.name is None:
            c.error("C0404", p, "this parameter needs a name")
        out.append(tree.Variable(p.name or "", decayed(c.type_of(p.type)), "local", p.loc, p.end))
    return out


def as_type(c: Checker, value: tree.Expr, v: tree.Variable) -> tree.Expr:
    """A register's value as the parameter's type."""
    if v.type is POISON:
        return c.int_const(value, 0, C.INT)
    if not is_scalar(v.type):
        c.refuse(
            "C0404",
            ast.Node(v.loc, v.end),
            f"parameter `{v.name}` has type {c.words(v.type)}, which is not passed in one register",
        )
    return cast(value, v.type)


def _kprobe(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    ctx = context(c, pt_regs(c), node)
    locals: Locals = []
    names = registers(c).args
    for i, v in enumerate(written(c, node)):
        if i >= len(names):
            c.refuse(
                "C0404",
                ast.Node(v.loc, v.end),
                f"only {len(names)} arguments are passed in registers on {c.facts.arch}",
            )
        locals.append(
            (v, as_type(c, register(c, c.load_of(ctx, ast.Node(v.loc, v.end)), names[i], ast.Node(v.loc, v.end)), v))
        )
    return _program(wrapper.names[0], None, node, c, ctx, locals)


def _kretprobe(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    ctx = context(c, pt_regs(c), node)
    params = written(c, node)
    if len(params) > 1:
        c.error(
            "C0352",
            ast.Node(params[1].loc, params[1].end),
            f"`{wrapper.kind}` has one parameter: the result",
            notes=["a function's arguments are gone when it returns"],
            helps=["keep what is needed in a map, written by a kprobe on the same function"],
        )
    locals: Locals = []
    for v in params[:1]:
        at = ast.Node(v.loc, v.end)
        locals.append((v, as_type(c, register(c, c.load_of(ctx, at), registers(c).rc, at), v)))
    return _program(wrapper.names[0], None, node, c, ctx, locals)


def _ksyscall(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    ctx = context(c, pt_regs(c), node)
    return _program(wrapper.names[0], None, node, c, ctx, syscall_locals(c, ctx, written(c, node), PROBE_READ_KERNEL))


def syscall_locals(c: Checker, ctx: tree.Variable, params: list[tree.Variable], helper: int) -> Locals:
    """A system call's arguments, from the inner pt_regs where the kernel has one."""
    regs = registers(c)
    wrapped = has_syscall_wrapper(c)
    locals: Locals = []
    for i, v in enumerate(params):
        at = ast.Node(v.loc, v.end)
        if i >= len(regs.syscall_args):
            c.refuse("C0404", at, f"a system call has at most {len(regs.syscall_args)} arguments")
        base = c.load_of(ctx, at)
        if wrapped:
            outer = register(c, base, regs.args[0], at)
            base = cast(outer, C.Pointer(pt_regs(c)))
        locals.append((v, as_type(c, register(c, base, regs.syscall_args[i], at, helper=helper if wrapped else 0), v)))
    return locals


def word(c: Checker, words: tree.Expr, slot: int, at: ast.Node) -> tree.Expr:
    """The value of a 64-bit word of the array that ``words`` points to."""
    place = tree.PointerAdd(words.type, at.loc, at.end, words, c.int_const(at, slot, C.LONG))
    return tree.Convert(C.ULLONG, at.loc, at.end, "load", tree.Deref(C.ULLONG, at.loc, at.end, place))


def words_locals(c: Checker, ctx: tree.Variable, params: list[tree.Variable], result_slot: int | None = None) -> Locals:
    """Arguments out of an array of 64-bit words (fentry, LSM, raw tracepoints). ``result_slot``: where the last is."""
    locals: Locals = []
    slot = 0
    for v in params:
        at = ast.Node(v.loc, v.end)
        if result_slot is not None and v is params[-1]:
            slot = result_slot
        if is_scalar(v.type) or v.type is POISON:
            locals.append((v, as_type(c, word(c, c.load_of(ctx, at), slot, at), v)))
            slot += 1
        else:
            pointer = tree.PointerAdd(ctx.type, v.loc, v.end, c.load_of(ctx, at), c.int_const(at, slot, C.LONG))
            place = tree.Deref(v.type, v.loc, v.end, cast(pointer, C.Pointer(v.type)))
            locals.append((v, tree.Convert(v.type, v.loc, v.end, "load", place)))
            slot += ((C.size_of(v.type) or 8) + 7) // 8
    return locals


def _prog(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    ctx = context(c, C.ULLONG, node)
    return _program(wrapper.names[0], None, node, c, ctx, words_locals(c, ctx, written(c, node)))


def _usdt(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    from ebpf.compiler.c import usdt

    ctx = context(c, pt_regs(c), node)
    locals: Locals = []
    for i, v in enumerate(written(c, node)):
        at = ast.Node(v.loc, v.end)
        if i >= 12:
            c.refuse("C0404", at, "a static probe has at most 12 arguments")
        locals.append((v, as_type(c, usdt.argument(c, c.load_of(ctx, at), i, at), v)))
    return _program(wrapper.names[0], None, node, c, ctx, locals)


def _hook(prefix: str, section: str) -> Callable[[Checker, ast.FunctionDef, ast.Wrapper], Expansion]:
    """BCC's KFUNC_PROBE and its sisters: ``prefix`` heads the function's name, ``section`` its section's."""

    def handle(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
        ctx = context(c, C.ULLONG, node)
        target = wrapper.names[-1]
        params = written(c, node)
        result_slot = None
        if section != "lsm" and (successor := _successor(c, target)) is not None:
            target = successor
            found = c.kernel.function(target)
            if section == "fexit" and found is not None and found[0].parameters is not None:
                result_slot = len(found[0].parameters)
        if section != "lsm" and c.kernel.btf is not None and c.kernel.function(target) is None:
            c.error(
                "C0406",
                wrapper,
                f"the kernel has no function `{target}`",
                helps=c.suggest(target, c.kernel.similar(target, 12)),
            )
        elif section == "lsm" and c.kernel.btf is not None and c.kernel.function(f"bpf_lsm_{target}") is None:
            near = [n[8:] for n in c.kernel.similar(f"bpf_lsm_{target}", 12) if n.startswith("bpf_lsm_")]
            c.error("C0406", wrapper, f"there is no LSM hook `{target}`", helps=c.suggest(target, near))
        return _program(
            prefix + "__".join(wrapper.names),
            f"{section}/{target}",
            node,
            c,
            ctx,
            words_locals(c, ctx, params, result_slot),
        )

    return handle


def _successor(c: Checker, function: str) -> str | None:
    """The kernel's function that has taken this one's place; None if this one is where its calls go."""
    candidates = [found] if (found := moved(f"kprobe:{function}")) is not None else []
    if c.kernel.btf is not None and c.kernel.function(function) is None:
        candidates += replacements(f"kprobe:{function}")
    names = (probe.partition(":")[2] for probe in candidates if probe.startswith("kprobe:"))
    return next((name for name in names if c.kernel.function(name) is not None), None)


def _tracepoint(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    category, event = wrapper.names
    from ebpf.compiler.c.dialect.tracepoint import tracepoint_record

    record = tracepoint_record(c, category, event, wrapper)
    args = context(c, record, node, "args")
    return _program(f"tracepoint__{category}__{event}", f"tracepoint/{category}/{event}", node, c, args, [])


def _raw_tracepoint(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    ctx = context(c, c.kernel.record("struct", "bpf_raw_tracepoint_args"), node)
    event = wrapper.names[0]
    return _program(f"raw_tracepoint__{event}", f"raw_tp/{event}", node, c, ctx, [])


def _iter(c: Checker, node: ast.FunctionDef, wrapper: ast.Wrapper) -> Expansion:
    target = wrapper.names[0]
    record = c.kernel.record("struct", f"bpf_iter__{target}")
    if not record.ensure_complete():
        near = [n[10:] for n in c.kernel.similar(f"bpf_iter__{target}", 4) if n.startswith("bpf_iter__")]
        c.error("C0406", wrapper, f"the kernel has no iterator `{target}`", helps=c.suggest(target, near))
    return _program(f"bpf_iter__{target}", f"iter/{target}", node, c, context(c, record, node), [])


WRAPPERS: dict[str, Callable[[Checker, ast.FunctionDef, ast.Wrapper], Expansion]] = {
    "BPF_KPROBE": _kprobe,
    "BPF_UPROBE": _kprobe,
    "BPF_KRETPROBE": _kretprobe,
    "BPF_URETPROBE": _kretprobe,
    "BPF_KSYSCALL": _ksyscall,
    "BPF_KPROBE_SYSCALL": _ksyscall,
    "BPF_PROG": _prog,
    "BPF_PROG2": _prog,
    "BPF_USDT": _usdt,
    "TRACEPOINT_PROBE": _tracepoint,
    "RAW_TRACEPOINT_PROBE": _raw_tracepoint,
    "BPF_ITER": _iter,
    "KFUNC_PROBE": _hook("kfunc__", "fentry"),
    "KRETFUNC_PROBE": _hook("kretfunc__", "fexit"),
    "MODULE_KFUNC_PROBE": _hook("kfunc__", "fentry"),
    "MODULE_KRETFUNC_PROBE": _hook("kretfunc__", "fexit"),
    "KMOD_RET": _hook("kmod_ret__", "fmod_ret"),
    "LSM_PROBE": _hook("lsm__", "lsm"),
}
