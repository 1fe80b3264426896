"""Expressions: names, constants and what they refer to, operators, conditions, text."""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.compiler.py import library, types as P
from ebpf.compiler.py.arithmetic import COMPARISONS, SYMBOLS
from ebpf.compiler.py.declarations import GlobalDecl, MapDecl, ProgramDecl
from ebpf.compiler.py.emit import VOID_POINTER
from ebpf.compiler.py.maps import InnerMap, PointedMap
from ebpf.compiler.py.memory import Into, _is_char
from ebpf.compiler.py.text import Text
from ebpf.compiler.py.values import (
    BOOL,
    OWN,
    Arguments,
    Const,
    Context,
    Entry,
    Int,
    Maybe,
    Ref,
    Tuple,
    Value,
    joined,
    words,
)
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.py.frames import Frame

_MISSING = object()
_MUTABLE = (list, dict, set, bytearray)
_REPLACED: dict[type[ast.expr], tuple[str, str]] = {
    ast.ListComp: ("comprehensions", "write a `for` loop"),
    ast.SetComp: ("comprehensions", "write a `for` loop"),
    ast.DictComp: ("comprehensions", "write a `for` loop"),
    ast.GeneratorExp: ("generators", "write a `for` loop"),
    ast.Lambda: ("lambda", "define a function"),
    ast.Dict: ("dictionaries", "declare a map outside: `m = ebpf.Hash(u32, u64)`"),
    ast.Set: ("sets", "compare with `==` and `or`, or declare a map"),
    ast.Await: ("await", "programs run to their end at once"),
    ast.Yield: ("yield", "send records through a ring buffer"),
    ast.YieldFrom: ("yield", "send records through a ring buffer"),
    ast.Starred: ("`*` arguments", "write them one by one"),
}


class Expressions(Text):
    frame: Frame

    def call_expr(self, node: ast.Call, into: Into | None) -> Value:
        raise NotImplementedError

    def assign_name(self, name: str, v: Value, node: ast.AST) -> None:
        raise NotImplementedError

    def local_value(self, name: str, node: ast.AST) -> Value:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------------ values

    def expr(self, node: ast.expr, into: Into | None = None) -> Value:
        before = self.loc, self.end
        self.at(node)
        try:
            if isinstance(node, ast.Call):
                return self.call_expr(node, into)
            handler = _HANDLERS.get(type(node))
            if handler is None:
                what, instead = _REPLACED.get(type(node), (f"`{type(node).__name__}`", ""))
                self.refuse("P0102", node, f"programs have no {what}", helps=[instead] if instead else [])
            return handler(self, node)
        finally:
            self.loc, self.end = before

    def value(self, node: ast.expr) -> Value:
        """An expression's value, map entries read."""
        return self.plain(self.expr(node), node)

    def _constant(self, node: ast.Constant) -> Value:
        return Const(node.value)

    def _name(self, node: ast.Name) -> Value:
        if node.id in self.frame.names:
            return self.local_value(node.id, node)
        return self.outer(node.id, node)

    def outer(self, name: str, node: ast.AST) -> Value:
        """A name of the closure, the module or Python itself: a constant of compile time."""
        value = self.frame.lookup(name)
        if value is _MISSING:
            known = [*self.frame.names, *self.frame.function.__globals__, *vars(builtins)]
            close = did_you_mean(name, known)
            self.refuse(
                "P0201",
                node,
                f"`{name}` has no value",
                helps=[f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else [],
            )
        return self.known(value, name, node)

    def known(self, value: Any, name: str, node: ast.AST) -> Value:
        """A value of Python's that the program refers to by ``name``."""
        if isinstance(value, (MapDecl, GlobalDecl, ProgramDecl)):
            if isinstance(value, MapDecl):
                self._named(value, name.rpartition(".")[2], node)
            elif isinstance(value, GlobalDecl):
                self.state.global_variable(value, name.rpartition(".")[2])
            return Const(value)
        if isinstance(value, _MUTABLE):
            kind = type(value).__name__
            instead = {
                "list": "make it a tuple",
                "dict": "declare a map: `ebpf.Hash(…)`",
                "set": "make it a tuple, and compare",
                "bytearray": "make it bytes",
            }[kind]
            self.refuse(
                "P0208",
                node,
                f"`{name}` is a {kind}, which Python may change while programs run",
                notes=["programs see values of Python's as they are when they are compiled"],
                helps=[instead],
            )
        if isinstance(value, P.Struct):
            self.refuse(
                "P0208",
                node,
                f"`{name}` is a struct of Python's, which may change while programs run",
                helps=[f"make one in the program, or a variable: `ebpf.Global({type(value).__name__})`"],
            )
        return Const(value)

    def _named(self, m: MapDecl, name: str, node: ast.AST) -> None:
        self.state.map(m, name)
        known = self.state.names.setdefault(m.name, m)
        if known is not m:
            other = f", with other types ({_types(known)}, and {_types(m)} here)" if _types(known) != _types(m) else ""
            self.refuse("P0304", node, f"two maps have the name `{m.name}`{other}",
                        helps=["give one another: `name=…`"])

    def global_value(self, node: ast.expr) -> Any:
        """The constant of Python that an expression names (a type, a function); None where it is none."""
        if isinstance(node, ast.Name):
            if node.id in self.frame.names:
                v = self.frame.bound.get(node.id)
                return v.value if isinstance(v, Const) else None
            value = self.frame.lookup(node.id)
            return None if value is _MISSING else value
        if isinstance(node, ast.Attribute):
            owner = self.global_value(node.value)
            if owner is None or isinstance(owner, (MapDecl, GlobalDecl)):
                return None
            return getattr(owner, node.attr, None)
        if isinstance(node, ast.Subscript):
            element = self.global_value(node.value)
            count = self.global_value(node.slice)
            if isinstance(count, int) and isinstance(element, (P.IntType, P.StructType, P.ArrayType, P.KernelType)):
                return element[count]
            return P.CharsType(count) if isinstance(count, int) and element is P.chars else None
        if isinstance(node, ast.Constant):
            return node.value
        return None

    def _attribute(self, node: ast.Attribute) -> Value:
        owner = self.expr(node.value)
        name = node.attr
        if isinstance(owner, Context):
            return self.context_attribute(name, node)
        if isinstance(owner, Arguments):
            return self.arguments_attribute(name, node)
        if isinstance(owner, Entry):
            return self.entry_member(owner, name, node)
        if isinstance(owner, Const):
            return self._attribute_of_constant(owner.value, name, node)
        if isinstance(owner, Ref):
            lvalue, py = self.member(owner, name, node)
            return self.at_place(lvalue, owner.space, py)
        self.not_none(owner, node.value)
        self.refuse("P0209", node, f"{words(owner)} has no members, so there is no `{name}`")

    def _attribute_of_constant(self, owner: Any, name: str, node: ast.Attribute) -> Value:
        if isinstance(owner, GlobalDecl) and name == "value":
            variable = self.state.global_variable(owner, owner.name or "variable")
            return self.at_place(self.ref(variable), OWN, owner.type)
        if isinstance(owner, MapDecl):
            if name == "max_entries":
                return Const(owner.max_entries)
            self.refuse(
                "P0303",
                node,
                f"`{owner.name}` has no `{name}` in programs",
                helps=[f"it has {', '.join(f'`.{n}()`' for n in self.methods_of(owner))}"],
            )
        if isinstance(owner, P.KernelNames):
            return self._kernel_name(name, node)
        try:
            value = getattr(owner, name)
        except AttributeError as error:
            shown = ast.unparse(node.value)
            close = did_you_mean(name, dir(owner))
            helps = [f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else []
            if isinstance(owner, library.Helpers):
                self.refuse("P0305", node, str(error))
            self.refuse("P0201", node, f"`{shown}` has no `{name}`", helps=helps)
        return self.known(value, ast.unparse(node), node)

    def _kernel_name(self, name: str, node: ast.AST) -> Value:
        number = self.state.constant(name)
        if number is not None:
            return Const(number)
        if self.state.kernel_type(name) is None:
            close = did_you_mean(name, self.c.kernel.similar(name))
            notes = ["this kernel tells no types (BTF)"] if self.c.kernel.btf is None else []
            self.refuse(
                "P0210",
                node,
                f"the kernel has no type or constant `{name}`",
                notes=notes,
                helps=[f"did you mean {' or '.join(f'`{n}`' for n in close)}?"] if close else [],
            )
        return Const(P.KernelType(name))

    def _subscript(self, node: ast.Subscript) -> Value:
        made = self.global_value(node)
        if made is not None:
            return Const(made)
        owner = self.expr(node.value)
        if isinstance(node.slice, ast.Slice):
            return self._sliced(owner, node.slice, node)
        if isinstance(owner, Const) and isinstance(owner.value, MapDecl):
            return self.subscript_map(owner.value, node.slice)
        if isinstance(owner, Ref) and isinstance(owner.py, InnerMap):
            self.not_none(owner, node.value)
            return self.subscript_map(PointedMap(owner.py.decl, owner.e), node.slice)
        if isinstance(owner, (Const, Tuple)):
            index = self.value(node.slice)
            items = owner.items if isinstance(owner, Tuple) else owner.value
            if not isinstance(index, Const) or not isinstance(index.value, int):
                self.refuse(
                    "P0213",
                    node.slice,
                    f"the index of {words(owner)} has to be a constant",
                    helps=["an array in a struct, or an `ebpf.Array`, takes any index"],
                )
            try:
                item = items[index.value]
            except (IndexError, TypeError):
                self.refuse("P0215", node, f"{words(owner)} has no element {index.value}")
            return item if isinstance(item, Value) else self.known(item, ast.unparse(node), node)
        if isinstance(owner, Arguments):
            index = self.value(node.slice)
            if isinstance(index, Const) and isinstance(index.value, int):
                return self.argument(index.value, node)
        if isinstance(owner, Entry):
            t, _ = self.value_type(owner.map, node)
            owner = self.entry_value(owner, node.value)
        if not isinstance(owner, Ref):
            self.refuse("P0207", node, f"{words(owner)} has no elements")
        lvalue, py = self.element(owner, self.value(node.slice), node)
        return self.at_place(lvalue, owner.space, py)

    def _sliced(self, owner: Value, node: ast.Slice, whole: ast.AST) -> Value:
        if isinstance(owner, Const) and isinstance(owner.value, (str, bytes, tuple)):
            bounds = [self.value(n) if n is not None else Const(None) for n in (node.lower, node.upper, node.step)]
            if all(isinstance(b, Const) for b in bounds):
                return Const(owner.value[slice(*(b.value for b in bounds))])  # type: ignore[attr-defined]
        self.refuse(
            "P0102",
            whole,
            f"programs cannot cut {words(owner)} into slices",
            helps=["`.startswith(…)` compares the beginning of text"],
        )

    def _tuple(self, node: ast.Tuple | ast.List) -> Value:
        items = [self.value(n) for n in node.elts]
        if all(isinstance(i, Const) for i in items):
            return Const(tuple(i.value for i in items))  # type: ignore[attr-defined]
        return Tuple(items)

    # --------------------------------------------------------------------------------------------------- operators

    def _binary(self, node: ast.BinOp) -> Value:
        left = self.value(node.left)
        if isinstance(left, Int) and _has_effect(node.right):
            left = Int(left.ty, self.temp(left.e), left.bits, left.soft)
        right = self.value(node.right)
        return self.operation(SYMBOLS[type(node.op)], left, right, node, (node.left, node.right))

    def _unary(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            e = self.condition(node)
            return Const(e) if isinstance(e, bool) else self.truth_of(e)
        return self.unary(node, self.value(node.operand))

    def _compare(self, node: ast.Compare) -> Value:
        e = self.condition(node)
        return Const(e) if isinstance(e, bool) else self.truth_of(e)

    def _walrus(self, node: ast.NamedExpr) -> Value:
        v = self.value(node.value)
        self.assign_name(node.target.id, v, node.target)
        return self.local_value(node.target.id, node.target)

    # ---------------------------------------------------------------------------------------------------- conditions

    def condition(self, node: ast.expr) -> tree.Expr | bool:
        """A truth: a scalar, or what is known already."""
        self.at(node)
        if isinstance(node, ast.BoolOp):
            return self._bool_condition(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            e = self.condition(node.operand)
            return not e if isinstance(e, bool) else self.negate(e)
        if isinstance(node, ast.Compare):
            return self._chain(node)
        return self.truth(self.value(node), node)

    def truth(self, v: Value, node: ast.AST) -> tree.Expr | bool:
        if isinstance(v, Const):
            return bool(v.value)
        if isinstance(v, Int):
            return self.is_true(v)
        if isinstance(v, Maybe):
            return tree.Logical(C.INT, self.loc, self.end, "&&", v.there, self.is_true(v.value))
        if isinstance(v, Ref):
            inner = C.strip(v.t)
            if isinstance(inner, C.Array) and not v.pointer and _is_char(inner.element):
                own = self.own(v, node)
                first = tree.ElementOf(inner.element, self.loc, self.end, self.place_of(own), self.const(0))
                return self.compare("!=", self.load(first), self.const(0, C.CHAR))
            if v.pointer or v.nullable:
                return v.e if v.there is None else v.there
            return True
        if isinstance(v, Tuple):
            return bool(v.items)
        self.refuse("P0204", node, f"{words(v)} is neither true nor false")

    def _bool_condition(self, node: ast.BoolOp) -> tree.Expr | bool:
        """``a and b``, ``a or b``: the right side is evaluated only where it counts."""
        is_and = isinstance(node.op, ast.And)
        before = self.frame.flow.copy()
        result: tree.Expr | bool = is_and
        later: list[ast.expr] = list(node.values)
        while later:
            first = later.pop(0)
            with self.nested() as steps:
                e = self.condition(first)
            if isinstance(e, bool):
                self.out += steps
                if e is not is_and:  # decided
                    result = e if result is is_and else self._both(is_and, result, e)
                    self.frame.flow.sure = before.sure
                    return result
            elif result is is_and:
                self.out += steps
                result = e
            elif steps:
                v = self.local(C.INT)
                self.set(v, self.const(int(not is_and), C.INT))
                assert not isinstance(result, bool)
                with self.nested() as then:
                    then += steps
                    self.set(v, self._int(e))
                self.branch(result if is_and else self.negate(result), then)
                result = self.get(v)
            else:
                result = self._both(is_and, result, e)
            self.frame.flow.sure = self.frame.flow.sure | _sure(first, is_and)
        self.frame.flow.sure = before.sure
        return result

    def _int(self, e: tree.Expr) -> tree.Expr:
        return cast(cast(e, C.BOOL), C.INT)

    def _both(self, is_and: bool, a: tree.Expr | bool, b: tree.Expr | bool) -> tree.Expr | bool:
        if isinstance(a, bool):
            return b if a is is_and else a
        if isinstance(b, bool):
            return a if b is is_and else b
        return tree.Logical(C.INT, self.loc, self.end, "&&" if is_and else "||", a, b)

    def _chain(self, node: ast.Compare) -> tree.Expr | bool:
        """``a < b <= c``: each middle evaluated once."""
        left_node, left = node.left, self.expr(node.left)
        if isinstance(left, Int) and (len(node.ops) > 1 or any(map(_has_effect, node.comparators))):
            left = Int(left.ty, self.temp(left.e), left.bits, left.soft)
        result: tree.Expr | bool = True
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            with self.nested() as steps:
                v, right = self._one(op, left, left_node, right_node, node)
            e: tree.Expr | bool = bool(v.value) if isinstance(v, Const) else v.e  # type: ignore[attr-defined]
            if result is True or not steps:
                self.out += steps
                result = self._both(True, result, e)
            else:
                assert not isinstance(result, bool)
                r = self.local(C.INT)
                self.set(r, self.const(0, C.INT))
                with self.nested() as then:
                    then += steps
                    self.set(r, self._int(e) if not isinstance(e, bool) else self.const(int(e), C.INT))
                self.branch(result, then)
                result = self.get(r)
            if result is False:
                return False
            left, left_node = right, right_node
            if isinstance(left, Int):
                left = Int(left.ty, left.e, left.bits, left.soft)
        return result

    def _one(
        self, op: ast.cmpop, left: Value, left_node: ast.expr, right_node: ast.expr, node: ast.AST
    ) -> tuple[Value, Value]:
        if isinstance(op, (ast.In, ast.NotIn)):
            return self._in(op, left, left_node, right_node, node), Const(None)
        right = self.value(right_node)
        if isinstance(right, Int) and isinstance(node, ast.Compare) and len(node.ops) > 1:
            right = Int(right.ty, self.temp(right.e), right.bits, right.soft)
        left = self.plain(left, left_node)
        if isinstance(op, (ast.Is, ast.IsNot)) or (
            isinstance(op, (ast.Eq, ast.NotEq))
            and (isinstance(right, Const) and right.value is None or isinstance(left, Const) and left.value is None)
        ):
            return self._is_none(isinstance(op, (ast.Is, ast.Eq)), left, right, node), right
        symbol = COMPARISONS[type(op)]
        if self._is_text(left) or self._is_text(right):
            if symbol not in ("==", "!="):
                self.refuse("P0207", node, f"`{symbol}` does not compare text", helps=["there are `==` and `!=`"])
            return self.text_equal(left, right, symbol == "==", node), right
        if isinstance(left, Tuple) or isinstance(right, Tuple):
            return self._tuples(symbol, left, right, node), right
        if isinstance(left, Ref) and isinstance(right, Ref) and not left.pointer and not right.pointer:
            return self._records(symbol, left, right, node), right
        return self.comparison(symbol, left, right, node, (left_node, right_node)), right

    def _is_none(self, wanted: bool, left: Value, right: Value, node: ast.AST) -> Value:
        if isinstance(left, Const) and left.value is None:
            left, right = right, left
        if isinstance(left, Const) and isinstance(right, Const):
            return Const((left.value is right.value) is wanted)
        if not isinstance(right, Const) or right.value is not None:
            self.refuse("P0207", node, "`is` compares with None alone", helps=["write `==`"])
        if isinstance(left, Maybe):
            e = left.there
        elif isinstance(left, Ref):
            if not (left.pointer or left.nullable):
                return Const(not wanted)
            e = left.e if left.there is None else left.there
        elif isinstance(left, Int):
            return Const(not wanted)
        else:
            return Const(not wanted)
        return self.truth_of(self.negate(e) if wanted else e)

    def _in(self, op: ast.cmpop, left: Value, left_node: ast.expr, right_node: ast.expr, node: ast.AST) -> Value:
        right = self.expr(right_node)
        found: Value
        if isinstance(right, Const) and isinstance(right.value, MapDecl):
            found = self.contains(right.value, left_node)
        elif isinstance(right, Ref) and isinstance(right.py, InnerMap):
            self.not_none(right, right_node)
            found = self.contains(PointedMap(right.py.decl, right.e), left_node)
        else:
            items: list[Value]
            if isinstance(right, Tuple):
                items = right.items
            elif isinstance(right, Const) and isinstance(right.value, (tuple, range, frozenset)):
                if isinstance(right.value, range) and right.value.step == 1 and isinstance(left, Int):
                    low = self.comparison(">=", left, Const(right.value.start), node, (left_node, node))
                    high = self.comparison("<", left, Const(right.value.stop), node, (left_node, node))
                    both = self._both(True, self._scalar(low), self._scalar(high))
                    return self._negated(self._as_value(both), isinstance(op, ast.NotIn))
                items = (
                    [Const(i) for i in sorted(right.value, key=repr)]
                    if isinstance(right.value, frozenset)
                    else [Const(i) for i in right.value]
                )
            else:
                self.refuse("P0207", right_node, f"`in` looks into maps and tuples, and this is {words(right)}")
            left = self.plain(left, left_node)
            if isinstance(left, Int):
                left = Int(left.ty, self.temp(left.e), left.bits, left.soft)
            result: tree.Expr | bool = False
            for item in items:
                if self._is_text(left) or self._is_text(item):
                    one = self.text_equal(left, item, True, node)
                else:
                    one = self.comparison("==", left, item, node, (left_node, right_node))
                result = self._both(False, result, self._scalar(one))
            found = self._as_value(result)
        return self._negated(found, isinstance(op, ast.NotIn))

    def _scalar(self, v: Value) -> tree.Expr | bool:
        return bool(v.value) if isinstance(v, Const) else v.e  # type: ignore[attr-defined]

    def _as_value(self, e: tree.Expr | bool) -> Value:
        return Const(e) if isinstance(e, bool) else self.truth_of(e)

    def _negated(self, v: Value, negate: bool) -> Value:
        if not negate:
            return v
        return Const(not v.value) if isinstance(v, Const) else self.truth_of(self.negate(v.e))  # type: ignore[attr-defined]

    def _bool(self, node: ast.BoolOp) -> Value:
        """``a or b`` as a value."""
        numbers = [
            n
            for n in node.values
            if isinstance(n, (ast.Compare, ast.BoolOp)) or isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.Not)
        ]
        if len(numbers) == len(node.values):
            e = self.condition(node)
            return Const(e) if isinstance(e, bool) else self.truth_of(e)
        is_and = isinstance(node.op, ast.And)
        last = node.values[-1]
        test = (
            ast.copy_location(ast.BoolOp(node.op, node.values[:-1]), node) if len(node.values) > 2 else node.values[0]
        )
        chosen = self.value(test)
        if isinstance(chosen, Int):
            chosen = Int(chosen.ty, self.temp(chosen.e), chosen.bits, chosen.soft)
        e = self.truth(chosen, test)
        if isinstance(e, bool):
            return self.value(last) if e is is_and else chosen
        return self.choose(e if is_and else self.negate(e), lambda: self.value(last), lambda: chosen, node)

    def _conditional(self, node: ast.IfExp) -> Value:
        e = self.condition(node.test)
        if isinstance(e, bool):
            return self.value(node.body if e else node.orelse)
        flow = self.frame.flow

        def side(n: ast.expr, true: bool) -> Callable[[], Value]:
            def evaluate() -> Value:
                before = flow.sure
                flow.sure = flow.sure | _sure(node.test, true)
                try:
                    return self.value(n)
                finally:
                    flow.sure = before

            return evaluate

        return self.choose(e, side(node.body, True), side(node.orelse, False), node)

    def choose(self, e: tree.Expr, then: Callable[[], Value], otherwise: Callable[[], Value], node: ast.expr) -> Value:
        """One of two values."""
        with self.nested() as first:
            a = then()
        with self.nested() as second:
            b = otherwise()
        if isinstance(a, (Int, Const)) and isinstance(b, (Int, Const)) and self._are_numbers(a, b):
            if isinstance(a, Const) and isinstance(b, Const):
                x, y = self.number(a, node), self.number(b, node)
                ty = joined(x.ty, y.ty) if not (isinstance(a.value, bool) and isinstance(b.value, bool)) else BOOL
            elif isinstance(a, Int) and isinstance(b, Int):
                ty = a.ty if a.ty is b.ty else joined(a.ty, b.ty)
            else:
                literal, other = (a, b) if isinstance(a, Const) else (b, a)
                assert isinstance(other, Int) and isinstance(literal, Const)
                fits = other.ty.holds(int(literal.value)) and not (other.ty.boolean and literal.value not in (0, 1))
                ty = other.ty if fits else joined(other.ty, self.number(literal, node).ty)
            bits = [v.bits if isinstance(v, Int) else v.value.bit_length() if v.value >= 0 else None for v in (a, b)]
            known = None if None in bits else max(bits)  # type: ignore[type-var]
            result = self.local(ty.ctype)
            for steps, v in ((first, a), (second, b)):
                outer, self.out = self.out, steps
                self.set(result, cast(self.number(v, node).e, ty.ctype))
                self.out = outer
            self.branch(e, first, second)
            soft = all(isinstance(v, Const) or v.soft for v in (a, b))
            return Int(ty, self.get(result), known, soft)
        name = f"choice {node.lineno}:{node.col_offset}"
        either: tuple[tuple[list[tree.Stmt], Value], ...] = ((first, a), (second, b))
        for steps, one in either:
            outer, self.out = self.out, steps
            self.assign_name(name, one, node)
            self.out = outer
        self.branch(e, first, second)
        return self.local_value(name, node)

    def _are_numbers(self, *values: Value) -> bool:
        return all(isinstance(v, Int) or isinstance(v, Const) and isinstance(v.value, int) for v in values)

    def _records(self, symbol: str, left: Ref, right: Ref, node: ast.AST) -> Value:
        if symbol not in ("==", "!=") or not C.same(left.t, right.t):
            self.refuse("P0207", node, f"`{symbol}` does not go with {words(left)} and {words(right)}")
        a, b = self.own(left, node), self.own(right, node)
        args = [cast(a.e, VOID_POINTER), cast(b.e, VOID_POINTER), self.const(C.size_of(left.t) or 0, C.ULONG)]
        e = self.temp(tree.Builtin(C.INT, self.loc, self.end, "memcmp", args))
        return self.truth_of(self.compare(symbol, e, self.const(0, C.INT)))

    def _tuples(self, symbol: str, left: Value, right: Value, node: ast.AST) -> Value:
        def items(v: Value) -> list[Value] | None:
            if isinstance(v, Tuple):
                return v.items
            return [Const(i) for i in v.value] if isinstance(v, Const) and isinstance(v.value, tuple) else None

        a, b = items(left), items(right)
        if symbol not in ("==", "!=") or a is None or b is None or len(a) != len(b):
            self.refuse("P0207", node, f"`{symbol}` does not go with {words(left)} and {words(right)}")
        result: tree.Expr | bool = True
        for x, y in zip(a, b, strict=True):
            result = self._both(True, result, self._scalar(self.comparison("==", x, y, node, (node, node))))
        return self._negated(self._as_value(result), symbol == "!=")


def _has_effect(node: ast.AST) -> bool:
    """Whether evaluating ``node`` may change what was read before it."""
    return any(isinstance(n, (ast.NamedExpr, ast.Call)) for n in ast.walk(node))


def _sure(node: ast.expr, true: bool) -> frozenset[str]:
    """The names that cannot be None where ``node`` is (or is not) true."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return _sure(node.operand, not true)
    if isinstance(node, ast.BoolOp):
        if isinstance(node.op, ast.And) is true:
            return frozenset().union(*(_sure(n, true) for n in node.values))
        return frozenset.intersection(*(_sure(n, true) for n in node.values))
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        name = _named_by(node.left)
        other = node.comparators[0]
        if name is not None and isinstance(other, ast.Constant) and other.value is None:
            asks_none = isinstance(node.ops[0], (ast.Is, ast.Eq))
            return frozenset((name,)) if asks_none is not true else frozenset()
        return frozenset()
    name = _named_by(node)
    return frozenset((name,)) if name is not None and true else frozenset()


def _named_by(node: ast.expr) -> str | None:
    if isinstance(node, ast.NamedExpr):
        return node.target.id
    return node.id if isinstance(node, ast.Name) else None


_HANDLERS: dict[type[ast.expr], Callable[[Expressions, Any], Value]] = {
    ast.Constant: Expressions._constant,
    ast.Name: Expressions._name,
    ast.Attribute: Expressions._attribute,
    ast.Subscript: Expressions._subscript,
    ast.Tuple: Expressions._tuple,
    ast.List: Expressions._tuple,
    ast.BinOp: Expressions._binary,
    ast.UnaryOp: Expressions._unary,
    ast.BoolOp: Expressions._bool,
    ast.Compare: Expressions._compare,
    ast.IfExp: Expressions._conditional,
    ast.NamedExpr: Expressions._walrus,
    ast.JoinedStr: Expressions._joined,
}


def _types(m: MapDecl) -> str:
    """What a map holds, in words."""
    return ", ".join(P.describe(t).partition("[")[0] if isinstance(t, type) else repr(t)
                     for t in (m.key, m.value) if t is not None)
