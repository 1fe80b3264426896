"""Records of the ring buffer → what the script wants done: one function for each of the plan's events, made once."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final, Protocol

from ebpf.session.tracing.formatting import Format
from ebpf.session.tracing.output import MapView
from ebpf.session.tracing.readers import format_kind, values_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ebpf.compiler.trace.plan import Event, Plan
    from ebpf.session.tracing.maps import TraceMap
    from ebpf.session.tracing.names import Names

    Action = Callable[[bytes], Any]

_MAX_CAT_BYTES: Final = 10240


class Sink(Protocol):
    """Where what is said goes."""

    def attached(self, count: int) -> Any: ...

    def message(self, kind: str, text: str, values: Sequence[Any] = ()) -> Any: ...

    def value(self, value: Any) -> Any: ...

    def map(self, view: MapView) -> Any: ...

    def before_maps(self) -> Any: ...

    def lost(self, count: int) -> Any: ...


class Actions:
    """Does what records say, in their order. After `exit` nothing more is done until `resume`."""

    def __init__(self, plan: Plan, names: Names, maps: Mapping[str, TraceMap], sink: Sink, *,
                 warn: Callable[[str], Any], shell: Callable[[str], bytes], unwatch: Callable[[int], Any]) -> None:
        self._names = names
        self._maps = maps
        self._sink = sink
        self._warn = warn
        self._shell = shell
        self._detach_watchpoint = unwatch
        self._config = plan.config
        self.exited = False
        self.status = 0
        self._plan = plan
        self._actions = [_MAKERS[event.kind](self, event) for event in plan.events]
        self._prints = {n: event.map for n, event in enumerate(plan.events) if event.kind == "print_map"}
        self._clears = {n: event.map for n, event in enumerate(plan.events) if event.kind == "clear"}

    def do(self, records: Sequence[bytes]) -> None:
        """Do what the records say.

        ``print(@m); clear(@m)`` is one step: what programs count between the two is neither printed twice nor lost.
        """
        actions, order = self._actions, sys.byteorder
        taken = -1
        for at, record in enumerate(records):
            if self.exited:
                return
            event = int.from_bytes(record[:4], order)
            if event in self._prints and at + 1 < len(records) and \
                    self._prints[event] == self._clears.get(int.from_bytes(records[at + 1][:4], order)):
                self._print_and_clear(event, record)
                taken = at + 1
            elif at != taken:
                actions[event](record)

    def _print_and_clear(self, event: int, record: bytes) -> None:
        map = self._maps[self._prints[event]]
        self._sink.map(map.view(*self._top_and_div(self._plan.events[event], record), entries=map.take()))

    def exit(self, status: int) -> None:
        """Do nothing more, as a record of `exit` says; it had no room, and was the last."""
        if not self.exited:
            self.status = status & 0xFF
            self.exited = True

    def resume(self) -> None:
        """Act again: the records of END follow."""
        self.exited = False

    # ---- one maker for each kind of event ----

    def _values(self, event: Event) -> Callable[[bytes], tuple[Any, ...]]:
        return values_reader(event.args, self._names)

    def _format(self, event: Event) -> Format:
        return Format(event.text, [format_kind(type) for _, type in event.args])

    def _message(self, event: Event) -> Action:
        apply, values, say, kind = self._format(event).apply, self._values(event), self._sink.message, event.kind

        def act(record: bytes) -> None:
            read = values(record)
            say(kind, apply(read), read)

        return act

    def _warning(self, event: Event) -> Action:
        apply, values = self._format(event).apply, self._values(event)
        return lambda record: self._warn(apply(values(record)).rstrip("\n"))

    def _time(self, event: Event) -> Action:
        return lambda record: self._sink.message("time", self._names.now(event.text))

    def _join(self, event: Event) -> Action:
        def act(record: bytes) -> None:
            length = int.from_bytes(record[4:8], sys.byteorder)
            text = record[8:8 + length].removesuffix(b"\0").decode("utf-8", "surrogateescape")
            words = text.split("\0") if text else []
            self._sink.message("join", event.text.join(words), words)

        return act

    def _cat(self, event: Event) -> Action:
        apply, values = self._format(event).apply, self._values(event)
        limit = int(self._config.get("max_cat_bytes", _MAX_CAT_BYTES))

        def act(record: bytes) -> None:
            path = apply(values(record))
            try:
                with open(path, "rb") as file:
                    data = file.read(limit)
            except OSError as error:
                self._warn(f"cat: {path}: {error.strerror}")
                return
            self._sink.message("cat", data.decode("utf-8", "surrogateescape"))

        return act

    def _system(self, event: Event) -> Action:
        apply, values = self._format(event).apply, self._values(event)

        def act(record: bytes) -> None:
            text = self._shell(apply(values(record))).decode("utf-8", "surrogateescape")
            self._sink.message("system", text)

        return act

    def _print_map(self, event: Event) -> Action:
        map = self._maps[event.map]
        return lambda record: self._sink.map(map.view(*self._top_and_div(event, record)))

    def _top_and_div(self, event: Event, record: bytes) -> tuple[int, int]:
        given = self._values(event)(record) if event.args else ()
        return (*given, 0)[:2] if given else (event.top, event.div)

    def _print_value(self, event: Event) -> Action:
        values = self._values(event)
        if not event.map:
            return lambda record: self._sink.value(values(record)[0])

        def act(record: bytes) -> None:
            key, value = values(record)
            self._sink.map(MapView(event.map, self._maps[event.map].kind, True, [(key, value)]))

        return act

    def _clear(self, event: Event) -> Action:
        map = self._maps[event.map]
        return lambda record: map.clear()

    def _zero(self, event: Event) -> Action:
        map = self._maps[event.map]
        return lambda record: map.zero()

    def _exit(self, event: Event) -> Action:
        values = self._values(event)

        def act(record: bytes) -> None:
            given = values(record)
            self.exit(given[0] if given else 0)

        return act

    def _unwatch(self, event: Event) -> Action:
        values = self._values(event)
        return lambda record: self._detach_watchpoint(values(record)[0])

    def _packet(self, event: Event) -> Action:
        """Such records come by another way: `captures`."""
        return lambda record: None

    def _helper_error(self, event: Event) -> Action:
        values = self._values(event)

        def act(record: bytes) -> None:
            number = values(record)[0] if event.args else 0
            self._warn(f"line {event.line}: {event.text}: {self._names.error_name(number)} ({number})")

        return act


_MAKERS: Final[dict[str, Callable[[Actions, Event], Action]]] = {
    "printf": Actions._message, "errorf": Actions._message, "warnf": Actions._warning, "time": Actions._time,
    "join": Actions._join, "cat": Actions._cat, "system": Actions._system, "print_map": Actions._print_map,
    "print_value": Actions._print_value, "clear": Actions._clear, "zero": Actions._zero, "exit": Actions._exit,
    "helper_error": Actions._helper_error, "unwatch": Actions._unwatch, "skboutput": Actions._packet,
}
