"""Statements: assignments, branches, loops, `match`, `assert`, `del`, `with`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.checker_base import Refused as RefusedC
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py import library, types as P
from ebpf.compiler.py.declarations import GlobalDecl, MapDecl
from ebpf.compiler.py.emit import VOID_POINTER, Refused
from ebpf.compiler.py.expressions import _sure
from ebpf.compiler.py.frames import Frame, merged
from ebpf.compiler.py.map_loops import MapLoops
from ebpf.compiler.py.maps import PER_CPU, InnerMap, PointedMap
from ebpf.compiler.py.values import (
    BTF,
    CONTEXT,
    I64,
    KERNEL,
    OWN,
    USER,
    Const,
    Entry,
    Int,
    Ref,
    Tuple,
    Unknown,
    Value,
    words,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_REPLACED: dict[type[ast.stmt], tuple[str, str]] = {
    ast.Try: ("`try`", "nothing raises in a program: ask for None instead"),
    ast.Raise: ("`raise`", "write `return`, or `assert` what has to be so"),
    ast.FunctionDef: ("functions inside functions", "define it outside"),
    ast.AsyncFunctionDef: ("`async`", "programs run to their end at once"),
    ast.ClassDef: ("classes inside functions", "define it outside"),
    ast.Import: ("imports", "import outside of the function"),
    ast.ImportFrom: ("imports", "import outside of the function"),
    ast.Global: ("`global`", "declare `x = ebpf.Global(u64)` outside, and write `x.value`"),
    ast.Nonlocal: ("`nonlocal`", "return the value"),
    ast.AsyncFor: ("`async`", "programs run to their end at once"),
    ast.AsyncWith: ("`async`", "programs run to their end at once"),
}


# What fills memory without having looked at it.
_FILLERS = (library.comm, library.read_user_str, library.read_kernel_str, library.read_user,
             library.read_kernel)


class Statements(MapLoops):
    def statements(self, body: list[ast.stmt]) -> None:
        for s in body:
            if not self.frame.flow.live:
                return
            before, mark = (self.loc, self.end), self.mark()
            self.at(s)
            try:
                handler = _HANDLERS.get(type(s))
                if handler is None:
                    what, instead = _REPLACED.get(type(s), (f"`{type(s).__name__.lower()}`", ""))
                    self.refuse("P0101", s, f"programs have no {what}", helps=[instead] if instead else [])
                handler(self, s)
            except (Refused, RefusedC):
                self._assume(s)
            finally:
                self.loc, self.end = before
                self.release(mark)

    def _assume(self, s: ast.stmt) -> None:
        """After a mistake: what the statement would have given a value counts as having one, so that no message
        follows from another.
        """
        for n in ast.walk(s):
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store) and n.id not in self.frame.flow.assigned:
                key = self._key(n.id)
                if key in self.state.types or n.id in self.frame.annotated:
                    self.frame.flow.assigned.add(n.id)
                else:
                    self.frame.bound.setdefault(n.id, Unknown())

    # -------------------------------------------------------------------------------------------------- assignments

    def _assign(self, s: ast.Assign) -> None:
        if len(s.targets) == 1 and self._assign_directly(s.targets[0], s.value):
            return
        v = self.value(s.value)
        if isinstance(v, Int) and len(s.targets) > 1:
            v = Int(v.ty, self.temp(v.e), v.bits, v.soft)
        for target in s.targets:
            self.assign(target, v, s.value)

    def _assign_directly(self, target: ast.expr, value: ast.expr) -> bool:
        """What is larger than a number is made where it goes."""
        if isinstance(target, ast.Subscript) and not isinstance(target.slice, ast.Slice):
            owner = self.global_value(target.value)
            if isinstance(owner, MapDecl):
                entry = self.expr(target)
                assert isinstance(entry, Entry)
                self.set_entry(entry, value)
                return True
        if isinstance(target, (ast.Attribute, ast.Subscript)) and isinstance(value, ast.Call):
            called = self.global_value(value.func)
            if not any(called is filler for filler in _FILLERS):
                return False
            owner = self.expr(target.value)
            if not isinstance(owner, Ref) or isinstance(owner.py, InnerMap):
                return False
            if isinstance(target, ast.Attribute):
                place, py = self.target_member(owner, target)
            else:
                self.writable(owner, target)
                place, py = self.element(owner, self.value(target.slice), target)
            self.put_node(value, place, py, f"`{ast.unparse(target)}`")
            return True
        return False

    def assign(self, target: ast.expr, v: Value, node: ast.expr) -> None:
        if isinstance(target, ast.Name):
            self.assign_name(target.id, v, node)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target, v, node)
        elif isinstance(target, ast.Attribute):
            owner = self.expr(target.value)
            if isinstance(owner, Entry):
                self._assign_entry_member(owner, target, v, node)
                return
            place, py = self.target_member(owner, target)
            self.put(v, place, py, f"`{ast.unparse(target)}`", node)
        elif isinstance(target, ast.Subscript):
            owner = self.expr(target.value)
            if isinstance(owner, Entry):
                owner = self.entry_value(owner, target.value)
            if isinstance(owner, Ref) and isinstance(owner.py, InnerMap):
                self.not_none(owner, target.value)
                self.set_entry(self.subscript_map(PointedMap(owner.py.decl, owner.e), target.slice), node)
                return
            if not isinstance(owner, Ref):
                self.refuse("P0207", target, f"{words(owner)} has no elements that could be assigned to")
            self.writable(owner, target)
            place, py = self.element(owner, self.value(target.slice), target)
            self.put(v, place, py, f"`{ast.unparse(target)}`", node)
        else:
            self.refuse("P0101", target, "programs cannot assign to this")

    def writable(self, v: Ref, node: ast.AST) -> None:
        if v.space in (KERNEL, USER, BTF):
            whose = "the process's memory" if v.space == USER else "the kernel's memory"
            self.refuse(
                "P0207",
                node,
                f"programs cannot write to {whose}",
                helps=["`ebpf.helpers.probe_write_user` writes to the process"] if v.space == USER else [],
            )

    def target_member(self, owner: Value, target: ast.Attribute) -> tuple[tree.Expr, Any]:
        """The place that ``owner.name = …`` writes to."""
        from ebpf.compiler.py.values import Context

        if isinstance(owner, Const) and isinstance(owner.value, GlobalDecl) and target.attr == "value":
            decl = owner.value
            if decl.const:
                self.refuse("P0207", target, f"`{decl.name}` is constant while programs run")
            return self.ref(self.state.global_variable(decl, decl.name or "variable")), decl.type
        if isinstance(owner, Context):
            inner = C.strip(self.context.type)
            record = C.strip(inner.target) if isinstance(inner, C.Pointer) else None
            if not isinstance(record, C.Record) or self.fields:
                self.refuse("P0307", target, "programs cannot write to this context")
            return self.member(Ref(self.get(self.context), record, CONTEXT), target.attr, target)
        if not isinstance(owner, Ref):
            self.not_none(owner, target.value)
            self.refuse("P0207", target, f"{words(owner)} has no members that could be assigned to")
        self.writable(owner, target)
        return self.member(owner, target.attr, target)

    def _assign_entry_member(self, entry: Entry, target: ast.Attribute, v: Value, node: ast.expr) -> None:
        t, py = self.value_type(entry.map, target)
        at = self.made_entry(entry.map, entry.key, target)
        with self.nested() as found:
            place, inner = self.member(Ref(at, C.strip(t), OWN, py), target.attr, target)
            self.put(v, place, inner, f"`{ast.unparse(target)}`", node)
        self.branch(at, found)

    def _unpack(self, target: ast.Tuple | ast.List, v: Value, node: ast.expr) -> None:
        if isinstance(v, Const) and isinstance(v.value, (tuple, str, bytes)):
            v = Tuple([Const(i) for i in v.value])
        if isinstance(v, Ref):
            self.not_none(v, node)
            inner = C.strip(v.t)
            if isinstance(inner, C.Array) and inner.count == len(target.elts):
                v = Tuple(
                    [
                        self.at_place(self.element(v, Const(i), node)[0], v.space, getattr(v.py, "element", None))
                        for i in range(inner.count)
                    ]
                )
        if not isinstance(v, Tuple) or len(v.items) != len(target.elts):
            self.refuse("P0204", node, f"{len(target.elts)} names are to be assigned, and this is {words(v)}")
        items = [Int(i.ty, self.temp(i.e), i.bits, i.soft) if isinstance(i, Int) else i for i in v.items]
        for name, item in zip(target.elts, items, strict=True):
            self.assign(name, item, node)

    def _annotated(self, s: ast.AnnAssign) -> None:
        if not isinstance(s.target, ast.Name):
            self.refuse("P0216", s, "only names have annotations in programs")
        name = s.target.id
        annotation = s.annotation
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            annotation = ast.parse(annotation.value, mode="eval").body
        self.annotate(name, self.global_value(annotation), s.annotation)
        self.frame.bound.pop(name, None)
        if s.value is None:
            self.assign_annotated(name, None, s)
            return
        py = self.frame.annotated[name]
        if self.annotated_int(py) is None and not isinstance(py, (P.KernelType, P.PointerType)):
            t = self.state.ctype(py)
            assert t is not None
            place = self.ref(self.variable(name, "", t))
            self.zero(place, C.size_of(t) or 0)
            self.put_node(s.value, place, py, f"`{name}`", clean=True)
            self.frame.flow.assigned.add(name)
            self.frame.flow.sure |= {name}
            return
        self.assign_annotated(name, self.value(s.value), s.value)

    def _augmented(self, s: ast.AugAssign) -> None:
        target = s.target
        if isinstance(target, ast.Name):
            left = (
                self.local_value(target.id, target) if target.id in self.frame.names else self.outer(target.id, target)
            )
            v = self.operation(_symbol(s.op), left, self.value(s.value), s, (target, s.value))
            self.assign_name(target.id, v, s)
            return
        if isinstance(target, ast.Subscript):
            owner = self.expr(target.value)
            if isinstance(owner, Const) and isinstance(owner.value, MapDecl):
                self.change_entry(self.subscript_map(owner.value, target.slice), s.op, s)
                return
            if isinstance(owner, Ref) and isinstance(owner.py, InnerMap):
                self.not_none(owner, target.value)
                inner_map = PointedMap(owner.py.decl, owner.e)
                self.change_entry(self.subscript_map(inner_map, target.slice), s.op, s)
                return
            if isinstance(owner, Entry):
                owner = self.entry_value(owner, target.value)
            if not isinstance(owner, Ref):
                self.refuse("P0207", target, f"{words(owner)} has no elements that could be changed")
            self.writable(owner, target)
            place, py = self.element(owner, self.value(target.slice), target)
            self.change(place, py, s.op, self.value(s.value), s, shared=owner.shared)
            return
        assert isinstance(target, ast.Attribute)
        owner = self.expr(target.value)
        if isinstance(owner, Entry):
            m = owner.map
            t, py = self.value_type(m, target)
            amount = self.amount(s.op, t, s, "")
            at = self.made_entry(m, owner.key, target)
            with self.nested() as found:
                place, inner = self.member(Ref(at, C.strip(t), OWN, py), target.attr, target)
                self.change(place, inner, s.op, amount, s, shared=m.type not in PER_CPU)
            self.branch(at, found)
            return
        value = self.amount(s.op, C.LONG, s, "")
        place, py = self.target_member(owner, target)
        shared = isinstance(owner, Const) or isinstance(owner, Ref) and owner.shared
        self.change(place, py, s.op, value, s, shared=shared)

    def _del(self, s: ast.Delete) -> None:
        for target in s.targets:
            if isinstance(target, ast.Subscript):
                entry = self.expr(target)
                if isinstance(entry, Entry):
                    self.evaluate(self.delete_entry(entry))
                    continue
            self.refuse("P0101", target, "programs delete entries of maps alone", helps=["`del m[key]`"])

    # ----------------------------------------------------------------------------------------------------- branches

    def _expression(self, s: ast.Expr) -> None:
        if isinstance(s.value, ast.Constant):
            return
        v = self.expr(s.value)
        if isinstance(v, Entry):
            self.warn("P0207", s, "this reads an entry and does nothing with it")

    def _pass(self, s: ast.Pass) -> None:
        return

    def _if(self, s: ast.If) -> None:
        try:
            e = self.condition(s.test)
        except (Refused, RefusedC):  # told; what follows may have mistakes of its own
            e = self.const(1, C.INT)
        if isinstance(e, bool):
            self.statements(s.body if e else s.orelse)
            return
        self.two_ways(
            e,
            lambda: self.statements(s.body),
            lambda: self.statements(s.orelse),
            _sure(s.test, True),
            _sure(s.test, False),
        )

    def two_ways(
        self,
        e: tree.Expr,
        then: Callable[[], None],
        otherwise: Callable[[], None],
        sure: frozenset[str] = frozenset(),
        otherwise_sure: frozenset[str] = frozenset(),
    ) -> None:
        frame = self.frame
        before = frame.flow
        ways = []
        ends = []
        loc, end = self.loc, self.end
        for make, known in ((then, sure), (otherwise, otherwise_sure)):
            frame.flow = before.copy()
            frame.flow.sure = frame.flow.sure | known
            bound = dict(frame.bound)
            with self.nested() as steps:
                make()
            frame.bound = {k: v for k, v in frame.bound.items() if k in bound} if frame.flow.live else bound
            ways.append(steps)
            ends.append(frame.flow)
        self.loc, self.end = loc, end
        frame.flow = merged(*ends)
        self.branch(e, ways[0], ways[1])

    def _assert(self, s: ast.Assert) -> None:
        e = self.condition(s.test)
        if isinstance(e, bool):
            if not e:
                self.refuse("P0207", s, "this is never true")
            return
        with self.nested() as fails:
            if s.msg is not None:
                self.print_value(self.value(s.msg), s.msg)
            self.leave()
        self.branch(self.negate(e), fails)
        self.frame.flow.sure = self.frame.flow.sure | _sure(s.test, True)

    def _return(self, s: ast.Return) -> None:
        frame = self.frame
        if frame.parent is None:
            if s.value is None or isinstance(s.value, ast.Constant) and s.value.value is None:
                value: tree.Expr = self.const(0, self.result_type)
            else:
                v = self.value(s.value)
                value = self.returned(v, s.value)
            self.run_cleanups(0)
            self.out.append(tree.Return(self.loc, self.end, value))
        else:
            v = Const(None) if s.value is None else self.value(s.value)
            frame.returned = True
            self.assign_name("return", v, s)
            self.run_cleanups(0)
            if s is not frame.node.body[-1]:
                assert frame.end is not None
                self.out.append(tree.Goto(self.loc, self.end, frame.end))
                frame.jumps = True
        frame.flow.live = False

    def returned(self, v: Value, node: ast.expr) -> tree.Expr:
        if isinstance(v, Const) and isinstance(v.value, int):
            value = int(v.value)
            if not -(1 << 31) <= value < 1 << 32:
                self.refuse("P0205", node, f"{value} does not fit in 32 bits, what a program returns")
            return self.const(value, self.result_type)
        number = self.number(v, node, "the program's result, a number,")
        fits = number.ty.size <= 4 or number.ty is I64 and number.soft or number.bits is not None and number.bits <= 32
        if not fits:
            self.refuse(
                "P0206",
                node,
                f"{words(number)} may not fit in the 32 bits that a program returns",
                helps=[f"`i32({ast.unparse(node)})` keeps the lowest 32 bits"],
            )
        return cast(number.e, self.result_type)

    def run_cleanups(self, loops: int) -> None:
        """End each `with` of this function that has at least so many loops around it."""
        for around, cleanup in reversed(self.frame.cleanups):
            if around >= loops:
                cleanup()

    def leave(self) -> None:
        """End the program from wherever."""
        frame: Frame | None = self.frame
        while frame is not None:
            for _, cleanup in reversed(frame.cleanups):
                cleanup()
            frame = frame.parent
        self.out.append(tree.Return(self.loc, self.end, self.const(0, self.result_type)))

    def _with(self, s: ast.With) -> None:
        """``with events.reserve() as e``: the body, if there is room; the record goes off where the body ends."""
        item = s.items[0]
        call, name = item.context_expr, item.optional_vars
        of = call.func if isinstance(call, ast.Call) else None
        m = self.global_value(of.value) if isinstance(of, ast.Attribute) and of.attr == "reserve" else None
        if len(s.items) != 1 or not isinstance(m, MapDecl) or not isinstance(name, ast.Name):
            self.refuse("P0101", s, "programs have `with` for records of ring buffers alone",
                        helps=["`with events.reserve() as e:`"])
        v = self.expr(call)
        assert isinstance(v, Ref)
        record = Ref(v.e, v.t, v.space, v.py)

        def finish(helper: str) -> None:
            self.effect(helper, cast(v.e, VOID_POINTER), self.const(0, C.ULONG))

        def body() -> None:
            self.assign_name(name.id, record, s)
            self.frame.cleanups.append((len(self.frame.loops), lambda: finish("bpf_ringbuf_discard")))
            self.statements(s.body)
            self.frame.cleanups.pop()
            if self.frame.flow.live:
                finish("bpf_ringbuf_submit")

        self.two_ways(v.e, body, lambda: None)
        self.frame.flow.assigned.discard(name.id)

    # -------------------------------------------------------------------------------------------------------- match

    def _match(self, s: ast.Match) -> None:
        v = self.value(s.subject)
        if isinstance(v, Int):
            v = Int(v.ty, self.temp(v.e), v.bits, v.soft)
        self._cases(v, s, list(s.cases))

    def _cases(self, v: Value, s: ast.Match, cases: list[ast.match_case]) -> None:
        if not cases:
            return
        case, rest = cases[0], cases[1:]
        self.at(case.pattern)
        e = self._pattern(v, case.pattern, s)
        if case.guard is not None and e is not False:
            with self.nested() as steps:
                guard = self.condition(case.guard)
            if e is True:
                self.out += steps
                e = guard
            elif steps:
                r = self.local(C.INT)
                self.set(r, self.const(0, C.INT))
                with self.nested() as then:
                    then += steps
                    self.set(r, self.const(int(guard), C.INT) if isinstance(guard, bool) else self._int(guard))
                assert not isinstance(e, bool)
                self.branch(e, then)
                e = self.get(r)
            else:
                e = self._both(True, e, guard)
        if isinstance(e, bool):
            if e:
                self.statements(case.body)
            else:
                self._cases(v, s, rest)
            return
        self.two_ways(e, lambda: self.statements(case.body), lambda: self._cases(v, s, rest))

    def _pattern(self, v: Value, pattern: ast.pattern, s: ast.Match) -> tree.Expr | bool:
        if isinstance(pattern, ast.MatchValue):
            wanted = self.value(pattern.value)
            if self._is_text(v) or self._is_text(wanted):
                return self._scalar(self.text_equal(v, wanted, True, pattern))
            return self._scalar(self.comparison("==", v, wanted, pattern, (s.subject, pattern.value)))
        if isinstance(pattern, ast.MatchSingleton) and pattern.value is None:
            return self._scalar(self._is_none(True, v, Const(None), pattern))
        if isinstance(pattern, ast.MatchOr):
            result: tree.Expr | bool = False
            for p in pattern.patterns:
                result = self._both(False, result, self._pattern(v, p, s))
            return result
        if isinstance(pattern, ast.MatchAs):
            inner = True if pattern.pattern is None else self._pattern(v, pattern.pattern, s)
            if pattern.name is not None:
                self.assign_name(pattern.name, v, pattern)
            return inner
        self.refuse("P0107", pattern, "programs match numbers and text alone", helps=["compare members with `if`"])


def _symbol(op: ast.operator) -> str:
    from ebpf.compiler.py.arithmetic import SYMBOLS

    return SYMBOLS[type(op)]


_HANDLERS: dict[type[ast.stmt], Callable[[Statements, Any], None]] = {
    ast.Assign: Statements._assign,
    ast.AnnAssign: Statements._annotated,
    ast.AugAssign: Statements._augmented,
    ast.Delete: Statements._del,
    ast.Expr: Statements._expression,
    ast.Pass: Statements._pass,
    ast.If: Statements._if,
    ast.Assert: Statements._assert,
    ast.Return: Statements._return,
    ast.Match: Statements._match,
    ast.With: Statements._with,
    ast.While: Statements._while,
    ast.For: Statements._for,
    ast.Break: Statements._break,
    ast.Continue: Statements._continue,
}
