"""Loops: over ranges, constants and arrays, and `while`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py.builtins import Library
from ebpf.compiler.py.expressions import _sure
from ebpf.compiler.py.frames import Flow, Loop, merged
from ebpf.compiler.py.values import (
    I32,
    I64,
    U64,
    Const,
    Int,
    Ref,
    Tuple,
    Value,
    joined,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.py.declarations import MapDecl

_MOST_ROUNDS = 256  # of a loop that is written out


class Loops(Library):
    def assign(self, target: ast.expr, v: Value, node: ast.expr) -> None:
        raise NotImplementedError

    def run_cleanups(self, loops: int) -> None:
        raise NotImplementedError

    def map_of_loop(self, node: ast.expr) -> tuple[MapDecl, str] | None:
        raise NotImplementedError

    def for_map(self, s: ast.For, m: MapDecl, what: str) -> None:
        raise NotImplementedError

    def _enter_loop(self, s: ast.For | ast.While) -> Flow:
        """The flow at a loop's head: what the body assigns may be None in the next round."""
        changed = {
            n.id for b in s.body for n in ast.walk(b) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        flow = self.frame.flow.copy()
        flow.sure -= changed
        for name in changed & set(self.frame.bound):  # a constant of compile time is none any more
            del self.frame.bound[name]
        if s.orelse:
            self.refuse("P0101", s.orelse[0], "programs have no `else` of loops", helps=["set a variable to tell"])
        return flow

    def _while(self, s: ast.While) -> None:
        frame = self.frame
        before = self._enter_loop(s)
        frame.flow = before.copy()
        loop = Loop()
        frame.loops.append(loop)
        with self.nested() as body:
            e = self.condition(s.test)
            if e is False:
                frame.loops.pop()
                frame.flow = before
                return
            if not isinstance(e, bool):
                self.branch(self.negate(e), [tree.Break(self.loc, self.end)])
            frame.flow.sure = frame.flow.sure | _sure(s.test, True)
            self.statements(s.body)
        frame.loops.pop()
        self.at(s.test)
        self.out.append(tree.Loop(self.loc, self.end, None, None, None, self.block(body)))
        if e is True:
            after = Flow(set(), live=False)
        else:
            after = before
            if not loop.breaks:
                after.sure = after.sure | _sure(s.test, False)
        for flow in loop.breaks:
            after = merged(after, flow)
        frame.flow = after

    def _for(self, s: ast.For) -> None:
        if isinstance(s.iter, ast.Call) and self.global_value(s.iter.func) is range:
            self._for_range(s, s.iter)
            return
        over = self.map_of_loop(s.iter)
        if over is not None:
            self.for_map(s, *over)
            return
        v = self.expr(s.iter)
        if isinstance(v, Const) and isinstance(v.value, (tuple, range, str, bytes)) and len(v.value) <= _MOST_ROUNDS:
            self._for_items(s, [Const(i) for i in v.value])
        elif isinstance(v, Tuple):
            self._for_items(s, v.items)
        elif isinstance(v, Ref) and isinstance(C.strip(v.t), C.Array) and not v.pointer:
            self._for_array(s, v)
        else:
            self.refuse("P0106", s.iter, f"programs cannot go through {words(v)}", helps=["`for i in range(n)` counts"])

    def _for_items(self, s: ast.For, items: list[Value]) -> None:
        """A loop over constants: its body, once for each."""
        frame = self.frame
        before = self._enter_loop(s)
        frame.flow = before
        leave = tree.Label(self.loc, self.end, "leave")
        used = False
        breaks: list[Flow] = []
        for item in items:
            if not frame.flow.live:
                break
            again = tree.Label(self.loc, self.end, "again")
            loop = Loop(leave, again)
            frame.loops.append(loop)
            with self.nested() as body:
                if isinstance(s.target, ast.Name) and isinstance(item, Const):
                    frame.bound[s.target.id] = item
                    frame.flow.assigned.add(s.target.id)
                elif (
                    isinstance(s.target, (ast.Tuple, ast.List))
                    and isinstance(item, Const)
                    and isinstance(item.value, tuple)
                    and all(isinstance(t, ast.Name) for t in s.target.elts)
                    and len(item.value) == len(s.target.elts)
                ):
                    for t, part in zip(s.target.elts, item.value, strict=True):
                        assert isinstance(t, ast.Name)
                        frame.bound[t.id] = Const(part)
                        frame.flow.assigned.add(t.id)
                else:
                    self.assign(s.target, item, s.iter)
                self.statements(s.body)
            frame.loops.pop()
            for flow in loop.breaks:
                if flow.live:
                    used = True
                    breaks.append(flow)
            if loop.again is not None and _jumps_to(body, again):
                frame.flow = Flow(before.assigned, before.sure)
            self.out.append(self.block([*body, again]))
        for flow in breaks:
            frame.flow = merged(frame.flow, flow)
        if used:
            self.out.append(leave)

    def _for_array(self, s: ast.For, v: Ref) -> None:
        self.not_none(v, s.iter)
        inner = C.strip(v.t)
        assert isinstance(inner, C.Array)
        if not inner.count:
            self.refuse("P0106", s.iter, "this array has no certain number of elements")

        def element(i: Int) -> Value:
            lvalue, py = self.element(v, i, s.iter)
            return self.at_place(lvalue, v.space, py)

        self._count(
            s,
            Int(I64, self.const(0, C.LONG)),
            Int(I64, self.const(inner.count)),
            1,
            I64,
            (inner.count - 1).bit_length(),
            True,
            element,
        )

    def _for_range(self, s: ast.For, call: ast.Call) -> None:
        if not 1 <= len(call.args) <= 3 or call.keywords:
            self.refuse("P0211", call, "`range` takes one to three numbers")
        values = [self.value(a) for a in call.args]
        step_value = values[2] if len(values) == 3 else Const(1)
        if not isinstance(step_value, Const) or not isinstance(step_value.value, int) or not step_value.value:
            self.refuse("P0213", call.args[2], "the step of a range has to be a constant other than 0")
        step = int(step_value.value)
        start, stop = (values[0], values[1]) if len(values) > 1 else (Const(0), values[0])
        soft = isinstance(start, Const) and isinstance(stop, Const)
        nodes = (call.args[0], call.args[-1] if len(values) < 3 else call.args[1])
        a, b = self.number(start, nodes[0]), self.number(stop, nodes[1])
        is_u64 = any(n.ty is U64 for n in (a, b))
        ty = U64 if is_u64 and step > 0 else I64
        bits = None
        bound = a if step < 0 else b
        if bound.bits is not None and (a.bits is not None):
            bits = max(a.bits, b.bits or 0)
            if soft and isinstance(stop, Const) and isinstance(start, Const):
                ends = list(
                    (range(start.value, stop.value, step) or [0])[
                        :: max(1, len(range(start.value, stop.value, step)) - 1)
                    ]
                )
                bits = max(e.bit_length() for e in ends) if all(e >= 0 for e in ends) else None
        natural = ty
        if not soft:
            natural = (
                joined(a.ty, b.ty)
                if not (isinstance(start, Const) or isinstance(stop, Const))
                else (
                    b.ty
                    if isinstance(start, Const) and b.ty.holds(int(start.value))
                    else a.ty
                    if isinstance(stop, Const) and a.ty.holds(int(stop.value))
                    else ty
                )
            )
            if natural.size < 4:
                natural = I32

        def item(i: Int) -> Value:
            return Int(natural, cast(i.e, natural.ctype), bits, soft)

        self._count(
            s,
            Int(ty, self.temp(cast(a.e, ty.ctype))),
            Int(ty, self.temp(cast(b.e, ty.ctype))),
            step,
            ty,
            bits,
            soft,
            item,
        )

    def _count(
        self,
        s: ast.For,
        start: Int,
        stop: Int,
        step: int,
        ty: Any,
        bits: int | None,
        soft: bool,
        item: Callable[[Int], Value],
    ) -> None:
        frame = self.frame
        before = self._enter_loop(s)
        frame.flow = before.copy()
        counter = self.local(ty.ctype)
        self.set(counter, start.e)
        loop = Loop()
        frame.loops.append(loop)
        loc, end = self.place(s.iter)
        with self.nested() as body:
            self.assign(s.target, item(Int(ty, self.get(counter), bits, soft)), s.iter)
            self.statements(s.body)
        frame.loops.pop()
        self.loc, self.end = loc, end
        test = self.compare("<" if step > 0 else ">", self.get(counter), stop.e)
        forward = self.binary("+", self.get(counter), self.const(step, ty.ctype))
        advance = tree.Assign(ty.ctype, loc, end, self.ref(counter), forward)
        self.out.append(tree.Loop(loc, end, None, test, advance, self.block(body)))
        after = before
        for flow in loop.breaks:
            after = merged(after, flow)
        frame.flow = after

    def _break(self, s: ast.Break) -> None:
        self.run_cleanups(len(self.frame.loops))
        loop = self.frame.loops[-1]
        loop.breaks.append(self.frame.flow.copy())
        self.out.append(
            tree.Goto(self.loc, self.end, loop.leave) if loop.leave is not None else tree.Break(self.loc, self.end)
        )
        self.frame.flow.live = False

    def _continue(self, s: ast.Continue) -> None:
        self.run_cleanups(len(self.frame.loops))
        loop = self.frame.loops[-1]
        self.out.append(
            tree.Goto(self.loc, self.end, loop.again) if loop.again is not None else tree.Continue(self.loc, self.end)
        )
        self.frame.flow.live = False


def _jumps_to(items: list[tree.Stmt], label: tree.Label) -> bool:
    for s in items:
        if isinstance(s, tree.Goto) and s.target is label:
            return True
        for name in ("then", "otherwise", "body"):
            inner = getattr(s, name, None)
            if inner is not None and _jumps_to([inner] if isinstance(inner, tree.Stmt) else inner, label):
                return True
        if isinstance(s, tree.Block) and _jumps_to(s.items, label):
            return True
    return False
