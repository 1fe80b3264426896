"""C's preprocessor: text → tokens without directives, macros expanded.

Headers of the kernel, libbpf and BCC cost nothing (`headers`), their macros come from our own table (`macros`).
Pragmas with a meaning stay in the stream as tokens of kind ``"pragma"``, their text reduced to a canonical form:
``unroll N`` (0: fully), ``attribute push NAME…``, ``attribute pop``, ``pack push N``, ``pack set N``, ``pack pop``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import headers
from ebpf.compiler.c.lexer import Token, tokenize, unescape
from ebpf.compiler.c.macros import MACROS
from ebpf.compiler.c.macros_expand import Expander, ExpansionTooLarge, Macro, stringize
from ebpf.compiler.c.preprocessor_pragmas import Pragmas
from ebpf.compiler.c.preprocessor_state import Frame
from ebpf.compiler.c.source import SourceMap, TooManyErrors
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from ebpf.diagnostics import Diagnostic

MAX_INCLUDE_DEPTH = 200


class Preprocessed:
    """``tokens`` end with one of kind ``"eof"``; ``includes`` are all headers asked for, by name, in order."""

    __slots__ = ("diagnostics", "includes", "macros", "tokens")

    def __init__(
        self, tokens: list[Token], includes: list[str], diagnostics: list[Diagnostic], macros: Expander
    ) -> None:
        self.tokens = tokens
        self.includes = includes
        self.diagnostics = diagnostics
        self.macros = macros


def preprocess(
    sources: SourceMap,
    filename: str,
    text: str,
    *,
    defines: Iterable[str] = (),
    include_dirs: Iterable[str] = (),
    read_include: Callable[[str], str | None] = lambda path: None,
    constant: Callable[[str], int | str | None] = lambda name: None,
    kconfig: Callable[[str], str | None] = lambda name: None,
    predefined: Mapping[str, str | int] | None = None,
) -> Preprocessed:
    """Preprocess ``text``.

    ``defines`` are as for clang's ``-D`` (``"NAME"``, ``"NAME=VALUE"``, ``"F(x)=x"``) or ``-U`` (``"-UNAME"``).
    ``read_include(path)`` gives a file's text or None. ``constant(name)`` and ``kconfig("CONFIG_…")`` answer for
    names in conditions that no macro defines. ``predefined`` are further macros by their text, over which the
    program's own win. Mistakes are in ``diagnostics`` of the result, never raised.
    """
    return Preprocessor(sources, tuple(include_dirs), read_include, constant, kconfig).run(
        filename, text, defines, predefined or {}
    )


_NOT_A_TYPE = frozenset({"return", "else", "case", "do", "goto", "sizeof", "typeof", "in"})


class Preprocessor(Pragmas):
    def run(
        self, filename: str, text: str, defines: Iterable[str], predefined: Mapping[str, str | int]
    ) -> Preprocessed:
        self.main_name = filename
        macros = self.expander.macros
        macros.update(MACROS)
        macros.update(self._computed())
        for name, value in predefined.items():
            macros[name] = str(value)
        try:
            for number, define in enumerate(defines):
                self._command_line(define, number)
            self._file(filename, text)
        except (TooManyErrors, ExpansionTooLarge):
            pass
        except RecursionError:
            end = self.out[-1].end if self.out else 1
            self.diagnostics.items.append(_too_deep(self.sources, end))
        if not self.out or self.out[-1].kind != "eof":
            end = self.out[-1].end if self.out else 1
            self.out.append(Token("eof", "", end, end, False, True))
        return Preprocessed(self.out, self.includes, self.diagnostics.items, self.expander)

    # ----------------------------------------------------------------------------------------------------- files

    def _file(self, name: str, text: str) -> None:
        if text.startswith("\ufeff"):
            text = " " + text[1:]
        frame = Frame(self, name, tokenize(text, self.sources.add_file(name, text)))
        tokens = frame.tokens
        pending: list[Token] = []
        out, expander, macros = self.out, self.expander, self.expander.macros
        while True:
            if pending:
                token = pending.pop()
            else:
                token = tokens[frame.at]
                frame.at += 1
                if token.bol:
                    if token.kind == "#":
                        self.directive(frame, token)
                        continue
                    if token.kind == "eof":
                        break
            if token.kind == "id" and token.text in macros:
                entry = macros[token.text]
                if out and type(entry) is str or isinstance(entry, Macro) and entry.builtin:
                    if self._is_programs_own(token, pending, frame):
                        out.append(token)
                        continue
                if expander.expand(token, pending, frame):
                    continue
            out.append(token)
        frame.at -= 1
        for condition in reversed(frame.conditions):
            opening = condition.opening
            self.diagnostics.error(
                "C0103",
                f"`#{opening.text}` without `#endif`",
                opening.loc,
                opening.end,
                helps=["add `#endif` where the conditional part ends"],
            )
        if self.depth == 0:
            out.append(tokens[-1])

    def _is_programs_own(self, token: Token, pending: list[Token], frame: Frame) -> bool:
        """Whether the name of a macro of our table is used for something of the program's own.

        That is a member (``p->min``), or a function that the program itself declares at file scope (``static int
        min(int a, int b)``); from then on the macro is forgotten.
        """
        if not self.out:
            return False
        before = self.out[-1]
        if before.kind in ("->", "."):
            return True
        name = token.text
        if name.startswith("__") or name == "SEC" or before.kind not in ("id", "*") or before.text in _NOT_A_TYPE:
            return False
        following = pending[-1] if pending else frame.peek()
        macro = self.expander.lookup(name)
        if following.kind != "(" or not isinstance(macro, Macro) or macro.params is None or self._braces() > 0:
            return False
        depth = 0
        for earlier in reversed(self.out):
            kind = earlier.kind
            if kind in (";", "}"):
                break
            depth += (kind == ")") - (kind == "(")
            if kind == "=" or depth < 0:
                return False
        del self.expander.macros[name]
        return True

    def _braces(self) -> int:
        out = self.out
        for index in range(self._brace_counted, len(out)):
            kind = out[index].kind
            if kind == "{":
                self._brace_depth += 1
            elif kind == "}":
                self._brace_depth -= 1
        self._brace_counted = len(out)
        return self._brace_depth

    # ------------------------------------------------------------------------------------------------ directives

    def directive(self, frame: Frame, hash_token: Token) -> None:
        """Obey the directive whose ``#`` has just been read."""
        line = frame.line()
        if not line:
            return  # the null directive
        head = line[0]
        name = head.text
        if head.kind == "num":  # `# 12 "file"`, as preprocessors write it
            self._line(head, line)
            return
        handler = _DIRECTIVES.get(name) if head.kind == "id" else None
        if handler is None:
            close = did_you_mean(name, [*_DIRECTIVES, "include"], limit=1)
            self.diagnostics.error(
                "C0101",
                f"`#{name}` is not a directive of the preprocessor",
                head.loc,
                head.end,
                helps=[f"did you mean `#{close[0]}`?"] if close else [],
            )
            return
        handler(self, frame, head, line[1:])

    def _define(self, frame: Frame, head: Token, line: list[Token]) -> None:
        if not line or line[0].kind != "id":
            at = line[0] if line else head
            self.diagnostics.error("C0102", "`#define` needs a name", at.loc, at.end)
            return
        name = line[0]
        if name.text == "defined":
            self.diagnostics.error("C0102", "`defined` cannot be a macro", name.loc, name.end)
            return
        params: list[str] | None = None
        variadic = False
        body = line[1:]
        if body and body[0].kind == "(" and not body[0].space:
            signature = self._parameters(name, body)
            if signature is None:
                return
            params, variadic, body = signature
        if body and (body[0].kind == "##" or body[-1].kind == "##"):
            at = body[0] if body[0].kind == "##" else body[-1]
            self.diagnostics.error("C0102", "`##` needs something on both sides", at.loc, at.end)
            return
        if params is not None:
            for index, token in enumerate(body):
                if token.kind == "#" and (
                    index + 1 == len(body) or body[index + 1].text not in (*params, "__VA_OPT__")
                ):
                    self.diagnostics.error(
                        "C0102", "`#` in a macro must stand before one of its parameters", token.loc, token.end
                    )
                    return
        macro = Macro(name.text, params, variadic, body, name.loc)
        old = self.expander.macros.get(name.text)
        if isinstance(old, Macro) and not old.builtin and not old.same_as(macro):
            self.diagnostics.warning(
                "C0102",
                f"macro `{name.text}` is defined a second time, otherwise",
                name.loc,
                name.end,
                related=[(old.loc, old.loc + len(old.name), "first defined here")] if old.loc else [],
                helps=[f"write `#undef {name.text}` before, if that is meant"],
            )
        self.expander.macros[name.text] = macro

    def _parameters(self, name: Token, body: list[Token]) -> tuple[list[str], bool, list[Token]] | None:
        params: list[str] = []
        at = 1
        expect_name = True
        while at < len(body):
            token = body[at]
            at += 1
            if token.kind == ")" and (not expect_name or not params):
                return params, False, body[at:]
            if token.kind == "..." and at < len(body) and body[at].kind == ")":
                if expect_name:
                    params.append("__VA_ARGS__")
                return params, True, body[at + 1 :]
            if token.kind == "," and not expect_name:
                expect_name = True
            elif token.kind == "id" and expect_name:
                if token.text in params:
                    self.diagnostics.error(
                        "C0102", f"macro `{name.text}` has two parameters `{token.text}`", token.loc, token.end
                    )
                    return None
                params.append(token.text)
                expect_name = False
            else:
                self.diagnostics.error(
                    "C0102",
                    f"`{token.text}` is not expected among the parameters of macro `{name.text}`",
                    token.loc,
                    token.end,
                )
                return None
        self.diagnostics.error(
            "C0102",
            f"the parameters of macro `{name.text}` are never closed",
            body[0].loc,
            body[0].end,
            helps=["add `)`"],
        )
        return None

    def _undef(self, frame: Frame, head: Token, line: list[Token]) -> None:
        if not line or line[0].kind != "id":
            self.diagnostics.error("C0102", "`#undef` needs a name", head.loc, head.end)
            return
        self.expander.macros.pop(line[0].text, None)

    def _command_line(self, define: str, number: int) -> None:
        """One of ``-D`` or ``-U``."""
        if define.startswith("-U"):
            self.expander.macros.pop(define[2:].strip(), None)
            return
        name, equals, value = define.removeprefix("-D").strip().partition("=")
        text = f"{name} {value if equals else '1'}"
        label = f"<command line -D{name}>"
        tokens = tokenize(text, self.sources.add_file(label, text))
        frame = Frame(self, label, tokens)
        frame.tokens[0].bol = False
        self._define(frame, tokens[0], frame.line())

    # ---------------------------------------------------------------------------------------------------- include

    def _include(self, frame: Frame, head: Token, line: list[Token]) -> None:
        if line and line[0].kind not in ("<", "str"):
            line = self.expander.expand_list(line)
        header = self._header_name(line)
        if header is None:
            at = line[0] if line else head
            self.diagnostics.error(
                "C0109",
                "`#include` needs a header's name",
                at.loc,
                at.end,
                helps=['write `#include <linux/sched.h>` or `#include "own.h"`'],
            )
            return
        name, quoted = header
        self.includes.append(name)
        if headers.costs_nothing(name, quoted=quoted):
            return
        path, text, tried = self._find(name, quoted, frame.name)[0:3]
        if text is None or path is None:
            if headers.is_known(name):
                return
            self._missing(name, tried, line)
            return
        if path in self.once:
            return
        if self.depth >= MAX_INCLUDE_DEPTH:
            self.diagnostics.error(
                "C0109",
                f'"{name}" is included {MAX_INCLUDE_DEPTH} levels deep',
                line[0].loc,
                line[-1].end,
                helps=["write `#pragma once` into the header"],
            )
            return
        self.depth += 1
        self._file(path, text)
        self.depth -= 1

    def _missing(self, name: str, tried: list[str], line: list[Token]) -> None:
        from ebpf.compiler.c.headers import _FILES

        close = did_you_mean(name, [f"bpf/{f}" if f.startswith("bpf_") else f for f in _FILES], limit=1)
        self.diagnostics.error(
            "C0110",
            f"header `{name}` not found",
            line[0].loc,
            line[-1].end,
            notes=["looked for " + ", ".join(tried)] if tried else ["no include directory was given"],
            helps=[
                f"did you mean `{close[0]}`?"
                if close
                else "add the directory that holds it to the include directories (-I)"
            ],
        )

    def _header_name(self, line: list[Token]) -> tuple[str, bool] | None:
        """(name, quoted?) as ``<…>`` or ``"…"`` spell it."""
        if not line:
            return None
        if line[0].kind == "str" and line[0].text[0] == '"':
            return line[0].text[1:-1], True
        if line[0].kind != "<":
            return None
        for index, token in enumerate(line):
            if token.kind == ">":
                if self.sources.span(line[0].loc) is not None and line[0].hide is None:
                    return self.sources.text(line[0].end, token.loc).strip(), False
                return "".join((" " if t.space else "") + t.text for t in line[1:index]).strip(), False
        return None

    def _find(self, name: str, quoted: bool, includer: str) -> tuple[str | None, str | None, list[str]]:
        """(path, text, all paths tried) of a header."""
        candidates: list[str] = []
        if name.startswith("/"):
            candidates.append(name)
        else:
            if quoted:
                directory = includer.rpartition("/")[0]
                candidates.append(
                    f"{directory}/{name}" if directory else "/" + name if includer.startswith("/") else name
                )
            candidates += [f"{directory.rstrip('/')}/{name}" for directory in self.include_dirs]
        for path in candidates:
            if path in self.once:
                return path, "", candidates
            text = self.read_include(path)
            if text is not None:
                return path, text, candidates
        return None, None, candidates

    # ----------------------------------------------------------------------------------------- the other directives

    def _error(self, frame: Frame, head: Token, line: list[Token]) -> None:
        text = self.sources.text(line[0].loc, line[-1].end) if line else ""
        if head.text == "error":
            self.diagnostics.error("C0111", text or "#error", head.loc, head.end)
        else:
            self.diagnostics.warning("C0111", text or "#warning", head.loc, head.end)

    def _line_directive(self, frame: Frame, head: Token, line: list[Token]) -> None:
        self._line(head, self.expander.expand_list(line))

    def _line(self, head: Token, line: list[Token]) -> None:
        if not line or not line[0].text.isdecimal():
            self.diagnostics.error("C0112", "`#line` needs a line number", head.loc, head.end)
            return
        name = None
        if len(line) > 1 and line[1].kind == "str":
            name = bytes(unescape(line[1].text)[0]).decode("utf-8", "replace")
        self.sources.mark_line(head.loc, int(line[0].text[:9]), name)


def _too_deep(sources: SourceMap, loc: int) -> Diagnostic:
    from ebpf.diagnostics import Diagnostic

    return Diagnostic("error", "C0108", "macros or conditions are nested too deeply", sources.span(loc))


_DIRECTIVES: dict[str, Callable[[Preprocessor, Frame, Token, list[Token]], None]] = {
    "if": Preprocessor._if,
    "ifdef": Preprocessor._if,
    "ifndef": Preprocessor._if,
    "elif": Preprocessor._else,
    "elifdef": Preprocessor._else,
    "elifndef": Preprocessor._else,
    "else": Preprocessor._else,
    "endif": Preprocessor._endif,
    "define": Preprocessor._define,
    "undef": Preprocessor._undef,
    "include": Preprocessor._include,
    "import": Preprocessor._include,
    "error": Preprocessor._error,
    "warning": Preprocessor._error,
    "line": Preprocessor._line_directive,
    "pragma": Preprocessor._pragma,
    "ident": lambda self, frame, head, line: None,
}

__all__ = ["Preprocessed", "preprocess", "stringize"]
