"""The syntax tree as text, for people and tests: ``(Binary + (Name a) (IntLiteral 1 decimal))``, places left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ebpf.compiler.c import ast

_PLACES = frozenset({"loc", "end", "op_loc", "name_loc"})


def format_tree(node: ast.Node) -> str:
    """One declaration per line for a `TranslationUnit`; anything else on one line. What is empty or None is
    left out at the end.
    """
    items = getattr(node, "items", None)
    if type(node).__name__ == "TranslationUnit" and items is not None:
        return "\n".join(_format(item) for item in items)
    return _format(node)


def _format(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, bytes):
        return repr(value)[1:]
    if isinstance(value, frozenset):
        return "{" + " ".join(sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + " ".join(_format(v) for v in value) + "]"
    if isinstance(value, tuple):
        return "<" + " ".join(_format(v) for v in value) + ">"
    fields = [getattr(value, name) for name in type(value)._fields if name not in _PLACES]  # type: ignore[attr-defined]
    keep = 2 if type(value).__name__ == "FunctionOf" and fields[1] is not None else 0  # `(void)` is not `()`
    while len(fields) > keep and (fields[-1] is False or not isinstance(fields[-1], int) and not fields[-1]):
        fields.pop()
    return "(" + " ".join([type(value).__name__, *(_format(f) for f in fields)]) + ")"
