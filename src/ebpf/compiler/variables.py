"""Objects that say where local variables live, for debuggers: the switch.

While `located` is on, whatever is compiled (C, Python functions, scripts) keeps its DWARF, with a location for each
variable. The instructions are the same; without it objects carry no DWARF at all.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_on = 0


def is_on() -> bool:
    """Whether what is compiled now tells of its variables."""
    return _on > 0


@contextmanager
def located() -> Iterator[None]:
    """Let what is compiled meanwhile tell of its variables."""
    global _on
    _on += 1
    try:
        yield
    finally:
        _on -= 1
