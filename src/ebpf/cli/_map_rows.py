"""Many entries of a map as JSON or CSV: a million of them, each of the same type, with one expression for all.

What an entry looks like is learnt from the first (a struct's members, an array's elements, what is of which kind);
from that comes one function which takes a piece of a map apart in a single comprehension. Entries that look otherwise,
which only maps without types can have, go the slow way (`ebpf.cli.output.plain`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ebpf.cli.output import json_line, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Entries = Sequence[tuple[Any, Any]]

_SEPARATOR = ",\n "


class Rows:
    """How entries like ``first`` are written. ``columns`` are the names of what `csv` gives for each."""

    def __init__(self, first: tuple[Any, Any]) -> None:
        self._like = _outside(*first)
        self._leaves: list[tuple[str, str, str]] = []  # name of the column, expression for JSON, for CSV
        template = f'{{"key": {self._walk(first[0], "k", "key")}, "value": {self._walk(first[1], "v", "value")}}}'
        self.columns = [name for name, _, _ in self._leaves]
        # The same texts (names of commands) come again and again.
        names = {"json": json_line, "text": lru_cache(1 << 14)(json_line), "plain": plain, "template": template,
                 "word": {False: "false", True: "true"}}
        self._json: Callable[[Entries], list[str]] = eval(
            f"lambda entries: [template % ({''.join(text + ', ' for _, text, _ in self._leaves)}) for k, v in entries]",
            names)
        self._csv: Callable[[Entries], list[tuple[Any, ...]]] = eval(
            f"lambda entries: [({''.join(cell + ', ' for _, _, cell in self._leaves)}) for k, v in entries]", names)

    def _walk(self, value: Any, place: str, name: str) -> str:
        """The template of a value that stands at ``place``; what goes into it is noted."""
        fields = getattr(value, "_fields", None)
        if fields is not None and isinstance(value, tuple):
            inner = [f"{_quoted(f)}: {self._walk(v, f'{place}[{n}]', f'{name}.{f}')}"
                     for n, (f, v) in enumerate(zip(fields, tuple(value), strict=True))]
            return "{" + ", ".join(inner) + "}"
        if isinstance(value, tuple):
            return "[" + ", ".join(self._walk(v, f"{place}[{n}]", f"{name}.{n}") for n, v in enumerate(value)) + "]"
        if isinstance(value, bool):
            self._leaves.append((name, f"word[{place}]", place))
            return "%s"
        if isinstance(value, int):
            self._leaves.append((name, place, place if type(value) is int else f"int({place})"))
            return "%d"
        kind = "text" if isinstance(value, bytes) else "json"
        self._leaves.append((name, f"{kind}({place})", f"plain({place})"))
        return "%s"

    def json(self, entries: Entries) -> str:
        """The entries as JSON objects, a line each, with commas between them."""
        if all_like(entries, self._like):
            return _SEPARATOR.join(self._json(entries))
        return _SEPARATOR.join([json_line({"key": key, "value": value}) for key, value in entries])

    def csv(self, entries: Entries) -> list[tuple[Any, ...]]:
        """The cells of each entry."""
        if all_like(entries, self._like):
            return self._csv(entries)
        return [tuple(_cells(plain(key)) + _cells(plain(value))) for key, value in entries]


def all_like(entries: Entries, like: tuple[object, ...]) -> bool:
    """Whether all entries look like that from outside: what is within a struct is as its type says."""
    return {_outside(key, value) for key, value in entries} == {like}


def _outside(key: Any, value: Any) -> tuple[object, ...]:
    return (key.__class__, value.__class__, len(key) if key.__class__ is tuple else 0,
            len(value) if value.__class__ is tuple else 0)


def _quoted(name: str) -> str:
    return json_line(name).replace("%", "%%")


def _cells(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [cell for inner in value.values() for cell in _cells(inner)]
    if isinstance(value, list):
        return [cell for inner in value for cell in _cells(inner)]
    return [value]
