"""Declarators and parameters (C11 6.7.6): pointers, arrays, functions around a name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast
from ebpf.compiler.c.parser_cursor import SPECIFIER_WORDS
from ebpf.compiler.c.parser_expressions import ExpressionParser

if TYPE_CHECKING:
    from collections.abc import Callable

QUALIFIERS = frozenset({"const", "volatile", "restrict", "_Atomic"})


class Specifiers:
    """What stands before the declarators: ``static const u32 __attribute__((…))``."""

    __slots__ = ("attributes", "base", "cut", "end", "inline", "loc", "storage", "tagged_only")

    def __init__(self, loc: int) -> None:
        self.loc = loc
        self.end = loc
        self.base: ast.TypeExpr | None = None
        self.storage: str | None = None  # "typedef" included
        self.inline = False
        self.attributes: list[ast.Attribute] = []
        self.tagged_only = False  # the base is a record or enum, so that `;` may follow at once
        self.cut = False  # its `;` is missing, which has been reported: another declaration follows


class Declarator:
    """``*name[3]``: the name and the steps that turn the base type into the declared one."""

    __slots__ = ("attributes", "loc", "makes", "name", "name_end", "name_loc")

    def __init__(self, loc: int) -> None:
        self.loc = loc
        self.name: str | None = None
        self.name_loc = loc
        self.name_end = loc
        self.makes: list[Callable[[ast.TypeExpr], ast.TypeExpr]] = []
        self.attributes: list[ast.Attribute] = []

    def apply(self, base: ast.TypeExpr) -> ast.TypeExpr:
        for make in self.makes:
            base = make(base)
        return base


class DeclaratorParser(ExpressionParser):
    def specifiers(self, *, in_type_name: bool = False) -> Specifiers:
        raise NotImplementedError

    def need_base(self, specifiers: Specifiers) -> ast.TypeExpr:
        raise NotImplementedError

    def declarator(self, *, abstract: bool = False) -> Declarator:
        """``abstract``: the name may be missing (a parameter's, a type's name)."""
        tokens, kinds = self.tokens, self.kinds
        out = Declarator(tokens[self.pos].loc)
        makes = out.makes
        while True:
            kind = kinds[self.pos]
            if kind == "*":
                self._pointer(makes)
            elif kind == "__attribute__":
                out.attributes += self.attributes()
            elif kind == "&":
                name = tokens[self.pos + 1].text if tokens[self.pos + 1].kind == "id" else "name"
                self.fail("C0204", "C has no references", helps=[f"pass a pointer: `*{name}`"])
            else:
                break
        inner: Declarator | None = None
        kind = kinds[self.pos]
        if kind == "id":
            token = tokens[self.pos]
            out.name, out.name_loc, out.name_end = token.text, token.loc, token.end
            self.pos += 1
        elif kind == "(" and self._is_nested_declarator(abstract):
            opener = self.pos
            self.pos += 1
            inner = self.declarator(abstract=abstract)
            self.expect(")", opener=opener)
            out.name, out.name_loc, out.name_end = inner.name, inner.name_loc, inner.name_end
            out.attributes += inner.attributes
        elif not abstract:
            self._name_missing()
        suffixes: list[Callable[[ast.TypeExpr], ast.TypeExpr]] = []
        while True:
            kind = self.kinds[self.pos]
            if kind == "[":
                if self.kinds[self.pos + 1] == "[":
                    out.attributes += self.attributes()
                    continue
                suffixes.append(self._array())
            elif kind == "(":
                suffixes.append(self._function())
            else:
                break
        makes += suffixes[::-1]
        if inner is not None:
            makes += inner.makes
        while self.kinds[self.pos] in ("__attribute__", "asm"):
            if self.kinds[self.pos] == "asm":
                out.attributes.append(self._asm_name())
            else:
                out.attributes += self.attributes()
        return out

    def _name_missing(self) -> None:
        kind = self.kinds[self.pos]
        token = self.tokens[self.pos]
        if kind == "bad":
            self.pos += 1
            self.fail("C0202", "", index=self.pos - 1)
        if kind == "num":
            self.fail("C0202", f"a name cannot begin with a digit: `{token.text}`")
        if token.kind == "id":  # a keyword
            self.fail("C0202", f"a name expected, but `{token.text}` is a word of C")
        self.fail("C0202", f"a name expected, found {self.found()}")

    def _is_nested_declarator(self, abstract: bool) -> bool:
        """At ``(``: a declarator in parentheses, or (of an abstract one) a function's parameters."""
        if not abstract:
            return True
        at = self.pos + 1
        return (
            self.kinds[at] != ")"
            and not self.starts_type(at)
            and self.kinds[at] not in SPECIFIER_WORDS
            and self.kinds[at] != "..."
        )

    def _pointer(self, makes: list[Callable[[ast.TypeExpr], ast.TypeExpr]]) -> None:
        star = self.tokens[self.pos]
        self.pos += 1
        qualifiers: set[str] = set()
        attributes: list[ast.Attribute] = []
        while True:
            kind = self.kinds[self.pos]
            if kind in QUALIFIERS:
                qualifiers.add(kind)
                self.pos += 1
            elif kind == "__attribute__":
                attributes += self.attributes()
            else:
                break
        end = self.tokens[self.pos - 1].end
        made = frozenset(qualifiers)

        def make(target: ast.TypeExpr) -> ast.TypeExpr:
            pointer = ast.PointerTo(star.loc, star.end, target)
            return ast.Qualified(star.loc, end, pointer, made, attributes) if made or attributes else pointer

        makes.append(make)

    def _array(self) -> Callable[[ast.TypeExpr], ast.TypeExpr]:
        opener = self.pos
        self.pos += 1
        while self.kinds[self.pos] in ("static", "const", "volatile", "restrict"):
            self.pos += 1
        size: ast.Expr | None = None
        if self.kinds[self.pos] == "*" and self.kinds[self.pos + 1] == "]":
            self.pos += 1
        elif self.kinds[self.pos] != "]":
            size = self.assignment()
        end = self.expect("]", opener=opener).end
        loc = self.tokens[opener].loc
        return lambda element: ast.ArrayOf(loc, end, element, size)

    def _function(self) -> Callable[[ast.TypeExpr], ast.TypeExpr]:
        opener = self.pos
        self.pos += 1
        parameters, variadic = self.parameters(opener)
        loc, end = self.tokens[opener].loc, self.tokens[self.pos - 1].end
        return lambda result: ast.FunctionOf(loc, end, result, parameters, variadic)

    def parameters(self, opener: int) -> tuple[list[ast.Parameter] | None, bool]:
        """A function's parameters up to and with ``)``."""
        kinds = self.kinds
        if kinds[self.pos] == ")":
            self.pos += 1
            return None, False
        if kinds[self.pos] == "void" and kinds[self.pos + 1] == ")":
            self.pos += 2
            return [], False
        out: list[ast.Parameter] = []
        variadic = False
        while True:
            if self.kinds[self.pos] == "...":
                self.pos += 1
                variadic = True
                break
            out.append(self.parameter())
            if self.kinds[self.pos] != ",":
                break
            self.pos += 1
        if self.kinds[self.pos] == "=":
            self.fail("C0204", "a parameter of C has no default value")
        if self.kinds[self.pos] == "id":
            self.fail("C0202", f"`,` or `)` expected among the parameters, found {self.found()}")
        self.expect(")", opener=opener)
        return out, variadic

    def parameter(self) -> ast.Parameter:
        start = self.tokens[self.pos]
        specifiers = self.specifiers()
        if specifiers.base is None and specifiers.storage is None and self.kinds[self.pos] == "id":
            base = self._untyped_parameter()
        else:
            base = self.need_base(specifiers)
        if specifiers.storage not in (None, "register"):
            self.diagnostics.error(
                "C0208", f"a parameter cannot be `{specifiers.storage}`", specifiers.loc, specifiers.end
            )
        if self.kinds[self.pos] in (",", ")"):
            return ast.Parameter(start.loc, self.tokens[self.pos - 1].end, None, base, specifiers.attributes)
        declarator = self.declarator(abstract=True)
        type_ = declarator.apply(base)
        return ast.Parameter(
            start.loc,
            self.tokens[self.pos - 1].end,
            declarator.name,
            type_,
            specifiers.attributes + declarator.attributes,
        )

    def _untyped_parameter(self) -> ast.TypeExpr:
        """At an identifier that is no type: an unknown type, or a name whose type is missing."""
        token = self.tokens[self.pos]
        if self.kinds[self.pos + 1] in (",", ")") and self.declared(token.text) is not None:
            self.report(
                "C0208", f"the type of parameter `{token.text}` is missing", helps=[f"write `int {token.text}`"]
            )
            return ast.BuiltinType(token.loc, token.loc, "int")
        self.unknown_type(self.pos)
        self.pos += 1
        return ast.NamedType(token.loc, token.end, token.text)

    def _asm_name(self) -> ast.Attribute:
        token = self.tokens[self.pos]
        self.pos += 1
        opener = self.pos
        self.expect("(", "`asm`")
        name = self.string()
        end = self.expect(")", opener=opener).end
        return ast.Attribute(token.loc, end, "asm", [name])
