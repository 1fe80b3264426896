"""Tools that watch a whole system: in a guest. The whole proof is ``python -m tests.tools``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest


@pytest.mark.guest(timeout_s=120)
def test_opensnoop_sees_everybody_and_a_control_group_alone() -> None:
    from ebpf.tools.opensnoop import TOOL, Open

    inside = "/sys/fs/cgroup/tools-test/inner"
    os.makedirs(inside, exist_ok=True)
    joined = f"echo $$ > {inside}/cgroup.procs; exec cat"

    def seen(**given: object) -> set[str]:
        options = TOOL.parse({"duration": 0.01, **given})
        with TOOL.load(options) as session:
            assert session.backend == "kernel"
            subprocess.run(["cat", "/nonexistent-outside"], check=False, stderr=subprocess.DEVNULL)
            subprocess.run(["sh", "-c", f"{joined} /nonexistent-inside"], check=False, stderr=subprocess.DEVNULL)
            found = [item for item in TOOL.items(session, options) if item is not None]
        assert all(isinstance(item, Open) for item in found)
        return {Path(item.path).name for item in found if item.path.startswith("/nonexistent") and item.error == "ENOENT"}

    assert seen() == {"nonexistent-outside", "nonexistent-inside"}
    assert seen(cgroup="tools-test") == {"nonexistent-inside"}, "of a group below the one that was named"
    assert seen(comm="ca") == set()
