"""``pytest --cov``: sources of programs in coverage.py's own reports."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.testing.conftest import Run

pytestmark = pytest.mark.skipif(find_spec("pytest_cov") is None or find_spec("coverage") is None,
                                reason="pytest-cov is not installed")

# As in test_it: some of it is plain Python, some runs in programs alone.
MODULE = '''\
import ebpf
from ebpf import u64

seen = ebpf.Array(u64, max_entries=1)

def helper(size):
    if size > 100:
        return 2
    return 1

@ebpf.xdp
def small(ctx):
    size = ctx.data_end - ctx.data
    if size < 60:
        seen[0] += 1
        return 1
    elif size == 77:
        seen[0] += 5
    for i in range(3):
        seen[0] += i
    return helper(size)

def plain(x):
    if x:
        return 1
    return 2

@ebpf.xdp
def spread(ctx):
    size = ctx.data_end - ctx.data
    if (
        size > 100
        and size < 200
    ):
        return 1
    return 2
'''
TESTS = '''
from prog import plain, small, spread

def test_functions(ebpf_machine):
    rig = ebpf_machine.load(small)
    assert rig.send(bytes(40)) == "XDP_DROP"
    assert rig.send(bytes(140)) == "XDP_PASS"
    assert plain(1) == 1

def test_a_condition_of_several_lines(ebpf_machine):
    rig = ebpf_machine.load(spread)
    assert [rig.send(bytes(size)).result for size in (40, 140, 240)] == [2, 1, 2]

def test_c(ebpf_machine):
    assert ebpf_machine.load("pass.c").send(bytes(60)) == "XDP_PASS"
'''
BRANCHES = ["pass.c * 7 * 1 * 4 * 2 * 73% * 17->22, 20", "prog.py * 28 * 3 * 12 * 3 * 85% * 9, 18, 26"]
LINES = ["pass.c * 7 * 1 * 86% * 20", "prog.py * 28 * 3 * 89% * 9, 18, 26"]


@pytest.fixture
def user(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    shutil.copy(Path(__file__).parent / "pass.c", pytester.path)
    pytester.makepyfile(prog=MODULE)
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "COV_CORE_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    return pytester


@pytest.mark.parametrize(("arguments", "rows"), [(["--cov-branch"], BRANCHES), ([], LINES)], ids=["branches", "lines"])
def test_reports_of_pytest_cov(user: pytest.Pytester, project: Run, arguments: list[str], rows: list[str]) -> None:
    result = project(TESTS, "--cov=.", "--cov-report=term-missing", "--cov-report=xml", "--cov-report=html", *arguments,
                     apart=True)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(rows)
    assert '<line number="20" hits="0"/>' in (user.path / "coverage.xml").read_text()
    assert "return XDP_DROP" in (user.path / "htmlcov/pass_c.html").read_text().replace("&nbsp;", " ")


def test_settings_hold_for_programs_too(user: pytest.Pytester, project: Run) -> None:
    (user.path / ".coveragerc").write_text("[run]\nomit = pass.c\n")
    assert "pass.c" not in project(TESTS, "--cov=.", apart=True).stdout.str()
    (user.path / ".coveragerc").unlink()
    result = project(TESTS, "--cov=.", "--no-ebpf-cov", "--cov-report=term-missing", apart=True)
    assert "pass.c" not in result.stdout.str()
    result.stdout.fnmatch_lines(["prog.py * 7-9, 13-21, 26, 30-36"])


def test_commands_of_coverage_itself(user: pytest.Pytester, project: Run) -> None:
    import sys

    user.makepyfile(test_it=TESTS)
    text = (user.path / "pass.c").read_text()
    (user.path / "pass.c").write_text(text.replace("return XDP_DROP;", "return XDP_DROP; // pragma: no cover"))
    (user.path / ".coveragerc").write_text(
        "[run]\nbranch = true\nsource = .\nplugins = ebpf.testing.coverage_plugin\n")
    ran = user.run(sys.executable, "-m", "coverage", "run", "-m", "pytest", "-p", "no:cacheprovider")
    ran.assert_outcomes(passed=3)
    report = user.run(sys.executable, "-m", "coverage", "report", "-m")
    report.stdout.fnmatch_lines(["pass.c * 6 * 0 * 4 * 1 * 90% * 17->22", BRANCHES[1]])
