"""Macro expansion (C11 6.10.3 with GNU's and C23's extensions), by hide sets after Prosser's algorithm.

A token that comes out of an expansion has the place of the outermost use, the call's arguments keep their own: both
are what a reader of the source can point at. Expansion works on a stack of pending tokens (last one next), refilled
from the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ebpf.compiler.c.lexer import Token, tokenize

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.c.source import Diagnostics, SourceMap


class Macro:
    """One ``#define``. ``params`` is None for an object-like macro; a variadic one's last parameter takes all
    the rest.
    """

    __slots__ = ("body", "builtin", "loc", "name", "params", "simple", "variadic")

    def __init__(
        self, name: str, params: list[str] | None, variadic: bool, body: list[Token], loc: int, builtin: bool = False
    ) -> None:
        self.name = name
        self.params = params
        self.variadic = variadic
        self.body = body
        self.loc = loc
        self.builtin = builtin
        self.simple = not any(t.kind == "##" for t in body)  # an object-like body that may be copied as it is

    def same_as(self, other: Macro) -> bool:
        """Whether redefining one as the other is allowed: same tokens, white space at the same places."""
        return (
            self.params == other.params
            and self.variadic == other.variadic
            and len(self.body) == len(other.body)
            and all(
                a.text == b.text and (a.space == b.space or i == 0)
                for i, (a, b) in enumerate(zip(self.body, other.body))
            )
        )


class Computed:
    """A macro whose expansion is computed at its use: ``__LINE__``; with ``arguments`` also ``IS_ENABLED(x)``."""

    __slots__ = ("arguments", "make")

    def __init__(self, make: Callable[[Token, list[list[Token]]], list[Token]], arguments: bool = False) -> None:
        self.make = make
        self.arguments = arguments


class Feed(Protocol):
    """Where tokens come from when nothing is pending: the rest of the file."""

    def peek(self) -> Token: ...

    def next(self) -> Token: ...


class Expander:
    """The macros that are defined and what their uses expand to.

    An entry that is still a string is a macro of our own table, written as in ``#define`` without the name (``"(x)
    ((x) + 1)"``), read at its first use.
    """

    MAX_TOKENS = 1_000_000  # of all expansions together: what doubles itself at each level stops in a second

    def __init__(self, sources: SourceMap, diagnostics: Diagnostics) -> None:
        self.sources = sources
        self.diagnostics = diagnostics
        self.macros: dict[str, Macro | Computed | str] = {}
        self._budget = self.MAX_TOKENS
        self.in_condition = False  # the name after `defined` is not expanded then

    def lookup(self, name: str) -> Macro | Computed | None:
        """The macro called ``name``, read from our table if need be."""
        entry = self.macros.get(name)
        if type(entry) is str:
            entry = self.macros[name] = self._read_builtin(name, entry)
        return entry  # type: ignore[return-value]  # a str is gone by now

    def _read_builtin(self, name: str, text: str) -> Macro:
        tokens = tokenize(text, 0)[:-1]
        params: list[str] | None = None
        variadic = False
        if text.startswith("("):
            params = []
            at = 1
            while tokens[at].kind != ")":
                token = tokens[at]
                if token.kind == "...":
                    variadic = True
                    if tokens[at - 1].kind != "id":
                        params.append("__VA_ARGS__")
                elif token.kind == "id":
                    params.append(token.text)
                at += 1
            tokens = tokens[at + 1 :]
        return Macro(name, params, variadic, tokens, 0, True)

    def expand_list(self, tokens: list[Token]) -> list[Token]:
        """All of ``tokens``, expanded as if they were the rest of the file (a macro's argument, a directive's
        line).
        """
        pending = tokens[::-1]
        out: list[Token] = []
        macros = self.macros
        while pending:
            token = pending.pop()
            if token.kind == "id" and token.text in macros and self.expand(token, pending, None):
                continue
            out.append(token)
            if self.in_condition and token.text == "defined":
                for _ in range(2 if pending and pending[-1].kind == "(" else 1):
                    if pending:
                        out.append(pending.pop())
        return out

    def expand(self, token: Token, pending: list[Token], feed: Feed | None) -> bool:
        """Expand the use of a macro at ``token``: its expansion becomes the next pending tokens. False: it is
        none here.
        """
        name = token.text
        hide = token.hide
        if hide is not None and name in hide:
            return False
        macro = self.lookup(name)
        if macro is None:
            return False
        if isinstance(macro, Computed):
            return self._expand_computed(token, macro, pending, feed)
        if macro.params is None:
            inner = frozenset((name,)) if hide is None else hide | {name}
            if macro.simple:
                result = [Token(t.kind, t.text, token.loc, token.end, t.space, False, inner) for t in macro.body]
            else:
                result = self._substitute(macro, macro.body, token, token.end, [], {}, inner)
            end = token.end
        else:
            call = self._arguments(token, pending, feed)
            if call is None:
                return False
            args, closing = call
            bound = self._bind(macro, args, token, closing)
            if bound is None:
                return True
            kept = hide & closing.hide if hide is not None and closing.hide is not None else None
            inner = frozenset((name,)) if kept is None else kept | {name}
            end = closing.end if closing.end > token.end else token.end
            result = self._substitute(macro, macro.body, token, end, bound, {}, inner)
        self.sources.expansions.setdefault((token.loc, end), (name, macro.loc))
        self._spend(len(result), token)
        if result:
            result[0].space = token.space
            result[0].bol = False
            result.reverse()
            pending += result
        return True

    def _spend(self, count: int, token: Token) -> None:
        self._budget -= count + 1
        if self._budget < 0:
            self._budget = 1 << 60  # once said is enough
            self.macros.pop(token.text, None)
            self.diagnostics.error(
                "C0108",
                f"the expansion of macro `{token.text}` is too large",
                token.loc,
                token.end,
                notes=[f"expansions have made more than {self.MAX_TOKENS} tokens"],
            )
            raise ExpansionTooLarge

    def _expand_computed(self, token: Token, macro: Computed, pending: list[Token], feed: Feed | None) -> bool:
        args: list[list[Token]] = []
        if macro.arguments:
            call = self._arguments(token, pending, feed)
            if call is None:
                return False
            args = call[0]
        result = macro.make(token, args)
        for made in result:
            made.hide = frozenset((token.text,)) if token.hide is None else token.hide | {token.text}
        if result:
            result[0].space = token.space
        pending += result[::-1]
        return True

    # ------------------------------------------------------------------------------------------------ arguments

    def _arguments(
        self, name: Token, pending: list[Token], feed: Feed | None
    ) -> tuple[list[list[Token]], Token] | None:
        """The arguments of a call and its closing parenthesis; None if no ``(`` follows (nothing is taken then)."""
        if pending:
            if pending[-1].kind != "(":
                return None
            pending.pop()
        elif feed is not None:
            if feed.peek().kind != "(":
                return None
            feed.next()
        else:
            return None
        args: list[list[Token]] = [[]]
        depth = 0
        while True:
            if pending:
                token = pending.pop()
            elif feed is not None:
                token = feed.next()
            else:
                token = Token("eof", "", name.loc, name.end)
            kind = token.kind
            if kind == "(":
                depth += 1
            elif kind == ")":
                if depth == 0:
                    return args, token
                depth -= 1
            elif kind == "," and depth == 0:
                args.append([])
                continue
            elif kind == "eof":
                self.diagnostics.error(
                    "C0105",
                    f"the call of macro `{name.text}` is never closed",
                    name.loc,
                    name.end,
                    label="no `)` follows",
                    helps=["add the closing `)`"],
                )
                return args, Token(")", ")", name.loc, name.end)
            args[-1].append(token)

    def _bind(self, macro: Macro, args: list[list[Token]], name: Token, closing: Token) -> list[list[Token]] | None:
        """One token list per parameter; None after a complaint about their number."""
        params = macro.params
        assert params is not None
        want, got = len(params), len(args)
        if want == 0 and got == 1 and not args[0]:
            return []
        if macro.variadic:
            if got >= want:
                rest = list(args[want - 1])
                for arg in args[want:]:
                    rest.append(Token(",", ",", name.loc, name.end))
                    rest += arg
                return [*args[: want - 1], rest]
            if got == want - 1:
                return [*args, []]
        elif got == want:
            return args
        at_least = "at least " if macro.variadic else ""
        count = want - 1 if macro.variadic else want
        taken = 0 if got == 1 and not args[0] else got
        related = [(macro.loc, macro.loc + len(macro.name), "defined here")] if macro.loc else []
        self.diagnostics.error(
            "C0106",
            f"macro `{macro.name}` takes {at_least}{count} argument{'' if count == 1 else 's'}, {taken} given",
            name.loc,
            max(closing.end, name.end),
            related=related,
        )
        return None

    # ---------------------------------------------------------------------------------------------- substitution

    def _substitute(
        self,
        macro: Macro,
        body: list[Token],
        use: Token,
        end: int,
        args: list[list[Token]],
        expanded: dict[int, list[Token]],
        hide: frozenset[str],
    ) -> list[Token]:
        """``body`` with parameters, ``#``, ``##`` and ``__VA_OPT__`` replaced."""
        params = macro.params or []
        out: list[Token] = []
        loc = use.loc
        at, count = 0, len(body)
        paste = False  # the last token was `##`
        while at < count:
            token = body[at]
            kind = token.kind
            if kind == "##" and 0 < at < count - 1:
                nxt = body[at + 1]
                if (
                    out
                    and out[-1].kind == ","
                    and macro.variadic
                    and nxt.text == params[-1]
                    and nxt.kind == "id"
                    and (at < 2 or body[at - 1].kind == ",")
                ):
                    # GNU's `, ## __VA_ARGS__`: the comma goes if there are no arguments, else nothing is pasted.
                    rest = args[-1]
                    if rest:
                        out += _copy(rest, hide, nxt.space)
                    else:
                        out.pop()
                    at += 2
                    continue
                paste = True
                at += 1
                continue
            before_paste = at + 1 < count - 1 and body[at + 1].kind == "##"
            piece: list[Token]
            if kind == "#" and macro.params is not None and at + 1 < count and body[at + 1].text in params:
                at += 1
                text = stringize(args[params.index(body[at].text)])
                piece = [Token("str", text, loc, end, token.space, False, hide)]
                before_paste = at + 1 < count - 1 and body[at + 1].kind == "##"
            elif kind == "id" and token.text in params:
                index = params.index(token.text)
                if paste or before_paste:
                    piece = _copy(args[index], hide, token.space)
                    if not piece:
                        piece = [Token("", "", loc, end, token.space)]  # a placemarker
                else:
                    full = expanded.get(index)
                    if full is None:
                        full = expanded[index] = self.expand_list(args[index])
                    piece = _copy(full, hide, token.space)
            elif (
                kind == "id"
                and token.text == "__VA_OPT__"
                and macro.variadic
                and at + 1 < count
                and body[at + 1].kind == "("
            ):
                close = _closing(body, at + 1)
                index = len(params) - 1
                full = expanded.get(index)
                if full is None:
                    full = expanded[index] = self.expand_list(args[index])
                piece = []
                if full:
                    piece = self._substitute(macro, body[at + 2 : close], use, end, args, expanded, hide)
                    if piece:
                        piece[0].space = token.space
                at = close
                before_paste = at + 1 < count - 1 and body[at + 1].kind == "##"
                if not piece and (paste or before_paste):
                    piece = [Token("", "", loc, end, token.space)]
            else:
                piece = [Token(kind, token.text, loc, end, token.space, False, hide)]
            if paste and piece and out:
                out[-1] = self._paste(out[-1], piece[0], use, hide)
                out += piece[1:]
            else:
                out += piece
            paste = False
            at += 1
        return [t for t in out if t.kind] if not macro.simple or macro.variadic else out

    def _paste(self, left: Token, right: Token, use: Token, hide: frozenset[str]) -> Token:
        if not left.kind:
            right.space = left.space
            return right
        if not right.kind:
            return left
        text = left.text + right.text
        made = tokenize(text, 0)
        if len(made) != 2 or made[0].kind == "bad" or made[0].text != text:
            self.diagnostics.error(
                "C0107",
                f"`##` of `{left.text}` and `{right.text}` gives `{text}`, which is not one token",
                use.loc,
                left.end,
            )
            return left
        return Token(made[0].kind, text, left.loc, left.end, left.space, False, hide)


class ExpansionTooLarge(Exception):
    """Macros expand to more than any program needs; the message has been given."""


def _copy(tokens: list[Token], hide: frozenset[str], space: bool) -> list[Token]:
    out = [
        Token(t.kind, t.text, t.loc, t.end, t.space or t.bol, False, hide if t.hide is None else t.hide | hide)
        for t in tokens
    ]
    if out:
        out[0].space = space
    return out


def _closing(body: list[Token], opening: int) -> int:
    """The index of the ``)`` that closes ``body[opening]`` (`Preprocessor` has checked that there is one)."""
    depth = 0
    for index in range(opening, len(body)):
        if body[index].kind == "(":
            depth += 1
        elif body[index].kind == ")":
            depth -= 1
            if depth == 0:
                return index
    return len(body) - 1


def stringize(tokens: list[Token]) -> str:
    """The string literal that ``#`` makes of an argument."""
    parts: list[str] = []
    for index, token in enumerate(tokens):
        if index and (token.space or token.bol):
            parts.append(" ")
        text = token.text
        if token.kind in ("str", "chr"):
            text = text.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(text)
    return '"' + "".join(parts) + '"'
