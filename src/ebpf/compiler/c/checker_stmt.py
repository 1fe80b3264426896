"""Statements: control flow, labels, local declarations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_base import FunctionState, Refused, SwitchState
from ebpf.compiler.c.constexpr import evaluate, reduce
from ebpf.compiler.c.conversions import (
    POISON,
    is_integer,
    is_lvalue,
    is_record,
    is_void,
    promote,
    qualified,
    qualifiers,
    unqualified,
)
from ebpf.compiler.c.initializers import InitChecker
from ebpf.compiler.c.scopes import Scope
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable


class StmtChecker(InitChecker):
    """Adds statements and blocks."""

    @property
    def current(self) -> FunctionState:
        assert self.function is not None
        return self.function

    def stmts(self, node: ast.Stmt) -> list[tree.Stmt]:
        """``node`` as part of the block around it: declarations and labels stand in that block themselves."""
        if isinstance(node, ast.DeclStmt):
            return self.decl_stmt(node)
        if not isinstance(node, (ast.Case, ast.Default, ast.Label)):
            return [self.stmt(node)]
        try:
            label = [_LABELLED[type(node)](self, node)]
        except Refused:
            label = []
        return label + self.stmts(node.body)

    def stmt(self, node: ast.Stmt) -> tree.Stmt:
        handler = _STMTS.get(type(node))
        if handler is None:
            items = self.stmts(node)
            return items[0] if len(items) == 1 else tree.Block(node.loc, node.end, items)
        try:
            return handler(self, node)
        except Refused:
            return tree.Block(node.loc, node.end, [])

    def block_items(self, nodes: list[ast.Stmt]) -> list[tree.Stmt]:
        items: list[tree.Stmt] = []
        for s in nodes:
            items += self.stmts(s)
        return items

    def block_stmt(self, node: ast.Block) -> tree.Block:
        self.scope = Scope(self.scope)
        try:
            return tree.Block(node.loc, node.end, self.block_items(node.items))
        finally:
            assert self.scope.outer is not None
            self.scope = self.scope.outer

    def statement_expr(self, node: ast.StmtExpr) -> tree.Expr:
        if self.function is None:
            self.refuse("C0308", node, "a statement expression stands only inside a function")
        self.scope = Scope(self.scope)
        try:
            items = list(node.body.items)
            last = items[-1] if items else None
            if isinstance(last, ast.ExprStmt) and last.expr is not None:
                body = self.block_items(items[:-1])
                value = self.value(last.expr)
            else:
                body, value = self.block_items(items), None
            block = tree.Block(node.body.loc, node.body.end, body)
            if value is None or is_void(value.type):
                if value is not None:
                    block.items.append(self.evaluate_stmt(value))
                return tree.StatementExpr(C.VOID, node.loc, node.end, block, None)
            return tree.StatementExpr(value.type, node.loc, node.end, block, value)
        finally:
            assert self.scope.outer is not None
            self.scope = self.scope.outer

    def expr_stmt(self, node: ast.ExprStmt) -> tree.Stmt:
        if node.expr is None:
            return tree.Block(node.loc, node.end, [])
        e = self.expr(node.expr)
        if is_lvalue(e):
            if isinstance(e, tree.Deref) and e.volatile:
                e = self.rvalue(e)
            elif e.type is not POISON:
                self._unused(node.expr, e)
                return tree.Block(node.loc, node.end, [])
        else:
            self._unused(node.expr, e)
        return tree.Evaluate(node.loc, node.end, e)

    def _unused(self, node: ast.Expr, e: tree.Expr) -> None:
        if e.type is POISON or (node.loc, node.end) in self.sources.expansions:
            return
        if isinstance(node, ast.Binary) and node.op in ("==", "!=", "<", ">", "<=", ">="):
            helps = ["write `=` to assign"] if node.op == "==" else []
            self.warn("C0333", node, "the result of this comparison is not used", helps=helps)
        elif isinstance(node, (ast.Name, ast.Member, ast.Index)) or (
            isinstance(node, ast.Binary) and node.op not in ("&&", "||", ",")
        ):
            self.warn("C0333", node, "this value is not used")

    def if_stmt(self, node: ast.If) -> tree.Stmt:
        condition = self.condition(node.condition, "if")
        then = self.scoped(node.then)
        return tree.If(
            node.loc, node.end, condition, then, self.scoped(node.otherwise) if node.otherwise is not None else None
        )

    def condition(self, node: ast.Expr, word: str) -> tree.Expr:
        try:
            return self.scalar(node, f"the condition of `{word}`")
        except Refused:
            return self.poison(node)

    def scoped(self, node: ast.Stmt) -> tree.Stmt:
        if isinstance(node, ast.Block):
            return self.block_stmt(node)
        return self.stmt(node)

    def while_stmt(self, node: ast.While) -> tree.Stmt:
        condition = self.condition(node.condition, "while")
        return tree.Loop(node.loc, node.end, None, condition, None, self.loop_body(node.body), False, node.unroll)

    def do_while(self, node: ast.DoWhile) -> tree.Stmt:
        body = self.loop_body(node.body)
        return tree.Loop(
            node.loc, node.end, None, self.condition(node.condition, "while"), None, body, True, node.unroll
        )

    def for_stmt(self, node: ast.For) -> tree.Stmt:
        self.scope = Scope(self.scope)
        try:
            first = self.stmts(node.init) if node.init is not None else []
            init = first[0] if len(first) == 1 else None
            condition = self.condition(node.condition, "for") if node.condition is not None else None
            step = self.expr(node.step) if node.step is not None else None
            body = self.loop_body(node.body)
            loop = tree.Loop(node.loc, node.end, init, condition, step, body, False, node.unroll)
            return loop if len(first) < 2 else tree.Block(node.loc, node.end, [*first, loop])
        finally:
            assert self.scope.outer is not None
            self.scope = self.scope.outer

    def loop_body(self, node: ast.Stmt) -> tree.Stmt:
        self.current.loops += 1
        try:
            return self.scoped(node)
        finally:
            self.current.loops -= 1

    def switch_stmt(self, node: ast.Switch) -> tree.Stmt:
        value = self.value(node.value)
        if not is_integer(value.type):
            self.refuse("C0305", node.value, f"`switch` wants an integer, not {self.words(value.type)}")
        value = promote(value)
        state = SwitchState(value.type, self.current.loops)
        self.current.switches.append(state)
        try:
            body = self.scoped(node.body)
        finally:
            self.current.switches.pop()
        return tree.Switch(node.loc, node.end, value, body, state.cases, state.default)

    def case_stmt(self, node: ast.Case) -> tree.Stmt:
        if not self.current.switches:
            self.refuse("C0313", node, "`case` stands only inside a `switch`")
        state = self.current.switches[-1]
        bounds = []
        for e in (node.low, node.high if node.high is not None else node.low):
            given = self.value(e)
            number = evaluate(given)
            if number is None:
                if given.type is not POISON:
                    self.error("C0308", e, "the value of a `case` has to be a constant")
                raise Refused
            bounds.append(reduce(number, state.type))
        low, high = bounds
        for other in state.cases:
            if other.low is not None and other.high is not None and low <= other.high and other.low <= high:
                self.error(
                    "C0318",
                    node.low,
                    f"the value {max(low, other.low)} has a `case` already",
                    related=[(other.loc, 0, "here")],
                )
                break
        label = tree.CaseLabel(node.loc, node.low.end, low, high)
        state.cases.append(label)
        return label

    def default_stmt(self, node: ast.Default) -> tree.Stmt:
        if not self.current.switches:
            self.refuse("C0313", node, "`default` stands only inside a `switch`")
        state = self.current.switches[-1]
        if state.default is not None:
            self.error("C0318", node, "this `switch` has a `default` already", related=[(state.default.loc, 0, "here")])
        state.default = label = tree.CaseLabel(node.loc, node.loc + 7, None, None)
        return label

    def label_stmt(self, node: ast.Label) -> tree.Stmt:
        known = self.current.labels.get(node.name)
        if known is not None:
            self.error(
                "C0304",
                node,
                f"label `{node.name}` stands twice in this function",
                related=[(known.loc, 0, "the first")],
            )
        label = self.current.labels[node.name] = tree.Label(node.loc, node.loc + len(node.name), node.name)
        return label

    def goto_stmt(self, node: ast.Goto) -> tree.Stmt:
        made = tree.Goto(node.loc, node.end, tree.Label(node.loc, node.end, node.label))
        self.current.gotos.append((node, made))
        return made

    def break_stmt(self, node: ast.Break) -> tree.Stmt:
        if not self.current.loops and not self.current.switches:
            self.refuse("C0313", node, "`break` stands only inside a loop or a `switch`")
        return tree.Break(node.loc, node.end)

    def continue_stmt(self, node: ast.Continue) -> tree.Stmt:
        if not self.current.loops:
            self.refuse("C0313", node, "`continue` stands only inside a loop")
        return tree.Continue(node.loc, node.end)

    def return_stmt(self, node: ast.Return) -> tree.Stmt:
        result = self.current.result
        if node.value is None:
            if self.current.returns_zero:
                return tree.Return(node.loc, node.end, self.int_const(node, 0, result))
            if not is_void(result):
                self.error(
                    "C0306", node, f"`{self.current.decl.name}` returns {self.words(result)}, so `return` needs a value"
                )
                return tree.Return(node.loc, node.end, self.poison(node))
            return tree.Return(node.loc, node.end, None)
        value = self.value(node.value)
        if is_void(result):
            if not is_void(value.type) and value.type is not POISON:
                self.error("C0306", node.value, f"`{self.current.decl.name}` returns nothing, but a value stands here")
            return tree.Block(node.loc, node.end, [self.evaluate_stmt(value), tree.Return(node.loc, node.end, None)])
        value = self.fit(value, unqualified(result), node.value, "returned as")
        if self.bcc is not None:
            self.bcc.returns(self.current.decl, value)
        return tree.Return(node.loc, node.end, value)

    def asm_stmt(self, node: ast.Asm) -> tree.Stmt:
        outputs = [tree.AsmOperand(o.name, o.constraint, self.lvalue(o.expr)) for o in node.outputs]
        inputs = [tree.AsmOperand(o.name, o.constraint, self.value(o.expr)) for o in node.inputs]
        return tree.Asm(node.loc, node.end, node.template, outputs, inputs, node.clobbers, node.volatile)

    def resolve_gotos(self) -> None:
        """At the end of a function: point every goto at its label."""
        state = self.current
        for node, made in state.gotos:
            label = state.labels.get(node.label)
            if label is None:
                self.error(
                    "C0313",
                    node,
                    f"this function has no label `{node.label}`",
                    helps=[f"did you mean `{c}`?" for c in did_you_mean(node.label, state.labels)[:1]],
                )
            else:
                made.target = label

    # --------------------------------------------------------------------------------------------- declarations

    def decl_stmt(self, node: ast.DeclStmt) -> list[tree.Stmt]:
        items: list[tree.Stmt] = []
        for d in node.declarations:
            try:
                if isinstance(d, ast.VarDecl):
                    items += self.local(d)
                else:
                    self.declaration(d)
            except Refused:
                if isinstance(d, ast.VarDecl) and d.name not in self.scope.names:
                    self.scope.names[d.name] = tree.Variable(d.name, POISON, "local", d.loc, d.end)
        return items

    def declaration(self, node: ast.TypedefDecl | ast.TypeDecl | ast.StaticAssert | ast.VarDecl) -> None:
        raise NotImplementedError

    def global_variable(self, node: ast.VarDecl, *, local: bool = False) -> tree.Variable | None:
        raise NotImplementedError

    def local(self, node: ast.VarDecl) -> list[tree.Stmt]:
        if isinstance(node.type, ast.FunctionOf) or node.storage == "extern":
            self.declaration(node)
            return []
        if node.storage == "static":
            self.global_variable(node, local=True)
            return []
        guessed = self._deduced(node)
        t = guessed.type if guessed is not None else self.type_of(node.type)
        if t is POISON:
            raise Refused
        self.redeclared(node)
        inner = C.strip(t)
        if isinstance(inner, C.Void):
            self.refuse("C0314", node, f"`{node.name}` cannot have type `void`")
        if isinstance(inner, C.Function):
            self.declaration(node)
            return []
        variable = tree.Variable(node.name, t, "local", node.loc, node.end)
        attributes = {a.name: a for a in node.attributes}
        if "aligned" in attributes:
            variable.align = self.alignment(attributes["aligned"])
        self.scope.names[node.name] = variable  # in scope of its own initialiser
        init = guessed
        if node.init is not None and init is None:
            try:
                init = self.initializer(t, node.init, constant=False)
                variable.type = init.type
            except Refused:
                pass
        inner = C.strip(variable.type)
        if isinstance(inner, C.Record) and not inner.ensure_complete():
            variable.type = POISON
            self.incomplete(node, inner)
        if isinstance(inner, C.Array) and inner.count is None and variable.type is not POISON:
            self.refuse(
                "C0314", node, f"the size of `{node.name}` is not known", helps=["give it, or an initial value"]
            )
        if isinstance(inner, C.Float):
            self.refuse("C0315", node, "BPF has no floating-point numbers")
        if init is not None and isinstance(inner, C.Record) and any(p.offset >= inner.size > 0 for p in init.parts):
            self.refuse(
                "C0312",
                node,
                "elements of a flexible array member can be given for globals and `static` variables only",
                helps=["make it `static`, or give the array a size"],
            )
        if self.bcc is not None and init is not None:
            self.bcc.initialises(variable, init)
        return [tree.Declare(node.loc, node.end, variable, init)]

    def _deduced(self, node: ast.VarDecl) -> tree.Initializer | None:
        """The initial value of an ``__auto_type`` variable (C23's ``auto``), whose type is that of the variable; None
        where a type is written.
        """
        written = node.type.type if isinstance(node.type, ast.Qualified) else node.type
        if not isinstance(written, ast.BuiltinType) or written.name != "__auto_type":
            return None
        if node.init is None or isinstance(node.init, ast.InitList):
            self.refuse(
                "C0314",
                node,
                f"the type of `{node.name}` comes from an initial value",
                helps=["give it one, or write its type"],
            )
        value = self.value(node.init)
        if value.type is POISON:
            raise Refused
        if is_void(value.type):
            self.refuse("C0314", node, f"`{node.name}` cannot have type `void`")
        words = node.type.qualifiers if isinstance(node.type, ast.Qualified) else ()
        t = qualified(unqualified(value.type), "const" in words, "volatile" in words)
        return tree.Initializer(t, [tree.InitPart(0, value)], is_record(t))

    def redeclared(self, node: ast.VarDecl) -> None:
        known = self.scope.names.get(node.name)
        if isinstance(known, tree.Variable) and known.type is not POISON:
            self.error(
                "C0304",
                node,
                f"`{node.name}` is declared twice in this block",
                related=[(known.loc, known.end, "the first")],
            )


def falls_through(s: tree.Stmt) -> bool:
    """Whether control may leave ``s`` at its end. Sure only of no."""
    if isinstance(s, tree.Block):
        reachable = True
        for item in s.items:
            if isinstance(item, (tree.Label, tree.CaseLabel)):
                reachable = True
            elif reachable:
                reachable = falls_through(item)
            elif _has_label(item):
                reachable = falls_through(item)
        return reachable
    if isinstance(s, (tree.Return, tree.Goto, tree.Break, tree.Continue)):
        return False
    if isinstance(s, tree.If):
        known = evaluate(s.condition)
        if known is not None and s.otherwise is None:
            return not known or falls_through(s.then)
        return s.otherwise is None or falls_through(s.then) or falls_through(s.otherwise)
    if isinstance(s, tree.Loop):
        endless = s.condition is None or bool(evaluate(s.condition))
        return not endless or _breaks(s.body)
    if isinstance(s, tree.Switch):
        return s.default is None or _breaks(s.body) or falls_through(s.body)
    if isinstance(s, tree.Evaluate):
        return not (isinstance(s.expr, tree.Builtin) and s.expr.name in ("unreachable", "trap"))
    return True


def _breaks(s: tree.Stmt) -> bool:
    if isinstance(s, tree.Break):
        return True
    if isinstance(s, tree.Block):
        return any(_breaks(i) for i in s.items)
    if isinstance(s, tree.If):
        return _breaks(s.then) or (s.otherwise is not None and _breaks(s.otherwise))
    return False


def _has_label(s: tree.Stmt) -> bool:
    return isinstance(s, tree.Block) and any(
        isinstance(i, (tree.Label, tree.CaseLabel)) or _has_label(i) for i in s.items
    )


def is_const(t: C.CType) -> bool:
    return qualifiers(t)[0]


_STMTS: dict[type, Callable[[StmtChecker, Any], tree.Stmt]] = {
    ast.Block: StmtChecker.block_stmt,
    ast.ExprStmt: StmtChecker.expr_stmt,
    ast.If: StmtChecker.if_stmt,
    ast.While: StmtChecker.while_stmt,
    ast.DoWhile: StmtChecker.do_while,
    ast.For: StmtChecker.for_stmt,
    ast.Switch: StmtChecker.switch_stmt,
    ast.Goto: StmtChecker.goto_stmt,
    ast.Break: StmtChecker.break_stmt,
    ast.Continue: StmtChecker.continue_stmt,
    ast.Return: StmtChecker.return_stmt,
    ast.Asm: StmtChecker.asm_stmt,
}
_LABELLED: dict[type, Callable[[StmtChecker, Any], tree.Stmt]] = {
    ast.Case: StmtChecker.case_stmt,
    ast.Default: StmtChecker.default_stmt,
    ast.Label: StmtChecker.label_stmt,
}
