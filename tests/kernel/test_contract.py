"""The contract (tests/kernel/contract): every map type and every hook, on this kernel and in guests."""

from __future__ import annotations

import json
import subprocess
import sys as python
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def results(what: str) -> dict[str, Any]:
    """What a process in namespaces of its own answered, row by row."""
    done = subprocess.run([python.executable, "-m", "tests.kernel.contract", what], capture_output=True, text=True,
                          cwd=_ROOT)
    rows = dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    if not rows and "NotSupported" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0 and rows, done.stderr
    return rows


def judge(rows: dict[str, Any]) -> None:
    wrong = {name: answers for name, answers in rows.items() if isinstance(answers, str)}
    assert not wrong, "\n\n".join(f"{name}: {text}" for name, text in wrong.items())


@pytest.mark.kernel
def test_maps() -> None:
    rows = results("maps")
    judge(rows)
    assert rows["hash"]["read batch"] == "yes" and rows["array"]["mmap"] == "yes"


@pytest.mark.kernel
def test_hooks_that_only_we_see() -> None:
    rows = results("own-hooks")
    judge(rows)
    assert rows["perf_event"]["attach"] == rows["tc"]["attach"] == rows["iter: task"]["rows"] == "yes"


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_hooks_in_guests(guest_kernel: str) -> None:
    rows = results("hooks")
    judge(rows)
    assert rows["kprobe"]["attach"] == rows["xdp"]["attach"] == rows["sk_msg"]["detach"] == "yes"


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_maps_in_guests(guest_kernel: str) -> None:
    rows = results("maps")
    judge(rows)
    assert rows["hash"]["lookup"] == "yes"
