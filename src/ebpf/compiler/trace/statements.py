"""Statements of an action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.aggregations import AGGREGATIONS
from ebpf.compiler.trace.emit import Refused, Value
from ebpf.compiler.trace.functions import Functions
from ebpf.compiler.trace.types import Ty

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_UNROLL = 100


class Statements(Functions):
    loops: list[str]  # of the statement's loops, outermost first: "loop", "unroll" or "callback"

    def statements(self, body: list[ast.Stmt]) -> None:
        for s in body:
            mark = self.mark()
            before = self.node
            self.node = s
            try:
                _HANDLERS[type(s)](self, s)
            except Refused:
                self.assume(s)
            finally:
                self.node = before
            self.release(mark)

    def assume(self, s: ast.Stmt) -> None:
        """After a mistake in an assignment: the variable is known from here on, so that its uses draw no message."""
        name = (
            s.name
            if isinstance(s, ast.Let)
            else s.target.name
            if (isinstance(s, ast.Assign) and isinstance(s.target, ast.Variable))
            else None
        )
        if name is not None and self.find_variable(name) is None and name not in self.substitutions[-1]:
            self.declare_variable(name, T.UNKNOWN, s)

    def scoped(self, body: list[ast.Stmt]) -> list[tree.Stmt]:
        self.scopes.append({})
        with self.nested() as out:
            self.statements(body)
        self.close_scope()
        return out

    # ---------------------------------------------------------------------------------------------------- assigning

    def evaluate_stmt(self, s: ast.Evaluate) -> None:
        if isinstance(s.expr, ast.Call) and s.expr.name in AGGREGATIONS:
            self.refuse("T0213", s, f"`{s.expr.name}()` is assigned to a map", helps=[f"`@ = {s.expr.name}(…)`"])
        self.expr(s.expr)

    def assign(self, s: ast.Assign) -> None:
        target = s.target
        if isinstance(target, ast.Variable) and target.name in self.substitutions[-1]:
            target = self.substitutions[-1][target.name]
        if isinstance(target, ast.Name):  # `_ = …`
            self.expr(s.value)
            return
        if isinstance(target, ast.MapAccess):
            self.assign_map(s, self.resolved_map(target))
            return
        assert isinstance(target, ast.Variable)
        if s.op == "=":
            self.assign_variable(target.name, self.expr(s.value), s)
            return
        v = self.combine(s.op[:-1], self.variable(target), self.number(s.value), s)
        self.assign_variable(target.name, v, s)

    def assign_map(self, s: ast.Assign, target: ast.MapAccess) -> None:
        m = self.state.map(target.name)
        if s.op != "=":
            if s.op in ("+=", "-="):
                self.change_map(target, s.op[0], self.number(s.value).e)
                return
            v = self.combine(s.op[:-1], self.read_map(target), self.number(s.value), s)
            self.write_map(m, self.key(m, target.keys, target), v, s)
            return
        value = s.value
        if isinstance(value, ast.Name) and value.name in AGGREGATIONS:
            self.refuse("T0213", value, f"`{value.name}` is a function", helps=[f"write `{value.name}()`"])
        if isinstance(value, ast.Call) and value.name in AGGREGATIONS:
            self.aggregation(target, value)
            return
        # The value comes first, as in 0.17: `@x[…] = @y[…]` reads before the key is made.
        v = self.expr(value)
        if v.ty.kind == "none":
            self.refuse("T0203", value, "this has no value that could be kept")
        self.write_map(m, self.key(m, target.keys, target), v, s)

    def let(self, s: ast.Let) -> None:
        if s.name in self.scopes[-1] and not self.scopes[-1][s.name].closed:
            known = self.scopes[-1][s.name]
            self.refuse(
                "T0203", s, f"`{s.name}` is declared twice", related=[(known.node.loc, known.node.end, "first here")]
            )
        t = self.type_named(s.type) if s.type is not None else None
        if s.value is not None:
            v = self.expr(s.value)
            if t is not None and T.merge(t, v.ty) is None:
                self.refuse("T0203", s.value, f"`{s.name}` is {T.words(t)}, and this is {T.words(v.ty)}")
            if v.ty.kind == "none":
                self.refuse("T0203", s.value, "this has no value")
            known = self.declare_variable(s.name, t or v.ty, s)
            self.set_local(known, v)
        else:
            self.declare_variable(s.name, t or T.UNKNOWN, s)
            known = self.scopes[-1][s.name]
            if known.variable is not None:
                self.set(known.variable, self.const(0, known.variable.type))
            elif known.memory is not None:
                self.zero(known.memory, T.stored_size(known.ty))

    # ------------------------------------------------------------------------------------------------- control flow

    def if_stmt(self, s: ast.If) -> None:
        if isinstance(s.condition, ast.Record):
            self.refuse("T0106", s.condition, "`=` does not compare", helps=["`==` compares"])
        condition = self.truth(s.condition)
        then = self.scoped(s.then)
        otherwise = self.scoped(s.otherwise) if s.otherwise is not None else None
        self.branch(condition, then, otherwise)

    def while_stmt(self, s: ast.While) -> None:
        with self.nested() as body:
            condition = self.truth(s.condition)
            with self.nested() as leave:
                self.out.append(tree.Break(s.loc, s.end))
            self.branch(tree.Unary(C.INT, s.loc, s.end, "!", condition), leave)
            self.loops.append("loop")
            self.out += self.scoped(s.body)
            self.loops.pop()
        self.out.append(tree.Loop(s.loc, s.end, None, None, None, tree.Block(s.loc, s.end, body), False, 1))

    def unroll(self, s: ast.Unroll) -> None:
        count = self.literal_int(s.count, "how often something is unrolled")
        if not 1 <= count <= MAX_UNROLL:
            self.refuse("T0214", s.count, f"`unroll` takes 1 to {MAX_UNROLL}, not {count}")
        # A loop whose body is there once in the source and once for each round in the program.
        i = self.local(C.LONG)
        with self.nested() as body:
            self.loops.append("loop")
            self.out += self.scoped(s.body)
            self.loops.pop()
        loc, end = s.loc, s.end
        start = tree.Evaluate(loc, end, tree.Assign(C.LONG, loc, end, self.ref(i), self.const(0)))
        step = tree.Assign(C.LONG, loc, end, self.ref(i), self.binary("+", self.get(i), self.const(1)))
        limit = self.compare("<", self.get(i), self.const(count))
        self.out.append(tree.Loop(loc, end, start, limit, step, tree.Block(loc, end, body), False, 0))

    def for_stmt(self, s: ast.For) -> None:
        if s.last is not None:
            self.for_range(s)
            return
        if not isinstance(s.over, ast.MapAccess) or s.over.keys is not None:
            self.refuse("T0208", s.over, "a loop goes over a map (`@m`) or a range (`0..10`)")
        self.for_map(s, self.resolved_map(s.over))

    def for_range(self, s: ast.For) -> None:
        assert s.last is not None
        first, last = self.number(s.over), self.number(s.last)
        if id(s) in self.called_loops:
            self.for_range_called(s, self.long(first.e), self.long(last.e))
            return
        limit = self.temp(self.long(last.e))
        i = self.local(C.LONG)
        self.set(i, self.long(first.e))
        self.scopes.append({})
        with self.nested() as body:
            self.assign_variable(s.name, Value(T.INT, self.get(i)), s)
            self.loops.append("loop")
            self.out += self.scoped(s.body)
            self.loops.pop()
        self.scopes.pop()
        loc, end = s.loc, s.end
        step = tree.Assign(C.LONG, loc, end, self.ref(i), self.binary("+", self.get(i), self.const(1)))
        self.out.append(
            tree.Loop(loc, end, None, self.compare("<", self.get(i), limit), step, tree.Block(loc, end, body), False, 1)
        )

    def for_range_called(self, s: ast.For, first: tree.Expr, last: tree.Expr) -> None:
        """The kernel calls the body (bpf_loop): then the verifier follows it once, and not each of its rounds."""
        start = self.deref(self.scratch_memory(8, keep=True), C.LONG)
        self.store(start, first)
        rounds = self.local(C.LONG)
        self.set(rounds, self.binary("-", last, self.load(start)))
        self.branch(self.compare("<", self.get(rounds), self.const(0)), self._statements_of(rounds))
        index = tree.Variable("index", C.ULONG, "parameter", s.loc, s.end)
        parameters = [index, tree.Variable("data", C.Pointer(C.VOID), "parameter", s.loc, s.end)]

        def begin() -> None:
            number = self.binary("+", self.load(start), cast(self.get(index), C.LONG))
            self.assign_variable(s.name, Value(T.INT, self.temp(number)), s)

        self.each(s, parameters, begin, lambda body: self.call_void(
            "bpf_loop", cast(self.get(rounds), C.UINT), body, self.const(0, C.Pointer(C.VOID)), self.const(0, C.ULONG)))

    def _statements_of(self, rounds: tree.Variable) -> list[tree.Stmt]:
        with self.nested() as none:
            self.set(rounds, self.const(0))
        return none

    def for_map(self, s: ast.For, over: ast.MapAccess) -> None:
        if not self.state.has_helper("bpf_for_each_map_elem"):
            self.refuse("T0303", s, "loops over maps need Linux 5.13")
        m = self.state.map(over.name)
        if m.bucketed:
            self.refuse("T0208", over, f"`{m.name}` holds {T.words(m.value)}, over which no loop goes")
        m.used_at = m.used_at or over
        loc, end = s.loc, s.end
        parameters = [
            tree.Variable("map", C.Pointer(C.VOID), "parameter", loc, end),
            tree.Variable("key", C.Pointer(C.ULONG), "parameter", loc, end),
            tree.Variable("value", C.Pointer(C.ULONG), "parameter", loc, end),
            tree.Variable("data", C.Pointer(C.VOID), "parameter", loc, end),
        ]
        keys = m.key or ()
        key_type = keys[0] if len(keys) == 1 else T.tuple_type([(str(i), t) for i, t in enumerate(keys)])
        value_type = m.value if m.value.kind not in T.AGGREGATES else Ty("int", 8, True)

        def begin() -> None:
            from ebpf.compiler.trace.expressions import Local

            pair = T.tuple_type([("0", key_type), ("1", value_type)])
            memory = self.scratch_memory(pair.size, keep=True)
            stored = T.stored_size(key_type)
            self.copy(memory, self.get(parameters[1]), stored if keys else 8)
            if m.value.kind in T.AGGREGATES:
                total = self.read_aggregate(m, self.get(parameters[1]))
                self.put(total, value_type, self.offset(memory, stored))
            else:
                self.copy(self.offset(memory, stored), self.get(parameters[2]), T.stored_size(value_type))
            self.scopes[-1][s.name] = Local(pair, s, None, memory)

        self.each(s, parameters, begin, lambda body: self.call_void(
            "bpf_for_each_map_elem", self.map_address(m.variable), body, self.const(0, C.Pointer(C.VOID)),
            self.const(0, C.ULONG)))

    def each(self, s: ast.For, parameters: list[tree.Variable], begin: Callable[[], None],
             call: Callable[[tree.Expr], None]) -> None:
        """A loop whose body is a function that the kernel calls for each round; variables live in scratch memory.

        ``begin`` makes what the function begins with, ``call`` has it called.
        """
        # What `exit()` and `return` in the body tell the code behind the loop; one word for all loops inside.
        outermost, left = self.leaving is None, self.left
        if self.leaving is None:
            self.leaving = self.scratch_memory(8, keep=True)
            self.store(self.deref(self.leaving, C.ULONG), self.const(0, C.ULONG))
        self.left = False
        call(self._body_function(s, parameters, begin))
        leaving = self.leaving
        if outermost:
            self.leaving = None
        if self.left:
            with self.nested() as over:
                self.end_program()
            self.branch(self.compare("!=", self.load(self.deref(leaving, C.ULONG)), self.const(0, C.ULONG)), over)
        self.left = left or (self.left and not outermost)

    def _body_function(self, s: ast.For, parameters: list[tree.Variable], begin: Callable[[], None]) -> tree.Expr:
        loc, end = s.loc, s.end
        outer = self.out, self.locals, self.in_callback, self.returns
        self.out, self.locals, self.in_callback, self.returns = [], [], True, C.LONG
        free, taken, stack = self.take_stack()
        self.scopes.append({})
        begin()
        self.loops.append("callback")
        self.out += self.scoped(s.body)
        self.loops.pop()
        self.scopes.pop()
        body = [*self.prologue(), *self.out, tree.Return(loc, end, self.const(0))]
        self.give_stack(free, taken, stack)
        self.out, self.locals, self.in_callback, self.returns = outer
        name = f"{self.program_name}_each_{len(self.state.functions)}"
        decl = self.subprogram(name, C.LONG, parameters, body, linkage="static", noinline=True)
        self.state.functions[name] = decl
        return tree.Convert(C.Pointer(decl.type), loc, end, "function", tree.FunctionRef(decl.type, loc, end, decl))

    def end_program(self) -> None:
        """Leave it from wherever: out of the body of a loop over a map by way of the loop."""
        loc, end = self.node.loc, self.node.end
        if not self.in_callback:
            self.leave()
        elif self.leaving is not None:
            self.left = True
            self.store(self.deref(self.leaving, C.ULONG), self.const(1, C.ULONG))
            self.out.append(tree.Return(loc, end, self.const(1)))
        else:  # a function of the script's own
            self.out.append(tree.Return(loc, end, self.const(0, self.returns)))

    def jump(self, s: ast.Jump) -> None:
        if not self.loops:
            self.refuse("T0215", s, f"`{s.word}` stands outside of any loop")
        if self.loops[-1] == "callback":
            self.out.append(tree.Return(s.loc, s.end, self.const(1 if s.word == "break" else 0)))
            return
        self.out.append(tree.Break(s.loc, s.end) if s.word == "break" else tree.Continue(s.loc, s.end))

    def return_stmt(self, s: ast.Return) -> None:
        if s.value is not None:
            v = self.number(s.value)
            if self.result is not None:
                self.out.append(tree.Return(s.loc, s.end, cast(self.long(v.e), self.result)))
                return
        if self.in_callback and self.result is not None and self.leaving is not None:
            self.refuse("T0215", s, "`return` cannot leave a loop over a map with a value",
                        helps=["put it into a variable, and `break`"])
        self.end_program()

    def block(self, s: ast.Block) -> None:
        self.out += self.scoped(s.body)


_HANDLERS: dict[type, Callable[[Any, Any], None]] = {
    ast.Evaluate: Statements.evaluate_stmt,
    ast.Assign: Statements.assign,
    ast.Let: Statements.let,
    ast.If: Statements.if_stmt,
    ast.While: Statements.while_stmt,
    ast.Unroll: Statements.unroll,
    ast.For: Statements.for_stmt,
    ast.Jump: Statements.jump,
    ast.Return: Statements.return_stmt,
    ast.Block: Statements.block,
}
