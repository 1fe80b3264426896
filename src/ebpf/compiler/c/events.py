"""What programs send to Python: the type of a map's records, seen at the helper calls that send them.

``bpf_ringbuf_reserve(&events, sizeof(struct event), 0)``, ``bpf_ringbuf_output`` and ``bpf_perf_event_output`` name
the map and, by the size or by the pointers around them, the type; ``bpf_seq_write`` names the type of the rows that an
iterator writes (kept under its function's name and ``()``). A map whose calls disagree, or whose records have a
length that is only known at run time, gets no type: Python then sees bytes. BCC's methods say theirs themselves
(`dialect/map_methods.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.conversions import POISON, is_pointer, target_of, unqualified
from ebpf.compiler.c.nodes import NodeBase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.compiler.c.checker_expr import ExprChecker
    from ebpf.compiler.c.types import CType


class _Form(NamedTuple):
    """Positions of the arguments. No ``data``: the helper returns the record's place; no ``map``: an iterator's row."""

    map: int | None
    size: int
    data: int | None


# helper number → where its arguments are
HELPERS: dict[int, _Form] = {
    25: _Form(map=1, size=4, data=3),  # bpf_perf_event_output
    111: _Form(map=1, size=4, data=3),  # bpf_skb_output
    121: _Form(map=1, size=4, data=3),  # bpf_xdp_output
    130: _Form(map=0, size=2, data=1),  # bpf_ringbuf_output
    127: _Form(map=None, size=2, data=1),  # bpf_seq_write
    131: _Form(map=0, size=1, data=None),  # bpf_ringbuf_reserve
}


class Sent(NamedTuple):
    """One call that sends a record; ``measured`` is the type in ``sizeof(…)`` if the size was written so."""

    call: tree.CallHelper
    measured: CType | None
    function: str = ""


def note(c: ExprChecker, node: ast.Call, call: tree.CallHelper) -> Sent | None:
    """What there is to remember of a helper call that was just checked."""
    form = HELPERS.get(call.helper)
    if form is None or len(node.args) <= form.size:
        return None
    size = node.args[form.size]
    measured = None
    if isinstance(size, ast.SizeofType):
        measured = c.type_of(size.type)
    elif isinstance(size, ast.SizeofExpr):
        measured = c.unevaluated(size.operand).type
    function = c.function.decl.name if c.function is not None else ""
    return Sent(call, None if measured is POISON or measured is None else unqualified(measured), function)


def find_events(unit: tree.Unit, sent: list[Sent]) -> dict[str, CType]:
    """Map name → type of its records, for maps about which all calls agree."""
    found: dict[str, CType | None] = {}
    targets: dict[int, CType] | None = None
    for one in sent:
        call, form = one.call, HELPERS[one.call.helper]
        name = f"{one.function}()" if form.map is None else _map_name(call.args[form.map])
        if name is None:
            continue
        length = _constant(call.args[form.size])
        if form.data is not None:
            data = _plain(call.args[form.data])
            t = unqualified(target_of(data.type)) if is_pointer(data.type) else None
        else:
            if targets is None:
                targets = dict(_converted(unit))
            t = targets.get(id(call))
        if not _is_record_of(t, length):  # `void *`, or an array that decayed: what was measured
            t = one.measured if _is_record_of(one.measured, length) else None
        if name in found and not (t is not None and (known := found[name]) is not None and C.same(known, t)):
            t = None
        found[name] = t
    return {name: t for name, t in found.items() if t is not None}


def _is_record_of(t: CType | None, length: int | None) -> bool:
    return t is not None and length is not None and length > 0 and C.size_of(t) == length


def _map_name(e: tree.Expr) -> str | None:
    e = _plain(e)
    if isinstance(e, tree.AddressOf) and isinstance(e.operand, tree.VarRef):
        v = e.operand.variable
        if v.kind == "global" and v.section in (".maps", "maps"):
            return v.name
    return None


def _plain(e: tree.Expr) -> tree.Expr:
    """The pointer before it was converted to another kind of pointer."""
    while isinstance(e, tree.Convert) and e.kind in ("pointer", "same") and is_pointer(e.operand.type):
        e = e.operand
    return e


def _constant(e: tree.Expr) -> int | None:
    from ebpf.compiler.c.constexpr import evaluate

    return evaluate(e)


def _converted(unit: tree.Unit) -> Iterator[tuple[int, CType]]:
    """Calls whose result is converted to a pointer to something: (id of the call, that something)."""
    for function in unit.functions:
        if function.body is None:
            continue
        todo: list[object] = [function.body]
        while todo:
            node = todo.pop()
            if isinstance(node, list):
                todo += node
                continue
            if isinstance(node, tree.Variable) or not isinstance(node, NodeBase):
                continue
            if isinstance(node, tree.Convert) and node.kind in ("pointer", "same") and is_pointer(node.type):
                of = _plain(node)
                if isinstance(of, tree.CallHelper):
                    yield id(of), unqualified(target_of(node.type))
            if isinstance(node, (tree.Expr, tree.Stmt, tree.Initializer, tree.InitPart)):
                todo += [getattr(node, f) for f in type(node)._fields]
