"""One suite for both backends: what a session does is the same in the kernel and in the machine."""

from __future__ import annotations

import pytest


@pytest.fixture(params=[pytest.param("kernel", marks=pytest.mark.kernel), "machine"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs in each of them; as an ordinary user in the machine alone."""
    name: str = request.param
    monkeypatch.setenv("EBPF_BACKEND", name)
    return name
