"""Tokens → syntax tree: what stands at file scope. A hand-written recursive descent, one token of look-ahead nearly
everywhere.

``parser_expressions``, ``parser_types`` and ``parser_statements`` are its other parts. A mistake is reported once,
then parsing goes on behind the statement or declaration that holds it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast
from ebpf.compiler.c.parser_cursor import Recover, Unwind
from ebpf.compiler.c.parser_statements import DECLARATOR_WRAPPERS, FILE_WRAPPERS, StatementParser
from ebpf.compiler.c.source import TooManyErrors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ebpf.compiler.c.lexer import Token
    from ebpf.compiler.c.parser_declarators import Declarator, Specifiers
    from ebpf.compiler.c.source import SourceMap
    from ebpf.diagnostics import Diagnostic


def parse(
    tokens: Sequence[Token],
    sources: SourceMap,
    *,
    is_typedef: Callable[[str], bool] = lambda name: False,
    similar_types: Callable[[str], Sequence[str]] | None = None,
    includes: Iterable[str] = (),
) -> tuple[ast.TranslationUnit, list[Diagnostic]]:
    """The syntax tree of `preprocess`'s tokens.

    ``is_typedef(name)`` tells whether a name that the program does not declare is a type (of the kernel's BTF, say);
    it is asked at most once for each name. ``similar_types(name)`` suggests spellings of a type that is unknown. With
    errors among the diagnostics, the tree holds what could be read.
    """
    parser = Parser(tokens, sources, is_typedef, similar_types)
    items: list[ast.ExternalDecl] = []
    try:
        parser.unit(items)
    except TooManyErrors:
        pass
    except RecursionError:
        token = parser.tokens[min(parser.pos, len(parser.tokens) - 1)]
        try:
            parser.diagnostics.error(
                "C0213", "this is nested too deeply", token.loc, token.end, helps=["split it into several functions"]
            )
        except TooManyErrors:
            pass
    first, last = parser.tokens[0], parser.tokens[-1]
    return ast.TranslationUnit(first.loc, last.end, items, list(includes)), parser.diagnostics.items


_DIRECTIVES = frozenset({"include", "define", "undef", "ifdef", "ifndef", "endif", "elif", "pragma", "error"})
_STATEMENT_STARTS = frozenset(
    {"if", "while", "do", "for", "switch", "case", "default", "goto", "break", "continue", "return", "else"}
)


class Parser(StatementParser):
    def unit(self, items: list[ast.ExternalDecl]) -> None:
        kinds = self.kinds
        while kinds[self.pos] != "eof":
            start = self.pos
            try:
                self.external(items)
            except Recover:
                self.skip_statement()
                if kinds[self.pos] == "}":
                    self.pos += 1  # of the function that could not be read
                elif self.pos == start:
                    self.pos += 1
            except Unwind:
                pass
            del self.scopes[1:]
            self.openers.clear()
            self.function_name = None

    def external(self, items: list[ast.ExternalDecl]) -> None:
        """One declaration, function or macro call at file scope."""
        kind = self.kinds[self.pos]
        token = self.tokens[self.pos]
        if kind == ";":
            self.pos += 1
            return
        if kind == "id" and self.kinds[self.pos + 1] == "(" and not self.is_type_name(token.text):
            items.append(self.macro_call_or_wrapped())
            return
        if kind == "_Static_assert":
            items.append(self.static_assert())
            return
        if kind == "asm":
            self.fail("C0206", "assembly at file scope cannot be compiled for BPF")
        if kind == "}":
            self.pos += 1
            if not self.brace_missing:
                self.report(
                    "C0209", "this `}` closes nothing", index=self.pos - 1, helps=["is there one `}` too many above?"]
                )
            return
        if kind in _STATEMENT_STARTS:
            self.fail(
                "C0211",
                f"`{token.text}` cannot stand outside of a function",
                helps=["is there one `}` too many above?"],
            )
        if kind == "extern" and self.kinds[self.pos + 1] == "str":
            self.pos += 1
            self.fail(
                "C0204", f"`extern {self.tokens[self.pos].text}` is C++", helps=["remove it together with its braces"]
            )
        if kind == "id" and token.text in _DIRECTIVES and token.bol:
            self.report("C0205", f"`{token.text}` is not a word of C", helps=[f"write `#{token.text}`"])
            self.pos += 1
            while not self.tokens[self.pos].bol:
                self.pos += 1
            return
        if kind == "id" and token.text in ("namespace", "using", "class", "template"):
            self.fail("C0204", f"`{token.text}` is C++; programs are written in C")
        self.file_declaration(items)

    def file_declaration(self, items: list[ast.ExternalDecl]) -> None:
        start = self.pos
        specifiers = self.specifiers()
        if (
            specifiers.base is None
            and self.kinds[self.pos] == "id"
            and self.kinds[self.pos + 1] == "("
            and self.tokens[self.pos].text in FILE_WRAPPERS
        ):
            function = self.macro_call_or_wrapped()
            function.loc = self.tokens[start].loc
            if isinstance(function, ast.FunctionDef):
                function.attributes += specifiers.attributes
                function.storage = specifiers.storage
            items.append(function)
            return
        base = self.need_base(specifiers)
        if self.ends_here(specifiers):
            items.append(self.bare_declaration(specifiers, base))
            return
        if (
            self.kinds[self.pos] == "id"
            and self.tokens[self.pos].text in DECLARATOR_WRAPPERS
            and self.kinds[self.pos + 1] == "("
        ):
            items.append(self.wrapped_declarator(start, specifiers, base))
            return
        first = True
        while True:
            declarator = self.declarator()
            if first and self.kinds[self.pos] == "{":
                type_ = declarator.apply(base)
                if isinstance(type_, ast.FunctionOf):
                    items.append(self.function(start, specifiers, declarator, type_))
                    return
                opening = self.tokens[self.pos]
                self.fail(
                    "C0202",
                    f"`=` expected before the initialiser of `{declarator.name}`",
                    helps=[] if opening.bol else ["or is `()` missing, to make it a function?"],
                )
            if (
                first
                and self.kinds[self.pos] in _STATEMENT_STARTS
                and isinstance(declarator.apply(base), ast.FunctionOf)
            ):
                previous = self.tokens[self.pos - 1]
                self.brace_missing = True
                self.diagnostics.error(
                    "C0209",
                    f"`{{` expected before the body of function `{declarator.name}`",
                    previous.end,
                    previous.end + 1,
                )
                raise Recover
            first = False
            items.append(self.init_declarator(specifiers, base, declarator))
            if self.kinds[self.pos] != ",":
                break
            self.pos += 1
        self.expect_semicolon("the declaration")

    # ---------------------------------------------------------------------------------------------------- functions

    def function(
        self, start: int, specifiers: Specifiers, declarator: Declarator, type_: ast.FunctionOf
    ) -> ast.FunctionDef:
        name = declarator.name or ""
        self.declare(name)
        if specifiers.storage == "typedef":
            self.diagnostics.error(
                "C0208", "a function with a body cannot be a `typedef`", specifiers.loc, specifiers.end
            )
        body = self.function_body(name, type_.parameters)
        return ast.FunctionDef(
            self.tokens[start].loc,
            self.tokens[self.pos - 1].end,
            name,
            type_,
            specifiers.storage,
            specifiers.inline,
            specifiers.attributes + declarator.attributes,
            body,
            None,
            declarator.name_loc,
        )

    def function_body(self, name: str, parameters: list[ast.Parameter] | None) -> ast.Block:
        self.function_name = name
        scope: dict[str, bool] = {}
        for parameter in parameters or ():
            if parameter.name is not None:
                scope[parameter.name] = False
        self.scopes.append(scope)
        body = self.block_in_scope()
        self.scopes.pop()
        self.function_name = None
        return body

    def wrapped_declarator(
        self, start: int, specifiers: Specifiers, base: ast.TypeExpr
    ) -> ast.FunctionDef | ast.VarDecl:
        """``int BPF_KPROBE(name, struct sock *sk) { … }``"""
        wrapper_token = self.tokens[self.pos]
        opener = self.pos + 1
        self.pos += 2
        if self.kinds[self.pos] != "id":
            self.fail("C0202", f"the name of the program expected after `{wrapper_token.text}(`, found {self.found()}")
        name = self.tokens[self.pos]
        self.pos += 1
        parameters, variadic = self._wrapper_parameters(opener)
        end = self.tokens[self.pos - 1].end
        type_ = ast.FunctionOf(wrapper_token.loc, end, base, parameters, variadic)
        wrapper = ast.Wrapper(wrapper_token.loc, end, wrapper_token.text, [name.text])
        attributes = specifiers.attributes + self.attributes()
        self.declare(name.text)
        if self.kinds[self.pos] != "{":
            self.fail("C0202", f"the body of `{name.text}` expected, found {self.found()}")
        body = self.function_body(name.text, parameters)
        return ast.FunctionDef(
            self.tokens[start].loc,
            self.tokens[self.pos - 1].end,
            name.text,
            type_,
            specifiers.storage,
            specifiers.inline,
            attributes,
            body,
            wrapper,
            name.loc,
        )

    def _wrapper_parameters(self, opener: int) -> tuple[list[ast.Parameter], bool]:
        """What follows a wrapper's names, up to and with ``)``."""
        if self.kinds[self.pos] == ",":
            self.pos += 1
            if self.kinds[self.pos] == ")":  # `NAME(f, ## args)` that had none
                self.pos += 1
                return [], False
            parameters, variadic = self.parameters(opener)
            return parameters or [], variadic
        self.expect(")", opener=opener)
        return [], False

    def macro_call_or_wrapped(self) -> ast.MacroCall | ast.FunctionDef:
        """At ``NAME(``: a function that a macro heads, or a macro called for itself."""
        token = self.tokens[self.pos]
        opener = self.pos + 1
        name = token.text
        leading = FILE_WRAPPERS.get(name)
        if leading is not None:
            return self.wrapped_function(token, opener, leading)
        close = self._closing(opener)
        if name in DECLARATOR_WRAPPERS and close >= 0 and self.kinds[close + 1] == "{":
            self.report("C0208", f"the type of what `{name}(…)` heads is missing", helps=[f"write `int {name}(…)`"])
            void = ast.BuiltinType(token.loc, token.loc, "int")
            from ebpf.compiler.c.parser_declarators import Specifiers

            function = self.wrapped_declarator(self.pos, Specifiers(token.loc), void)
            assert isinstance(function, ast.FunctionDef)
            return function
        if close >= 0 and self.kinds[close + 1] == "{":
            self._function_without_type(token)
        self.pos += 2
        args = self._raw_argument(close) if name == "BPF_LICENSE" else self._macro_arguments(name, opener)
        end = self.tokens[self.pos - 1].end
        if self.kinds[self.pos] == ";":
            self.pos += 1
        elif not self.tokens[self.pos].bol:
            self.fail("C0202", f"`;` expected after `{name}(…)`, found {self.found()}")
        return ast.MacroCall(token.loc, end, name, args)

    def _function_without_type(self, token: Token) -> None:
        from ebpf.diagnostics import did_you_mean

        close = (
            did_you_mean(token.text, [*FILE_WRAPPERS, *DECLARATOR_WRAPPERS], limit=1) if token.text.isupper() else []
        )
        helps = [f"did you mean `{close[0]}`?"] if close else [f"write `int {token.text}(…)`"]
        self.report("C0208", f"the type of function `{token.text}` is missing", helps=helps)
        raise Recover

    def _macro_arguments(self, name: str, opener: int) -> list[ast.Expr | None]:
        args: list[ast.Expr | None] = []
        if self.kinds[self.pos] == ")":
            self.pos += 1
            return args
        while True:
            if self.kinds[self.pos] in (",", ")"):
                args.append(None)
            else:
                if (
                    self.kinds[self.pos] == "id"
                    and self.kinds[self.pos + 1] == "*"
                    and self.kinds[self.pos + 2] in (",", ")", "*")
                ):
                    if not self.starts_type(self.pos):
                        self.unknown_type(self.pos)
                own_name = not args and name.startswith("BPF_") and self.kinds[self.pos + 1] in (",", ")")
                args.append(self.assignment() if own_name else self.argument())
            if self.kinds[self.pos] != ",":
                break
            self.pos += 1
        if self.kinds[self.pos] != ")":
            token = self.tokens[opener]
            self.fail(
                "C0202",
                f"`,` or `)` expected in the arguments of `{name}`, found {self.found()}",
                related=[(token.loc, token.end, "to close this `(`")],
            )
        self.pos += 1
        return args

    def _raw_argument(self, close: int) -> list[ast.Expr | None]:
        """``BPF_LICENSE(Dual BSD/GPL)``: one word is a name, anything else is taken as text."""
        first = self.tokens[self.pos]
        if close <= self.pos:
            self.fail("C0202", "`BPF_LICENSE` needs a licence", helps=["write `BPF_LICENSE(GPL)`"])
        if self.kinds[self.pos] == "str":
            args: list[ast.Expr | None] = [self.string()]
            self.expect(")")
            return args
        last = self.tokens[close - 1]
        if close == self.pos + 1:
            args = [ast.Name(first.loc, first.end, first.text)]
        else:
            words = "".join((" " if t.space else "") + t.text for t in self.tokens[self.pos : close]).strip()
            args = [ast.StringLiteral(first.loc, last.end, words.encode())]
        self.pos = close + 1
        return args

    def _closing(self, opener: int) -> int:
        """The index of the ``)`` that closes the ``(`` at ``opener``; -1 if a statement's end comes first."""
        kinds = self.kinds
        depth, at = 0, opener
        while True:
            kind = kinds[at]
            if kind == "(":
                depth += 1
            elif kind == ")":
                depth -= 1
                if depth == 0:
                    return at
            elif kind in ("eof", ";", "{", "}"):
                return -1
            at += 1

    def wrapped_function(self, token: Token, opener: int, leading: int) -> ast.FunctionDef:
        """``KFUNC_PROBE(vfs_read, struct file *file) { … }``"""
        self.pos += 2
        names: list[str] = []
        most = 2 if token.text in ("KFUNC_PROBE", "KRETFUNC_PROBE") else leading
        while len(names) < most:
            if self.kinds[self.pos] != "id" or len(names) >= leading and self.kinds[self.pos + 1] not in (",", ")"):
                break
            if len(names) >= leading and self.is_type_name(self.tokens[self.pos].text):
                break
            names.append(self.tokens[self.pos].text)
            self.pos += 1
            if self.kinds[self.pos] != "," or len(names) == most:
                break
            self.pos += 1
        if len(names) < leading:
            count = "one name" if leading == 1 else f"{leading} names"
            example = {"TRACEPOINT_PROBE": "TRACEPOINT_PROBE(sched, sched_switch)"}.get(
                token.text, f"{token.text}({', '.join(['name'] * leading)})"
            )
            self.fail("C0202", f"`{token.text}` needs {count}, found {self.found()}", helps=[f"write `{example}`"])
        parameters: list[ast.Parameter] = []
        variadic = False
        if self.kinds[self.pos - 1] == ",":
            self.pos -= 1
        if token.text in ("TRACEPOINT_PROBE", "RAW_TRACEPOINT_PROBE"):
            self.expect(")", f"the names of `{token.text}`", opener=opener)
        else:
            parameters, variadic = self._wrapper_parameters(opener)
        end = self.tokens[self.pos - 1].end
        result = ast.BuiltinType(token.loc, token.end, "int")
        type_ = ast.FunctionOf(token.loc, end, result, parameters, variadic)
        wrapper = ast.Wrapper(token.loc, end, token.text, names)
        if self.kinds[self.pos] != "{":
            self.fail("C0202", f"the body `{{ … }}` expected after `{token.text}(…)`, found {self.found()}")
        body = self.function_body(names[-1], parameters)
        return ast.FunctionDef(
            token.loc, self.tokens[self.pos - 1].end, "", type_, None, False, [], body, wrapper, token.loc
        )
