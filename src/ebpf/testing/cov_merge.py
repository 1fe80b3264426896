"""``pytest --cov`` (and ``coverage run -m pytest``): what the programs have run becomes part of coverage.py's data.

C files get a reporter of their own (`coverage_plugin`). A program that is a Python function lies in a file that
coverage.py measures anyway: lines of its body, which Python never runs, count as run where the program ran them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

import ebpf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf.session.coverage import Ways

    Arcs = set[tuple[int, int]]


def measuring(config: pytest.Config) -> Any:
    """The `coverage.Coverage` that measures this process; ``None`` if there is none."""
    if "coverage" not in sys.modules:
        return None
    plugin = config.pluginmanager.getplugin("_cov")  # pytest-cov's
    if plugin is not None and getattr(plugin, "cov_controller", None) is not None:
        return plugin.cov_controller.cov
    from coverage import Coverage

    return Coverage.current()


class MergePlugin:
    """Registered where coverage.py measures the tests."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        ebpf.coverage.start()

    @pytest.hookimpl(wrapper=True, trylast=True)  # pytest-cov writes its data when its own wrapper goes on
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[Any]:
        """When all tests have run."""
        try:
            return (yield)
        finally:
            ebpf.coverage.stop()
            coverage = measuring(self._config)
            if coverage is not None:
                plugin = self._config.pluginmanager.getplugin("_cov")
                reporting = getattr(getattr(plugin, "cov_controller", None), "combining_cov", None)
                merge(coverage, ebpf.coverage.files, str(self._config.rootpath), reporting)


def merge(coverage: Any, files: Mapping[str, Ways], root: str, reporting: Any = None) -> None:
    """Add what was collected to the data of ``coverage``; ``reporting`` is what writes reports, if that is another."""
    from ebpf.testing import coverage_plugin

    for one in (coverage, reporting):  # without files of this process, too: a worker's may follow
        if one is not None:
            coverage_plugin.install(one)
    data, wanted = coverage.get_data(), _Wanted(coverage, root)
    points = coverage_plugin.Points(os.path.abspath(coverage.config.data_file).removesuffix(".combine"))
    lines: dict[str, list[int]] = {}
    arcs: dict[str, Arcs] = {}
    tracers: dict[str, str] = {}
    for name, ways in files.items():
        path = os.path.abspath(name)
        if not os.path.isfile(path) or not wanted(path):
            continue
        key = coverage._file_mapper(path)
        lines[key] = [line for line, ran in ways.lines.items() if ran]
        if path.endswith(".py"):
            arcs[key] = _python_arcs(coverage, path, ways)
        else:
            arcs[key] = _c_arcs(ways)
            tracers[key] = f"{coverage_plugin.NAME}.{coverage_plugin.EbpfPlugin.__name__}"
            points.add(path, ways.lines, ways.ways)
    if data.has_arcs() or coverage.config.branch:
        data.add_arcs(arcs)
    else:
        data.add_lines(lines)
    for key in tracers:
        data.touch_file(key)
    data.add_file_tracers(tracers)


def _c_arcs(ways: Ways) -> Arcs:
    """Ways that were gone; a statement that ran is entered from nowhere, which says no more than that it ran."""
    return {way for way, ran in ways.ways.items() if ran} | {(-line, line) for line, ran in ways.lines.items() if ran}


def _python_arcs(coverage: Any, path: str, ways: Ways) -> Arcs:
    """In coverage.py's own steps from line to line: where a statement can only go one way, it has gone there."""
    from coverage.python import PythonFileReporter

    possible: dict[int, set[int]] = {}
    reporter = PythonFileReporter(path, coverage)
    for line, to in reporter.arcs():
        possible.setdefault(line, set()).add(to)

    def first(line: int) -> int:
        """Of the statement that goes on in ``line``."""
        return min(reporter.translate_lines([line])) if line > 0 else line

    ran = {first(line) for line, hit in ways.lines.items() if hit}
    taken: dict[int, dict[int, bool]] = {}
    for (line, to), hit in ways.ways.items():
        outs = taken.setdefault(first(line), {})
        outs[first(to)] = hit or outs.get(first(to), False)
    found: Arcs = {(-line, line) for line in ran}
    for line in ran:
        there = possible.get(line, set())
        outs = taken.get(line, {})
        gone = {to for to, hit in outs.items() if hit}
        if len(gone) == len(outs):
            found |= {(line, to) for to in there}
            continue
        # Out of a function: its number is coverage.py's, not ours.
        out = any(to < 0 for to in gone)
        found |= {(line, to) for to in there if to in gone or (to < 0 and out)}
    # The way into a function is one of the lines that ran first.
    found |= {(line, to) for line, targets in possible.items() if line < 0 for to in targets if to in ran}
    return found


class _Wanted:
    """Whether the user wants a file measured, by coverage.py's settings ``source``, ``include`` and ``omit``."""

    def __init__(self, coverage: Any, root: str) -> None:
        from coverage.files import GlobMatcher, prep_patterns

        config = coverage.config
        self._include = GlobMatcher(prep_patterns(config.run_include)) if config.run_include else None
        self._omit = GlobMatcher(prep_patterns(config.run_omit)) if config.run_omit else None
        self._folders = [*map(_folder, config.source or ()), *map(os.path.abspath, config.source_dirs or ()),
                         *map(_folder, config.source_pkgs or ())] or [os.path.abspath(root)]

    def __call__(self, path: str) -> bool:
        if self._include is not None and not self._include.match(path):
            return False
        if self._omit is not None and self._omit.match(path):
            return False
        return any(path.startswith(os.path.join(folder, "")) or path == folder for folder in self._folders)


def _folder(source: str) -> str:
    """Of a directory, or of a package or module by name."""
    if os.path.isdir(source):
        return os.path.abspath(source)
    from importlib.util import find_spec

    try:
        spec = find_spec(source)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        return os.path.abspath(source)
    return os.path.dirname(spec.origin) if spec.submodule_search_locations else spec.origin
