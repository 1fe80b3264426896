"""The parser's lower half: tokens, messages, and what stands outside of actions: attach points, macros, settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ebpf.compiler.trace import ast, lexer
from ebpf.compiler.trace.lexer import Token, next_token
from ebpf.compiler.trace.providers import find_provider

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebpf.compiler.c.source import Diagnostics

_WORDS = {"eof": "the end of the script", "str": "a string", "num": "a number"}


class ProbeParser:
    def __init__(self, text: str, base: int, diagnostics: Diagnostics) -> None:
        self.text = text
        self.base = base
        self.diagnostics = diagnostics
        self.token = Token("eof", "", 0, 0)
        self.previous_end = 0
        self.in_predicate = False
        self.unclosed = False
        self.stretches: list[tuple[int, int]] = []
        self.fixed: tuple[int, int] | None = None  # of a macro's text: where all messages point to

    # ------------------------------------------------------------------------------------------------------ tokens

    @property
    def here(self) -> int:
        return self.token.loc + self.base

    def lex(self, at: int) -> Token:
        """The token at or after ``at``, behind C's stretches."""
        token = next_token(self.text, at)
        for start, end in self.stretches:
            if start <= token.loc < end:
                token = next_token(self.text, end)
        return token

    def advance(self) -> None:
        self.previous_end = self.token.end
        self.token = token = self.lex(self.token.end)
        if token.kind == "bad":
            self.bad_token(token)

    def bad_token(self, token: Token) -> None:
        text = token.text
        if text == '"':
            self.report("T0101", token, "this string has no end", helps=['close it with `"`'])
            self.token = Token("eof", "", len(self.text), len(self.text))
            return
        if text == "/*":
            self.report("T0101", token, "this comment has no end", helps=["close it with `*/`"])
            self.token = Token("eof", "", len(self.text), len(self.text))
            return
        if text[0].isdigit():
            after = self.text[token.end : token.end + 1]
            if "." in text or after == ".":
                self.report(
                    "T0105",
                    token,
                    f"`{text}` has a fraction, and BPF has no floating point",
                    helps=["use integers and scale: milliseconds for seconds, per mille for parts"],
                )
            else:
                self.report(
                    "T0105",
                    token,
                    f"`{text}` is no number",
                    helps=["numbers are written 10, 1_000, 0x1f, 1e6, or with a unit: 5ms"],
                )
            self.token = Token("num", text, token.loc, token.end, 1)
            return
        helps = ["`$` is followed by a name (`$x`), or by the number of a parameter (`$1`)"] if text == "$" else []
        self.report("T0101", token, f"`{text}` is no part of the tracing language", helps=helps)
        self.token = self.lex(token.end)
        if self.token.kind == "bad":
            self.advance()

    def expect(self, kind: str, what: str) -> Token:
        token = self.token
        if token.kind != kind:
            self.unexpected(what)
        self.advance()
        return token

    def at_word(self, word: str) -> bool:
        return self.token.kind == "id" and self.token.text == word

    # ---------------------------------------------------------------------------------------------------- messages

    def report_at(
        self,
        code: str,
        loc: int,
        end: int,
        message: str,
        *,
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
        related: Iterable[tuple[int, int, str]] = (),
    ) -> None:
        place = self.fixed or (loc + self.base, end + self.base)
        self.diagnostics.error(code, message, *place, notes=notes, helps=helps, related=related)

    def report(
        self,
        code: str,
        token: Token,
        message: str,
        *,
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
        related: Iterable[tuple[int, int, str]] = (),
    ) -> None:
        self.report_at(
            code, token.loc, max(token.end, token.loc + 1), message, notes=notes, helps=helps, related=related
        )

    def report_node(self, code: str, node: ast.Node, message: str, *, helps: Iterable[str] = ()) -> None:
        self.diagnostics.error(code, message, node.loc, node.end, helps=helps)

    def unexpected(self, what: str) -> NoReturn:
        from ebpf.compiler.trace.parser import Mistake

        found = _WORDS.get(self.token.kind) or f"`{self.token.text}`"
        self.report("T0102", self.token, f"{what} is expected here, not {found}")
        raise Mistake

    # ------------------------------------------------------------------------------------------------ upper layers

    def block(self) -> list[ast.Stmt]:
        raise NotImplementedError

    def expression(self) -> ast.Expr:
        raise NotImplementedError

    def type_name(self) -> ast.TypeName:
        raise NotImplementedError

    def skip_statement(self) -> None:
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------- whole script

    def script(self, skip: list[tuple[int, int]]) -> ast.Script:
        """The whole text; C's stretches are stepped over."""
        from ebpf.compiler.trace.parser import Mistake

        self.stretches = skip
        items: list[ast.Probe | ast.Macro | ast.Function | ast.Setting | ast.MapDecl | ast.Import] = []
        first = self.text.find("\n") if self.text.startswith("#!") else 0
        self.token = self.lex(first if first >= 0 else len(self.text))
        while True:
            if self.token.kind == "eof":
                break
            start = self.token
            try:
                if start.kind == "bad":
                    self.bad_token(start)
                elif start.kind == "}":
                    self.report("T0102", start, "this `}` closes nothing")
                    self.advance()
                elif start.kind == ";":
                    self.advance()
                else:
                    self.item(items)
            except Mistake:
                self.skip_item()
            if self.token is start:
                self.advance()
        return ast.Script(self.base, self.base + len(self.text), items)

    def skip_item(self) -> None:
        """After a mistake outside of an action: behind the next block, or at the next line that begins a probe."""
        depth = 0
        while self.token.kind != "eof":
            if self.token.kind == "{":
                depth += 1
            elif self.token.kind == "}":
                depth -= 1
                if depth <= 0:
                    self.token = self.lex(self.token.end)
                    return
            self.token = self.lex(self.token.end)

    def item(self, items: list[ast.Probe | ast.Macro | ast.Function | ast.Setting | ast.MapDecl | ast.Import]) -> None:
        if self.token.kind == "id":
            ahead = next_token(self.text, self.token.end)
            word = self.token.text
            if word == "config" and ahead.kind == "=":
                items += self.config()
                return
            if word == "macro" and ahead.kind == "id":
                items.append(self.macro())
                return
            if word == "fn" and ahead.kind == "id":
                items.append(self.function())
                return
            if word == "let" and ahead.kind == "@":
                items.append(self.map_declaration())
                return
            if word == "import" and ahead.kind == "str":
                self.advance()
                path = self.token
                self.advance()
                assert isinstance(path.value, bytes)
                items.append(
                    ast.Import(
                        path.loc + self.base, path.end + self.base, path.value.decode("utf-8", "surrogateescape")
                    )
                )
                return
        items.append(self.probe())

    # ------------------------------------------------------------------------------------------------------ probes

    def probe(self) -> ast.Probe:
        start = self.here
        points = [self.attach_point()]
        while self.token.kind == ",":
            at = self.lex(self.token.end)
            if at.kind in ("{", "eof"):
                break
            self.token = at
            points.append(self.attach_point())
        predicate = None
        if self.token.kind == "/":
            predicate = self.predicate()
        if self.token.kind != "{":
            self.no_action(points)
        end = self.previous_end + self.base
        return ast.Probe(start, end, points, predicate, self.block())

    def no_action(self, points: list[ast.AttachPoint]) -> NoReturn:
        from ebpf.compiler.trace.parser import Mistake

        if self.token.kind in ("id", "@", "$"):
            self.report("T0107", self.token, "the action needs braces around it", helps=["write `{ … }`"])
            while self.token.kind not in ("eof", ";", "}"):
                self.token = self.lex(self.token.end)
            if self.token.kind != "eof":
                self.token = self.lex(self.token.end)
            self.token = Token("}", "}", self.token.loc, self.token.loc) if self.token.kind != "eof" else self.token
            raise Mistake
        last = points[-1]
        if self.token.kind == "eof" and not PROVIDERS_WITHOUT_TARGET(last.provider) and not last.parts:
            self.report_node(
                "T0109",
                last,
                f"`{last.provider}` is no attach point",
                helps=["an attach point is written `kprobe:vfs_read`, and an action `{ … }` follows it"],
            )
            raise Mistake
        self.unexpected("`{` and the action" if self.token.kind == "eof" else "`{`, `/` or `,`")

    def attach_point(self) -> ast.AttachPoint:
        from ebpf.compiler.trace.parser import Mistake

        text, at = self.text, self.token.loc
        head = lexer.ATTACH_HEAD.match(text, at)
        if head is None:
            self.unexpected("a probe, such as `kprobe:vfs_read`")
        provider, end, alias = head[0], head.end(), None
        if text[end : end + 1] == "=" and text[end + 1 : end + 2] != "=":
            second = lexer.ATTACH_HEAD.match(text, end + 1)
            if second is not None:
                alias, provider, end = provider, second[0], second.end()
        row = find_provider(provider)
        pattern = lexer.ATTACH_PATH if row is not None and row.path else lexer.ATTACH_PART
        parts: list[str] = []
        while text[end : end + 1] == ":":
            part = pattern.match(text, end + 1)
            piece = ""
            end += 1
            while part is not None:  # `"…"` and plain text may stand side by side
                piece += part[0][1:-1] if part[0][0] == '"' else part[0]
                end = part.end()
                part = pattern.match(text, end)
            parts.append(piece)
            # Only the first part of a path may hold slashes: a predicate may follow the function's name at once. Of an
            # iterator it is the second, where it is pinned.
            pattern = lexer.ATTACH_PATH if row is not None and row.kind == "iter" else lexer.ATTACH_PART
        point = ast.AttachPoint(at + self.base, end + self.base, provider, parts, alias)
        self.previous_end = end
        self.token = self.lex(end)
        if self.token.kind == "bad":
            self.bad_token(self.token)
            raise Mistake
        return point

    def at_predicate_end(self) -> bool:
        return lexer.PREDICATE_END.match(self.text, self.token.loc) is not None

    def predicate(self) -> ast.Expr:
        from ebpf.compiler.trace.parser import Mistake

        self.in_predicate = True
        self.braces_after_predicate()
        try:
            self.advance()
            e = self.expression()
            if self.token.kind == "=":
                self.report("T0106", self.token, "`=` does not compare", helps=["`==` compares"])
                self.advance()
                self.expression()
            if self.token.kind != "/":
                self.unexpected("`/` at the predicate's end")
        except Mistake:
            while self.token.kind != "eof" and not (self.token.kind == "/" and self.at_predicate_end()):
                if self.token.kind == "{":
                    break
                self.token = self.lex(self.token.end)
            e = ast.Number(self.here, self.here, 1)
        finally:
            self.in_predicate = False
        if self.token.kind == "/":
            self.advance()
        return e

    def braces_after_predicate(self) -> None:
        """Report an action without braces: then nothing tells the predicate's `/` from a division."""
        from ebpf.compiler.trace.parser import Mistake

        start = self.token.end
        brace = self.text.find("{", start)
        before = self.text[start : brace if brace >= 0 else len(self.text)]
        if lexer.PREDICATE_END.search(self.text, start, len(self.text)) and "\n\n" not in before and ";" not in before:
            return
        if brace >= 0 and lexer.PREDICATE_END.search(self.text, start, brace + 1):
            return
        closing = self.text.find("/", start)
        if closing < 0:
            return
        self.in_predicate = False
        self.report(
            "T0107",
            next_token(self.text, closing + 1),
            "the action needs braces around it",
            helps=["write `/predicate/ { … }`"],
        )
        end = self.text.find("\n", closing)
        self.token = Token("}", "}", end, end) if end >= 0 else Token("eof", "", len(self.text), len(self.text))
        raise Mistake

    # ------------------------------------------------------------------------------------------------- other items

    def config(self) -> list[ast.Setting]:
        self.advance()
        self.advance()
        self.expect("{", "`{`")
        out = []
        while self.token.kind not in ("}", "eof"):
            if self.token.kind in (";", ","):
                self.advance()
                continue
            name = self.expect("id", "a setting's name")
            self.expect("=", "`=`")
            value = self.expression()
            out.append(ast.Setting(name.loc + self.base, name.end + self.base, name.text, value))
        self.expect("}", "`}`")
        return out

    def macro(self) -> ast.Macro:
        start = self.here
        self.advance()
        name = self.token
        self.advance()
        self.expect("(", "`(`")
        parameters = []
        while self.token.kind != ")":
            token = self.token
            if token.kind not in ("$", "@", "id"):
                self.unexpected("a parameter: `$x`, `@m`, or a name for any expression")
            parameters.append(token.text)
            self.advance()
            if self.token.kind == ",":
                self.advance()
        self.advance()
        end = self.previous_end + self.base
        body = self.block()
        value = None
        if body and isinstance(body[-1], ast.Evaluate):
            value = body.pop().expr  # type: ignore[union-attr]
        return ast.Macro(start, end, name.text, parameters, body, value)

    def function(self) -> ast.Function:
        start = self.here
        self.advance()
        name = self.token
        self.advance()
        self.expect("(", "`(`")
        parameters = []
        while self.token.kind != ")":
            parameter = self.expect("$", "a parameter, `$x : type`")
            self.expect(":", "`:` and the parameter's type")
            parameters.append((parameter.text, self.type_name()))
            if self.token.kind == ",":
                self.advance()
        self.advance()
        self.expect(":", "`:` and the function's type")
        result = self.type_name()
        return ast.Function(start, name.end + self.base, name.text, parameters, result, self.block())

    def map_declaration(self) -> ast.MapDecl:
        start = self.here
        self.advance()
        name = self.token
        self.advance()
        self.expect("=", "`=` and a kind of map")
        kind = self.expect("id", "a kind of map: hash, lruhash, percpuhash, percpulruhash, percpuarray, array")
        self.expect("(", "`(` and the number of entries")
        entries = None if self.token.kind == ")" else self.expression()
        self.expect(")", "`)`")
        return ast.MapDecl(start, self.previous_end + self.base, name.text, kind.text, entries)


def PROVIDERS_WITHOUT_TARGET(provider: str) -> bool:
    row = find_provider(provider)
    return row is not None and row.least == 0
