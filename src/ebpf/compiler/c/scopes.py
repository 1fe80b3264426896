"""What names mean: ordinary identifiers and tags, scope by scope."""

from __future__ import annotations

from ebpf.compiler.c import tree, types


class EnumConstant:
    """An enumerator."""

    __slots__ = ("enum", "name", "type", "value")

    def __init__(self, name: str, value: int, type: types.CType, enum: types.Enum | None = None) -> None:
        self.name, self.value, self.type, self.enum = name, value, type, enum


class Alias:
    """A name that stands for an expression of the tree, made anew at each use (a wrapper's parameter)."""

    __slots__ = ("expr",)

    def __init__(self, expr: tree.Expr) -> None:
        self.expr = expr


Symbol = tree.Variable | tree.FunctionDecl | types.Typedef | EnumConstant | Alias
Tag = types.Record | types.Enum


class Scope:
    """One block's names and tags; ``outer`` is None for the file's."""

    __slots__ = ("names", "outer", "tags")

    def __init__(self, outer: Scope | None) -> None:
        self.outer = outer
        self.names: dict[str, Symbol] = {}
        self.tags: dict[str, Tag] = {}

    def find(self, name: str) -> Symbol | None:
        scope: Scope | None = self
        while scope is not None:
            symbol = scope.names.get(name)
            if symbol is not None:
                return symbol
            scope = scope.outer
        return None

    def find_tag(self, tag: str) -> Tag | None:
        scope: Scope | None = self
        while scope is not None:
            found = scope.tags.get(tag)
            if found is not None:
                return found
            scope = scope.outer
        return None

    def visible(self) -> list[str]:
        """All names that can be used here, for near-miss suggestions."""
        out: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            out += scope.names
            scope = scope.outer
        return out
