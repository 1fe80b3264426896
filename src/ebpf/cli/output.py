"""What the subcommands share in printing: colour or not, tables, JSON."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TextIO


def colors(stream: TextIO) -> bool:
    """Whether to colour what goes to ``stream``: a terminal, and nobody said NO_COLOR (no-color.org)."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:
        return False


def print_table(head: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Rows in columns as wide as they need; numbers to the right. ``empty`` is said when there are none."""
    cells = [[str(c) for c in row] for row in rows]
    if not cells:
        print(empty)
        return
    widths = [max(len(r[i]) for r in [list(head), *cells]) for i in range(len(head))]
    numeric = [all(r[i].isdigit() or not r[i] for r in cells) for i in range(len(head))]
    for row in [list(head), *cells]:
        print("  ".join(c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)).rstrip())


def print_json(value: object) -> None:
    """The value as JSON; bytes as text or hexadecimal, records and tuples as objects and lists."""
    import json

    print(json.dumps(plain(value), indent=2))


def json_line(value: object) -> str:
    """The same on one line."""
    import json

    return json.dumps(plain(value))


def plain(value: object) -> object:
    """The value out of what JSON has."""
    if isinstance(value, bool) or value is None or isinstance(value, (float, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return show(value) if value else ""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    fields = getattr(value, "_fields", None)
    if fields is not None:
        return {str(name): plain(getattr(value, name)) for name in fields}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    return str(value)


def show(value: object) -> str:
    """A key or value as one line of text."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        raw = bytes(value)
        try:
            text = raw.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            text = ""
        return text if text and text.isprintable() else raw.hex(" ") if raw else '""'
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return "[" + ", ".join(map(show, value)) + "]"
    return str(value)


def print_line(text: str) -> None:
    """A line of the output, in one write even where nothing is buffered: what is traced may write there, too."""
    sys.stdout.write(text + "\n")


def progress(text: str) -> None:
    """A line for whoever watches, apart from the output proper."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
