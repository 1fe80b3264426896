"""How items become lines: columns that align, and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Column(NamedTuple):
    """One column of a tool's output: its title, the item's field, and how wide it is at least (0: as it comes).

    ``show`` makes text of a value that ``str`` would not do for; ``left`` where the text begins at the left;
    ``option``: only with that option given.
    """

    title: str
    field: str
    width: int = 0
    show: Callable[[Any], str] = str
    left: bool = False
    option: str = ""


def text_column(title: str, field: str, width: int = 0, option: str = "") -> Column:
    """A column of words."""
    return Column(title, field, width, printable, True, option)


def printable(value: Any) -> str:
    """A value as text in one line: control characters are escaped, what is absent is ``-``."""
    if value is None:
        return "-"
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def decimals(count: int) -> Callable[[Any], str]:
    """Numbers with that many digits behind the point."""
    def show(value: Any) -> str:
        return "-" if value is None else f"{value:.{count}f}"

    return show


def number_or_dash(value: Any) -> str:
    """A number, or ``-`` where there is none."""
    return "-" if value is None else str(value)


def clock_time(value: float) -> str:
    """Seconds since 1970 as the local time of day, to the millisecond."""
    import time

    return time.strftime("%H:%M:%S", time.localtime(value)) + f".{int(value * 1000) % 1000:03}"


class Table:
    """Lines of the columns that the options want; the last column is as wide as it likes."""

    __slots__ = ("columns",)

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)

    def header(self) -> str:
        """The titles."""
        return self._line([column.title for column in self.columns])

    def line(self, item: Any) -> str:
        """One item."""
        return self._line([column.show(getattr(item, column.field)) for column in self.columns])

    def _line(self, cells: list[str]) -> str:
        parts = []
        for column, cell in zip(self.columns, cells):
            width = max(column.width, len(column.title))
            parts.append(cell.ljust(width) if column.left else cell.rjust(width))
        return " ".join(parts).rstrip()


def jsonable(value: Any) -> Any:
    """The item out of what JSON has: named tuples as objects."""
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return {name: jsonable(getattr(value, name)) for name in fields}
    if isinstance(value, dict):
        return {str(key): jsonable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(part) for part in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value


def json_line(item: Any) -> str:
    """The item as JSON on one line."""
    import json

    return json.dumps(jsonable(item))
