"""What tests of sessions share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """All test runs on one CPU: the kernel reports what a CPU's perf ring lost with that ring's next record."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)
