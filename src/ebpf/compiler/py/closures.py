"""Parts of a function that become functions of their own, which reach its variables through a struct of addresses.

The kernel calls the body of a loop over a map once for each entry (`bpf_for_each_map_elem`), and gives it one pointer.
That pointer leads to a struct that has the address of each variable that the body shares with the function around it.
Jumps out of the body become numbers in a variable, at which the function looks when the kernel comes back.
"""

from __future__ import annotations

from typing import Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.c.nodes import NodeBase

LEFT = C.ULONG
_COPIED = (tree.Expr, tree.Stmt, tree.Initializer, tree.InitPart)


class Closure:
    """``body`` becomes the statements of the new function, whose last parameter leads to what it shares.

    ``exits`` are the statements by which the body left the outer function's loop, in the order of their numbers (from
    1) in ``left``; a value that was returned is in ``result``. ``again`` and ``leave`` are where `continue` and `break`
    jump to: the function ends there, with 0 or 1.
    """

    def __init__(self, body: list[tree.Stmt], parameters: list[tree.Variable], result_type: C.CType,
                 again: tree.Label, leave: tree.Label) -> None:
        data = parameters[-1]
        loc, end = data.loc, data.end
        self.left = tree.Variable("", LEFT, "local", loc, end)
        self.result = tree.Variable("", result_type, "local", loc, end)
        self.exits: list[tree.Stmt] = []
        self.shared: list[tree.Variable] = []
        self.changed: set[int] = set()  # ids of variables that the body assigns to
        self.record = C.Record("struct", None, align=8, complete=True)
        self._data = data
        self._own = {id(p) for p in parameters}
        self._labels = {id(again), id(leave)}
        self._copies: dict[int, Any] = {}
        self._seen: set[int] = set()
        self._collect(body)
        self.body: list[tree.Stmt] = [self._copy(s) for s in body]
        for label, value in ((again, 0), (leave, 1)):
            self.body += [label, tree.Return(loc, end, tree.IntConst(C.LONG, loc, end, value))]

    def _collect(self, node: Any) -> None:
        """Which variables and labels are the body's own."""
        if isinstance(node, list):
            for n in node:
                self._collect(n)
            return
        if not isinstance(node, NodeBase) or isinstance(node, tree.FunctionDecl) or id(node) in self._seen:
            return
        self._seen.add(id(node))
        if isinstance(node, (tree.Declare, tree.CompoundLiteral)):
            self._own.add(id(node.variable))
        elif isinstance(node, tree.Label):
            self._labels.add(id(node))
        elif isinstance(node, (tree.Assign, tree.Update)) and isinstance(node.target, tree.VarRef):
            self.changed.add(id(node.target.variable))
        elif isinstance(node, tree.Goto):
            return
        for name in type(node)._fields:
            if name not in ("type", "variable", "field"):
                self._collect(getattr(node, name))

    def _copy(self, node: Any) -> Any:
        """The tree with each shared variable reached through the struct; what was used twice is so in the copy."""
        if isinstance(node, list):
            return [self._copy(n) for n in node]
        if isinstance(node, tree.Label) or not isinstance(node, _COPIED):
            return node
        known = self._copies.get(id(node))
        if known is None:
            # The node is kept beside its copy, so that no other takes its id.
            known = self._copies[id(node)] = node, self._rewritten(node)
        return known[1]

    def _rewritten(self, node: Any) -> Any:
        if isinstance(node, tree.VarRef):
            v = node.variable
            return self._reached(node) if v.kind in ("local", "parameter") and id(v) not in self._own else node
        if isinstance(node, tree.Return):
            return self._exit(node, node.value)
        if isinstance(node, tree.Goto):
            return node if id(node.target) in self._labels else self._exit(node, None)
        return type(node)(*(self._copy(getattr(node, name)) for name in type(node)._fields))

    def _reached(self, node: tree.VarRef) -> tree.Expr:
        v, loc, end = node.variable, node.loc, node.end
        index = next((i for i, s in enumerate(self.shared) if s is v), len(self.shared))
        if index == len(self.shared):
            self.shared.append(v)
            name = f"{v.name or 'temporary'}_{index}"
            self.record.fields.append(C.Field(name, C.Pointer(v.type), 64 * index, 0, index))
            self.record.size = 8 * len(self.shared)
        f = self.record.fields[index]
        ref = tree.VarRef(self._data.type, loc, end, self._data)
        data = cast(tree.Convert(self._data.type, loc, end, "load", ref), C.Pointer(self.record))
        place = tree.Member(f.type, loc, end, tree.Deref(self.record, loc, end, data), f)
        return tree.Deref(v.type, loc, end, tree.Convert(f.type, loc, end, "load", place))

    def _exit(self, node: tree.Stmt, value: tree.Expr | None) -> tree.Stmt:
        """Leaving the outer function (or a part of it that was written out) from within."""
        loc, end = node.loc, node.end
        steps: list[tree.Stmt] = []
        if value is not None:
            place = self._reached(tree.VarRef(self.result.type, loc, end, self.result))
            steps.append(tree.Evaluate(loc, end, tree.Assign(place.type, loc, end, place, self._copy(value))))
            result = tree.VarRef(self.result.type, loc, end, self.result)
            self.exits.append(tree.Return(loc, end, tree.Convert(self.result.type, loc, end, "load", result)))
        else:
            self.exits.append(node)
        place = self._reached(tree.VarRef(LEFT, loc, end, self.left))
        number = tree.IntConst(LEFT, loc, end, len(self.exits))
        steps.append(tree.Evaluate(loc, end, tree.Assign(LEFT, loc, end, place, number)))
        steps.append(tree.Return(loc, end, tree.IntConst(C.LONG, loc, end, 1)))
        return tree.Block(loc, end, steps)
