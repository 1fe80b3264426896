"""``pytest --ebpf-kernels``: a user's own tests again in guests, with all that pytest gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpf.testing.guests import SAMPLE, kernels, store
from tests.testing.conftest import Run

STORE = store.directory()  # before pytester moves HOME
CONFTEST = '''
import pytest

def pytest_addoption(parser):
    parser.addoption("--colour", default="red")

@pytest.fixture(scope="module")
def colour(request):
    return request.config.getoption("--colour")
'''
PROJECT = '''
import os, pytest
from helper import release

PACKET = bytes(12) + b"\\x08\\x00" + bytes.fromhex("4500002800010000400600000a0000010a000002") + bytes(20)

@pytest.mark.parametrize("packets", [1, 3])
def test_sends(ebpf_kernel, packets, tmp_path, ebpf_guest_kernel):
    (tmp_path / "written").write_text("x")
    assert ebpf_guest_kernel is None or release().startswith(ebpf_guest_kernel + ".")
    passing = ebpf_kernel.load("pass.c")
    assert [passing.send(PACKET) == "XDP_PASS" for _ in range(packets)] == [True] * packets
    assert passing.maps["seen"][0] == packets

class TestBoth:
    def test_passes(self, ebpf_backend):
        assert ebpf_backend.load("pass.c").send(PACKET) == "XDP_PASS"

@pytest.mark.ebpf_kernels
def test_options_of_the_project(colour):
    assert colour == "blue"

@pytest.mark.ebpf_kernels
@pytest.mark.xfail
def test_known():
    assert 0

@pytest.mark.ebpf_kernels(here=False)
def test_told():
    print("printed there")
    assert [1, 2] == [1, 3]

@pytest.mark.ebpf_kernels(here=False)
def test_left_out():
    pytest.skip("skipped there")

@pytest.mark.ebpf_kernels("6.6")
def test_elsewhere():
    pass

def test_plain():
    pass
'''

BAD = '''
import pytest

@pytest.mark.ebpf_kernels(here=False)
def test_ends_its_kernel():
    with open("/proc/sysrq-trigger", "w") as trigger:
        trigger.write("c")

@pytest.mark.ebpf_kernels(here=False, timeout_s=2)
def test_never_ends():
    while True:
        pass

@pytest.mark.ebpf_kernels(here=False)
def test_after():
    pass
'''


@pytest.fixture
def user(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(helper="import os\n\ndef release():\n    return os.uname().release\n")
    (pytester.path / "pass.c").write_text((Path(__file__).parent / "pass.c").read_text())
    return pytester


def test_variants_by_kernel(user: pytest.Pytester, project: Run) -> None:
    result = project(PROJECT, "--collect-only", "-q", "--ebpf-kernels", "5.10,6.1", apart=True)
    names = [line.removeprefix("test_it.py::") for line in result.outlines if "::" in line]
    here = names[:names.index("test_plain") + 1]
    assert [name.replace("-here", "").replace("[here]", "") for name in here] == [
        "test_sends[1]", "test_sends[3]", "TestBoth::test_passes[machine]", "TestBoth::test_passes[kernel]",
        "test_options_of_the_project", "test_known", "test_elsewhere", "test_plain"]
    assert set(names[len(here):]) == {
        f"{name}[{before}{kernel}{after}]" for kernel in ("5.10", "6.1") for name, before, after in [
            ("test_sends", "", "-1"), ("test_sends", "", "-3"), ("TestBoth::test_passes", "kernel-", ""),
            ("test_options_of_the_project", "", ""), ("test_known", "", ""), ("test_told", "", ""),
            ("test_left_out", "", "")]}


def test_without_the_option_nothing_changes(user: pytest.Pytester, project: Run) -> None:
    result = project(PROJECT, "-rs", "-k", "told or plain or known or passes and machine")
    result.assert_outcomes(passed=2, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*runs in guests only (--ebpf-kernels)"])


def test_a_kernel_that_is_not_here_is_a_skip(
        user: pytest.Pytester, project: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EBPF_GUESTS", str(tmp_path))
    user.makeini("[pytest]\nebpf_kernels = 6.1")
    result = project(PROJECT, "-rs", "-k", "left_out", apart=True)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*kernel 6.1 is not fetched (python -m ebpf.testing.guests --fetch 6.1)*"])
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.platform", "darwin")
    assert store.why_not("6.1") == "guests run on Linux, this is darwin"


def test_words_that_are_no_kernels(user: pytest.Pytester, project: Run) -> None:
    result = project(PROJECT, "--ebpf-kernels", "6.1,newest", apart=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*'newest' is no kernel; write all, or kernels such as 5.10,*"])
    assert kernels.chosen("6.1, 6.1 5.10") == ["6.1", "5.10"]
    assert kernels.chosen("all")[:len(store.KERNELS)] == list(store.KERNELS)


def _need_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBPF_GUESTS", str(STORE))
    if (reason := store.why_not(SAMPLE)) is not None:
        pytest.skip(f"guest tests: {reason}")


def _outcomes(result: pytest.RunResult) -> dict[str, str]:
    lines = [line.split(" ") for line in result.outlines if line.startswith("test_it.py::")]
    return {line[0].removeprefix("test_it.py::"): line[1] for line in lines}


def test_again_in_a_guest(user: pytest.Pytester, project: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports as if the tests had run here, and what they covered."""
    _need_guests(monkeypatch)
    result = project(PROJECT, "-v", "--colour", "blue", "--ebpf-kernels", SAMPLE, "-rs", "--ebpf-cov",
                     "-k", f"{SAMPLE} or plain", apart=True)
    assert _outcomes(result) == {
        "test_plain": "PASSED", f"test_sends[{SAMPLE}-1]": "PASSED", f"test_sends[{SAMPLE}-3]": "PASSED",
        f"TestBoth::test_passes[kernel-{SAMPLE}]": "PASSED", f"test_options_of_the_project[{SAMPLE}]": "PASSED",
        f"test_known[{SAMPLE}]": "XFAIL", f"test_told[{SAMPLE}]": "FAILED", f"test_left_out[{SAMPLE}]": "SKIPPED"}
    result.stdout.fnmatch_lines(["*At index 1 diff: 2 != 3*", "*Captured stdout call*", "printed there",
                                 "pass.c * 17->22, 19->20, 20", "SKIPPED * skipped there"])


def test_tests_that_end_their_guest(user: pytest.Pytester, project: Run, monkeypatch: pytest.MonkeyPatch,
                                    request: pytest.FixtureRequest) -> None:
    """They are told as failed, with the reason, and the others run in another one."""
    if not request.config.getoption("--all-guests"):
        pytest.skip("three boots: --all-guests")
    _need_guests(monkeypatch)
    result = project(BAD, "-v", "--ebpf-kernels", SAMPLE, apart=True)
    assert _outcomes(result) == {f"test_ends_its_kernel[{SAMPLE}]": "FAILED", f"test_never_ends[{SAMPLE}]": "FAILED",
                                 f"test_after[{SAMPLE}]": "PASSED"}
    result.stdout.fnmatch_lines([
        f"guest {SAMPLE}: the machine died before the command ended*", "*sysrq triggered crash*",
        f"guest {SAMPLE}: not done after 2 s*"])
