"""``args.name`` in a uprobe: arguments by the names and types that the program's debug information gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import types as C
from ebpf.compiler.c.builtins_trace import registers
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace.emit import Value
from ebpf.compiler.trace.user_types import places
from ebpf.diagnostics import did_you_mean
from ebpf.errors import EbpfError

if TYPE_CHECKING:
    from ebpf.compiler.c import tree
    from ebpf.compiler.trace import ast
    from ebpf.compiler.trace.builtins import Builtins
    from ebpf.compiler.trace.user_types import Place

_NUMBERED = "arguments by number need none: `arg0`, `arg1`, …"


def user_argument(b: Builtins, node: ast.Member) -> Value:
    """``args.name``, ``args->name`` at the entry of a program's function."""
    prototype = _prototype(b, node)
    names = prototype.names
    if node.name not in names:
        shown = ", ".join(C.format_ctype(p, n) for p, n in zip(prototype.parameters, names, strict=False) if n)
        close = did_you_mean(node.name, names)
        b.refuse(
            "T0210",
            node,
            f"`{b.point.parts[-1]}` has no argument `{node.name}`",
            notes=[f"its arguments are: {shown}" if shown else "it has none"],
            helps=[f"did you mean `{close[0]}`?"] if close else [],
        )
    index = names.index(node.name)
    place = places(prototype, b.state.facts.arch)[index]
    return _read(b, node, prototype.parameters[index], place)


def _prototype(b: Builtins, node: ast.Member) -> C.Function:
    path, function = b.point.parts[0], b.point.parts[-1]
    if any(c in path + function for c in "*?["):
        b.refuse("T0303", node, "what `args` holds differs from function to function",
                 helps=["name one function, or use `arg0`, `arg1`, …"])
    if "+" in function or function[:1].isdigit():
        b.refuse("T0303", node, "`args` is there where a function begins, which is told by its name alone",
                 helps=[_NUMBERED])
    types = b.state.user_types(path, function)
    try:
        found = types.function(function)
    except EbpfError as error:
        b.refuse("T0303", node, f"the arguments of `{function}` cannot be told", notes=[error.message],
                 helps=[_NUMBERED])
    if found is not None:
        return found[0]
    if types.has_any:
        b.refuse("T0303", node, f"the debug information of `{path}` does not tell the arguments of `{function}`",
                 helps=[_NUMBERED])
    b.refuse(
        "T0303",
        node,
        f"`{path}` has no debug information (DWARF) that would tell the arguments of `{function}`",
        helps=["build it with -g, or install its debug package", _NUMBERED],
    )


def _read(b: Builtins, node: ast.Member, parameter: C.CType, place: Place) -> Value:
    names = registers(b.c)
    if place.kind == "float":
        b.refuse("T0303", node, f"`{node.name}` is passed in a floating-point register, which no probe can read")
    if place.kind == "stack":
        return b.at_place(b.deref(_stack(b, node, place.at), parameter), "user")
    if place.kind in ("address", "stack address"):
        if place.kind == "address":
            where = b.register_value(names.args[place.at], node).e
        else:
            where = b.at_place(b.deref(_stack(b, node, place.at), C.ULONG), "user").e
        return b.at_place(b.deref(cast(where, C.Pointer(parameter)), parameter), "user")
    t = b.type_of(parameter, "user")
    words = [b.register_value(names.args[place.at + i], node).e for i in range(place.words)]
    if t.kind in ("record", "array", "str"):
        memory = b.allocate(8 * place.words)
        for i, word in enumerate(words):
            b.store(b.deref(b.offset(memory, 8 * i), C.ULONG), cast(word, C.ULONG))
        return Value(t, memory)
    if t.kind == "pointer":
        return Value(t, b.temp(cast(words[0], C.Pointer(t.ctype or C.VOID))))
    narrow = b.narrow_type(t)
    e = words[0] if narrow is None else b.temp(b.long(cast(words[0], narrow), t.signed))
    return Value(t, b.long(e, t.signed))


def _stack(b: Builtins, node: ast.Member, word: int) -> tree.Expr:
    """The address of a word that was pushed for the function; on x86 the return address is below them."""
    pointer = b.register_value(registers(b.c).sp, node).e
    above = word + (0 if b.state.facts.arch == "arm64" else 1)
    return b.temp(b.binary("+", pointer, b.const(8 * above, C.ULONG)))
