"""Statements and local declarations (C11 6.8, GNU's extensions)."""

from __future__ import annotations

from ebpf.compiler.c import ast
from ebpf.compiler.c.parser_cursor import KEYWORDS, SPECIFIER_WORDS, Recover, Unwind
from ebpf.compiler.c.parser_declarators import Declarator, Specifiers
from ebpf.compiler.c.parser_types import TypeParser
from ebpf.diagnostics import did_you_mean

# (kind, how many names lead) of the macros that head a function at file scope, and of those that stand in a
# declarator.
FILE_WRAPPERS = {
    "TRACEPOINT_PROBE": 2,
    "RAW_TRACEPOINT_PROBE": 1,
    "KFUNC_PROBE": 1,
    "KRETFUNC_PROBE": 1,
    "MODULE_KFUNC_PROBE": 2,
    "MODULE_KRETFUNC_PROBE": 2,
    "KMOD_RET": 1,
    "LSM_PROBE": 1,
    "BPF_ITER": 1,
}
DECLARATOR_WRAPPERS = frozenset(
    {
        "BPF_KPROBE",
        "BPF_KRETPROBE",
        "BPF_UPROBE",
        "BPF_URETPROBE",
        "BPF_PROG",
        "BPF_PROG2",
        "BPF_KSYSCALL",
        "BPF_KPROBE_SYSCALL",
        "BPF_USDT",
    }
)
_STATEMENT_WORDS = (
    "return",
    "if",
    "else",
    "while",
    "for",
    "do",
    "switch",
    "case",
    "break",
    "continue",
    "goto",
    "default",
)


class StatementParser(TypeParser):
    # ------------------------------------------------------------------------------------------------------- blocks

    def block(self) -> ast.Block:
        """``{ … }`` with a scope of its own."""
        self.scopes.append({})
        try:
            return self.block_in_scope()
        finally:
            self.scopes.pop()

    def block_in_scope(self) -> ast.Block:
        kinds, tokens = self.kinds, self.tokens
        opener = self.pos
        self.openers.append(opener)
        self.pos += 1
        items: list[ast.Stmt] = []
        while True:
            start = self.pos
            kind = kinds[start]
            if kind == "}":
                break
            if kind == "eof":
                self._unclosed(opener)
            try:
                items.append(self.statement())
            except Recover:
                self.skip_statement()
                if self.pos == start and kinds[start] not in ("}", "eof"):
                    self.pos += 1
        self.pos += 1
        self.openers.pop()
        return ast.Block(tokens[opener].loc, tokens[self.pos - 1].end, items)

    def _unclosed(self, opener: int) -> None:
        token = self.tokens[opener]
        what = f" in function `{self.function_name}`" if self.function_name else ""
        self.report("C0209", f"`}}` is missing{what}", related=[(token.loc, token.end, "this `{` is never closed")])
        raise Unwind

    # --------------------------------------------------------------------------------------------------- statements

    def statement(self) -> ast.Stmt:
        """One statement or local declaration."""
        kind = self.kinds[self.pos]
        if kind == "id":
            if self._starts_declaration():
                return self.local_declaration()
            if self.kinds[self.pos + 1] == ":" and self.kinds[self.pos + 2] != ":":
                return self.labelled()
            return self.expression_statement()
        method = _STATEMENTS.get(kind)
        if method is not None:
            return method(self)
        if kind in SPECIFIER_WORDS or kind == "[" and self.kinds[self.pos + 1] == "[":
            return self.attributed() if kind in ("__attribute__", "[") else self.local_declaration()
        if kind == "__extension__" and self.starts_type(self.pos + 1):
            return self.local_declaration()
        return self.expression_statement()

    def _starts_declaration(self) -> bool:
        """Whether the identifier that comes next is the type of a declaration."""
        kinds, tokens, at = self.kinds, self.tokens, self.pos
        following = kinds[at + 1]
        name = tokens[at].text
        if following == "id":
            if self.is_type_name(name):
                return True
            return self._unknown_word(name)
        if following == "*":
            if self.is_type_name(name):
                return True
            past = at + 1
            while kinds[past] in ("*", "const", "restrict", "volatile"):
                past += 1
            # `a * b;` computes nothing: where `a` is no name of the program, it is meant as a type.
            if kinds[past] == "id" and kinds[past + 1] in (";", "=", ",", "[") and self.declared(name) is None:
                if kinds[past + 1] != "," or past > at + 2:
                    self.unknown_type(at)
                    return True
            return False
        if following == "(":
            return kinds[at + 2] == "*" and self.is_type_name(name)
        if following in SPECIFIER_WORDS or following == "&":
            return (following != "&" or kinds[at + 2] == "id" and kinds[at + 3] in ("=", ";")) and self.is_type_name(
                name
            )
        return False

    def _unknown_word(self, name: str) -> bool:
        """At two identifiers in a row, the first no type: a misspelt word, or a declaration with an unknown
        type (True).
        """
        kinds, tokens, at = self.kinds, self.tokens, self.pos
        after = kinds[at + 2]
        if self.declared(name) is not None or name in ("and", "or", "not"):
            return False
        if name in ("try", "throw", "catch", "new", "delete", "elif"):
            return False
        close = did_you_mean(name, _STATEMENT_WORDS, limit=1)
        if close and after not in ("=", "["):
            token = tokens[at]
            self.diagnostics.error(
                "C0205", f"`{name}` is not a word of C", token.loc, token.end, helps=[f"did you mean `{close[0]}`?"]
            )
            raise Recover
        if after in ("=", ";", ",", "[", "(") or tokens[at + 1].bol is False:
            self.unknown_type(at)
            if after == "*":
                raise Recover  # `strct foo *p`
            return True
        return False

    def expression_statement(self) -> ast.ExprStmt:
        token = self.tokens[self.pos]
        if token.kind == ";":
            self.pos += 1
            return ast.ExprStmt(token.loc, token.end, None)
        start = self.pos
        expr = self.expression()
        if self.kinds[self.pos] == "{" and isinstance(expr, ast.Call) and isinstance(expr.function, ast.Name):
            self._call_with_body(expr.function, start)
        if (
            self.kinds[self.pos] in ("num", "id", "str")
            and isinstance(expr, ast.Name)
            and not self.tokens[self.pos].bol
        ):
            close = did_you_mean(expr.name, _STATEMENT_WORDS, limit=1)
            if close:
                self.diagnostics.error(
                    "C0205",
                    f"`{expr.name}` is not a word of C",
                    expr.loc,
                    expr.end,
                    helps=[f"did you mean `{close[0]}`?"],
                )
                raise Recover
        if self.kinds[self.pos] == "{" and isinstance(expr, ast.Name):
            close = did_you_mean(expr.name, ("else", "do"), limit=1)
            cpp = expr.name in ("try", "catch")
            self.diagnostics.error(
                "C0204" if cpp else "C0205",
                f"`{expr.name}` is C++" if cpp else f"`{expr.name}` is not a word of C",
                expr.loc,
                expr.end,
                helps=[f"did you mean `{close[0]}`?"] if close else [],
            )
            raise Recover
        self.expect_semicolon("the expression")
        return ast.ExprStmt(token.loc, self.tokens[self.pos - 1].end, expr)

    def _call_with_body(self, name: ast.Name, start: int) -> None:
        """``word(…) {``: a misspelt statement, or the head of another function."""
        if name.name in FILE_WRAPPERS:
            self.missing_brace(start, f"`{name.name}(…)`")
        helps = []
        if name.name in ("elif", "elsif", "elseif"):
            helps = ["write `else if`"]
        else:
            close = did_you_mean(name.name, ("if", "while", "for", "switch", "bpf_for", "bpf_repeat"), limit=1)
            if close:
                helps = [f"did you mean `{close[0]}`?"]
        self.diagnostics.error("C0205", f"`{name.name}` is not a statement of C", name.loc, name.end, helps=helps)
        raise Recover

    def missing_brace(self, start: int, what: str, place: tuple[int, int] | None = None) -> None:
        """A function begins inside another one: the ``}`` of the innermost open block is missing above."""
        opening = self.tokens[self.openers[-1]]
        loc, end = place or (self.tokens[start].loc, self.tokens[start].end)
        inside = f" function `{self.function_name}`" if self.function_name else " another function"
        self.diagnostics.error(
            "C0209",
            f"{what} begins inside{inside}: a `}}` is missing above it",
            loc,
            end,
            related=[(opening.loc, opening.end, "this `{` is never closed")],
        )
        self.pos = start
        self.brace_missing = True
        raise Unwind

    def _closes_everything(self) -> bool:
        """Whether the rest of the text closes every block that is open here: then no ``}`` is missing above."""
        depth = len(self.openers)
        for kind in self.kinds[self.pos :]:
            if kind == "{":
                depth += 1
            elif kind == "}":
                depth -= 1
        return depth == 0

    def nested_function(self, specifiers: Specifiers, base: ast.TypeExpr, declarator: Declarator) -> ast.VarDecl:
        """Refuse a function within another one, and read past it."""
        name = declarator.name or ""
        self.diagnostics.error(
            "C0211",
            f"function `{name}` stands inside of another one, and BPF C has no nested functions",
            declarator.name_loc,
            declarator.name_end,
            helps=["move it in front of that function, as `static`, and pass what it uses as arguments"],
        )
        self.declare(name)
        self.block()
        return ast.VarDecl(
            declarator.name_loc, declarator.name_end, name, declarator.apply(base), None, specifiers.storage, [], False
        )

    def attributed(self) -> ast.Stmt:
        """``__attribute__((…))`` at a statement's start: ``fallthrough``, or a declaration."""
        start = self.pos
        token = self.tokens[start]
        self.attributes()
        kind = self.kinds[self.pos]
        if kind == ";":
            self.pos += 1
            return ast.ExprStmt(token.loc, self.tokens[self.pos - 1].end, None)
        if kind in SPECIFIER_WORDS or kind == "id" and self._starts_declaration():
            self.pos = start
            return self.local_declaration()
        return self.statement()

    def local_declaration(self) -> ast.DeclStmt:
        start = self.pos
        if self.kinds[self.pos] == "__extension__":
            self.pos += 1
        declarations = self.declaration(start)
        return ast.DeclStmt(self.tokens[start].loc, self.tokens[self.pos - 1].end, declarations)

    def declaration(self, start: int) -> list[ast.VarDecl | ast.TypedefDecl | ast.TypeDecl | ast.StaticAssert]:
        """A local declaration up to and with its ``;``."""
        specifiers = self.specifiers()
        base = self.need_base(specifiers)
        if self.ends_here(specifiers):
            return [self.bare_declaration(specifiers, base)]
        out: list[ast.VarDecl | ast.TypedefDecl | ast.TypeDecl | ast.StaticAssert] = []
        while True:
            declarator = self.declarator()
            if self.kinds[self.pos] == "{" and isinstance(declarator.apply(base), ast.FunctionOf):
                if not self._closes_everything():
                    self.missing_brace(
                        start, f"function `{declarator.name}`", (declarator.name_loc, declarator.name_end)
                    )
                out.append(self.nested_function(specifiers, base, declarator))
                return out
            out.append(self.init_declarator(specifiers, base, declarator))
            if self.kinds[self.pos] != ",":
                break
            self.pos += 1
            if self.comma_for_semicolon():
                return out
        self.expect_semicolon("the declaration")
        return out

    def bare_declaration(self, specifiers: Specifiers, base: ast.TypeExpr) -> ast.TypeDecl:
        """A declaration without a name: ``struct key { … };``."""
        if not specifiers.tagged_only:
            self.diagnostics.error("C0208", "this declares nothing: a name is missing", specifiers.loc, specifiers.end)
        elif specifiers.storage == "typedef":
            self.diagnostics.warning("C0208", "a `typedef` without a name", specifiers.loc, specifiers.end)
        inner = base.type if isinstance(base, ast.Qualified) else base
        if specifiers.attributes and isinstance(inner, ast.RecordType | ast.EnumType):
            inner.attributes += specifiers.attributes
        return ast.TypeDecl(specifiers.loc, self.tokens[self.pos - 1].end, inner)

    def init_declarator(
        self, specifiers: Specifiers, base: ast.TypeExpr, declarator: Declarator
    ) -> ast.VarDecl | ast.TypedefDecl:
        """The declaration of one name; its initialiser is read here, after the name has come into scope."""
        type_ = declarator.apply(base)
        name = declarator.name or ""
        attributes = (
            specifiers.attributes + declarator.attributes if declarator.attributes else list(specifiers.attributes)
        )
        of_type = [a for a in declarator.attributes if a.name == "btf_type_tag"]
        if of_type:
            attributes = [a for a in attributes if a.name != "btf_type_tag"]
            type_ = ast.Qualified(declarator.loc, declarator.name_end, type_, frozenset(), of_type)
        if specifiers.storage == "typedef":
            self.declare(name, typedef=True)
            if self.kinds[self.pos] == "=":
                self.fail("C0208", "a `typedef` cannot have an initialiser")
            return ast.TypedefDecl(declarator.name_loc, declarator.name_end, name, type_, attributes)
        self.declare(name)
        init: ast.Expr | ast.InitList | None = None
        if self.kinds[self.pos] == "=":
            self.pos += 1
            init = self.initializer()
        elif self.kinds[self.pos] == ":" and self.kinds[self.pos + 1] == "num":
            self.fail("C0208", "only a member of a struct can be a bit-field")
        return ast.VarDecl(
            declarator.name_loc,
            declarator.name_end,
            name,
            type_,
            init,
            specifiers.storage,
            attributes,
            specifiers.inline,
        )

    # ------------------------------------------------------------------------------------------------- control flow

    def condition(self, word: str) -> ast.Expr:
        """``(condition)`` of ``if``, ``while``, ``switch``; an assignment in it that is not in parentheses of
        its own is warned about.
        """
        opener = self.pos
        self.expect("(", f"`{word}`")
        start = self.tokens[self.pos]
        expr = self.expression()
        if (
            isinstance(expr, ast.Assign)
            and expr.op == "="
            and word != "switch"
            and expr.loc == start.loc
            and start.kind != "("
        ):
            self.diagnostics.warning(
                "C0210",
                f"the condition of this `{word}` is an assignment",
                expr.op_loc,
                expr.op_loc + 1,
                helps=["write `==` to compare", "put the assignment into parentheses of its own if it is meant"],
            )
        self.expect(")", "the condition", opener=opener)
        return expr

    def if_(self) -> ast.Stmt:
        # A chain of `else if` is as deep as it is long; it is read in a loop and put together from its end.
        chain: list[tuple[int, ast.Expr, ast.Stmt]] = []
        otherwise: ast.Stmt | None = None
        while True:
            token = self.tokens[self.pos]
            self.pos += 1
            condition = self.condition("if")
            chain.append((token.loc, condition, self.body("if")))
            if self.kinds[self.pos] != "else":
                break
            self.pos += 1
            if self.kinds[self.pos] != "if":
                otherwise = self.body("else")
                break
        end = self.tokens[self.pos - 1].end
        for loc, condition, then in reversed(chain):
            otherwise = ast.If(loc, end, condition, then, otherwise)
        assert otherwise is not None
        return otherwise

    def body(self, word: str) -> ast.Stmt:
        """The statement that ``word`` governs."""
        if self.kinds[self.pos] in ("}", "eof"):
            self.fail("C0202", f"a statement expected after `{word}`, found {self.found()}")
        statement = self.statement()
        if isinstance(statement, ast.DeclStmt):
            self.diagnostics.error(
                "C0211",
                f"a declaration cannot be all that `{word}` governs",
                statement.loc,
                statement.end,
                helps=["put it into `{ … }`"],
            )
        return statement

    def unroll(self, index: int) -> int | None:
        """What ``#pragma unroll`` before the loop at token ``index`` says."""
        pragmas = self.pragmas.get(index) if self.pragmas else None
        return int(pragmas[-1]) if pragmas else None

    def while_(self) -> ast.Stmt:
        start = self.pos
        self.pos += 1
        condition = self.condition("while")
        body = self.body("while")
        return ast.While(self.tokens[start].loc, self.tokens[self.pos - 1].end, condition, body, self.unroll(start))

    def do(self) -> ast.Stmt:
        start = self.pos
        self.pos += 1
        body = self.body("do")
        if self.kinds[self.pos] != "while":
            token = self.tokens[start]
            self.fail(
                "C0202",
                f"`while` expected, found {self.found()}",
                related=[(token.loc, token.end, "to go with this `do`")],
            )
        self.pos += 1
        condition = self.condition("while")
        self.expect_semicolon("`do … while (…)`")
        return ast.DoWhile(self.tokens[start].loc, self.tokens[self.pos - 1].end, body, condition, self.unroll(start))

    def for_(self) -> ast.Stmt:
        start = self.pos
        self.pos += 1
        opener = self.pos
        self.expect("(", "`for`")
        self.scopes.append({})
        try:
            init: ast.DeclStmt | ast.ExprStmt | None = None
            kind = self.kinds[self.pos]
            if kind == ";":
                self.pos += 1
            elif kind in SPECIFIER_WORDS or kind == "id" and self._starts_declaration():
                init = self.local_declaration()
            else:
                token = self.tokens[self.pos]
                expr = self.expression()
                self._for_part(opener, "the first")
                init = ast.ExprStmt(token.loc, self.tokens[self.pos - 1].end, expr)
            condition = None if self.kinds[self.pos] == ";" else self.expression()
            self._for_part(opener, "the second")
            step = None if self.kinds[self.pos] == ")" else self.expression()
            self.expect(")", "the parts of `for`", opener=opener)
            body = self.body("for")
        finally:
            self.scopes.pop()
        return ast.For(
            self.tokens[start].loc, self.tokens[self.pos - 1].end, init, condition, step, body, self.unroll(start)
        )

    def _for_part(self, opener: int, which: str) -> None:
        if self.kinds[self.pos] == ";":
            self.pos += 1
            return
        token = self.tokens[opener]
        self.fail(
            "C0202",
            f"`;` expected after {which} part of `for`, found {self.found()}",
            notes=["the three parts are separated by `;`"],
            related=[(token.loc, token.end, "the parts begin here")],
        )

    def switch(self) -> ast.Stmt:
        token = self.tokens[self.pos]
        self.pos += 1
        value = self.condition("switch")
        body = self.body("switch")
        return ast.Switch(token.loc, self.tokens[self.pos - 1].end, value, body)

    def labelled(self) -> ast.Stmt:
        """A statement with its labels; hundreds of ``case`` in a row are read in a loop."""
        kinds = self.kinds
        labels: list[tuple[int, str | None, ast.Expr | None, ast.Expr | None]] = []  # (loc, label, low, high)
        while True:
            token = self.tokens[self.pos]
            kind = kinds[self.pos]
            if kind == "case":
                self.pos += 1
                low = self.constant()
                high = None
                if kinds[self.pos] == "...":
                    self.pos += 1
                    high = self.constant()
                self.expect(":", "the value of `case`")
                labels.append((token.loc, None, low, high))
            elif kind == "default":
                self.pos += 1
                self.expect(":", "`default`")
                labels.append((token.loc, None, None, None))
            elif kind == "id" and kinds[self.pos + 1] == ":" and kinds[self.pos + 2] != ":":
                self.pos += 2
                self.attributes()
                labels.append((token.loc, token.text, None, None))
            else:
                break
        body: ast.Stmt
        if kinds[self.pos] == "}":
            end = self.tokens[self.pos - 1].end
            body = ast.ExprStmt(end, end, None)
        else:
            body = self.statement()
        end = self.tokens[self.pos - 1].end
        for loc, name, low_value, high in reversed(labels):
            if name is not None:
                body = ast.Label(loc, end, name, body)
            elif low_value is not None:
                body = ast.Case(loc, end, low_value, high, body)
            else:
                body = ast.Default(loc, end, body)
        return body

    def goto(self) -> ast.Stmt:
        token = self.tokens[self.pos]
        self.pos += 1
        if self.kinds[self.pos] == "*":
            self.fail(
                "C0206", "a computed `goto` cannot be compiled: BPF has no indirect jumps", helps=["use `switch`"]
            )
        if self.kinds[self.pos] != "id":
            self.fail("C0202", f"a label expected after `goto`, found {self.found()}")
        label = self.tokens[self.pos].text
        self.pos += 1
        self.expect_semicolon("`goto`")
        return ast.Goto(token.loc, self.tokens[self.pos - 1].end, label)

    def jump(self) -> ast.Stmt:
        token = self.tokens[self.pos]
        self.pos += 1
        self.expect_semicolon(f"`{token.text}`")
        make = ast.Break if token.text == "break" else ast.Continue
        return make(token.loc, self.tokens[self.pos - 1].end)

    def return_(self) -> ast.Stmt:
        token = self.tokens[self.pos]
        self.pos += 1
        value = None
        if self.kinds[self.pos] not in (";", "}", "eof"):
            value = self.expression()
        self.expect_semicolon("`return`")
        return ast.Return(token.loc, self.tokens[self.pos - 1].end, value)

    def stray_else(self) -> ast.Stmt:
        self.report("C0202", "`else` without `if`", notes=["an `if` without braces governs one statement only"])
        self.pos += 1
        return self.statement()

    def static_assert_statement(self) -> ast.Stmt:
        assertion = self.static_assert()
        return ast.DeclStmt(assertion.loc, assertion.end, [assertion])

    def local_labels(self) -> ast.Stmt:
        """``__label__ a, b;``: labels are a function's anyway."""
        token = self.tokens[self.pos]
        while self.kinds[self.pos] not in (";", "eof", "}"):
            self.pos += 1
        self.expect_semicolon("`__label__`")
        return ast.ExprStmt(token.loc, self.tokens[self.pos - 1].end, None)

    # --------------------------------------------------------------------------------------------- inline assembly

    def asm(self) -> ast.Asm:
        """``asm volatile("…" : outputs : inputs : clobbers : labels);``"""
        token = self.tokens[self.pos]
        self.pos += 1
        volatile = False
        while self.kinds[self.pos] in ("volatile", "goto", "inline"):
            volatile = volatile or self.kinds[self.pos] == "volatile"
            self.pos += 1
        opener = self.pos
        self.expect("(", "`asm`")
        template = self.string().value.decode("utf-8", "replace")
        operands: list[list[ast.AsmOperand]] = [[], []]
        words: list[list[str]] = [[], []]
        for section in range(4):
            if self.kinds[self.pos] != ":":
                break
            self.pos += 1
            while self.kinds[self.pos] not in (":", ")", "eof"):
                if section < 2:
                    operands[section].append(self._asm_operand())
                elif section == 2:
                    words[0].append(self.string().value.decode("utf-8", "replace"))
                elif self.kinds[self.pos] == "id":
                    words[1].append(self.tokens[self.pos].text)
                    self.pos += 1
                if self.kinds[self.pos] == ",":
                    self.pos += 1
                elif self.kinds[self.pos] not in (":", ")"):
                    self.fail("C0202", f"`,`, `:` or `)` expected in `asm`, found {self.found()}")
        self.expect(")", "`asm(…`", opener=opener)
        self.expect_semicolon("`asm(…)`")
        return ast.Asm(
            token.loc, self.tokens[self.pos - 1].end, template, operands[0], operands[1], words[0], volatile, words[1]
        )

    def _asm_operand(self) -> ast.AsmOperand:
        token = self.tokens[self.pos]
        name = None
        if self.kinds[self.pos] == "[":
            name = self.tokens[self.pos + 1].text
            self.pos += 2
            self.expect("]")
        constraint = self.string().value.decode("utf-8", "replace")
        opener = self.pos
        self.expect("(", "the constraint")
        expr = self.expression()
        self.expect(")", opener=opener)
        return ast.AsmOperand(token.loc, self.tokens[self.pos - 1].end, name, constraint, expr)


_STATEMENTS = {
    "{": StatementParser.block,
    "if": StatementParser.if_,
    "while": StatementParser.while_,
    "do": StatementParser.do,
    "for": StatementParser.for_,
    "switch": StatementParser.switch,
    "case": StatementParser.labelled,
    "default": StatementParser.labelled,
    "goto": StatementParser.goto,
    "break": StatementParser.jump,
    "continue": StatementParser.jump,
    "return": StatementParser.return_,
    "else": StatementParser.stray_else,
    "asm": StatementParser.asm,
    "_Static_assert": StatementParser.static_assert_statement,
    "__label__": StatementParser.local_labels,
}

__all__ = ["DECLARATOR_WRAPPERS", "FILE_WRAPPERS", "KEYWORDS", "StatementParser"]
