"""The typed tree as text, one line per declaration or statement: for tests and for looking at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree
from ebpf.compiler.c.types import format_ctype

if TYPE_CHECKING:
    from collections.abc import Callable


def format_tree(unit: tree.Unit) -> str:
    """The whole unit. Loads are ``[x]``, conversions ``(type)x``, probe reads ``probe[address]``."""
    _numbers.clear()
    lines = []
    for v in unit.globals:
        section = f" @{v.section}" if v.section else ""
        lines.append(
            f"{v.kind} {format_ctype(v.type, v.name)}{section}{_tags(v)}"
            + (f" = {_init(v.init)}" if v.init is not None else "")
        )
    for f in unit.functions:
        section = f" @{f.section}" if f.section else ""
        params = ", ".join(format_ctype(p.type, p.name) for p in f.parameters)
        lines.append(f"{f.linkage} {format_ctype(f.type.result)} {f.name}({params}){section}")
        if f.body is not None:
            lines += _stmt(f.body, 1)
    for name, t in unit.events.items():
        lines.append(f"event {name}: {format_ctype(t)}")
    return "\n".join(lines) + "\n"


def _tags(v: tree.Variable) -> str:
    return "".join(f" #{t}" for t in v.tags)


def _init(init: tree.Initializer) -> str:
    parts = ", ".join(
        f"{p.offset}{'.' + (p.field.name or '') if p.field is not None else ''}: {format_expr(p.value)}"
        for p in init.parts
    )
    return f"{{{parts}}}"


def _stmt(s: tree.Stmt, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(s, tree.Block):
        out: list[str] = []
        for i in s.items:
            out += _stmt(i, depth + isinstance(i, tree.Block))
        return out
    if isinstance(s, tree.Declare):
        return [
            f"{pad}{format_ctype(s.variable.type, s.variable.name or _anonymous(s.variable))}"
            + (f" = {_init(s.init)}" if s.init is not None else "")
        ]
    if isinstance(s, tree.Evaluate):
        return [pad + format_expr(s.expr)]
    if isinstance(s, tree.If):
        out = [f"{pad}if {format_expr(s.condition)}", *_stmt(s.then, depth + 1)]
        return out + [f"{pad}else", *_stmt(s.otherwise, depth + 1)] if s.otherwise is not None else out
    if isinstance(s, tree.Loop):
        words = "do" if s.test_last else "loop"
        unroll = f" unroll {s.unroll}" if s.unroll is not None else ""
        out = _stmt(s.init, depth) if s.init is not None else []
        condition = format_expr(s.condition) if s.condition is not None else ""
        step = f"; {format_expr(s.step)}" if s.step is not None else ""
        return [*out, f"{pad}{words} {condition}{step}{unroll}", *_stmt(s.body, depth + 1)]
    if isinstance(s, tree.Switch):
        return [f"{pad}switch {format_expr(s.value)}", *_stmt(s.body, depth + 1)]
    if isinstance(s, tree.CaseLabel):
        return [
            pad[2:]
            + ("default:" if s.low is None else f"case {s.low}:" if s.low == s.high else f"case {s.low} ... {s.high}:")
        ]
    if isinstance(s, tree.Label):
        return [f"{pad[2:]}{s.name}:"]
    if isinstance(s, tree.Goto):
        return [f"{pad}goto {s.target.name}"]
    if isinstance(s, tree.Return):
        return [f"{pad}return" + (f" {format_expr(s.value)}" if s.value is not None else "")]
    if isinstance(s, tree.Asm):
        return [f"{pad}asm {s.template!r}"]
    return [pad + type(s).__name__.lower()]


_numbers: dict[int, int] = {}  # variables that the program cannot name, in order of appearance


def _anonymous(v: tree.Variable) -> str:
    return f"t{_numbers.setdefault(id(v), len(_numbers) + 1)}"


def format_expr(e: tree.Expr) -> str:
    """One expression."""
    return _FORMAT[type(e)](e)


def _args(args: list[tree.Expr]) -> str:
    return ", ".join(map(format_expr, args))


def _convert(e: tree.Convert) -> str:
    inner = format_expr(e.operand)
    return (
        f"[{inner}]"
        if e.kind == "load"
        else inner
        if e.kind in ("decay", "function")
        else f"({format_ctype(e.type)}){inner}"
    )


def _core(e: tree.CoreInfo) -> str:
    about = format_expr(e.operand) if e.operand is not None else format_ctype(e.about) if e.about is not None else ""
    return f"{e.kind}({about}{', ' + e.enumerator if e.enumerator else ''})"


def _statement_expr(e: tree.StatementExpr) -> str:
    items = "; ".join(x.strip() for x in _stmt(e.body, 0))
    return f"({{ {items}; {format_expr(e.value) if e.value is not None else ''} }})"


_FORMAT: dict[type, Callable[..., str]] = {
    tree.IntConst: lambda e: str(e.value),
    tree.StringConst: lambda e: repr(e.value)[1:],
    tree.VarRef: lambda e: e.variable.name or _anonymous(e.variable),
    tree.FunctionRef: lambda e: e.function.name,
    tree.Deref: lambda e: f"*{'volatile ' if e.volatile else ''}{format_expr(e.pointer)}",
    tree.Member: lambda e: f"{format_expr(e.base)}{'.~' if e.relocatable else '.'}{e.field.name or '<anonymous>'}",
    tree.ElementOf: lambda e: f"{format_expr(e.base)}[{format_expr(e.index)}]",
    tree.RecordValueMember: lambda e: f"{format_expr(e.base)}.{e.field.name}",
    tree.AddressOf: lambda e: f"&{format_expr(e.operand)}",
    tree.Convert: _convert,
    tree.Unary: lambda e: f"{e.op}{format_expr(e.operand)}",
    tree.Binary: lambda e: f"({format_expr(e.left)} {e.op} {format_expr(e.right)})",
    tree.PointerAdd: lambda e: f"({format_expr(e.pointer)} {'-' if e.negative else '+'} {format_expr(e.index)})",
    tree.PointerDiff: lambda e: f"({format_expr(e.left)} - {format_expr(e.right)})/{e.size}",
    tree.Logical: lambda e: f"({format_expr(e.left)} {e.op} {format_expr(e.right)})",
    tree.Conditional: lambda e: (
        f"({format_expr(e.condition)} ? "
        f"{format_expr(e.then) if e.then is not None else ''} : {format_expr(e.otherwise)})"
    ),
    tree.Comma: lambda e: f"({format_expr(e.left)}, {format_expr(e.right)})",
    tree.Assign: lambda e: f"{format_expr(e.target)} = {format_expr(e.value)}",
    tree.Update: lambda e: f"{format_expr(e.target)} {e.op}={' (old)' if e.postfix else ''} {format_expr(e.value)}",
    tree.CallHelper: lambda e: f"{e.name}#{e.helper}({_args(e.args)})",
    tree.CallFunction: lambda e: f"{e.function.name}({_args(e.args)})",
    tree.CallPointer: lambda e: f"({format_expr(e.pointer)})({_args(e.args)})",
    tree.ProbeRead: lambda e: (
        f"probe{e.helper}[{format_expr(e.address)}{'.' + str(e.field.name) if e.field is not None else ''}]"
    ),
    tree.Builtin: lambda e: f"{e.name}({_args(e.args)})",
    tree.CoreInfo: _core,
    tree.CoreBitfield: lambda e: f"bits{e.helper}[{format_expr(e.operand)}]",
    tree.StatementExpr: _statement_expr,
    tree.CompoundLiteral: lambda e: f"({format_ctype(e.type)}){_init(e.variable.init)}",
    tree.Temporary: lambda e: format_expr(e.value),
}
