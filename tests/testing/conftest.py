"""A project of its own for each test of the plugin, run by pytest inside pytest."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
# An installation from before the plugin has no entry point for it.
PLUGIN = [] if any(e.name == "ebpf" for e in entry_points(group="pytest11")) else ["-p", "ebpf.testing.plugin"]

Run = Callable[..., pytest.RunResult]


class Keep:
    """What a run within this process has imported stays imported, but for the project's own modules.

    pytester forgets it all. Importing it again for every test would be slow, and make each class of ours twice.
    """

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        """Remember them, before they are forgotten."""
        project = str(config.rootpath)
        self.modules.update({name: module for name, module in sys.modules.items()
                             if not str(getattr(module, "__file__", None) or "").startswith(project)})


@pytest.fixture
def keep() -> Iterator[Keep]:
    """Asked for before ``pytester``, so that this ends after it."""
    keep = Keep()
    yield keep
    sys.modules.update({name: module for name, module in keep.modules.items() if name not in sys.modules})


@pytest.fixture
def project(keep: Keep, pytester: pytest.Pytester) -> Run:
    """``project(text, *arguments, apart=False)``: run a test file beside traffic.c; ``apart``: in a process of its own."""
    shutil.copy(HERE / "traffic.c", pytester.path)

    def run(text: str, *arguments: str, apart: bool = False) -> pytest.RunResult:
        pytester.makepyfile(test_it=text)
        arguments = (*PLUGIN, "-p", "no:cacheprovider", *arguments)
        if apart:
            return pytester.runpytest_subprocess(*arguments)
        return pytester.runpytest_inprocess(*arguments, plugins=[keep])

    return run
