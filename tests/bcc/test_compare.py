"""Ten of BCC's tools beside BCC itself, in a guest; the others by ``python -m tests.bcc.compare``. And how outputs are judged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bcc.compare.__main__ import SAMPLE
from tests.bcc.compare.judge import judge
from tests.bcc.compare.plan import CASES, Case
from tests.guests import store

ROOT = Path(__file__).resolve().parents[2]


def told(theirs: str, ours: str, **more: Any) -> dict[str, Any]:
    one = {"err": "", "status": 0, "ready_s": 1.0}
    return {"theirs": {**one, "out": theirs}, "ours": {**one, "out": ours, **more}}


HEAD = "PID COMM\n"


@pytest.mark.parametrize(("case", "theirs", "ours", "result"), [
    (Case(), HEAD + "12:00:01 7 wl-a\n8 other\n", HEAD + "12:00:02 7 wl-a\n", "equal"),
    (Case(), HEAD + "7 wl-a\n", HEAD + "8 wl-a\n", "different"),
    (Case(how="loose"), "7 wl-a\n", "8 wl-a\n", "equal"),
    (Case(), HEAD + "7 wl-a\n7 wl-a\n", HEAD + "7 wl-a\n", "different"),
    (Case(), "PID\n7 wl-a\n", "TID\n7 wl-a\n", "different"),
    (Case(), HEAD, HEAD, "different"),
    (Case(how="counts"), "2 wl-a\n3 wl-a\n", "5 wl-a\n", "equal"),
    (Case(how="counts"), "2 wl-a\n", "5 wl-a\n", "different"),
])
def test_outputs_are_judged(case: Case, theirs: str, ours: str, result: str) -> None:
    assert judge(case, told(theirs, ours)).result == result


def histogram(*counts: int) -> str:
    rows = [f"{1 << i >> 1:>10} -> {(1 << i) - 1:<10} : {n:<8} |{'':40}|" for i, n in enumerate(counts)]
    return "\n     usecs               : count     distribution\n" + "\n".join(rows) + "\n"


def test_histograms_are_judged() -> None:
    case = Case(how="hist")
    assert judge(case, told(histogram(3, 40, 7), histogram(2, 41, 8))).result == "equal"
    assert judge(case, told(histogram(3, 40, 7), histogram(0, 9))).result == "different"
    assert judge(case, told(histogram(9), histogram(9).replace("usecs", "msecs"))).result == "different"


def test_our_own_traceback_is_a_failure() -> None:
    assert judge(Case(), told("", "", err='Traceback (most recent call last):\n  File "/x/src/bcc/table.py", line 1\nKeyError\n')).result == "failed"
    assert judge(Case(), told("x", "x", status="killed")).result == "failed"


def test_every_script_has_a_case() -> None:
    installed = [p for p in Path("/usr/sbin").glob("*-bpfcc") if b"python" in p.read_bytes().partition(b"\n")[0]]
    if not installed:
        pytest.skip("bpfcc-tools is not installed")
    assert {str(p) for p in installed} <= {case.path for case in CASES.values()}
    assert len({case.path for case in CASES.values()}) == 104 and set(SAMPLE) <= set(CASES) and len(SAMPLE) == 10


def test_ten_tools_say_what_bcc_said(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--no-guests"):
        pytest.skip("guest tests: --no-guests")
    if (reason := store.why_not(store.SAMPLE)) is not None:
        pytest.skip(f"guest tests: {reason}")
    if not shutil.which("opensnoop-bpfcc", path="/usr/sbin"):
        pytest.skip("bpfcc-tools is not installed")
    done = subprocess.run([sys.executable, "-m", "tests.bcc.compare", "--sample"], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "EBPF_COMPARE_DIR": str(tmp_path)}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ten_tools_beside_bcc(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--all-guests") or store.why_not(store.SAMPLE) is not None:
        pytest.skip("BCC's compiler takes minutes under emulation: --all-guests")
    if not shutil.which("opensnoop-bpfcc", path="/usr/sbin") or not list(Path("/usr/src").glob("linux-headers-*")):
        pytest.skip("bpfcc-tools and kernel headers are not installed")
    done = subprocess.run([sys.executable, "-m", "tests.bcc.compare", *SAMPLE], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "EBPF_COMPARE_DIR": str(tmp_path)}, check=False)
    assert done.stdout.count(" equal ") == 10, done.stdout + done.stderr
