"""Expressions: operators, variables, literals, tuples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.trace import ast, types as T
from ebpf.compiler.trace.comparisons import COMPARISONS, Comparisons
from ebpf.compiler.trace.emit import Refused, Value
from ebpf.compiler.trace.types import Ty
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable


class Local:
    """A scratch variable: its type, and where it is kept (a variable of C, or own memory)."""

    __slots__ = ("closed", "memory", "node", "ty", "variable")

    def __init__(self, ty: Ty, node: ast.Node, variable: tree.Variable | None, memory: tree.Expr | None) -> None:
        self.ty, self.node, self.variable, self.memory = ty, node, variable, memory
        self.closed = False  # the block that first assigned it has ended


class Expressions(Comparisons):
    scopes: list[dict[str, Local]]
    substitutions: list[dict[str, ast.Expr]]

    # ---------------------------------------------------------------------------------------------------- the door

    def expr(self, node: ast.Expr, into: tree.Expr | None = None) -> Value:
        """The value of ``node``, evaluated here. ``into``: own memory where a value that is no scalar may be made."""
        before = self.node
        self.node = node
        try:
            handler = _HANDLERS.get(type(node))
            if handler is None:
                return _WITH_TARGET[type(node)](self, node, into)
            return handler(self, node)
        finally:
            self.node = before

    def number(self, node: ast.Expr, what: str = "a number") -> Value:
        """An integer, or what can be taken as one."""
        v = self.expr(node)
        if v.ty.kind in T.SCALARS or v.ty.kind == "unknown":
            return v
        if v.ty.kind == "usym":
            return self.at_own(v.e, 0, T.UINT)
        self.refuse("T0207", node, f"{what} is wanted here, not {T.words(v.ty)}")

    def literal_int(self, node: ast.Expr, what: str) -> int:
        v = self.expr(node)
        if not isinstance(v.literal, int):
            self.refuse("T0214", node, f"{what} has to be a literal number")
        return v.literal

    def truth(self, node: ast.Expr) -> tree.Expr:
        """``node`` as a condition of C."""
        v = self.expr(node)
        if T.is_scalar(v.ty):
            return v.e
        if v.ty.kind == "usym":
            return self.at_own(v.e, 0, T.UINT).e
        if v.ty.kind == "str":
            own = self.own(v)
            return self.temp(self.load(self.deref(own.e, C.UCHAR)))
        self.refuse("T0208", node, f"{T.words(v.ty)} is neither true nor false")

    # ---------------------------------------------------------------------------------------------------- literals

    def int_literal(self, node: ast.Number) -> Value:
        if not -(1 << 63) <= node.value < 1 << 64:
            self.refuse("T0220", node, f"{node.value} does not fit into 64 bits")
        signed = node.value < 1 << 63
        return Value(
            T.INT if signed else T.UINT, self.const(node.value, C.LONG if signed else C.ULONG), literal=node.value
        )

    def bool_literal(self, node: ast.Bool) -> Value:
        return Value(T.BOOL, self.const(int(node.value)), literal=int(node.value))

    def string_literal(self, node: ast.String, into: tree.Expr | None) -> Value:
        return self.string_value(node.value, into)

    def string_value(self, value: bytes, into: tree.Expr | None = None) -> Value:
        raw = value.split(b"\0")[0] + b"\0"
        memory = into if into is not None else self.allocate(len(raw))
        self.literal(raw, memory)
        return Value(T.string(len(raw)), memory, literal=value)

    def parameter(self, node: ast.Parameter, into: tree.Expr | None) -> Value:
        params = self.state.params
        if node.number == 0:
            return Value(T.INT, self.const(len(params)), literal=len(params))
        if node.number > len(params):
            return Value(T.INT, self.const(0), literal=0)
        from ebpf.compiler.trace.lexer import number

        text = params[node.number - 1]
        sign = -1 if text.startswith("-") else 1
        value = number(text.removeprefix("-")) if text.removeprefix("-")[:1].isdigit() else None
        if value is None:
            self.refuse(
                "T0218",
                node,
                f"${node.number} is `{text}`, which is no number",
                helps=[f"`str(${node.number})` is its text"],
            )
        return Value(T.INT, self.const(sign * value), literal=sign * value)

    def tuple_literal(self, node: ast.Tuple | ast.Record, into: tree.Expr | None) -> Value:
        values = [self.expr(item) for item in node.items]
        for v, item in zip(values, node.items, strict=True):
            if v.ty.kind == "none" or v.ty.kind in T.AGGREGATES:
                self.refuse("T0208", item, f"{T.words(v.ty)} cannot be part of a tuple")
        names = node.names if isinstance(node, ast.Record) else [str(i) for i in range(len(values))]
        t = T.tuple_type(
            list(zip(names, [v.ty for v in values], strict=True)), "record" if isinstance(node, ast.Record) else "tuple"
        )
        if t.kind == "tuple" and not values:
            self.refuse("T0208", node, "an empty tuple is no value")
        memory = into if into is not None else self.allocate(t.size)
        at = 0
        for v in values:
            self.put(v, v.ty, self.offset(memory, at))
            at += T.stored_size(v.ty)
        return Value(t, memory)

    def block_expr(self, node: ast.BlockExpr) -> Value:
        self.scopes.append({})
        try:
            self.statements(node.body)
            return self.expr(node.value)
        finally:
            self.close_scope()

    def statements(self, body: list[ast.Stmt]) -> None:
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------------- variables

    def close_scope(self) -> None:
        """At a block's end: what it declared by ``let`` is gone; what it assigned without stays, as in 0.17."""
        inner = self.scopes.pop()
        for name, known in inner.items():
            if not isinstance(known.node, ast.Let) and name not in self.scopes[-1]:
                known.closed = True
                self.scopes[-1][name] = known

    def find_variable(self, name: str) -> Local | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return None

    def variable(self, node: ast.Variable) -> Value:
        replaced = self.substitutions[-1].get(node.name)
        if replaced is not None:
            return self.substituted(replaced)
        known = self.find_variable(node.name)
        if known is None:
            names = {n for scope in self.scopes for n in scope}
            close = did_you_mean(node.name, names)
            helps = [f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else []
            if not close and 0 < len(names) <= 8:
                helps = [f"set so far: {', '.join(f'`{n}`' for n in sorted(names))}"]
            self.refuse("T0202", node, f"`{node.name}` is not set", helps=helps)
        if known.memory is not None:
            if T.is_scalar(known.ty):
                return self.at_own(known.memory, 0, known.ty)
            return Value(known.ty, known.memory)
        assert known.variable is not None
        return Value(known.ty, self.get(known.variable), known.ty.space if known.ty.kind == "record" else "bpf")

    def substituted(self, node: ast.Expr) -> Value:
        """A macro's argument, evaluated where the macro was called."""
        inner = self.substitutions.pop()
        try:
            return self.expr(node)
        finally:
            self.substitutions.append(inner)

    def assign_variable(self, name: str, v: Value, node: ast.Node) -> None:
        """``$name = v``"""
        if v.ty.kind == "none":
            self.refuse("T0203", node, "this has no value")
        if v.ty.kind in T.AGGREGATES:
            self.refuse("T0213", node, f"{T.words(v.ty)} belongs into a map", helps=[f"`@{name[1:]} = {v.ty.kind}(…)`"])
        known = self.find_variable(name)
        if known is not None:
            both = T.merge(known.ty, v.ty)
            if both is None and not known.closed:
                line = self.state.diagnostics.sources.line(known.node.loc)
                self.refuse(
                    "T0203",
                    node,
                    f"`{name}` is {T.words(known.ty)} since line {line}, and this is {T.words(v.ty)}",
                    related=[(known.node.loc, known.node.end, "first set here")],
                )
            if both is None:
                known = None
            elif known.ty.kind == "unknown" or not T.same(both, known.ty):
                self.state.variables[id(known.node)] = both
                self.state.changed = True
                if known.memory is None and T.is_scalar(both):
                    known.ty = both
        if known is None:
            known = self.declare_variable(name, v.ty, node)
        self.set_local(known, v)

    def declare_variable(self, name: str, ty: Ty, node: ast.Node) -> Local:
        before = self.state.variables.get(id(node))
        if before is not None:
            both = T.merge(before, ty)
            ty = both if both is not None else ty
        self.state.variables[id(node)] = ty
        if (T.is_scalar(ty) or (ty.kind == "record" and ty.ctype is not None)) and name not in self.shared_names:
            if ty.kind == "record":
                t: C.CType = C.Pointer(ty.ctype or C.VOID)
            else:
                t = C.Pointer(ty.ctype or C.VOID) if ty.kind == "pointer" else C.LONG if ty.signed else C.ULONG
            variable = self.local(t, name)
            self.initial.append((variable, None))
            known = Local(ty, node, variable, None)
        else:
            size = T.stored_size(ty)
            # What the body of a loop over a map names lives where that function can see it too.
            memory = (
                self.scratch_memory(size, keep=True) if name in self.shared_names else self.allocate(size, keep=True)
            )
            known = Local(ty, node, None, memory)
            self.initial.append((None, (memory, T.stored_size(ty))))
        self.scopes[-1][name] = known
        return known

    shared_names: frozenset[str] = frozenset()
    initial: list[tuple[tree.Variable | None, tuple[tree.Expr, int] | None]]

    def set_local(self, known: Local, v: Value) -> None:
        if known.variable is not None:
            if known.ty.kind == "record":
                if v.space == "bpf":
                    # The record was made in passing memory; the variable keeps one of its own.
                    memory = self.allocate(T.stored_size(known.ty), keep=True)
                    self.copy(memory, v.e, T.stored_size(known.ty))
                    v = Value(v.ty, memory)
                known.ty = Ty("record", known.ty.size, ctype=known.ty.ctype, space=v.space)
                self.set(known.variable, cast(v.e, known.variable.type))
                return
            word = v.e if v.ty.kind == "pointer" and known.ty.kind == "pointer" else self.long(v.e, v.ty.signed)
            if known.ty.kind == "pointer" and v.ty.kind == "pointer" and known.ty.space != v.ty.space:
                known.ty = T.pointer(
                    known.ty.ctype or C.VOID, v.ty.space if known.ty.space == "any" else known.ty.space
                )
            self.set(known.variable, cast(word, known.variable.type))
            return
        assert known.memory is not None
        self.put(v, known.ty, known.memory)

    # ---------------------------------------------------------------------------------------------------- operators

    def member(self, node: ast.Member) -> Value:
        if isinstance(node.base, ast.Name) and (
            node.base.name == "args" or (node.base.name == "ctx" and self.is_iterator)
        ):
            return self.argument(node)
        return self.field(self.expr(node.base), node)

    is_iterator = False

    def argument(self, node: ast.Member) -> Value:
        raise NotImplementedError

    def index(self, node: ast.Index) -> Value:
        return self.element(self.expr(node.base), self.expr(node.index), node)

    def cast_expr(self, node: ast.Cast) -> Value:
        t = self.type_named(node.type)
        return self.cast_to(self.expr(node.operand), t, node)

    def ternary(self, node: ast.Ternary, into: tree.Expr | None) -> Value:
        condition = self.truth(node.condition)
        with self.nested() as then:
            a = self.expr(node.then)
        with self.nested() as otherwise:
            b = self.expr(node.otherwise)
        if a.ty.kind == "none" and b.ty.kind == "none":
            self.branch(condition, then, otherwise)
            return Value(T.NONE, self.const(0))
        t = T.merge(a.ty, b.ty)
        if t is None:
            self.refuse("T0208", node, f"one way this is {T.words(a.ty)}, the other way {T.words(b.ty)}")
        if T.is_scalar(t):
            kind = C.Pointer(t.ctype or C.VOID) if t.kind == "pointer" else C.LONG if t.signed else C.ULONG
            result = self.local(kind)
            for v, body in ((a, then), (b, otherwise)):
                self.out, outer = body, self.out
                self.set(result, cast(v.e if v.ty.kind == "pointer" else self.long(v.e, v.ty.signed), kind))
                self.out = outer
            self.branch(condition, then, otherwise)
            return Value(t, self.get(result))
        memory = into if into is not None else self.allocate(T.stored_size(t))
        for v, body in ((a, then), (b, otherwise)):
            self.out, outer = body, self.out
            self.put(v, t, memory)
            self.out = outer
        self.branch(condition, then, otherwise)
        return Value(t, memory)

    def unary(self, node: ast.Unary) -> Value:
        op = node.op
        if op in ("++x", "--x", "x++", "x--"):
            return self.step(node)
        if op == "!":
            return Value(
                T.INT,
                self.long(tree.Unary(C.INT, node.loc, node.end, "!", self.truth(node.operand))),
            )
        if op == "*":
            return self.dereference(self.expr(node.operand), node.operand)
        if op == "&":
            return self.address_of(node)
        v = self.number(node.operand)
        signed = v.ty.signed or op == "-"
        literal = None
        if isinstance(v.literal, int):
            literal = -v.literal if op == "-" else ~v.literal
        word = self.long(v.e, signed)
        result = tree.Unary(word.type, node.loc, node.end, op, word)
        return Value(
            T.INT if signed else T.UINT,
            self.temp(result) if literal is None else self.const(literal, word.type),
            literal=literal,
        )

    def address_of(self, node: ast.Unary) -> Value:
        if isinstance(node.operand, ast.Variable):
            known = self.find_variable(node.operand.name)
            if known is not None and known.memory is not None:
                return Value(T.pointer(C.CHAR, "bpf"), cast(known.memory, C.Pointer(C.CHAR)))
        v = self.expr(node.operand)
        if v.ty.kind in ("record", "array") and v.ty.ctype is not None:
            return Value(T.pointer(v.ty.ctype, v.space), cast(v.e, C.Pointer(v.ty.ctype)))
        if v.ty.kind == "str" and v.space != "bpf":
            return Value(T.pointer(C.CHAR, v.space), cast(v.e, C.Pointer(C.CHAR)))
        self.refuse("T0208", node, f"{T.words(v.ty)} has no address")

    def step(self, node: ast.Unary) -> Value:
        op = node.op.strip("x")[0]
        target = node.operand
        if isinstance(target, ast.Variable) and target.name in self.substitutions[-1]:
            target = self.substitutions[-1][target.name]
        if isinstance(target, ast.MapAccess):
            target = self.resolved_map(target)
            before, after = self.change_map(target, op, self.const(1))
            return Value(T.INT, self.temp(before if node.op[0] == "x" else after))
        if not isinstance(target, ast.Variable):
            self.refuse("T0208", node, f"`{op}{op}` is for variables and maps")
        v = self.variable(target)
        if not T.is_number(v.ty) and v.ty.kind != "pointer":
            self.refuse("T0208", node, f"`{op}{op}` is for numbers, and `{target.name}` is {T.words(v.ty)}")
        old = self.temp(v.e)
        if v.ty.kind == "pointer":
            new: tree.Expr = tree.PointerAdd(old.type, node.loc, node.end, old, self.const(1), op == "-")
        else:
            new = self.binary(op, old, self.const(1, old.type))
        self.assign_variable(target.name, Value(v.ty, self.temp(new)), node)
        return Value(v.ty, old if node.op[0] == "x" else self.variable(target).e)

    def resolved_map(self, node: ast.MapAccess) -> ast.MapAccess:
        """The map that a macro's parameter stands for."""
        replaced = self.substitutions[-1].get(node.name)
        if isinstance(replaced, ast.MapAccess):
            return ast.MapAccess(
                node.loc, node.end, replaced.name, node.keys if node.keys is not None else replaced.keys
            )
        return node

    def map_access(self, node: ast.MapAccess, into: tree.Expr | None) -> Value:
        return self.read_map(self.resolved_map(node), into)

    def binary_expr(self, node: ast.Binary) -> Value:
        op = node.op
        if op in ("&&", "||"):
            return self.logical(node)
        left = self.expr(node.left)
        right = self.expr(node.right)
        if left.ty.kind == "str" or right.ty.kind == "str":
            return self.compare_strings(node, left, right)
        return self.combine(op, left, right, node)

    def combine(self, op: str, left: Value, right: Value, node: ast.Node) -> Value:
        operands = []
        for v in (left, right):
            if v.ty.kind == "usym":
                v = self.at_own(v.e, 0, T.UINT)
            if not T.is_scalar(v.ty):
                if op in ("==", "!=") and left.ty.kind == right.ty.kind and T.same(left.ty, right.ty):
                    return self.compare_memory(op, left, right, node)
                self.refuse("T0208", node, f"`{op}` does not take {T.words(v.ty)}")
            operands.append(v)
        left, right = operands
        if left.ty.kind == "pointer" and op in ("+", "-") and right.ty.kind != "pointer":
            return self.pointer_add(op, left, right, node)
        if right.ty.kind == "pointer" and op == "+" and left.ty.kind != "pointer":
            return self.pointer_add(op, right, left, node)
        # A literal that is not negative takes the other side's sign.
        a, b = left.ty.signed, right.ty.signed
        if isinstance(left.literal, int) and left.literal >= 0:
            a = b
        elif isinstance(right.literal, int) and right.literal >= 0:
            b = a
        signed = a and b
        if op in ("<<", ">>"):
            signed = left.ty.signed
        kind = C.LONG if signed else C.ULONG
        x, y = self.long(left.e, signed), self.long(right.e, signed)
        if isinstance(left.literal, int) and isinstance(right.literal, int):
            folded = _fold(op, left.literal, right.literal)
            if folded is not None:
                return Value(T.INT if folded < 1 << 63 else T.UINT, self.const(folded), literal=folded)
        if op in ("/", "%") and right.literal == 0:
            self.refuse("T0208", node, "this divides by zero")
        if op in COMPARISONS:
            return Value(T.INT, self.long(self.compare(op, x, y)))
        if op == ">>" and signed:  # as in bpftrace: zeroes come in from the left
            x = cast(x, C.ULONG)
            return Value(T.INT, self.temp(self.long(self.binary(op, x, cast(y, C.ULONG)))))
        return Value(T.INT if kind is C.LONG else T.UINT, self.temp(self.binary(op, x, y)))

    def pointer_add(self, op: str, base: Value, index: Value, node: ast.Node) -> Value:
        assert base.ty.ctype is not None
        if C.size_of(base.ty.ctype) is None and not isinstance(C.strip(base.ty.ctype), C.Void):
            self.refuse("T0208", node, f"the size of what {T.words(base.ty)} leads to is not known")
        e = tree.PointerAdd(base.e.type, node.loc, node.end, base.e, self.long(index.e), op == "-")
        return Value(base.ty, self.temp(e))

    def logical(self, node: ast.Binary) -> Value:
        result = self.local(C.LONG)
        is_and = node.op == "&&"
        left = self.truth(node.left)
        with self.nested() as rest:
            right = self.truth(node.right)
            self.set(result, self.long(self.compare("!=", right, self.const(0, right.type))))
        with self.nested() as known:
            self.set(result, self.const(0 if is_and else 1))
        self.branch(left, rest if is_and else known, known if is_and else rest)
        return Value(T.INT, self.get(result))

    # -------------------------------------------------------------------------------------------------------- sizes

    def sizeof(self, node: ast.Sizeof) -> Value:
        if isinstance(node.of, ast.TypeName):
            t = self.type_named(node.of)
            size = t.size
        else:
            with self.nested():
                size = self.expr(node.of).ty.size
        return Value(T.INT, self.const(size), literal=size)

    def offsetof(self, node: ast.Offsetof) -> Value:
        if isinstance(node.of, ast.TypeName):
            t = self.type_named(node.of)
        else:
            with self.nested():
                t = self.expr(node.of).ty
        at, inner = 0, C.strip(t.ctype) if t.ctype is not None else None
        for name in node.path:
            path = inner.find(name) if isinstance(inner, C.Record) else None
            if not isinstance(inner, C.Record):
                self.refuse("T0208", node, f"{T.words(t)} has no fields")
            if path is None:
                self.no_field(inner, ast.Member(node.loc, node.end, ast.Number(0, 0, 0), name, False, node.loc))
                raise Refused
            at += sum(f.bit_offset for f in path) // 8
            inner = C.strip(path[-1].type)
        return Value(T.INT, self.const(at), literal=at)

    def name(self, node: ast.Name, into: tree.Expr | None = None) -> Value:
        raise NotImplementedError

    def call(self, node: ast.Call, into: tree.Expr | None) -> Value:
        raise NotImplementedError


def _fold(op: str, a: int, b: int) -> int | None:
    if op in ("/", "%"):
        if b == 0:
            return None
        q = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return q if op == "/" else a - b * q
    if op in ("<<", ">>"):
        if not 0 <= b < 64 or a < 0:
            return None
        return (a << b & (1 << 64) - 1) if op == "<<" else a >> b
    functions: dict[str, Callable[[int, int], int]] = {
        "+": int.__add__,
        "-": int.__sub__,
        "*": int.__mul__,
        "&": int.__and__,
        "|": int.__or__,
        "^": int.__xor__,
        "==": lambda x, y: int(x == y),
        "!=": lambda x, y: int(x != y),
        "<": lambda x, y: int(x < y),
        "<=": lambda x, y: int(x <= y),
        ">": lambda x, y: int(x > y),
        ">=": lambda x, y: int(x >= y),
    }
    value = functions[op](a, b)
    return value if -(1 << 63) <= value < 1 << 64 else None


_HANDLERS: dict[type, Callable[[Any, Any], Value]] = {
    ast.Number: Expressions.int_literal,
    ast.Bool: Expressions.bool_literal,
    ast.Variable: Expressions.variable,
    ast.Unary: Expressions.unary,
    ast.Binary: Expressions.binary_expr,
    ast.Member: Expressions.member,
    ast.Index: Expressions.index,
    ast.Cast: Expressions.cast_expr,
    ast.Sizeof: Expressions.sizeof,
    ast.Offsetof: Expressions.offsetof,
    ast.BlockExpr: Expressions.block_expr,
}
_WITH_TARGET: dict[type, Callable[[Any, Any, tree.Expr | None], Value]] = {
    ast.Name: lambda e, n, into: e.name(n, into),
    ast.String: Expressions.string_literal,
    ast.Parameter: Expressions.parameter,
    ast.MapAccess: Expressions.map_access,
    ast.Tuple: Expressions.tuple_literal,
    ast.Record: Expressions.tuple_literal,
    ast.Ternary: Expressions.ternary,
    ast.Call: lambda e, n, into: e.call(n, into),
}
