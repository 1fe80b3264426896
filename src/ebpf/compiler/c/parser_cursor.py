"""What all parts of the parser stand on: the tokens, scopes of names, messages, recovery from mistakes."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NoReturn

from ebpf.compiler.c import ast
from ebpf.compiler.c.source import Diagnostics
from ebpf.diagnostics import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.compiler.c.lexer import Token
    from ebpf.compiler.c.source import SourceMap

KEYWORDS = {
    word: word
    for word in """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    _Alignas _Alignof _Atomic _Bool _Complex _Generic _Noreturn _Static_assert _Thread_local
    typeof asm __attribute__ __extension__ __int128 __auto_type __builtin_offsetof __label__
""".split()
}
KEYWORDS.update(
    {
        "__const": "const",
        "__const__": "const",
        "__volatile": "volatile",
        "__volatile__": "volatile",
        "__inline": "inline",
        "__inline__": "inline",
        "__signed": "signed",
        "__signed__": "signed",
        "__restrict": "restrict",
        "__restrict__": "restrict",
        "__asm": "asm",
        "__asm__": "asm",
        "__attribute": "__attribute__",
        "__typeof": "typeof",
        "__typeof__": "typeof",
        "typeof_unqual": "typeof",
        "__alignof": "_Alignof",
        "__alignof__": "_Alignof",
        "__thread": "_Thread_local",
        "__complex__": "_Complex",
        "_BitInt": "_BitInt",
        "__extension": "__extension__",
    }
)

# Words that begin a declaration's specifiers, whatever the scope says.
TYPE_WORDS = frozenset(
    """
    void char short int long float double signed unsigned _Bool _Complex __int128 struct union enum typeof __auto_type
    const volatile restrict _Atomic
""".split()
)
SPECIFIER_WORDS = TYPE_WORDS | frozenset(
    "typedef extern static auto register inline _Noreturn _Thread_local _Alignas __attribute__".split()
)

# Names that are types although no header has been read; a program may still declare them otherwise.
BUILTIN_TYPE_NAMES = {"bool": "_Bool", "__int128_t": "__int128", "__uint128_t": "unsigned __int128"}
_CPP_WORDS = frozenset(
    """
    class template namespace using public private protected virtual friend operator constexpr mutable explicit typename
    """.split()
)
_COMMON_TYPES = (
    "int",
    "char",
    "long",
    "short",
    "unsigned",
    "void",
    "struct",
    "u8",
    "u16",
    "u32",
    "u64",
    "s8",
    "s16",
    "s32",
    "s64",
    "__u8",
    "__u16",
    "__u32",
    "__u64",
    "__s32",
    "__s64",
    "size_t",
    "bool",
    "uint8_t",
    "uint16_t",
    "uint32_t",
    "uint64_t",
    "int32_t",
    "int64_t",
    "pid_t",
    "__be16",
    "__be32",
)


class Recover(Exception):
    """A mistake that has been reported; whoever can go on catches it."""


class Unwind(Exception):
    """A missing ``}`` was noticed at a function's head: go on at file scope, right here."""


class Cursor:
    """The tokens and where we are. ``kinds[i]`` is the kind of ``tokens[i]``, keywords included; ``pos`` is
    the next one.
    """

    def __init__(
        self,
        tokens: Sequence[Token],
        sources: SourceMap,
        is_typedef: Callable[[str], bool],
        similar_types: Callable[[str], Sequence[str]] | None,
    ) -> None:
        self.diagnostics = Diagnostics(sources)
        self.sources = sources
        self.tokens: list[Token] = []
        self.kinds: list[str] = []
        self.pragmas: dict[int, list[str]] = {}  # index of the token that follows → pragmas there
        self._split_pragmas(tokens)
        self.pos = 0
        self._is_typedef = is_typedef
        self._similar_types = similar_types
        self._types_asked: dict[str, bool] = {}
        self.scopes: list[dict[str, bool]] = [{}]  # name → is it a typedef's
        self.tags: set[str] = set()
        self.openers: list[int] = []  # indices of the `{` that are open
        self.function_name: str | None = None
        self.brace_missing = False  # has been said; a `}` too many is no news then

    def _split_pragmas(self, tokens: Sequence[Token]) -> None:
        keywords = KEYWORDS
        own, kinds = self.tokens, self.kinds
        attribute_stack: list[list[str]] = []
        pack_stack: list[str] = []
        pack = ""
        self._attribute_at: list[int] = []  # from this token index on …
        self._attribute_sets: list[tuple[list[str], str]] = []  # … records get these attributes and this packing
        for token in tokens:
            kind = token.kind
            if kind == "id":
                kinds.append(keywords.get(token.text, "id"))
            elif kind == "pragma":
                words = token.text.split()
                if words[0] == "unroll":
                    self.pragmas.setdefault(len(own), []).append(words[1])
                    continue
                if words[:2] == ["attribute", "push"]:
                    attribute_stack.append(words[2:])
                elif words[0] == "attribute":
                    if attribute_stack:
                        attribute_stack.pop()
                elif words[1] == "push":
                    pack_stack.append(pack)
                    pack = words[2] if len(words) > 2 else pack
                elif words[1] == "pop":
                    pack = pack_stack.pop() if pack_stack else ""
                else:
                    pack = "" if words[2] == "0" else words[2]
                self._attribute_at.append(len(own))
                self._attribute_sets.append(([name for names in attribute_stack for name in names], pack))
                continue
            else:
                kinds.append(kind)
            own.append(token)

    def pragma_attributes(self, index: int) -> list[ast.Attribute]:
        """What ``#pragma clang attribute push`` and ``#pragma pack`` give a record that is defined at token
        ``index``.
        """
        found = bisect_right(self._attribute_at, index) - 1
        if found < 0:
            return []
        names, pack = self._attribute_sets[found]
        token = self.tokens[index]
        out = [ast.Attribute(token.loc, token.end, name, []) for name in names]
        if pack:
            value: list[ast.Expr] = [] if pack == "1" else [ast.IntLiteral(token.loc, token.end, int(pack), "", True)]
            out.append(ast.Attribute(token.loc, token.end, "packed", value))
        return out

    # ---------------------------------------------------------------------------------------------------- messages

    def found(self) -> str:
        """The next token in words."""
        kind = self.kinds[self.pos]
        return "the end of the file" if kind == "eof" else f"`{self.tokens[self.pos].text}`"

    def fail(
        self,
        code: str,
        message: str,
        *,
        label: str = "",
        helps: Sequence[str] = (),
        notes: Sequence[str] = (),
        related: Sequence[tuple[int, int, str]] = (),
        index: int | None = None,
    ) -> NoReturn:
        """Report a mistake at the next token (or at ``index``) and give up the construct."""
        self.report(code, message, label=label, helps=helps, notes=notes, related=related, index=index)
        raise Recover

    def report(
        self,
        code: str,
        message: str,
        *,
        label: str = "",
        helps: Sequence[str] = (),
        notes: Sequence[str] = (),
        related: Sequence[tuple[int, int, str]] = (),
        index: int | None = None,
    ) -> None:
        token = self.tokens[self.pos if index is None else index]
        if token.kind == "bad":
            self.bad_token(token)
            return
        loc, end = token.loc, token.end
        if token.kind == "eof" and self.pos:
            loc, end = self.tokens[self.pos - 1].end, self.tokens[self.pos - 1].end + 1
        self.diagnostics.error(code, message, loc, end, label=label, helps=helps, notes=notes, related=related)

    def bad_token(self, token: Token) -> None:
        """Say what is wrong with a token that the lexer could make nothing of."""
        text = token.text
        if text.startswith("/*"):
            message, helps = "this comment is never closed", ["add `*/`"]
        elif text.startswith('"'):
            message, helps = "this string is never closed", ['add `"` on the same line']
        elif text.startswith("'"):
            message, helps = "this character constant is empty or never closed", ["write one character between two `'`"]
        else:
            message, helps = f"`{text}` (U+{ord(text[0]):04X}) means nothing in C", []
        self.diagnostics.error("C0201", message, token.loc, min(token.end, token.loc + 80), helps=helps)

    def expect(self, kind: str, after: str = "", opener: int | None = None) -> Token:
        """Take the token ``kind``, or report that it is missing (``opener``: the index of the bracket that it
        would close).
        """
        if self.kinds[self.pos] == kind:
            self.pos += 1
            return self.tokens[self.pos - 1]
        where = f" after {after}" if after else ""
        related = []
        if opener is not None:
            token = self.tokens[opener]
            related = [(token.loc, token.end, f"to close this `{token.text}`")]
        found = self.found()
        if self.kinds[self.pos] == "bad":
            self.pos += 1
            self.fail("C0202", f"`{kind}` expected{where}, found {found}", index=self.pos - 1)
        if self.pos and (self.tokens[self.pos].bol or self.kinds[self.pos] == "eof") and kind in (":", ")", "]"):
            previous = self.tokens[self.pos - 1]
            self.diagnostics.error(
                "C0202",
                f"`{kind}` expected{where}",
                previous.end,
                previous.end + 1,
                label=f"add `{kind}` here",
                related=related,
            )
            raise Recover
        self.fail("C0202", f"`{kind}` expected{where}, found {found}", related=related)

    def expect_semicolon(self, after: str) -> None:
        """Take ``;``. A missing one is reported just past what it should follow, and parsing goes on as if it
        were there.
        """
        if self.kinds[self.pos] == ";":
            self.pos += 1
            return
        self.missing_semicolon(after)

    def missing_semicolon(self, after: str) -> None:
        kind = self.kinds[self.pos]
        if kind == "bad":
            self.pos += 1
            self.fail("C0202", "", index=self.pos - 1)
        previous, token = self.tokens[self.pos - 1], self.tokens[self.pos]
        if kind == ":" and self.kinds[self.pos + 1] == ":":
            self.fail("C0204", "`::` is C++; in C a name stands alone")
        same_line = kind != "eof" and not token.bol and self.sources.line(token.loc) == self.sources.line(previous.end)
        if same_line and kind in (")", "]", ",", ":", "="):
            self.fail("C0202", f"`;` expected after {after}, found `{token.text}`")
        self.diagnostics.error(
            "C0203", f"`;` expected after {after}", previous.end, previous.end + 1, label="add `;` here"
        )
        if same_line and kind not in ("}", "id") and kind not in KEYWORDS:
            raise Recover

    def skip_statement(self) -> None:
        """Skip to behind the next ``;`` of this nesting, or to the ``}`` that closes it."""
        kinds = self.kinds
        depth = 0
        if self.pos and kinds[self.pos - 1] == "bad" and self.tokens[self.pos].bol:
            return  # the rest of that line is gone, its `;` too
        while True:
            kind = kinds[self.pos]
            if kind == "eof":
                return
            if kind == "{":
                depth += 1
            elif kind == "}":
                if depth == 0:
                    return
                depth -= 1
                if depth == 0:
                    self.pos += 1
                    if kinds[self.pos] in (";", ")", ","):
                        continue
                    return
            elif kind == ";" and depth == 0:
                self.pos += 1
                return
            self.pos += 1

    # ------------------------------------------------------------------------------------------------------- names

    def declare(self, name: str, typedef: bool = False) -> None:
        self.scopes[-1][name] = typedef

    def declared(self, name: str) -> bool | None:
        """True: a typedef of the program; False: another name of it; None: not declared here."""
        for scope in reversed(self.scopes):
            kind = scope.get(name)
            if kind is not None:
                return kind
        return None

    def is_type_name(self, name: str) -> bool:
        kind = self.declared(name)
        if kind is not None:
            return kind
        known = self._types_asked.get(name)
        if known is None:
            known = name in BUILTIN_TYPE_NAMES or self._is_typedef(name)
            self._types_asked[name] = known
        return known

    def starts_type(self, index: int) -> bool:
        """Whether a type's name begins at token ``index`` (in a cast, ``sizeof`` or an argument)."""
        kind = self.kinds[index]
        if kind == "id":
            return self.is_type_name(self.tokens[index].text)
        if kind == "__extension__" or kind == "__attribute__":
            return self.starts_type(index + 1) if kind == "__extension__" else True
        return kind in TYPE_WORDS

    def unknown_type(self, index: int) -> None:
        """Report the identifier at ``index`` as an unknown type; from then on it counts as one."""
        token = self.tokens[index]
        name = token.text
        self._types_asked[name] = True
        if name in _CPP_WORDS:
            self.diagnostics.error("C0204", f"`{name}` is C++; programs are written in C", token.loc, token.end)
            return
        helps: list[str] = []
        if name in self.tags:
            helps = [f"write `struct {name}`"]
        else:
            close: list[str] = list(self._similar_types(name)) if self._similar_types else []
            if not close:
                own = [n for scope in self.scopes for n, typedef in scope.items() if typedef]
                close = list(did_you_mean(name, [*own, *_COMMON_TYPES, *(f"struct {t}" for t in self.tags)], limit=1))
            if close:
                helps = [f"did you mean `{close[0]}`?"]
        self.diagnostics.error("C0205", f"unknown type name `{name}`", token.loc, token.end, helps=helps)

    # ------------------------------------------------- what the other parts provide, for each other (see
    # `parser.Parser`)

    def expression(self) -> ast.Expr:
        raise NotImplementedError

    def assignment(self) -> ast.Expr:
        raise NotImplementedError

    def constant(self) -> ast.Expr:
        raise NotImplementedError

    def type_name(self) -> ast.TypeExpr:
        raise NotImplementedError

    def initializer(self) -> ast.Expr | ast.InitList:
        raise NotImplementedError

    def initializer_list(self) -> ast.InitList:
        raise NotImplementedError

    def block(self) -> ast.Block:
        raise NotImplementedError

    def attributes(self) -> list[ast.Attribute]:
        raise NotImplementedError

    def string(self) -> ast.StringLiteral:
        raise NotImplementedError

    def argument(self) -> ast.Expr:
        raise NotImplementedError
