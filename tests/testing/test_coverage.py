"""Coverage of the programs' source: what a reader of the C would say has run, whatever the optimiser made of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import ebpf
from ebpf.testing import cost_of, load
from ebpf.testing.cov import format_term, reports
from tests.testing.conftest import Run

HERE = Path(__file__).parent
SOURCE = HERE / "branches.c"
STATEMENTS = {6, 8, 11, 12, 14, 16, 22, 24, 25, 26, 27, 28, 29, 30, 31, 33, 34, 36}
# Runs (value, rounds) → lines that do not run, ways from lines that run which are not taken.
CASES = [
    ([(-1, 0)], {6, 8, 11, 12, 14, 16, 26, 27, 28, 29, 30, 31, 33, 34, 36}, {(24, 26)}),
    ([(1, 0)], {6, 8, 11, 12, 14, 16, 25, 27, 29, 30, 31, 34}, {(24, 25), (26, 27), (28, 29), (33, 34)}),
    ([(2, 2)], {8, 14, 25, 27, 30, 34}, {(6, 7), (6, 9), (6, 13), (24, 25), (26, 27), (29, 30), (33, 34)}),
    ([(0, 8)], {11, 12, 14, 16, 25, 27, 34}, {(6, 9), (6, 10), (6, 13), (24, 25), (26, 27), (33, 34)}),
    ([(-1, 0), (0, 8), (1, 1), (2, 8), (200, 8)], {34}, {(33, 34)}),
]


@pytest.fixture(autouse=True)
def measured() -> Iterator[None]:
    ebpf.coverage.clear()
    ebpf.coverage.start()
    yield
    ebpf.coverage.stop()
    ebpf.coverage.clear()


def _measure(runs: list[tuple[int, int]], backend: str, **options: str) -> None:
    with load(SOURCE, backend=backend, **options) as rig:
        for value, rounds in runs:
            rig.programs["run"].test_run(context=value.to_bytes(8, "little", signed=True) + rounds.to_bytes(8, "little"))


@pytest.mark.parametrize(("runs", "missing", "not_taken"), CASES)
@pytest.mark.parametrize("backend", ["machine", pytest.param("kernel", marks=pytest.mark.kernel)])
def test_lines_and_branches(runs: list[tuple[int, int]], missing: set[int], not_taken: set[tuple[int, int]],
                            backend: str) -> None:
    _measure(runs, backend)
    report, = reports()
    assert set(report.statements) == STATEMENTS
    assert set(report.missing) == missing
    assert set(report.missing_ways) == not_taken


def test_native_code_counts_as_well() -> None:
    _measure(CASES[4][0], "machine", engine="jit")
    assert reports()[0].missing == (34,)


def test_what_several_runs_cover_adds_up() -> None:
    _measure([(-1, 0)], "machine")
    _measure([(2, 2)], "machine")
    assert 25 not in reports()[0].missing and 11 not in reports()[0].missing


def test_the_cost_is_that_of_the_program_itself() -> None:
    with load(SOURCE) as rig:
        instrumented = len(rig.obj.programs["run"].code) // 8
        assert cost_of(rig).instructions < instrumented
    ebpf.coverage.stop()
    assert cost_of(SOURCE).instructions == len(ebpf.compile(SOURCE).programs["run"].code) // 8


def test_the_table_reads_as_coverage_py_writes_it() -> None:
    _measure([(0, 8)], "machine")
    lines = format_term(reports(HERE))
    assert lines[0].split() == ["Name", "Stmts", "Miss", "Branch", "BrPart", "Cover", "Missing"]
    assert lines[2].split()[:3] == ["branches.c", "18", "7"]
    assert "11-16" in lines[2] and "24->25" in lines[2] and "%" in lines[2]


def test_reports_and_the_limit(project: Run, pytester: pytest.Pytester) -> None:
    result = project('''
def test_it(ebpf_machine):
    rig = ebpf_machine.load("traffic.c", load_programs=["fw"])
    rig.send(bytes(64))
''', "--ebpf-cov=term", "--ebpf-cov=json:c.json", "--ebpf-cov=lcov:c.lcov", "--ebpf-cov=html:h",
                     "--ebpf-cov-fail-under=90", apart=True)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*eBPF coverage*", "Name *", "traffic.c *%*", "FAIL Required eBPF coverage of 90%*"])
    totals = json.loads((pytester.path / "c.json").read_text())["totals"]
    assert 0 < totals["covered_lines"] < totals["num_statements"]
    lcov = (pytester.path / "c.lcov").read_text()
    assert f"LF:{totals['num_statements']}\nLH:{totals['covered_lines']}\n" in lcov
    assert f"BRF:{totals['num_branches']}" in lcov
    assert "XDP_DROP" in (pytester.path / "h" / "file0.html").read_text()


def test_an_unknown_report_is_refused_in_a_line(project: Run) -> None:
    result = project("def test_it():\n    pass\n", "--ebpf-cov=pdf")
    assert result.ret == 4
    assert "--ebpf-cov=pdf: there is no such report" in result.stderr.str()
