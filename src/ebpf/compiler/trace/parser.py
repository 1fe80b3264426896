"""Tokens → syntax tree. The parser recovers: after a mistake it goes on at the next statement or probe."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from ebpf.compiler.c.lexer import PRECEDENCE
from ebpf.compiler.c.source import TooManyErrors
from ebpf.compiler.trace import ast
from ebpf.compiler.trace.lexer import Token, next_token
from ebpf.compiler.trace.parser_probes import ProbeParser

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ebpf.compiler.c.source import Diagnostics

_ASSIGNMENTS = frozenset(("=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="))
INTEGER_TYPES = {f"{sign}int{bits or ''}": (bits or 32, not sign) for bits in (8, 16, 32, 64, 0) for sign in ("", "u")}
_TYPE_WORDS = frozenset(
    (*INTEGER_TYPES, "bool", "void", "char", "short", "long", "unsigned", "signed", "string", "buffer")
)
_TUPLE_PART = re.compile(r"\s*([0-9]+)")
_TAGS = frozenset(("struct", "union", "enum"))
_STARTERS = frozenset(("id", "num", "str", "$", "@", "param", "(", "{", "++", "--", "*", "&", "-", "!", "~"))


class Mistake(Exception):
    """A mistake was reported; caught where parsing can go on."""


class Parser(ProbeParser):
    """``parse_script`` is the only entry point. ``base``: the `SourceMap` position of the text's start.

    ``constants`` answers with the text that a ``#define`` gives a name, ``is_type`` says whether a name is a C typedef.
    """

    def __init__(
        self,
        text: str,
        base: int,
        diagnostics: Diagnostics,
        constants: Mapping[str, str],
        is_type: Callable[[str], bool],
    ) -> None:
        super().__init__(text, base, diagnostics)
        self.constants = constants
        self.is_type = is_type
        self.open_braces: list[Token] = []
        self._expanding: set[str] = set()

    # --------------------------------------------------------------------------------------------------- statements

    def block(self) -> list[ast.Stmt]:
        """``{ … }``"""
        opening = self.expect("{", "`{`")
        self.open_braces.append(opening)
        body = self.statements()
        if self.token.kind == "eof":
            line = self.diagnostics.sources.line(opening.loc + self.base)
            if opening is self.open_braces[-1] and not self.unclosed:
                self.unclosed = True
                self.report(
                    "T0104",
                    self.token,
                    f"`}}` is missing for the `{{` in line {line}",
                    related=[(opening.loc + self.base, opening.end + self.base, "opened here")],
                )
        else:
            self.advance()
        self.open_braces.pop()
        return body

    def statements(self) -> list[ast.Stmt]:
        body: list[ast.Stmt] = []
        while self.token.kind not in ("}", "eof"):
            if self.token.kind == ";":
                self.advance()
                continue
            try:
                start = self.token.loc
                s = self.statement()
                body.append(s)
                self.end_statement(s, start)
            except Mistake:
                self.skip_statement()
        return body

    def end_statement(self, s: ast.Stmt, start: int) -> None:
        if self.token.kind in (";", "}", "eof"):
            return
        if isinstance(s, (ast.If, ast.While, ast.For, ast.Unroll, ast.Block)):
            return
        if self.token.kind in _STARTERS and (
            "\n" in self.text[self.previous_end : self.token.loc] or self.token.kind in ("id", "$", "@")
        ):
            before = self.text[self.previous_end - 1]
            self.report_at(
                "T0103",
                self.previous_end,
                self.previous_end + 1,
                f"`;` is missing after `{before}`",
                helps=["statements are separated by `;`"],
            )
            return
        if self.token.kind == "=" and isinstance(s, ast.Evaluate) and isinstance(s.expr, ast.Name):
            self.bare_assignment(s.expr)
        self.unexpected("`;` or `}`")

    def bare_assignment(self, name: ast.Name) -> NoReturn:
        self.diagnostics.error(
            "T0108",
            f"`{name.name}` cannot be assigned to",
            name.loc,
            name.end,
            helps=[f"variables start with `$` (of this probe: `${name.name}`) or `@` (of all probes: `@{name.name}`)"],
        )
        raise Mistake

    def skip_statement(self) -> None:
        """Go to the next ``;`` or the ``}`` of this block."""
        depth = 0
        while self.token.kind != "eof":
            kind = self.token.kind
            if kind in ("{", "(", "["):
                depth += 1
            elif kind in ("}", ")", "]"):
                if depth == 0 and kind == "}":
                    return
                depth = max(0, depth - 1)
                if depth == 0 and kind == "}":
                    self.advance()
                    return
            elif kind == ";" and depth == 0:
                return
            self.advance()

    def statement(self) -> ast.Stmt:
        token = self.token
        if token.kind == "id":
            handler = _STATEMENTS.get(token.text)
            if handler is not None:
                return handler(self)
        if token.kind == "{":
            return ast.Block(self.here, self.skip_to_end(token), self.block())
        return self.simple_statement()

    def skip_to_end(self, token: Token) -> int:
        return token.end + self.base

    def simple_statement(self) -> ast.Stmt:
        start = self.here
        e = self.expression()
        op = self.token
        if op.kind in _ASSIGNMENTS:
            if isinstance(e, ast.Name) and e.name != "_":
                self.bare_assignment(e)
            if not isinstance(e, (ast.Variable, ast.MapAccess, ast.Name)):
                self.report_node("T0102", e, "only variables and maps can be assigned to")
                raise Mistake
            self.advance()
            value = self.expression()
            return ast.Assign(start, value.end, op.kind, e, value)
        return ast.Evaluate(start, e.end, e)

    def if_statement(self) -> ast.Stmt:
        start = self.here
        self.advance()
        condition = self.condition("if")
        then = self.block()
        otherwise: list[ast.Stmt] | None = None
        if self.token.kind == "id" and self.token.text == "else":
            self.advance()
            if self.token.kind == "id" and self.token.text == "if":
                otherwise = [self.if_statement()]
            else:
                otherwise = self.block()
        return ast.If(start, condition.end, condition, then, otherwise)

    def condition(self, word: str) -> ast.Expr:
        e = self.expression()
        if self.token.kind == "=":
            self.compared_by_one_sign(e)
        return e

    def compared_by_one_sign(self, e: ast.Expr) -> NoReturn:
        self.report("T0106", self.token, "`=` does not compare", helps=["`==` compares"])
        self.advance()
        self.expression()
        while self.token.kind not in (")", "{", "eof", ";", "}"):
            self.advance()
        if self.token.kind == ")":
            self.advance()
        if self.token.kind == "{":
            self.block()
        raise Mistake

    def while_statement(self) -> ast.Stmt:
        start = self.here
        self.advance()
        condition = self.condition("while")
        return ast.While(start, condition.end, condition, self.block())

    def unroll_statement(self) -> ast.Stmt:
        start = self.here
        self.advance()
        count = self.expression()
        return ast.Unroll(start, count.end, count, self.block())

    def for_statement(self) -> ast.Stmt:
        start = self.here
        self.advance()
        parenthesis = self.token.kind == "("
        if parenthesis:
            self.advance()
        name = self.expect("$", "the loop's variable, `$name`")
        self.expect(":", "`:`")
        over = self.expression()
        last = None
        if self.token.kind == "..":
            self.advance()
            last = self.expression()
        if parenthesis:
            self.expect(")", "`)`")
        return ast.For(start, (last or over).end, name.text, over, last, self.block())

    def return_statement(self) -> ast.Stmt:
        start, token = self.here, self.token
        self.advance()
        value = None if self.token.kind in (";", "}", "eof") else self.expression()
        return ast.Return(start, token.end + self.base, value)

    def jump(self) -> ast.Stmt:
        token = self.token
        self.advance()
        return ast.Jump(token.loc + self.base, token.end + self.base, token.text)

    def let_statement(self) -> ast.Stmt:
        start = self.here
        self.advance()
        name = self.expect("$", "a variable, `$name`")
        t = value = None
        if self.token.kind == ":":
            self.advance()
            t = self.type_name()
        if self.token.kind == "=":
            self.advance()
            value = self.expression()
        return ast.Let(start, name.end + self.base, name.text, t, value)

    # -------------------------------------------------------------------------------------------------- expressions

    def expression(self) -> ast.Expr:
        e = self.binary(1)
        if self.token.kind == "?":
            self.advance()
            then = self.expression()
            self.expect(":", "`:` of `a ? b : c`")
            otherwise = self.expression()
            return ast.Ternary(e.loc, otherwise.end, e, then, otherwise)
        return e

    def binary(self, least: int) -> ast.Expr:
        left = self.unary()
        while True:
            op = self.token.kind
            binds = PRECEDENCE.get(op, 0)
            if binds < least or (op == "/" and self.in_predicate and self.at_predicate_end()):
                return left
            self.advance()
            right = self.binary(binds + 1)
            left = ast.Binary(left.loc, right.end, op, left, right)

    def unary(self) -> ast.Expr:
        token, start = self.token, self.here
        kind = token.kind
        if kind in ("-", "!", "~", "*", "&", "++", "--", "+"):
            self.advance()
            operand = self.unary()
            if kind == "+":
                return operand
            if kind == "-" and isinstance(operand, ast.Number):
                return ast.Number(start, operand.end, -operand.value)
            return ast.Unary(start, operand.end, f"{kind}x" if kind in ("++", "--") else kind, operand)
        if kind == "(" and self.at_cast():
            self.advance()
            t = self.type_name()
            self.expect(")", "`)` after the type")
            operand = self.unary()
            return ast.Cast(start, operand.end, t, operand)
        return self.postfix(self.primary())

    def at_cast(self) -> bool:
        ahead = next_token(self.text, self.token.end)
        if ahead.kind != "id":
            return False
        if ahead.text in _TAGS:
            return True
        after = next_token(self.text, ahead.end)
        if ahead.text in _TYPE_WORDS:
            return after.kind in (")", "*", "[") or after.text in _TYPE_WORDS
        if after.kind == "*":
            while after.kind == "*":
                after = next_token(self.text, after.end)
            return after.kind == ")" and self.is_type(ahead.text)
        return after.kind == ")" and ahead.text.endswith("_t") and self.is_type(ahead.text)

    def type_name(self) -> ast.TypeName:
        start, first = self.here, self.token
        if first.kind != "id":
            self.unexpected("a type")
        words = [first.text]
        self.advance()
        if first.text in _TAGS:
            words.append(self.expect("id", f"the name of the {first.text}").text)
        else:
            while self.token.kind == "id" and self.token.text in _TYPE_WORDS:
                words.append(self.token.text)
                self.advance()
        stars, bounds = 0, []
        while self.token.kind == "*":
            stars += 1
            self.advance()
        while self.token.kind == "[":
            self.advance()
            bound: int | None = None
            if self.token.kind != "]":
                size = self.expect("num", "the number of elements")
                assert isinstance(size.value, int)
                bound = size.value
            bounds.append(bound)
            self.expect("]", "`]`")
        return ast.TypeName(start, self.previous_end + self.base, " ".join(words), stars, bounds)

    def postfix(self, e: ast.Expr) -> ast.Expr:
        while True:
            kind = self.token.kind
            if kind in (".", "->"):
                part = _TUPLE_PART.match(self.text, self.token.end) if kind == "." else None
                if part is not None:  # not a number: `.1.0` is two parts
                    self.token = Token("id", part[1], part.start(1), part.end(1))
                else:
                    self.advance()
                name = self.token
                if name.kind not in ("id", "num"):
                    self.unexpected("a field's name")
                self.advance()
                e = ast.Member(e.loc, name.end + self.base, e, name.text, kind == "->", name.loc + self.base)
            elif kind == "[":
                self.advance()
                index = self.expression()
                self.expect("]", "`]`")
                e = ast.Index(e.loc, self.previous_end + self.base, e, index)
            elif kind in ("++", "--") and isinstance(e, (ast.Variable, ast.MapAccess)):
                self.advance()
                e = ast.Unary(e.loc, self.previous_end + self.base, f"x{kind}", e)
            else:
                return e

    def primary(self) -> ast.Expr:
        token, start = self.token, self.here
        end = token.end + self.base
        kind = token.kind
        if kind == "num":
            self.advance()
            assert isinstance(token.value, int)
            return ast.Number(start, end, token.value)
        if kind == "str":
            self.advance()
            assert isinstance(token.value, bytes)
            return ast.String(start, end, token.value)
        if kind == "$":
            self.advance()
            return ast.Variable(start, end, token.text)
        if kind == "@":
            return self.map_access()
        if kind == "param":
            self.advance()
            return ast.Parameter(start, end, 0 if token.text == "$#" else int(token.text[1:]))
        if kind == "id":
            return self.name()
        if kind == "(":
            return self.parenthesised()
        if kind == "{":
            body = self.block()
            if not body or not isinstance(body[-1], ast.Evaluate):
                self.report_at(
                    "T0102", token.loc, token.end, "a block that stands for a value has to end in an expression"
                )
                raise Mistake
            return ast.BlockExpr(start, self.previous_end + self.base, body[:-1], body[-1].expr)
        self.unexpected("a value")

    def map_access(self) -> ast.Expr:
        token, start = self.token, self.here
        self.advance()
        keys: list[ast.Expr] | None = None
        # A bracket that belongs to the map follows at once or after blanks.
        if self.token.kind == "[":
            self.advance()
            keys = self.arguments("]")
        return ast.MapAccess(start, self.previous_end + self.base, token.text, keys)

    def arguments(self, closing: str) -> list[ast.Expr]:
        args: list[ast.Expr] = []
        while self.token.kind != closing:
            args.append(self.expression())
            if self.token.kind == ",":
                self.advance()
            elif self.token.kind != closing:
                if self.token.kind in (";", "{", "}", "eof"):
                    self.report_at("T0102", self.previous_end, self.previous_end + 1, f"`{closing}` is missing here")
                    raise Mistake
                self.unexpected(f"`,` or `{closing}`")
        self.advance()
        return args

    def name(self) -> ast.Expr:
        token, start = self.token, self.here
        text = token.text
        self.advance()
        if text in ("true", "false"):
            return ast.Bool(start, token.end + self.base, text == "true")
        if text in ("sizeof", "offsetof") and self.token.kind == "(":
            return self.size_or_offset(text, start)
        if text in self.constants and text not in self._expanding:
            return self.constant(token)
        if self.token.kind == "(":
            self.advance()
            args = self.arguments(")")
            return ast.Call(start, self.previous_end + self.base, text, args, token.end + self.base)
        if text in _TAGS or text in INTEGER_TYPES:
            self.report(
                "T0102",
                token,
                f"a type, `{text}`, stands where a value is wanted",
                helps=["a cast has parentheses around the type: `(struct sock *)arg0`"],
            )
            raise Mistake
        return ast.Name(start, token.end + self.base, text)

    def constant(self, token: Token) -> ast.Expr:
        """What a ``#define`` makes of the name, as if it stood there; messages point at the name."""
        inner = Parser(self.constants[token.text], 0, self.diagnostics, self.constants, self.is_type)
        inner._expanding = self._expanding | {token.text}
        inner.fixed = (token.loc + self.base, token.end + self.base)
        before = self.diagnostics.error_count
        inner.advance()
        try:
            e = inner.expression()
        except Mistake:
            e = ast.Number(0, 0, 0)
        if inner.token.kind != "eof" and self.diagnostics.error_count == before:
            self.report(
                "T0102",
                token,
                f"`{token.text}` is defined as something that is no value",
                notes=[f"`#define {token.text} {self.constants[token.text]}`"],
            )
        return _moved(e, *inner.fixed)

    def size_or_offset(self, word: str, start: int) -> ast.Expr:
        opening = self.token
        of: ast.TypeName | ast.Expr
        self.advance()
        if self.token.kind == "id" and (
            self.token.text in _TAGS or self.token.text in _TYPE_WORDS or self.is_type(self.token.text)
        ):
            of = self.type_name()
        else:
            of = self.expression()
        path: list[str] = []
        if word == "offsetof":
            self.expect(",", "`,` and the field's name")
            path.append(self.expect("id", "a field's name").text)
            while self.token.kind == ".":
                self.advance()
                path.append(self.expect("id", "a field's name").text)
        if self.token.kind != ")":
            self.unexpected(f"`)` of the `(` in line {self.diagnostics.sources.line(opening.loc + self.base)}")
        self.advance()
        end = self.previous_end + self.base
        return ast.Offsetof(start, end, of, path) if word == "offsetof" else ast.Sizeof(start, end, of)

    def parenthesised(self) -> ast.Expr:
        start = self.here
        self.advance()
        names: list[str] = []
        items: list[ast.Expr] = []
        comma = self.token.kind == ")"
        while self.token.kind != ")":
            e = self.expression()
            if self.token.kind == "=" and isinstance(e, ast.Name) and len(names) == len(items):
                self.advance()
                names.append(e.name)
                e = self.expression()
            elif self.token.kind == "=":
                self.compared_by_one_sign(e)
            items.append(e)
            if self.token.kind == ",":
                comma = True
                self.advance()
            elif self.token.kind != ")":
                if self.token.kind in (";", "{", "}", "eof"):
                    self.report_at("T0102", self.previous_end, self.previous_end + 1, "`)` is missing here")
                    raise Mistake
                self.unexpected("`,` or `)`")
        self.advance()
        end = self.previous_end + self.base
        if names:
            if len(names) != len(items):
                self.diagnostics.error("T0102", "either all parts of a record have names, or none", start, end)
                raise Mistake
            return ast.Record(start, end, names, items)
        if not comma:
            return items[0]
        return ast.Tuple(start, end, items)


def _moved(e: ast.Expr, loc: int, end: int) -> ast.Expr:
    """The tree with all its places at one."""
    for node in ast.walk(e):
        node.loc, node.end = loc, end
    return e


_STATEMENTS: dict[str, Callable[[Parser], ast.Stmt]] = {
    "if": Parser.if_statement,
    "while": Parser.while_statement,
    "unroll": Parser.unroll_statement,
    "for": Parser.for_statement,
    "return": Parser.return_statement,
    "break": Parser.jump,
    "continue": Parser.jump,
    "let": Parser.let_statement,
}


def parse_script(
    text: str,
    base: int,
    diagnostics: Diagnostics,
    constants: Mapping[str, str],
    is_type: Callable[[str], bool],
    skip: list[tuple[int, int]],
) -> ast.Script:
    """The tree of a whole script; ``skip`` are the stretches of C in it. Mistakes are in ``diagnostics``."""
    parser = Parser(text, base, diagnostics, constants, is_type)
    try:
        return parser.script(skip)
    except TooManyErrors:
        return ast.Script(base, base, [])
