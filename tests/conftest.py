"""What every test shares: the privilege rules of this machine's own kernel, and the summary of what was left out.

A test marked ``kernel`` may load, verify, test-run and attach to what it created itself, never to the whole machine. It
need not ask beforehand whether it may: NotSupported skips it, and so does, in any test, PrivilegeError for whoever lacks
the capabilities.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Generator, Iterator
from typing import Any

import pytest

pytest_plugins = ["tests.guests.plugin", "pytester"]

_CAP_SYS_ADMIN = 21


def _almighty() -> bool:
    """Root with a full set of capabilities: for it, a refusal is a failure and no reason to skip."""
    try:
        with open("/proc/self/status") as status:
            held = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff:"))
    except (OSError, StopIteration):
        return False
    return os.geteuid() == 0 and bool(held >> _CAP_SYS_ADMIN & 1)


def _skipping(item: pytest.Item) -> Generator[None, object, object]:
    from ebpf.errors import NotSupported, PrivilegeError

    try:
        return (yield)
    except NotSupported as error:
        if item.get_closest_marker("kernel") is None:
            raise
        pytest.skip(f"this kernel: {error.message}")
    except PrivilegeError as error:
        if _almighty():
            raise
        pytest.skip(f"kernel tests: not privileged ({', '.join(error.needs) or 'run as root'})")


@pytest.fixture
def privileged() -> None:
    """For tests whose child processes or probes meet the refusal where no exception of ours reaches pytest."""
    if not _almighty():
        pytest.skip("kernel tests: not privileged (run as root)")


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """All test runs on one CPU: the kernel reports what a CPU's perf ring lost with that ring's next record."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test of the kernel means the kernel, whoever runs it: no other backend steps in."""
    if item.get_closest_marker("kernel") is None:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EBPF_BACKEND", "kernel")
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _skipping(item))  # fixtures load programs, too


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from _skipping(item))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line per reason: how many tests this run left out, and what would let them run."""
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", ()):
        place = report.longrepr
        reason = place[2] if isinstance(place, tuple) else str(place)
        reasons[re.sub(r"^Skipped: ", "", reason).splitlines()[0]] += 1
    if reasons:
        terminalreporter.section("left out")
        for reason, count in sorted(reasons.items(), key=lambda row: (-row[1], row[0])):
            terminalreporter.write_line(f"{count:5}  {reason}")
