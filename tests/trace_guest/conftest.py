"""The tools that are too many for every run: with ``--all-guests``, or asked for by name."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--all-guests") or "every_tool" in (config.getoption("keyword") or ""):
        return
    rare = [item for item in items if getattr(item, "originalname", "").startswith("test_every_tool_says")]
    if rare:
        config.hook.pytest_deselected(items=rare)
        items[:] = [item for item in items if item not in rare]
