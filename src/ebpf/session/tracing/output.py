"""What a traced script says, as text or as JSON, one object a line. Pure: lines go to a function."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ebpf.session.tracing.values import clean, json_key, jsonable, show, show_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Write = Callable[[str], Any]

_DISTRIBUTIONS = ("hist", "lhist", "tseries")
_STATISTICS = ("avg", "stats")


class MapView(NamedTuple):
    """A map as it is to be printed: its rows in order. `keyed` is False for ``@x``, which has one row or none."""

    name: str
    kind: str  #: the value's: "int", "str", "count", "hist", …
    keyed: bool
    rows: Sequence[tuple[Any, Any]]


class Stats(NamedTuple):
    """What ``stats()`` gathered."""

    count: int  # type: ignore[assignment]  # the word of the language; nobody calls tuple.count here
    average: int
    total: int

    def __str__(self) -> str:
        return f"count {self.count}, average {self.average}, total {self.total}"


class TextOutput:
    """As bpftrace writes it. ``error`` gets what errorf() says, which is not output."""

    def __init__(self, write: Write, quiet: bool = False, error: Write = lambda text: None) -> None:
        self._write = write
        self._quiet = quiet
        self._error = error

    def attached(self, count: int) -> None:
        if not self._quiet:
            self._write(f"Attaching {count} probe{'' if count == 1 else 's'}...\n")

    def message(self, kind: str, text: str, values: Sequence[Any] = ()) -> None:
        """What printf, time, join, cat and system say; of these join alone is a line by itself."""
        if kind == "errorf":
            self._error(text)
        else:
            self._write(text if kind != "join" else f"{text}\n")

    def value(self, value: Any) -> None:
        self._write(f"{show(value)}\n")

    def map(self, view: MapView) -> None:
        """All of a map; an empty one is an empty line."""
        self._write(format_map(view))

    def before_maps(self) -> None:
        """Between what was said while the script ran and its maps."""
        self._write("\n\n")

    def lost(self, count: int) -> None:
        self._write(f"Lost {count} events\n")


def format_map(view: MapView) -> str:
    """A map as text."""
    if not view.rows:
        return "\n"
    parts = []
    for key, value in view.rows:
        label = f"{view.name}[{show_key(key)}]: " if view.keyed else f"{view.name}: "
        parts.append(f"{label}\n{value}\n" if view.kind in _DISTRIBUTIONS else f"{label}{show(value)}\n")
    if view.kind in _STATISTICS:
        parts.append("\n")
    return "".join(parts)


class JsonOutput:
    """One JSON object a line: its type and its data."""

    def __init__(self, write: Write, quiet: bool = False) -> None:
        self._write = write
        self._quiet = quiet

    def _line(self, type: str, data: Any) -> None:
        self._write(json.dumps({"type": type, "data": data}) + "\n")

    def attached(self, count: int) -> None:
        if not self._quiet:
            self._line("attached_probes", {"probes": count})

    def message(self, kind: str, text: str, values: Sequence[Any] = ()) -> None:
        self._line("syscall" if kind == "system" else kind, clean(text))

    def value(self, value: Any) -> None:
        self._line("value", jsonable(value))

    def map(self, view: MapView) -> None:
        if not view.rows:
            return
        type = {"hist": "hist", "lhist": "hist", "tseries": "tseries", "avg": "stats", "stats": "stats"}
        data: Any = {json_key(key): _json_value(value) for key, value in view.rows} if view.keyed else \
            _json_value(view.rows[0][1])
        self._line(type.get(view.kind, "map"), {view.name: data})

    def before_maps(self) -> None:
        """Nothing: every line is an object."""

    def lost(self, count: int) -> None:
        self._line("lost_events", {"events": count})


def _json_value(value: Any) -> Any:
    if isinstance(value, Stats):
        return value._asdict()
    own = getattr(value, "jsonable", None)
    return jsonable(value) if own is None else own()
