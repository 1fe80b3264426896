"""A plugin of coverage.py: C sources of eBPF programs in its reports, beside the Python that loads them.

``pytest --cov`` needs nothing else. The commands of coverage.py itself (``coverage html``) have to be told, in
``pyproject.toml``::

    [tool.coverage.run]
    plugins = ["ebpf.testing.coverage_plugin"]

Coverage.py keeps what has run. What there is to run it asks a plugin, and only the compiler knew: `Points` keeps that
beside its data file.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from coverage import CoveragePlugin, FileReporter

NAME = "ebpf.testing.coverage_plugin"
_NO_COVER = "pragma: no cover"


class Points:
    """A file (SQLite, as several workers of pytest-xdist write to it) with statements and ways of source files."""

    def __init__(self, data_file: str) -> None:
        self._path = Path(data_file).absolute().with_name(f"{Path(data_file).name}-ebpf")

    def add(self, file: str, lines: Iterable[int], ways: Iterable[tuple[int, int]]) -> None:
        """Remember those of a source file as it is now; what was known of other versions of it is forgotten."""
        digest = _digest(file)
        rows = [(file, digest, line, 0) for line in lines] + [(file, digest, line, to) for line, to in ways]
        with closing(sqlite3.connect(self._path, timeout=30)) as database, database:
            database.execute("create table if not exists points (file text, digest text, line int, way int,"
                             " primary key (file, digest, line, way)) without rowid")
            database.execute("delete from points where file = ? and digest != ?", (file, digest))
            database.executemany("insert or ignore into points values (?, ?, ?, ?)", rows)

    def of(self, file: str) -> tuple[set[int], set[tuple[int, int]]]:
        """Lines with statements, and ways; none for a file that was not measured as it is now."""
        if not self._path.exists():
            return set(), set()
        with closing(sqlite3.connect(self._path, timeout=30)) as database:
            rows = database.execute("select line, way from points where file = ? and digest = ?",
                                    (file, _digest(file))).fetchall()
        return {line for line, to in rows if not to}, {(line, to) for line, to in rows if to}


def _digest(file: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


class SourceReporter(FileReporter):
    """One C file (or script): what of it could run."""

    def __init__(self, filename: str, points: Points) -> None:
        super().__init__(filename)
        self._lines, ways = points.of(filename)
        # A condition with one way (`while (1)`) is no branch; nor can one on a single line be told apart.
        count: dict[int, int] = {}
        for line, _ in ways:
            count[line] = count.get(line, 0) + 1
        self._ways = {(line, to) for line, to in ways if count[line] > 1 and line != to}

    def source(self) -> str:
        """The text, whatever its encoding."""
        return Path(self.filename).read_text(errors="replace")

    def lines(self) -> set[int]:
        """Lines with statements, but for excluded ones."""
        return self._lines - self.excluded_lines()

    def excluded_lines(self) -> set[int]:
        """Lines with a comment ``pragma: no cover``."""
        text = self.source().splitlines()
        return {number for number, line in enumerate(text, 1) if _NO_COVER in line}

    def no_branch_lines(self) -> set[int]:
        """Excluded conditions have no ways, either."""
        return self.excluded_lines()

    def arcs(self) -> set[tuple[int, int]]:
        """Ways out of conditions."""
        return self._ways

    def exit_counts(self) -> dict[int, int]:
        """How many of them each has."""
        counts: dict[int, int] = {}
        excluded = self.excluded_lines()
        for line, _ in self._ways:
            if line not in excluded:
                counts[line] = counts.get(line, 0) + 1
        return counts

    def missing_arc_description(self, start: int, end: int, executed_arcs: Iterable[tuple[int, int]] | None = None
                                ) -> str:
        """One way, in words."""
        return f"line {start} never went to {f'line {end}' if end > 0 else 'the end of the function'}"


class EbpfPlugin(CoveragePlugin):
    """Traces nothing: `ebpf.testing.cov_merge` brings what has run."""

    def __init__(self) -> None:
        self._data_file = ".coverage"

    def configure(self, config: Any) -> None:
        """Where the data lie."""
        self._data_file = config.get_option("run:data_file") or self._data_file

    def file_reporter(self, filename: str) -> FileReporter:
        """For files that were recorded as ours."""
        return SourceReporter(str(Path(filename).absolute()), Points(self._data_file))


def coverage_init(registry: Any, options: Any) -> None:
    """Called by coverage.py. As what configures: file tracers would forbid its quickest ways to measure."""
    registry.add_configurer(EbpfPlugin())


def install(coverage: Any) -> None:
    """Into a `coverage.Coverage` whose configuration does not name this plugin."""
    names = coverage.get_option("run:plugins") or []
    if NAME in names:
        return
    coverage.set_option("run:plugins", [*names, NAME])
    if coverage._inited:  # too late for its configuration
        plugin = EbpfPlugin()
        plugin.configure(coverage)
        coverage._plugins.current_module = NAME
        coverage._plugins.add_configurer(plugin)
        coverage._plugins.current_module = None
