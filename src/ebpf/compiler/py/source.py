"""The text of functions: files as Python compiled them, and which of their lines are a function's."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

_files: dict[str, tuple[tuple[int, int], str]] = {}


def file_text(filename: str) -> str | None:
    """The whole file; of a notebook's cell or an interactive session what `linecache` knows. None: there is none."""
    from os import stat

    try:
        status = stat(filename)
    except OSError:
        return _remembered(filename)
    identity = status.st_mtime_ns, status.st_size
    known = _files.get(filename)
    if known is not None and known[0] == identity:
        return known[1]
    try:
        with open(filename, "rb") as file:
            raw = file.read()
    except OSError:
        return _remembered(filename)
    head = raw[:200].split(b"\n", 2)[:2]
    if any(b"coding" in line for line in head):
        from tokenize import open as open_source

        try:
            with open_source(filename) as text_file:
                text = text_file.read()
        except (OSError, SyntaxError):
            return None
    else:
        text = raw.decode("utf-8", "replace").removeprefix("\ufeff")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    _files[filename] = identity, text
    return text


def _remembered(filename: str) -> str | None:
    from linecache import getlines

    lines = getlines(filename)
    return "".join(lines) if lines else None


def segment(code: CodeType) -> str:
    """The lines that hold a function, decorators included; "" where its file cannot be read."""
    text = file_text(code.co_filename)
    if text is None:
        return ""
    return "\n".join(text.split("\n")[code.co_firstlineno - 1 : _last_line(code)])


def _last_line(code: CodeType) -> int:
    last = code.co_firstlineno
    for _, end, _, _ in code.co_positions():
        if end is not None and end > last:
            last = end
    for c in code.co_consts:
        if type(c) is type(code):
            last = max(last, _last_line(c))
    return last
