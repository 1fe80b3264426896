"""A project of its own for each test of the plugin, run by pytest inside pytest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# An installation from before the plugin has no entry point for it.
PLUGIN = [] if any(e.name == "ebpf" for e in entry_points(group="pytest11")) else ["-p", "ebpf.testing.plugin"]

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester) -> Run:
    """``project(text, *arguments, apart=False)``: run a test file beside traffic.c; ``apart``: in a process of its own."""
    shutil.copy(HERE / "traffic.c", pytester.path)

    def run(text: str, *arguments: str, apart: bool = False) -> pytest.RunResult:
        pytester.makepyfile(test_it=text)
        runner = pytester.runpytest_subprocess if apart else pytester.runpytest_inprocess
        return runner(*PLUGIN, "-p", "no:cacheprovider", *arguments)

    return run
