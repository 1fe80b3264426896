"""The contract (tests/kernel/contract): every map type and every hook, on this kernel and in guests."""

from __future__ import annotations

import json
import os
import subprocess
import sys as python
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.contract import tables

_ROOT = Path(__file__).resolve().parents[2]


def results(what: str, *names: str) -> dict[str, Any]:
    """What a process in namespaces of its own answered, row by row."""
    done = subprocess.run([python.executable, "-m", "tests.kernel.contract", what, *names], capture_output=True, text=True,
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


def judge_needs(rows: dict[str, Any], kernel: str) -> None:
    """With these capabilities it works, with one less it is refused (`needs.least`); and the table says so."""
    judge(rows)
    told = tables.documented_needs(kernel)
    found = {name: tables._needs(answer) for name, answer in rows.items()}
    assert any(found.values()) and {name: text for name, text in found.items() if told.get(name) not in (None, "", text)} == {}


@pytest.mark.kernel
def test_needs_of_hooks_that_only_we_see() -> None:
    rows = results("own-needs", "uprobe", "perf_event", "socket_filter", "xdp", "tc", "cgroup_device", "cgroup_bind4")
    assert rows["xdp"] == rows["cgroup_device"] == ["CAP_BPF", "CAP_NET_ADMIN"] and rows["socket_filter"] == ["CAP_BPF"]
    judge_needs(rows, ".".join(os.uname().release.split(".")[:2]))


@pytest.mark.guest(thorough=True, timeout_s=200)
def test_needs_in_a_guest(guest_kernel: str) -> None:
    judge_needs(results("needs", "kprobe", "fentry", "xdp"), guest_kernel)


@pytest.mark.guest(thorough=True, timeout_s=900)
def test_needs_of_all_hooks_in_guests(guest_kernel: str) -> None:
    judge_needs(results("needs"), guest_kernel)


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
