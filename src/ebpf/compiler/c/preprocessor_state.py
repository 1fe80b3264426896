"""What the parts of the preprocessor share: its state, and the file that is being read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c.macros_expand import Computed, Expander, Macro
from ebpf.compiler.c.source import Diagnostics, SourceMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.c.lexer import Token

# What `__has_attribute` and `__has_builtin` say yes to.
ATTRIBUTES = frozenset(
    """
    section used unused always_inline noinline weak visibility packed aligned preserve_access_index btf_decl_tag
    btf_type_tag deprecated cleanup naked noreturn pure const format fallthrough preserve_static_offset
    transparent_union may_alias
""".split()
)
BUILTINS = frozenset(
    """
    memcpy memset memcmp memmove expect constant_p unreachable trap bswap16 bswap32 bswap64 offsetof
    types_compatible_p choose_expr clz clzll ctz ctzll popcount popcountll ffs ffsll preserve_access_index
    preserve_field_info preserve_type_info preserve_enum_value btf_type_id add_overflow sub_overflow mul_overflow
    assume_aligned prefetch
""".split()
)


class Frame:
    """A file that is being read; also the `Feed` of macro calls that reach over lines."""

    __slots__ = ("at", "conditions", "name", "owner", "tokens")

    def __init__(self, owner: PreprocessorState, name: str, tokens: list[Token]) -> None:
        self.owner = owner
        self.name = name
        self.tokens = tokens
        self.at = 0
        self.conditions: list[Condition] = []

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


class Condition:
    __slots__ = ("done", "opening", "seen_else")

    def __init__(self, opening: Token, done: bool) -> None:
        self.opening = opening
        self.done = done  # a group has been taken already
        self.seen_else = False


class PreprocessorState:
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

    # What the parts do for each other; see `preprocessor.Preprocessor`.

    def directive(self, frame: Frame, hash_token: Token) -> None:
        raise NotImplementedError

    def _find(self, name: str, quoted: bool, includer: str) -> tuple[str | None, str | None, list[str]]:
        raise NotImplementedError

    def _header_name(self, line: list[Token]) -> tuple[str, bool] | None:
        raise NotImplementedError
