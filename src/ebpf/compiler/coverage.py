"""Programs that count what of their source runs: the switch, and the table of what is counted.

While `instrumented` is on, whatever is compiled (C, Python functions, scripts) has a byte for each statement and for
each way out of a condition, in the map `COUNTERS`; the program sets it when it comes there. So the answer is about the
source, whatever the optimiser makes of it, and every backend gives it. `POINTS` says what each byte stands for.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COUNTERS = ".data.ebpf_coverage"
POINTS = ".rodata.ebpf_coverage"

_on = 0


class Point(NamedTuple):
    """A statement at ``line`` (``to`` is 0), or the way from the condition at ``line`` to the line ``to``; negative:
    out of the function that begins there. Lines count from 1.
    """

    file: str
    line: int
    to: int = 0


def is_on() -> bool:
    """Whether what is compiled now is instrumented."""
    return _on > 0


@contextmanager
def instrumented() -> Iterator[None]:
    """Instrument what is compiled meanwhile."""
    global _on
    _on += 1
    try:
        yield
    finally:
        _on -= 1


def emit_points(points: Sequence[Point]) -> bytes:
    """The table as bytes."""
    import json

    files = list(dict.fromkeys(point.file for point in points))
    rows = [[files.index(point.file), point.line, point.to] for point in points]
    return json.dumps({"files": files, "points": rows}, separators=(",", ":")).encode()


def parse_points(data: bytes) -> list[Point]:
    """The other way round."""
    import json

    table = json.loads(data.rstrip(b"\0"))
    return [Point(table["files"][file], line, to) for file, line, to in table["points"]]
