"""Expressions and initialisers (C11 6.5, 6.7.9, GNU's extensions)."""

from __future__ import annotations

from ebpf.compiler.c import ast
from ebpf.compiler.c.lexer import PRECEDENCE, is_float, parse_integer, unescape
from ebpf.compiler.c.parser_cursor import TYPE_WORDS, Cursor, Recover

ASSIGNMENTS = frozenset({"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="})
_PREFIX = frozenset({"-", "+", "~", "!", "*", "&", "++", "--"})
# Macros whose arguments, from that number on, are the names of members.
_MEMBER_ARGUMENTS = (("BPF_CORE_READ", 1), ("BPF_PROBE_READ", 1), ("container_of", 2), ("bpf_core_enum_value", 1))
_FUNCTION_NAMES = frozenset({"__func__", "__FUNCTION__", "__PRETTY_FUNCTION__"})


class ExpressionParser(Cursor):
    """Precedence climbing: one call per operand, not one per level of precedence."""

    def expression(self) -> ast.Expr:
        """An expression, commas included."""
        left = self.assignment()
        while self.kinds[self.pos] == ",":
            comma = self.tokens[self.pos]
            self.pos += 1
            right = self.assignment()
            left = ast.Binary(left.loc, self.tokens[self.pos - 1].end, ",", left, right, comma.loc)
        return left

    def assignment(self) -> ast.Expr:
        """An expression without commas on its top level."""
        start = self.tokens[self.pos].loc
        left = self.unary()
        kinds = self.kinds
        kind = kinds[self.pos]
        if kind in ASSIGNMENTS:
            op = self.tokens[self.pos]
            self.pos += 1
            value = self.initializer_list() if kinds[self.pos] == "{" else self.assignment()
            if isinstance(value, ast.InitList):
                self.diagnostics.error(
                    "C0212",
                    "a braced list can only initialise a variable where it is declared",
                    value.loc,
                    value.end,
                    helps=["write a compound literal: `x = (struct type){ … }`"],
                )
                return left
            return ast.Assign(start, self.tokens[self.pos - 1].end, kind, left, value, op.loc)
        if kind in PRECEDENCE:
            left = self.binary(left, 1, start)
            kind = kinds[self.pos]
        if kind == "?":
            left = self.conditional(left, start)
        return left

    def constant(self) -> ast.Expr:
        """A constant expression: no comma, no assignment."""
        start = self.tokens[self.pos].loc
        left = self.unary()
        if self.kinds[self.pos] in PRECEDENCE:
            left = self.binary(left, 1, start)
        if self.kinds[self.pos] == "?":
            left = self.conditional(left, start)
        return left

    def conditional(self, condition: ast.Expr, start: int) -> ast.Expr:
        mark = self.pos
        self.pos += 1
        then = None if self.kinds[self.pos] == ":" else self.expression()
        if self.kinds[self.pos] != ":":
            token = self.tokens[mark]
            self.fail(
                "C0202", f"`:` expected, found {self.found()}", related=[(token.loc, token.end, "to go with this `?`")]
            )
        self.pos += 1
        otherwise = self.constant()
        if self.kinds[self.pos] in ASSIGNMENTS:
            self.fail(
                "C0212", "the last part of `?:` cannot be assigned to", helps=["put the assignment into parentheses"]
            )
        return ast.Conditional(start, self.tokens[self.pos - 1].end, condition, then, otherwise)

    def binary(self, left: ast.Expr, least: int, start: int) -> ast.Expr:
        kinds, tokens = self.kinds, self.tokens
        op = kinds[self.pos]
        precedence = PRECEDENCE.get(op, 0)
        while precedence >= least:
            op_token = tokens[self.pos]
            self.pos += 1
            right_start = tokens[self.pos].loc
            right = self.unary()
            following = PRECEDENCE.get(kinds[self.pos], 0)
            if following > precedence:
                right = self.binary(right, precedence + 1, right_start)
                following = PRECEDENCE.get(kinds[self.pos], 0)
            left = ast.Binary(start, tokens[self.pos - 1].end, op, left, right, op_token.loc)
            op, precedence = kinds[self.pos], following
        return left

    def unary(self) -> ast.Expr:
        token = self.tokens[self.pos]
        kind = self.kinds[self.pos]
        if kind == "id" or kind == "num":
            return self.postfix(self.primary(), token.loc)
        if kind in _PREFIX:
            self.pos += 1
            operand = self.unary()
            op = kind + "x" if kind in ("++", "--") else kind
            return ast.Unary(token.loc, self.tokens[self.pos - 1].end, op, operand)
        if kind == "(":
            if self.starts_type(self.pos + 1):
                return self.cast()
            if self._looks_like_cast_to_unknown():
                self.unknown_type(self.pos + 1)
                return self.cast()
            return self.postfix(self.primary(), token.loc)
        if kind == "sizeof":
            return self.sizeof()
        if kind == "_Alignof":
            self.pos += 1
            opener = self.pos
            self.expect("(", "`_Alignof`")
            if self.starts_type(self.pos):
                type_: ast.TypeExpr = self.type_name()
            else:
                expr = self.expression()
                type_ = ast.TypeofType(expr.loc, expr.end, expr, None)
            end = self.expect(")", opener=opener).end
            return ast.AlignofType(token.loc, end, type_)
        if kind == "__extension__":
            self.pos += 1
            return self.unary()
        if kind == "&&":
            self.fail("C0206", "the address of a label (`&&label`) cannot be taken: BPF has no indirect jumps")
        return self.postfix(self.primary(), token.loc)

    def _looks_like_cast_to_unknown(self) -> bool:
        """At ``(``: ``(name *)operand`` or ``(name)operand`` where ``name`` is nothing that we know."""
        kinds, at = self.kinds, self.pos + 1
        if kinds[at] != "id" or self.declared(self.tokens[at].text) is not None:
            return False
        at += 1
        stars = at
        while kinds[at] == "*":
            at += 1
        if kinds[at] != ")":
            return False
        following = kinds[at + 1]
        if at > stars:
            return True
        return following in ("id", "num", "str", "chr", "{") and not self.tokens[self.pos + 1].hide

    def cast(self) -> ast.Expr:
        """``(type)operand`` or ``(type){ … }``."""
        start = self.pos
        token = self.tokens[start]
        self.pos += 1
        type_ = self.type_name()
        self.expect(")", opener=start)
        if self.kinds[self.pos] == "{":
            init = self.initializer_list()
            literal = ast.CompoundLiteral(token.loc, self.tokens[self.pos - 1].end, type_, init)
            return self.postfix(literal, token.loc)
        operand = self.unary()
        return ast.Cast(token.loc, self.tokens[self.pos - 1].end, type_, operand)

    def sizeof(self) -> ast.Expr:
        token = self.tokens[self.pos]
        self.pos += 1
        if self.kinds[self.pos] == "(" and (self.starts_type(self.pos + 1) or self._is_sizeof_unknown()):
            opener = self.pos
            self.pos += 1
            type_ = self.type_name()
            end = self.expect(")", opener=opener).end
            if self.kinds[self.pos] == "{":
                init = self.initializer_list()
                literal = self.postfix(
                    ast.CompoundLiteral(token.loc, self.tokens[self.pos - 1].end, type_, init), token.loc
                )
                return ast.SizeofExpr(token.loc, self.tokens[self.pos - 1].end, literal)
            return ast.SizeofType(token.loc, end, type_)
        operand = self.unary()
        return ast.SizeofExpr(token.loc, self.tokens[self.pos - 1].end, operand)

    def _is_sizeof_unknown(self) -> bool:
        """``sizeof(name *)`` with an unknown name can only be a type."""
        at = self.pos + 1
        if self.kinds[at] != "id" or self.kinds[at + 1] != "*" or self.declared(self.tokens[at].text) is not None:
            return False
        after = at + 1
        while self.kinds[after] == "*":
            after += 1
        if self.kinds[after] == ")":
            self.unknown_type(at)
            return True
        return False

    def postfix(self, base: ast.Expr, start: int) -> ast.Expr:
        kinds, tokens = self.kinds, self.tokens
        while True:
            kind = kinds[self.pos]
            if kind == "(":
                base = self.call(base, start)
            elif kind == "." or kind == "->":
                name = tokens[self.pos + 1]
                if name.kind != "id":
                    self.pos += 1
                    self.fail("C0202", f"the name of a member expected after `{kind}`, found {self.found()}")
                self.pos += 2
                base = ast.Member(start, name.end, base, name.text, kind == "->", name.loc)
            elif kind == "[":
                opener = self.pos
                self.pos += 1
                index = self.expression()
                end = self.expect("]", opener=opener).end
                base = ast.Index(start, end, base, index)
            elif kind == "++" or kind == "--":
                self.pos += 1
                base = ast.Unary(start, tokens[self.pos - 1].end, "x" + kind, base)
            else:
                return base

    def call(self, function: ast.Expr, start: int) -> ast.Expr:
        opener = self.pos
        self.pos += 1
        args: list[ast.Expr] = []
        types_before = 99  # from this argument on, a name is no type, even if the kernel has one called so
        if isinstance(function, ast.Name):
            for prefix, count in _MEMBER_ARGUMENTS:
                if function.name.startswith(prefix):
                    types_before = count
        if self.kinds[self.pos] != ")":
            while True:
                args.append(self.argument() if len(args) < types_before else self.assignment())
                if self.kinds[self.pos] != ",":
                    break
                self.pos += 1
        if self.kinds[self.pos] == ")":
            self.pos += 1
        else:
            self._unclosed_call(function, opener)
        return ast.Call(start, self.tokens[self.pos - 1].end, function, args)

    def _unclosed_call(self, function: ast.Expr, opener: int) -> None:
        """Report a call's missing ``)``; returns where parsing can go on as if it were there."""
        token = self.tokens[opener]
        what = f"the arguments of `{function.name}`" if isinstance(function, ast.Name) else "the arguments"
        kind = self.kinds[self.pos]
        if kind == "bad":
            self.pos += 1
            self.fail("C0202", "", index=self.pos - 1)
        if kind != ";" and not self.tokens[self.pos].bol:
            self.fail(
                "C0202",
                f"`,` or `)` expected in {what}, found {self.found()}",
                related=[(token.loc, token.end, "to close this `(`")],
            )
        previous = self.tokens[self.pos - 1]
        self.diagnostics.error(
            "C0202",
            f"`)` expected after {what}",
            previous.end,
            previous.end + 1,
            label="add `)` here",
            related=[(token.loc, token.end, "to close this `(`")],
        )
        if kind != ";":
            raise Recover

    def argument(self) -> ast.Expr:
        """A call's argument, which may be a type."""
        if self.starts_type(self.pos) and not (
            self.kinds[self.pos] == "id" and self.kinds[self.pos + 1] in ("=", "+", "-", ".", "->")
        ):
            token = self.tokens[self.pos]
            type_ = self.type_name()
            return ast.TypeArg(token.loc, self.tokens[self.pos - 1].end, type_)
        return self.assignment()

    # ----------------------------------------------------------------------------------------------------- primary

    def primary(self) -> ast.Expr:
        token = self.tokens[self.pos]
        kind = self.kinds[self.pos]
        if kind == "id":
            name = token.text
            self.pos += 1
            if name == "offsetof":
                if self.kinds[self.pos] == "(" and self.declared(name) is None:
                    return self.offsetof(token.loc)
            elif name in _FUNCTION_NAMES:
                return ast.StringLiteral(token.loc, token.end, (self.function_name or "").encode())
            elif name in ("true", "false"):
                if self.declared(name) is None:
                    return ast.IntLiteral(token.loc, token.end, int(name == "true"), "", True)
            elif name in ("new", "delete") and self.kinds[self.pos] in ("id", *TYPE_WORDS):
                self.fail(
                    "C0204",
                    f"`{name}` is C++; BPF has no heap",
                    index=self.pos - 1,
                    helps=["use a local variable, or a per-CPU array map for what is large"],
                )
            elif name == "nullptr" and self.declared(name) is None:
                self.diagnostics.error("C0204", "`nullptr` is C++", token.loc, token.end, helps=["write `NULL`"])
                return ast.IntLiteral(token.loc, token.end, 0, "", True)
            return ast.Name(token.loc, token.end, name)
        if kind == "num":
            return self.number()
        if kind == "str":
            return self.string()
        if kind == "chr":
            return self.character()
        if kind == "(":
            opener = self.pos
            self.pos += 1
            if self.kinds[self.pos] == "{":
                body = self.block()
                end = self.expect(")", opener=opener).end
                return ast.StmtExpr(token.loc, end, body)
            inner = self.expression()
            self.expect(")", opener=opener)
            return inner
        if kind == "_Generic":
            return self.generic()
        if kind == "__builtin_offsetof":
            self.pos += 1
            return self.offsetof(token.loc)
        if kind == "bad":
            self.pos += 1
            self.fail("C0202", "", index=self.pos - 1)
        if kind == "{":
            self.fail(
                "C0202", "an expression expected, found `{`", helps=["a braced list can only initialise a variable"]
            )
        if kind in TYPE_WORDS:
            self.fail("C0202", f"an expression expected, found the type `{token.text}`")
        self.fail("C0202", f"an expression expected, found {self.found()}")

    def number(self) -> ast.Expr:
        token = self.tokens[self.pos]
        self.pos += 1
        text = token.text
        if is_float(text):
            return ast.FloatLiteral(token.loc, token.end, text)
        number = parse_integer(text)
        if isinstance(number, str):
            self.diagnostics.error("C0207", number, token.loc, token.end)
            return ast.IntLiteral(token.loc, token.end, 0, "", True)
        value, suffix, decimal = number
        if value >> 64:
            self.diagnostics.error("C0207", "this number does not fit into 64 bits", token.loc, token.end)
            value &= 0xFFFFFFFFFFFFFFFF
        return ast.IntLiteral(token.loc, token.end, value, suffix, decimal)

    def string(self) -> ast.StringLiteral:
        """Adjacent string literals as one."""
        if self.kinds[self.pos] != "str":
            if self.kinds[self.pos] == "bad":
                self.pos += 1
                self.fail("C0202", "", index=self.pos - 1)
            self.fail("C0202", f"a string expected, found {self.found()}")
        first = self.tokens[self.pos]
        parts: list[bytes] = []
        while self.kinds[self.pos] == "str":
            token = self.tokens[self.pos]
            self.pos += 1
            value, complaints = unescape(token.text)
            for complaint in complaints:
                self.diagnostics.error("C0207", complaint, token.loc, token.end)
            if not isinstance(value, bytes):
                self.diagnostics.error(
                    "C0207", "wide strings have no use in BPF", token.loc, token.end, helps=["drop the prefix"]
                )
                continue
            parts.append(value)
        return ast.StringLiteral(first.loc, self.tokens[self.pos - 1].end, b"".join(parts))

    def character(self) -> ast.Expr:
        token = self.tokens[self.pos]
        self.pos += 1
        value, complaints = unescape(token.text)
        for complaint in complaints:
            self.diagnostics.error("C0207", complaint, token.loc, token.end)
        units = list(value)
        number = 0
        for unit in units[-4:]:
            number = (number << 8) | unit
        if token.text[0] == "'":
            if len(units) == 1 and number > 127:
                number -= 256  # char is signed
            elif len(units) > 1:
                self.diagnostics.warning(
                    "C0207",
                    "a character constant of several characters",
                    token.loc,
                    token.end,
                    helps=['a string is written with `"`'],
                )
                if number >> 31:
                    number -= 1 << 32
        return ast.CharLiteral(token.loc, token.end, number)

    def offsetof(self, loc: int) -> ast.Expr:
        opener = self.pos
        self.expect("(", "`offsetof`")
        if self.kinds[self.pos] == "id" and not self.starts_type(self.pos):
            self.unknown_type(self.pos)
        type_ = self.type_name()
        self.expect(",", "the type")
        designators: list[str | ast.Expr] = []
        while True:
            if self.kinds[self.pos] == "id" and (not designators or self.kinds[self.pos - 1] in (".", "->")):
                designators.append(self.tokens[self.pos].text)
                self.pos += 1
            elif self.kinds[self.pos] == "[" and designators:
                bracket = self.pos
                self.pos += 1
                designators.append(self.expression())
                self.expect("]", opener=bracket)
            elif self.kinds[self.pos] in (".", "->") and designators:
                self.pos += 1
            else:
                break
        if not designators or self.kinds[self.pos - 1] in (".", "->"):
            self.fail("C0202", f"the name of a member expected in `offsetof`, found {self.found()}")
        end = self.expect(")", opener=opener).end
        return ast.Offsetof(loc, end, type_, designators)

    def generic(self) -> ast.Expr:
        token = self.tokens[self.pos]
        self.pos += 1
        opener = self.pos
        self.expect("(", "`_Generic`")
        control = self.assignment()
        choices: list[tuple[ast.TypeExpr | None, ast.Expr]] = []
        while self.kinds[self.pos] == ",":
            self.pos += 1
            type_: ast.TypeExpr | None = None
            if self.kinds[self.pos] == "default":
                self.pos += 1
            else:
                if self.kinds[self.pos] == "id" and not self.starts_type(self.pos):
                    self.unknown_type(self.pos)
                type_ = self.type_name()
            self.expect(":", "the type")
            choices.append((type_, self.assignment()))
        end = self.expect(")", opener=opener).end
        return ast.Generic(token.loc, end, control, choices)

    # ------------------------------------------------------------------------------------------------ initialisers

    def initializer(self) -> ast.Expr | ast.InitList:
        return self.initializer_list() if self.kinds[self.pos] == "{" else self.assignment()

    def initializer_list(self) -> ast.InitList:
        """``{ … }`` with its designators."""
        opener = self.pos
        self.pos += 1
        try:
            return self._initializer_items(opener)
        except Recover:
            self._skip_initializer()
            raise

    def _skip_initializer(self) -> None:
        """After a mistake: go behind the list's ``}``, unless the statement ends before."""
        depth, at = 0, self.pos
        while self.kinds[at] not in (";", "eof"):
            if self.kinds[at] == "{":
                depth += 1
            elif self.kinds[at] == "}":
                if depth == 0:
                    self.pos = at + 1
                    return
                depth -= 1
            at += 1

    def _initializer_items(self, opener: int) -> ast.InitList:
        kinds, tokens = self.kinds, self.tokens
        items: list[ast.InitItem] = []
        while kinds[self.pos] != "}":
            start = tokens[self.pos]
            designators: list[str | ast.Expr | tuple[ast.Expr, ast.Expr]] = []
            if kinds[self.pos] in (".", "["):
                designators = self.designators()
            elif kinds[self.pos] == "id" and kinds[self.pos + 1] == ":":  # GNU's old `name: value`
                designators = [start.text]
                self.pos += 2
            value = self.initializer()
            items.append(ast.InitItem(start.loc, tokens[self.pos - 1].end, designators, value))
            kinds, tokens = self.kinds, self.tokens
            if kinds[self.pos] == ",":
                self.pos += 1
            elif kinds[self.pos] != "}":
                token = tokens[opener]
                self.fail(
                    "C0202",
                    f"`,` or `}}` expected in the initialiser, found {self.found()}",
                    related=[(token.loc, token.end, "it begins here")],
                )
        self.pos += 1
        return ast.InitList(tokens[opener].loc, tokens[self.pos - 1].end, items)

    def designators(self) -> list[str | ast.Expr | tuple[ast.Expr, ast.Expr]]:
        out: list[str | ast.Expr | tuple[ast.Expr, ast.Expr]] = []
        while True:
            kind = self.kinds[self.pos]
            if kind == ".":
                self.pos += 1
                if self.kinds[self.pos] != "id":
                    self.fail("C0202", f"the name of a member expected after `.`, found {self.found()}")
                out.append(self.tokens[self.pos].text)
                self.pos += 1
            elif kind == "[":
                opener = self.pos
                self.pos += 1
                first = self.constant()
                if self.kinds[self.pos] == "...":
                    self.pos += 1
                    out.append((first, self.constant()))
                else:
                    out.append(first)
                self.expect("]", opener=opener)
            else:
                break
        if self.kinds[self.pos] == "=":
            self.pos += 1
        elif not isinstance(out[-1], ast.Node):  # `[2] value` is GNU's
            self.expect("=", "the designator")
        return out
