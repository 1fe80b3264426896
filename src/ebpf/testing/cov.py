"""``pytest --ebpf-cov``: which statements and branches of the programs the tests have run, in pytest-cov's style."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import ebpf

if TYPE_CHECKING:
    from collections.abc import Iterable

KINDS = ("term", "html", "json", "lcov")


class FileReport(NamedTuple):
    """One source file: statements and branches by line number."""

    name: str
    statements: tuple[int, ...]
    missing: tuple[int, ...]
    branches: int
    missing_ways: tuple[tuple[int, int], ...]  #: from conditions that ran, ways that were not taken
    branches_taken: int

    @property
    def percent(self) -> float:
        """Of statements and branches together, as coverage.py counts."""
        whole = len(self.statements) + self.branches
        return 100.0 if not whole else 100.0 * (len(self.statements) - len(self.missing) + self.branches_taken) / whole

    @property
    def partial(self) -> int:
        """Conditions that ran, and did not go every way."""
        return len({line for line, _ in self.missing_ways})

    @property
    def missing_text(self) -> str:
        """``86, 98-107, 145->146``."""
        gone = set(self.missing)
        parts = [(first, f"{first}" if first == last else f"{first}-{last}")
                 for first, last in _runs(self.statements, gone)]
        parts += [(line, f"{line}->{to if to > 0 else 'exit'}") for line, to in self.missing_ways]
        return ", ".join(text for _, text in sorted(parts))


def _runs(statements: Iterable[int], gone: set[int]) -> list[tuple[int, int]]:
    """Missing lines that follow each other, with nothing that ran between them."""
    found: list[tuple[int, int]] = []
    open_ = False
    for line in statements:
        if line not in gone:
            open_ = False
        elif open_:
            found[-1] = found[-1][0], line
        else:
            found.append((line, line))
            open_ = True
    return found


def reports(root: str | os.PathLike[str] = ".") -> list[FileReport]:
    """What `ebpf.coverage` has collected of files that are there; names relative to ``root``, sorted."""
    found = []
    for name, ways in ebpf.coverage.files.items():
        if not os.path.isfile(name):
            continue
        statements = tuple(sorted(ways.lines))
        missing = tuple(line for line in statements if not ways.lines[line])
        # A condition with one way (`while (1)`) is no branch.
        count: dict[int, int] = {}
        for line, _ in ways.ways:
            count[line] = count.get(line, 0) + 1
        real = {way: ran for way, ran in ways.ways.items() if count[way[0]] > 1}
        not_taken = tuple(sorted(way for way, ran in real.items() if not ran and ways.lines.get(way[0], True)))
        found.append(FileReport(_relative(name, root), statements, missing, len(real), not_taken, sum(real.values())))
    return sorted(found)


def _relative(name: str, root: str | os.PathLike[str]) -> str:
    path = os.path.relpath(name, root)
    return os.path.abspath(name) if path.startswith("..") else path


def total(files: Iterable[FileReport]) -> float:
    """Percent of all of them together."""
    done = whole = 0
    for file in files:
        whole += len(file.statements) + file.branches
        done += len(file.statements) - len(file.missing) + file.branches_taken
    return 100.0 * done / whole if whole else 100.0


def format_term(files: list[FileReport]) -> list[str]:
    """The table."""
    rows = [(f.name, len(f.statements), len(f.missing), f.branches, f.partial, f.percent, f.missing_text)
            for f in files]
    width = max([len("Name"), *(len(row[0]) for row in rows)])
    head = f"{'Name':<{width}}  Stmts   Miss Branch BrPart  Cover   Missing"
    lines = [head, "-" * (len(head) + 8)]
    lines += [f"{name:<{width}} {stmts:6} {miss:6} {branch:6} {part:6} {_percent(percent):>5}%   {text}".rstrip()
              for name, stmts, miss, branch, part, percent, text in rows]
    if len(rows) != 1:
        sums = [sum(row[at] for row in rows) for at in range(1, 5)]  # type: ignore[misc]
        lines += ["-" * (len(head) + 8), f"{'TOTAL':<{width}} {sums[0]:6} {sums[1]:6} {sums[2]:6} {sums[3]:6} "
                                         f"{_percent(total(files)):>5}%"]
    return lines


def _percent(value: float) -> int:
    """Rounded, but 100 only for all and 0 only for nothing."""
    return min(99, max(1, round(value))) if 0 < value < 100 else round(value)


def write_json(files: list[FileReport], path: str) -> None:
    """In coverage.py's layout, as far as it applies."""
    Path(path).write_text(json.dumps({
        "meta": {"format": 3, "branch_coverage": True},
        "files": {f.name: {
            "executed_lines": [n for n in f.statements if n not in set(f.missing)], "missing_lines": list(f.missing),
            "missing_branches": [list(way) for way in f.missing_ways],
            "summary": _summary([f])} for f in files},
        "totals": _summary(files)}, indent=1) + "\n")


def _summary(files: list[FileReport]) -> dict[str, Any]:
    statements, missing = sum(len(f.statements) for f in files), sum(len(f.missing) for f in files)
    return {"num_statements": statements, "missing_lines": missing, "covered_lines": statements - missing,
            "num_branches": sum(f.branches for f in files), "covered_branches": sum(f.branches_taken for f in files),
            "num_partial_branches": sum(f.partial for f in files), "percent_covered": total(files)}


def write_lcov(files: list[FileReport], path: str, root: str | os.PathLike[str] = ".") -> None:
    """A tracefile of lcov(1)."""
    lines = []
    for f in files:
        ways = ebpf.coverage.files[_source(f, root)].ways
        gone = set(f.missing)
        lines += ["TN:", f"SF:{f.name}"]
        lines += [f"DA:{line},{int(line not in gone)}" for line in f.statements]
        lines += [f"LF:{len(f.statements)}", f"LH:{len(f.statements) - len(gone)}"]
        lines += [f"BRDA:{line},0,jump to {'line ' + str(to) if to > 0 else 'exit'},{int(ran)}"
                  for (line, to), ran in sorted(ways.items())]
        lines += [f"BRF:{len(ways)}", f"BRH:{sum(ways.values())}", "end_of_record"]
    Path(path).write_text("\n".join(lines) + "\n")


def _source(file: FileReport, root: str | os.PathLike[str]) -> str:
    """The name under which the compiler knew it."""
    return next(name for name in ebpf.coverage.files if os.path.isfile(name) and _relative(name, root) == file.name)


_STYLE = """body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:75em;color:#222}
table{border-collapse:collapse}
td,th{padding:.2em .9em;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}
pre{margin:0;font:13px/1.5 ui-monospace,monospace}pre div{padding-left:.6em;border-left:5px solid transparent}
.run{border-color:#4a4!important}.mis{border-color:#c33!important;background:#fdd}.par{border-color:#c90!important;
background:#ffc}.n{color:#999;display:inline-block;width:4em}.w{float:right;color:#a60;padding-right:1em}"""


def write_html(files: list[FileReport], directory: str, root: str | os.PathLike[str] = ".") -> None:
    """``index.html`` and a page for each file, which need nothing else."""
    from html import escape

    out = Path(directory)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, f in enumerate(files):
        page = f"file{number}.html"
        rows.append(f'<tr><td><a href="{page}">{escape(f.name)}</a><td>{len(f.statements)}<td>{len(f.missing)}'
                    f"<td>{f.branches}<td>{f.partial}<td>{_percent(f.percent)}%")
        ways: dict[int, list[str]] = {}
        for line, to in f.missing_ways:
            ways.setdefault(line, []).append(f"→ {to}" if to > 0 else "→ exit")
        statements, gone = set(f.statements), set(f.missing)
        text = []
        for line, source in enumerate(Path(_source(f, root)).read_text(errors="replace").splitlines(), 1):
            kind = "mis" if line in gone else "par" if line in ways else "run" if line in statements else ""
            note = f'<span class="w">never {", ".join(ways[line])}</span>' if line in ways else ""
            text.append(f'<div class="{kind}">{note}<span class="n">{line}</span>{escape(source)}</div>')
        (out / page).write_text(_page(f.name, f"<h1>{escape(f.name)}: {_percent(f.percent)}%</h1><pre>"
                                      + "".join(text) + "</pre>"))
    head = "<tr><th>File<th>Statements<th>Missing<th>Branches<th>Partial<th>Covered"
    (out / "index.html").write_text(_page(
        "eBPF coverage", f"<h1>eBPF coverage: {_percent(total(files))}%</h1><table>{head}{''.join(rows)}</table>"))


def _page(title: str, body: str) -> str:
    from html import escape

    return (f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>{body}\n')


class CoveragePlugin:
    """Registered where ``--ebpf-cov`` is given."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._kinds = [_kind(text) for text in config.getoption("ebpf_cov")]
        self._under: float = config.getoption("ebpf_cov_fail_under")
        self._failed = ""
        ebpf.coverage.clear()
        ebpf.coverage.start()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """The limit decides about the exit status."""
        percent = total(reports(self._config.rootpath))
        if self._under and percent < self._under:
            self._failed = (f"FAIL Required eBPF coverage of {self._under:g}% not reached. "
                            f"Total coverage: {percent:.2f}%")
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The reports that were asked for."""
        root = self._config.rootpath
        files = reports(root)
        if not files:
            terminalreporter.write_line("no coverage of eBPF programs: no test loaded one from a file of source")
            return
        terminalreporter.section("eBPF coverage")
        for kind, where in self._kinds:
            if kind == "term":
                for line in format_term(files):
                    terminalreporter.write_line(line)
            elif kind == "html":
                write_html(files, where or "ebpf-htmlcov", root)
                terminalreporter.write_line(f"Coverage HTML written to {where or 'ebpf-htmlcov'}/index.html")
            elif kind == "json":
                write_json(files, where or "ebpf-coverage.json")
                terminalreporter.write_line(f"Coverage JSON written to {where or 'ebpf-coverage.json'}")
            else:
                write_lcov(files, where or "ebpf-coverage.lcov", root)
                terminalreporter.write_line(f"Coverage LCOV written to {where or 'ebpf-coverage.lcov'}")
        if self._failed:
            terminalreporter.write_line(self._failed, red=True)

    def pytest_unconfigure(self) -> None:
        """The process may go on without."""
        ebpf.coverage.stop()


def _kind(text: str) -> tuple[str, str]:
    kind, _, where = text.partition(":")
    if kind not in KINDS:
        raise pytest.UsageError(f"--ebpf-cov={text}: there is no such report; there are {', '.join(KINDS)} "
                                "(--ebpf-cov=html:DIRECTORY). Before a path write --ebpf-cov=term")
    return kind, where
