"""`ebpf.coverage`: what of the source of programs runs. ``pytest --ebpf-cov`` is built on it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ebpf.session.session import Session


class Ways(NamedTuple):
    """Of a source file: ``lines`` that hold statements, and ``ways`` out of conditions (from line, to line; negative:
    out of the function that begins there), each with whether it ran.
    """

    lines: dict[int, bool]
    ways: dict[tuple[int, int], bool]


class Coverage:
    """Use the one instance, `ebpf.coverage`::

        ebpf.coverage.start()
        with ebpf.load(ebpf.compile("prog.c")) as session:      # instrumented
            …
            ebpf.coverage.collect(session)
        ebpf.coverage.stop()
        ebpf.coverage.files["prog.c"].lines                     # {12: True, 13: False, …}

    What is compiled after `start` (C, Python functions, scripts) counts its own statements and branches, in the machine
    and in kernels alike; objects that others compiled do not.
    """

    def __init__(self) -> None:
        #: what was collected, by the source file's name as the compiler was given it
        self.files: dict[str, Ways] = {}
        self._stack: ExitStack | None = None

    @property
    def running(self) -> bool:
        """Whether programs are instrumented."""
        return self._stack is not None

    def start(self) -> None:
        """Instrument what is compiled from now on; again: nothing."""
        from ebpf.compiler.coverage import instrumented

        if self._stack is None:
            self._stack = ExitStack()
            self._stack.enter_context(instrumented())

    def stop(self) -> None:
        """No longer; what was collected stays."""
        stack, self._stack = self._stack, None
        if stack is not None:
            stack.close()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Compile as if this were not running, for the time of ``with``."""
        was = self.running
        self.stop()
        try:
            yield
        finally:
            if was:
                self.start()

    def collect(self, session: Session) -> bool:
        """Add what the programs of ``session`` have run so far to `files`; whether they count it at all."""
        from ebpf.compiler.coverage import COUNTERS, POINTS, parse_points

        counters, spec = session._backend.maps.get(COUNTERS), session.obj.maps.get(POINTS)
        if counters is None or spec is None or spec.initial is None:
            return False
        ran = counters.lookup(bytes(4)) or b""
        for point, hit in zip(parse_points(spec.initial), ran, strict=False):
            way = {(point.line, point.to): bool(hit)} if point.to else {}
            self.add(point.file, {} if point.to else {point.line: bool(hit)}, way)
        return True

    def add(self, file: str, lines: Mapping[int, bool], ways: Mapping[tuple[int, int], bool]) -> None:
        """Add what was collected elsewhere, in another process perhaps."""
        found = self.files.setdefault(file, Ways({}, {}))
        for line, ran in lines.items():
            found.lines[line] = ran or found.lines.get(line, False)
        for way, ran in ways.items():
            found.ways[way] = ran or found.ways.get(way, False)

    def clear(self) -> None:
        """Forget what was collected."""
        self.files.clear()


coverage = Coverage()
