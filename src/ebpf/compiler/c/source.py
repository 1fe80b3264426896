"""Source files and places in them, and the collector of messages about them.

A place is one int, ``loc``: files follow one another in a single number line, so that a token carries two ints
instead of an object. ``loc`` counts characters; 0 is no place at all.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ebpf.diagnostics import Diagnostic, Span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebpf.diagnostics import Severity


class _File:
    __slots__ = ("base", "line_starts", "marks", "name", "text")

    def __init__(self, base: int, name: str, text: str) -> None:
        self.base = base
        self.name = name
        self.text = text
        self.line_starts: list[int] | None = None
        self.marks: list[tuple[int, int, str]] = []  # `#line`: (first physical line, the number it is to have, file)


class SourceMap:
    """All the text that a compilation has read; turns ``loc`` into file, line and column.

    ``expansions`` maps (loc, end) of every macro's outermost use to the macro's name and the place of its definition
    (0 for a built-in one), so that a message about what stands there can say where it comes from.
    """

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._bases: list[int] = []
        self._next = 1
        self.expansions: dict[tuple[int, int], tuple[str, int]] = {}

    def add_file(self, name: str, text: str) -> int:
        """Take in a file; returns the ``loc`` of its first character."""
        base = self._next
        self._files.append(_File(base, name, text))
        self._bases.append(base)
        self._next = base + len(text) + 2  # room for the place just past the end
        return base

    def position(self, loc: int) -> tuple[str, int, int]:
        """(file, line, column) of ``loc``, both counted from 1, ``#line`` directives obeyed; ``("", 0, 0)``
        for no place.
        """
        file = self._file(loc)
        if file is None:
            return "", 0, 0
        row, start = self._row(file, loc)
        name, line = _presumed(file, row)
        return name, line, loc - file.base - start + 1

    def line(self, loc: int) -> int:
        """The line of ``loc``, 0 for no place."""
        return self.position(loc)[1]

    def file_name(self, loc: int) -> str:
        """The name under which the file of ``loc`` was added (or that ``#line`` gave it)."""
        return self.position(loc)[0]

    def line_text(self, loc: int) -> str:
        """The whole source line that holds ``loc``, without its end."""
        file = self._file(loc)
        if file is None:
            return ""
        return self._text_at(file, self._row(file, loc)[1])

    def file_text(self, name: str) -> str | None:
        """All of the text of the file added under ``name``.

        None where there is none, or its lines are numbered by ``#line``.
        """
        for file in self._files:
            if file.name == name:
                return file.text if not file.marks else None
        return None

    def text(self, loc: int, end: int) -> str:
        """What stands in the source between the two places."""
        file = self._file(loc)
        return "" if file is None else file.text[loc - file.base : max(end, loc) - file.base]

    def span(self, loc: int, end: int = 0) -> Span | None:
        """The stretch for a message; one that goes over several lines is cut at its first. None for no place."""
        file = self._file(loc)
        if file is None:
            return None
        row, start = self._row(file, loc)
        text = self._text_at(file, start)
        name, line = _presumed(file, row)
        column = loc - file.base - start + 1
        last = end - file.base - start + 1
        if last <= column:
            last = column + 1
        return Span(name, line, column, min(last, max(len(text) + 1, column + 1)), text)

    def mark_line(self, loc: int, line: int, name: str | None) -> None:
        """``#line``: the physical line after that of ``loc`` is to count as ``line`` (of file ``name``)."""
        file = self._file(loc)
        if file is not None:
            row = self._row(file, loc)[0]
            file.marks.append((row + 1, line, name if name is not None else _presumed(file, row)[0]))

    def _file(self, loc: int) -> _File | None:
        index = bisect_right(self._bases, loc) - 1
        return self._files[index] if loc > 0 and index >= 0 else None

    def _row(self, file: _File, loc: int) -> tuple[int, int]:
        """Physical line (from 1) and the offset of its first character."""
        starts = file.line_starts
        if starts is None:
            starts = [0]
            find, at = file.text.find, file.text.find("\n")
            while at >= 0:
                starts.append(at + 1)
                at = find("\n", at + 1)
            file.line_starts = starts
        row = bisect_right(starts, loc - file.base)
        return row, starts[row - 1]

    @staticmethod
    def _text_at(file: _File, start: int) -> str:
        end = file.text.find("\n", start)
        return (file.text[start:] if end < 0 else file.text[start:end]).rstrip("\r")


def _presumed(file: _File, row: int) -> tuple[str, int]:
    for first, line, name in reversed(file.marks):
        if row >= first:
            return name, line + row - first
    return file.name, row


class TooManyErrors(Exception):
    """Raised by `Diagnostics.error` at the limit; the passes' entry points catch it and hand back what they have."""


class Diagnostics:
    """Collects the messages of one compilation; at the twentieth error it stops the pass by `TooManyErrors`."""

    LIMIT = 20

    def __init__(self, sources: SourceMap) -> None:
        self.sources = sources
        self.items: list[Diagnostic] = []
        self.error_count = 0
        self._seen: set[tuple[int, str]] = set()

    def error(
        self,
        code: str,
        message: str,
        loc: int,
        end: int = 0,
        *,
        label: str = "",
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
        related: Iterable[tuple[int, int, str]] = (),
    ) -> None:
        """Report a mistake at ``loc``; ``related`` are further places, each with a label."""
        if self._add("error", code, message, loc, end, label, notes, helps, related):
            self.error_count += 1
            if self.error_count >= self.LIMIT:
                raise TooManyErrors

    def warning(
        self,
        code: str,
        message: str,
        loc: int,
        end: int = 0,
        *,
        label: str = "",
        notes: Iterable[str] = (),
        helps: Iterable[str] = (),
        related: Iterable[tuple[int, int, str]] = (),
    ) -> None:
        self._add("warning", code, message, loc, end, label, notes, helps, related)

    def _add(
        self,
        severity: Severity,
        code: str,
        message: str,
        loc: int,
        end: int,
        label: str,
        notes: Iterable[str],
        helps: Iterable[str],
        related: Iterable[tuple[int, int, str]],
    ) -> bool:
        if (loc, message) in self._seen:  # the same macro argument, expanded twice
            return False
        self._seen.add((loc, message))
        places = []
        for place, place_end, words in related:
            span = self.sources.span(place, place_end)
            if span is not None:
                places.append((span, words))
        expansion = self.sources.expansions.get((loc, end))
        all_notes = list(notes)
        if expansion is not None:
            name, defined = expansion
            where = self.sources.position(defined)
            origin = f", defined at {where[0]}:{where[1]}" if where[1] else ""
            all_notes.append(f"in the expansion of macro `{name}`{origin}")
        self.items.append(
            Diagnostic(
                severity,
                code,
                message,
                self.sources.span(loc, end),
                label,
                "",
                tuple(all_notes),
                tuple(helps),
                tuple(places),
            )
        )
        return True
