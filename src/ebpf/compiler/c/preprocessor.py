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
from ebpf.compiler.c.macros_expand import Computed, Expander, ExpansionTooLarge, Macro, stringize
from ebpf.compiler.c.preprocessor_condition import ConditionError, evaluate
from ebpf.compiler.c.source import Diagnostics, SourceMap, TooManyErrors
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
    return _Preprocessor(sources, tuple(include_dirs), read_include, constant, kconfig).run(
        filename, text, defines, predefined or {}
    )


class _Frame:
    """A file that is being read; also the `Feed` of macro calls that reach over lines."""

    __slots__ = ("at", "conditions", "name", "owner", "tokens")

    def __init__(self, owner: _Preprocessor, name: str, tokens: list[Token]) -> None:
        self.owner = owner
        self.name = name
        self.tokens = tokens
        self.at = 0
        self.conditions: list[_Condition] = []

    def peek(self) -> Token:
        return self.tokens[self.at]

    def next(self) -> Token:
        """The next token of the file; directives inside a macro call are obeyed, as every compiler does."""
        while True:
            token = self.tokens[self.at]
            if token.kind == "eof":
                return token
            self.at += 1
            if token.bol and token.kind == "#":
                self.owner.directive(self, token)
                continue
            return token

    def line(self) -> list[Token]:
        """The rest of the line."""
        tokens, start = self.tokens, self.at
        at = start
        while not tokens[at].bol:
            at += 1
        self.at = at
        return tokens[start:at]


class _Condition:
    __slots__ = ("done", "opening", "seen_else")

    def __init__(self, opening: Token, done: bool) -> None:
        self.opening = opening
        self.done = done  # a group has been taken already
        self.seen_else = False


_CONDITIONALS = frozenset({"if", "ifdef", "ifndef", "elif", "elifdef", "elifndef", "else", "endif"})
_NOT_A_TYPE = frozenset({"return", "else", "case", "do", "goto", "sizeof", "typeof", "in"})
_SILENT_PRAGMAS = frozenset(
    {
        "GCC",
        "clang",
        "STDC",
        "message",
        "warning",
        "error",
        "region",
        "endregion",
        "mark",
        "weak",
        "ident",
        "comment",
        "omp",
        "ms_struct",
        "push",
        "pop",
        "optimize",
    }
)
_HAS_ATTRIBUTE = frozenset(
    """
    section used unused always_inline noinline weak visibility packed aligned preserve_access_index btf_decl_tag
    btf_type_tag deprecated cleanup naked noreturn pure const format fallthrough preserve_static_offset
    transparent_union may_alias
""".split()
)
_HAS_BUILTIN = frozenset(
    """
    memcpy memset memcmp memmove expect constant_p unreachable trap bswap16 bswap32 bswap64 offsetof
    types_compatible_p choose_expr clz clzll ctz ctzll popcount popcountll ffs ffsll preserve_access_index
    preserve_field_info preserve_type_info preserve_enum_value btf_type_id add_overflow sub_overflow mul_overflow
    assume_aligned prefetch
""".split()
)


class _Preprocessor:
    def __init__(
        self,
        sources: SourceMap,
        include_dirs: tuple[str, ...],
        read_include: Callable[[str], str | None],
        constant: Callable[[str], int | str | None],
        kconfig: Callable[[str], str | None],
    ) -> None:
        self.sources = sources
        self.include_dirs = include_dirs
        self.read_include = read_include
        self.constant = constant
        self.kconfig = kconfig
        self.diagnostics = Diagnostics(sources)
        self.expander = Expander(sources, self.diagnostics)
        self.out: list[Token] = []
        self.includes: list[str] = []
        self.once: set[str] = set()
        self.depth = 0
        self.counter = 0
        self.main_name = ""
        self.saved: dict[str, list[Macro | Computed | str | None]] = {}
        self._brace_depth = 0  # of `out` …
        self._brace_counted = 0  # … up to this index

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
        frame = _Frame(self, name, tokenize(text, self.sources.add_file(name, text)))
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

    def _is_programs_own(self, token: Token, pending: list[Token], frame: _Frame) -> bool:
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
        for earlier in reversed(self.out):
            if earlier.kind in (";", "}"):
                break
            if earlier.kind in ("=", "("):
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

    def directive(self, frame: _Frame, hash_token: Token) -> None:
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

    def _if(self, frame: _Frame, head: Token, line: list[Token]) -> None:
        holds = self._test(head, line)
        frame.conditions.append(_Condition(head, holds))
        if not holds:
            self._skip(frame)

    def _test(self, head: Token, line: list[Token]) -> bool:
        """Whether the condition of ``#if`` and its sisters holds; a mistake in it is reported and counts as false."""
        kind = head.text
        if kind in ("if", "elif"):
            if not line:
                self.diagnostics.error("C0104", f"`#{kind}` needs a condition", head.loc, head.end)
                return False
            self.expander.in_condition = True
            try:
                tokens = self._replace_operators(self.expander.expand_list(self._replace_operators(line)))
                return evaluate(tokens, self._identifier) != 0
            except ConditionError as error:
                token = error.token or line[-1]
                self.diagnostics.error("C0104", f"in the condition of `#{kind}`: {error.message}", token.loc, token.end)
                return False
            finally:
                self.expander.in_condition = False
        if not line or line[0].kind != "id":
            self.diagnostics.error("C0104", f"`#{kind}` needs a name", head.loc, head.end)
            return False
        if len(line) > 1:
            self.diagnostics.warning(
                "C0104",
                f"only the first name after `#{kind}` counts",
                line[1].loc,
                line[1].end,
                helps=[f"write `#if{' !' if 'n' in kind[-4:-3] else ' '}defined(…)` for more"],
            )
        return self._defined(line[0].text) != (kind in ("ifndef", "elifndef"))

    def _defined(self, name: str) -> bool:
        if name in self.expander.macros or name in (
            "__has_include",
            "__has_builtin",
            "__has_attribute",
            "__has_feature",
        ):
            return True
        if name.startswith("CONFIG_"):
            return self._kconfig_value(name) is not None
        return self.constant(name) is not None

    def _kconfig_value(self, name: str) -> str | None:
        """What the kernel's autoconf.h defines ``name`` as: ``y`` is 1, a module's option is ``…_MODULE``."""
        if name.endswith("_MODULE") and self.kconfig(name[:-7]) == "m":
            return "1"
        value = self.kconfig(name)
        return None if value in (None, "n", "m", "") else "1" if value == "y" else value

    def _identifier(self, token: Token) -> int:
        name = token.text
        if name == "true":
            return 1
        value: int | str | None
        if name.startswith("CONFIG_"):
            value = self._kconfig_value(name)
        else:
            value = self.constant(name)
        if isinstance(value, str):
            try:
                return int(value, 0)
            except ValueError:
                return 0
        return value or 0

    def _replace_operators(self, line: list[Token]) -> list[Token]:
        """``defined X``, ``__has_include(…)`` and their like become 0 or 1."""
        out: list[Token] = []
        at = 0
        while at < len(line):
            token = line[at]
            at += 1
            if token.kind != "id" or token.text not in _OPERATORS:
                out.append(token)
                continue
            parenthesised = at < len(line) and line[at].kind == "("
            start = at + parenthesised
            stop = start + 1
            if parenthesised:
                while stop < len(line) and line[stop].kind != ")":
                    stop += 1
            inner = line[start:stop]
            if (
                not inner
                or (parenthesised and stop >= len(line))
                or (token.text == "defined" and inner[0].kind != "id")
            ):
                raise ConditionError(
                    f"`{token.text}` needs a name" + (" and a closing `)`" if parenthesised else ""), token
                )
            at = stop + parenthesised
            out.append(
                Token("num", "1" if self._operator(token.text, inner) else "0", token.loc, token.end, token.space)
            )
        return out

    def _operator(self, operator: str, inner: list[Token]) -> bool:
        name = inner[-1].text
        if operator == "defined":
            return self._defined(inner[0].text)
        if operator == "__has_include":
            header = self._header_name(inner)
            if header is None:
                return False
            path, quoted = header
            return (
                headers.costs_nothing(path, quoted=quoted)
                or headers.is_known(path)
                or self._find(path, quoted, "")[0] is not None
            )
        if operator == "__has_builtin":
            plain = name.removeprefix("__builtin_")
            return plain in _HAS_BUILTIN or name.startswith("__sync_")
        if operator in ("__has_attribute", "__has_c_attribute"):
            return name.strip("_") in _HAS_ATTRIBUTE
        return False

    def _skip(self, frame: _Frame) -> None:
        """Skip groups until one is to be taken or the conditional ends."""
        tokens = frame.tokens
        at = frame.at
        nested = 0
        condition = frame.conditions[-1]
        while True:
            token = tokens[at]
            if not token.bol:
                at += 1
                continue
            if token.kind == "eof":
                frame.at = at
                return
            at += 1
            if token.kind != "#" or tokens[at].bol:
                continue
            head = tokens[at]
            word = head.text
            if word not in _CONDITIONALS:
                continue
            if word in ("if", "ifdef", "ifndef"):
                nested += 1
            elif word == "endif":
                if nested == 0:
                    frame.at = at + 1
                    frame.line()
                    frame.conditions.pop()
                    return
                nested -= 1
            elif nested == 0:
                frame.at = at + 1
                line = frame.line()
                at = frame.at
                if self._misplaced(condition, head) or condition.done:
                    continue
                if word == "else" or self._test(head, line):
                    condition.done = True
                    return

    def _misplaced(self, condition: _Condition, head: Token) -> bool:
        """Mark an ``#else``; complain about what stands after one."""
        if condition.seen_else:
            opening = condition.opening
            self.diagnostics.error(
                "C0103",
                f"`#{head.text}` after `#else`",
                head.loc,
                head.end,
                related=[(opening.loc, opening.end, "the conditional begins here")],
            )
            return True
        condition.seen_else = head.text == "else"
        return False

    def _else(self, frame: _Frame, head: Token, line: list[Token]) -> None:
        if not frame.conditions:
            self.diagnostics.error("C0103", f"`#{head.text}` without `#if`", head.loc, head.end)
            return
        self._misplaced(frame.conditions[-1], head)
        frame.conditions[-1].done = True
        self._skip(frame)

    def _endif(self, frame: _Frame, head: Token, line: list[Token]) -> None:
        if not frame.conditions:
            self.diagnostics.error("C0103", "`#endif` without `#if`", head.loc, head.end)
            return
        frame.conditions.pop()

    def _define(self, frame: _Frame, head: Token, line: list[Token]) -> None:
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

    def _undef(self, frame: _Frame, head: Token, line: list[Token]) -> None:
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
        frame = _Frame(self, label, tokens)
        frame.tokens[0].bol = False
        self._define(frame, tokens[0], frame.line())

    # ---------------------------------------------------------------------------------------------------- include

    def _include(self, frame: _Frame, head: Token, line: list[Token]) -> None:
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

    def _error(self, frame: _Frame, head: Token, line: list[Token]) -> None:
        text = self.sources.text(line[0].loc, line[-1].end) if line else ""
        if head.text == "error":
            self.diagnostics.error("C0111", text or "#error", head.loc, head.end)
        else:
            self.diagnostics.warning("C0111", text or "#warning", head.loc, head.end)

    def _line_directive(self, frame: _Frame, head: Token, line: list[Token]) -> None:
        self._line(head, self.expander.expand_list(line))

    def _line(self, head: Token, line: list[Token]) -> None:
        if not line or not line[0].text.isdecimal():
            self.diagnostics.error("C0112", "`#line` needs a line number", head.loc, head.end)
            return
        name = None
        if len(line) > 1 and line[1].kind == "str":
            name = bytes(unescape(line[1].text)[0]).decode("utf-8", "replace")
        self.sources.mark_line(head.loc, int(line[0].text[:9]), name)

    def _pragma(self, frame: _Frame, head: Token, line: list[Token]) -> None:
        made = self._pragma_token(head, line, frame.name)
        if made is not None:
            self.out.append(made)

    def _pragma_token(self, head: Token, line: list[Token], filename: str) -> Token | None:
        """The token for a pragma that means something to us."""
        words = [t.text for t in line]
        if not words:
            return None
        first = words[0]
        text = ""
        if first == "once":
            self.once.add(filename)
            return None
        if first in ("unroll", "nounroll") or words[:2] == ["GCC", "unroll"]:
            text = self._unroll(first, line[2:] if first == "GCC" else line[1:])
        elif words[:2] == ["clang", "loop"]:
            text = self._clang_loop(line[2:])
        elif words[:3] == ["clang", "attribute", "push"]:
            names = [
                w.strip("_") for t, w in zip(line[3:], words[3:]) if t.kind == "id" and w.strip("_") in _HAS_ATTRIBUTE
            ]
            text = " ".join(["attribute push", *names])
        elif words[:3] == ["clang", "attribute", "pop"]:
            text = "attribute pop"
        elif first == "pack":
            numbers = [w for w in words[1:] if w.isdecimal()]
            verb = "push" if "push" in words else "pop" if "pop" in words else "set"
            text = f"pack {verb} {numbers[0] if numbers else ('0' if verb == 'set' else '')}".rstrip()
        elif first in ("push_macro", "pop_macro") and len(line) > 2 and line[2].kind == "str":
            self._macro_stack(first, words[2][1:-1])
            return None
        elif first not in _SILENT_PRAGMAS:
            self.diagnostics.warning("C0113", f"`#pragma {first}` has no meaning here", head.loc, line[-1].end)
        return Token("pragma", text, head.loc, line[-1].end, True, False) if text else None

    def _unroll(self, first: str, line: list[Token]) -> str:
        if first == "nounroll":
            return "unroll 1"
        tokens = [t for t in self.expander.expand_list(line) if t.kind not in ("(", ")")]
        if not tokens:
            return "unroll 0"
        try:
            count = evaluate(tokens, self._identifier)
        except ConditionError:
            self.diagnostics.error("C0113", "`#pragma unroll` takes a number", tokens[0].loc, tokens[-1].end)
            return ""
        return f"unroll {max(count, 1)}"

    def _clang_loop(self, line: list[Token]) -> str:
        words = [t.text for t in line]
        for index, word in enumerate(words):
            if word == "unroll_count" and index + 2 < len(line):
                return self._unroll("unroll", line[index + 1 :])
            if word == "unroll" and index + 2 < len(words):
                return "unroll 1" if words[index + 2] == "disable" else "unroll 0"
        return ""

    def _macro_stack(self, verb: str, name: str) -> None:
        macros = self.expander.macros
        stack = self.saved.setdefault(name, [])
        if verb == "push_macro":
            stack.append(macros.get(name))
        elif stack:
            entry = stack.pop()
            if entry is None:
                macros.pop(name, None)
            else:
                macros[name] = entry

    # -------------------------------------------------------------------------------------------- computed macros

    def _computed(self) -> dict[str, Computed]:
        def number(token: Token, value: int) -> list[Token]:
            return [Token("num", str(value), token.loc, token.end)]

        def string(token: Token, value: str) -> list[Token]:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return [Token("str", f'"{escaped}"', token.loc, token.end)]

        def counter(token: Token, args: list[list[Token]]) -> list[Token]:
            self.counter += 1
            return number(token, self.counter - 1)

        def pragma(token: Token, args: list[list[Token]]) -> list[Token]:
            if len(args) != 1 or len(args[0]) != 1 or args[0][0].kind != "str":
                self.diagnostics.error("C0113", "`_Pragma` takes one string", token.loc, token.end)
                return []
            text = args[0][0].text
            text = text[text.index('"') + 1 : -1].replace('\\"', '"').replace("\\\\", "\\")
            line = tokenize(text, 0)[:-1]
            for part in line:
                part.loc, part.end = token.loc, token.end
            made = self._pragma_token(token, line, self.main_name)
            return [made] if made is not None else []

        def enabled(kinds: tuple[str, ...]) -> Computed:
            def make(token: Token, args: list[list[Token]]) -> list[Token]:
                name = args[0][0].text if args and args[0] else ""
                macro = self.expander.lookup(name)
                if isinstance(macro, Macro):
                    return number(token, int([t.text for t in macro.body] == ["1"]))
                return number(token, int(self.kconfig(name) in kinds))

            return Computed(make, arguments=True)

        both, builtin, module = enabled(("y", "m")), enabled(("y",)), enabled(("m",))
        return {
            "__LINE__": Computed(lambda t, a: number(t, self.sources.line(t.loc))),
            "__FILE__": Computed(lambda t, a: string(t, self.sources.file_name(t.loc))),
            "__BASE_FILE__": Computed(lambda t, a: string(t, self.main_name)),
            "__FILE_NAME__": Computed(lambda t, a: string(t, self.sources.file_name(t.loc).rpartition("/")[2])),
            "__INCLUDE_LEVEL__": Computed(lambda t, a: number(t, self.depth)),
            "__COUNTER__": Computed(counter),
            # The same text gives the same object, whenever it is compiled.
            "__DATE__": Computed(lambda t, a: string(t, "??? ?? ????")),
            "__TIME__": Computed(lambda t, a: string(t, "??:??:??")),
            "__TIMESTAMP__": Computed(lambda t, a: string(t, "??? ??? ?? ??:??:?? ????")),
            "_Pragma": Computed(pragma, arguments=True),
            "IS_ENABLED": both,
            "IS_REACHABLE": both,
            "IS_BUILTIN": builtin,
            "IS_MODULE": module,
        }


def _too_deep(sources: SourceMap, loc: int) -> Diagnostic:
    from ebpf.diagnostics import Diagnostic

    return Diagnostic("error", "C0108", "macros or conditions are nested too deeply", sources.span(loc))


_OPERATORS = frozenset(
    {
        "defined",
        "__has_include",
        "__has_include_next",
        "__has_builtin",
        "__has_attribute",
        "__has_c_attribute",
        "__has_feature",
        "__has_extension",
        "__has_warning",
    }
)

_DIRECTIVES: dict[str, Callable[[_Preprocessor, _Frame, Token, list[Token]], None]] = {
    "if": _Preprocessor._if,
    "ifdef": _Preprocessor._if,
    "ifndef": _Preprocessor._if,
    "elif": _Preprocessor._else,
    "elifdef": _Preprocessor._else,
    "elifndef": _Preprocessor._else,
    "else": _Preprocessor._else,
    "endif": _Preprocessor._endif,
    "define": _Preprocessor._define,
    "undef": _Preprocessor._undef,
    "include": _Preprocessor._include,
    "import": _Preprocessor._include,
    "error": _Preprocessor._error,
    "warning": _Preprocessor._error,
    "line": _Preprocessor._line_directive,
    "pragma": _Preprocessor._pragma,
    "ident": lambda self, frame, head, line: None,
}

__all__ = ["Preprocessed", "preprocess", "stringize"]
