"""Expressions: what each kind of node means, and calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.compiler.c import ast, tree, types as C
from ebpf.compiler.c.checker_access import AccessChecker
from ebpf.compiler.c.checker_base import Refused
from ebpf.compiler.c.constexpr import evaluate
from ebpf.compiler.c.conversions import (
    POISON,
    cast,
    is_integer,
    is_pointer,
    is_scalar,
    promote,
    target_of,
    unqualified,
)
from ebpf.compiler.c.events import HELPERS, note
from ebpf.compiler.c.scopes import Alias
from ebpf.compiler.c.types import CType

if TYPE_CHECKING:
    from collections.abc import Callable

_COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))


class ExprChecker(AccessChecker):
    """Adds `expr` and `value`."""

    def expr(self, node: ast.Expr) -> tree.Expr:
        try:
            return _EXPRS[type(node)](self, node)
        except Refused:
            return self.poison(node)

    def value(self, node: ast.Expr) -> tree.Expr:
        return self.rvalue(self.expr(node))

    def read_external(self, place: tree.Expr) -> tree.Expr:
        assert self.bcc is not None
        return self.bcc.probe_read(self, place)

    # ---------------------------------------------------------------------------------------------------- calls

    def call(self, node: ast.Call) -> tree.Expr:
        function = node.function
        if isinstance(function, ast.Name):
            symbol = self.scope.find(function.name)
            if symbol is None:
                return self.call_known(node, function)
            if type(symbol) is tree.FunctionDecl:
                return self.call_function(node, symbol)
            if type(symbol) is tree.Variable:
                helper = helper_number(symbol)
                if helper:
                    signature = C.strip(target_of(symbol.type))
                    assert isinstance(signature, C.Function)
                    args = self.arguments(node, signature, function.name)
                    return self._helper_call(node, helper, function.name, signature, args)
            if type(symbol) is Alias and symbol.expr.type is POISON:
                for a in node.args:
                    self.expr(a)
                raise Refused
        elif isinstance(function, ast.Member) and self.bcc is not None:
            base = function.base
            if isinstance(base, ast.Name) and isinstance(v := self.scope.find(base.name), tree.Variable):
                a_map = self.bcc.maps.get(id(v))
                if a_map is not None:
                    if self.function is not None:
                        self.function.used.add(id(v))
                    return self.bcc.method(self, a_map, node, function)
        callee = self.value(function)
        if callee.type is POISON:
            raise Refused
        target = C.strip(target_of(callee.type)) if is_pointer(callee.type) else None
        if not isinstance(target, C.Function):
            self.refuse("C0310", function, f"this is {self.words(callee.type)} and cannot be called")
        args = self.arguments(node, target, "the function")
        number = evaluate(callee)
        if number is not None and 0 < number < 1 << 31:
            return self._helper_call(node, number, f"helper {number}", target, args)
        return tree.CallPointer(unqualified(target.result), node.loc, node.end, callee, args)

    def call_known(self, node: ast.Call, function: ast.Name) -> tree.Expr:
        """A call of something that the program does not declare: a builtin, a macro with meaning, a helper."""
        from ebpf.compiler.c.builtins import find_builtin

        name = function.name
        if self.bcc is not None:
            special = self.bcc.function(name)
            if special is not None:
                return special(self, node)
        builtin = find_builtin(name)
        if builtin is not None:
            return builtin(self, node)
        signature = self.helper_type(name)
        if signature is not None:
            number, t = signature
            return self._helper_call(node, number, name, t, self.arguments(node, t, name))
        self.unknown_function(node, function)
        raise Refused

    def _helper_call(
        self, node: ast.Call, number: int, name: str, t: C.Function, args: list[tree.Expr]
    ) -> tree.CallHelper:
        call = tree.CallHelper(unqualified(t.result), node.loc, node.end, number, name, args)
        if number in HELPERS and (sent := note(self, node, call)) is not None:
            self.sent.append(sent)
        return call

    def helper_type(self, name: str) -> tuple[int, C.Function] | None:
        """Number and C type of the kernel helper ``name``."""
        if not name.startswith("bpf_"):
            return None
        from ebpf.abi.helpers import HELPERS_BY_NAME
        from ebpf.compiler.c.helper_types import function_type

        helper = HELPERS_BY_NAME.get(name)
        if helper is None:
            return None
        return helper.id, function_type(helper.signature, self)

    def call_helper(
        self, name: str, args: list[tree.Expr], node: ast.Node | tree.Expr, result: CType | None = None
    ) -> tree.Expr:
        """A call of helper ``name`` with values that fit already, for what macros and methods become."""
        found = self.helper_type(name)
        assert found is not None, name
        number, t = found
        values = [cast(a, p) if is_scalar(a.type) else a for a, p in zip(args, t.parameters, strict=False)] + args[
            len(t.parameters) :
        ]
        call = tree.CallHelper(unqualified(t.result), node.loc, node.end, number, name, values)
        return call if result is None else cast(call, result)

    def unknown_function(self, node: ast.Call, function: ast.Name) -> None:
        from ebpf.abi.helpers import HELPERS_BY_NAME
        from ebpf.compiler.c.builtins import builtin_names

        name = function.name
        pool = [n for n, s in self.file_scope.names.items() if isinstance(s, tree.FunctionDecl)]
        pool += [*HELPERS_BY_NAME, *builtin_names()]
        if self.bcc is not None:
            pool += self.bcc.function_names()
        notes, helps = [], self.suggest(name, pool)
        if self.kernel.btf is not None and (found := self.kernel.function(name)) is not None:
            notes.append(
                f"`{name}` is a function of the kernel; BPF programs can only call those that it offers them (kfuncs)"
            )
            if self.bcc is None:
                helps.append(f"if it is a kfunc, declare it: `extern {C.format_ctype(found[0], name)} __ksym;`")
        elif name.startswith("bpf_"):
            notes.append("no helper of any kernel up to 7.2 has that name")
        self.error("C0301", function, f"there is no function `{name}`", notes=notes, helps=helps)
        self.file_scope.names[name] = Alias(self.poison(function))
        for a in node.args:
            if not isinstance(a, ast.TypeArg):
                self.expr(a)

    def call_function(self, node: ast.Call, decl: tree.FunctionDecl) -> tree.Expr:
        args = self.arguments(node, decl.type, f"`{decl.name}`")
        if decl.linkage == "program":
            self.refuse(
                "C0310",
                node,
                f"`{decl.name}` is a program of its own and cannot be called",
                helps=["put what both need into a `static` function"],
            )
        if decl.body is None:
            self.references.append((node.function, decl))
        if self.bcc is not None:
            self.bcc.passes(decl, args)
        return tree.CallFunction(unqualified(decl.type.result), node.loc, node.end, decl, args)

    def arguments(self, node: ast.Call, t: C.Function, name: str) -> list[tree.Expr]:
        wanted = t.parameters
        values = [self.value(a) for a in node.args]
        if len(values) < len(wanted) or (len(values) > len(wanted) and not t.variadic):
            some = "at least " if t.variadic else ""
            self.refuse(
                "C0309",
                node,
                f"{name} takes {some}{len(wanted)} argument{'' if len(wanted) == 1 else 's'}, not {len(values)}",
                notes=[
                    f"it is `{C.format_ctype(t, name.strip('`') if '`' in name or name.startswith('bpf_') else 'f')}`"
                ],
            )
        out = []
        for i, e in enumerate(values):
            if i < len(wanted):
                out.append(self.fit(e, wanted[i], node.args[i], f"passed to parameter {_parameter(t, i)}of type"))
            elif is_integer(e.type):
                out.append(promote(e))
            else:
                out.append(e)
        return out


def _parameter(t: C.Function, i: int) -> str:
    return f"`{t.names[i]}` " if i < len(t.names) and t.names[i] else ""


def helper_number(v: tree.Variable) -> int:
    """The helper that ``static long (*bpf_x)(…) = (void *)n;`` declares, 0 for any other variable."""
    if v.kind != "global" or v.init is None or not v.init.parts or not is_pointer(v.type):
        return 0
    if not isinstance(C.strip(target_of(v.type)), C.Function):
        return 0
    value = v.init.parts[0].value
    return value.value if isinstance(value, tree.IntConst) and 0 < value.value < 1 << 31 else 0


_EXPRS: dict[type, Callable[[ExprChecker, Any], tree.Expr]] = {
    ast.Name: ExprChecker.name,
    ast.IntLiteral: ExprChecker.int_literal,
    ast.FloatLiteral: ExprChecker.float_literal,
    ast.CharLiteral: ExprChecker.char_literal,
    ast.StringLiteral: ExprChecker.string_literal,
    ast.Unary: ExprChecker.unary,
    ast.Binary: ExprChecker.binary,
    ast.Assign: ExprChecker.assign,
    ast.Conditional: ExprChecker.conditional,
    ast.Call: ExprChecker.call,
    ast.TypeArg: ExprChecker.type_arg,
    ast.Index: ExprChecker.index,
    ast.Member: ExprChecker.member,
    ast.Cast: ExprChecker.cast_expr,
    ast.CompoundLiteral: ExprChecker.compound_literal,
    ast.SizeofExpr: ExprChecker.sizeof_expr,
    ast.SizeofType: ExprChecker.sizeof_type,
    ast.AlignofType: ExprChecker.alignof_type,
    ast.Offsetof: ExprChecker.offsetof,
    ast.StmtExpr: lambda c, n: c.statement_expr(n),
    ast.Generic: ExprChecker.generic,
}
