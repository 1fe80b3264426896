"""The pytest plugin: fixtures for eBPF programs, there as soon as this package is installed.

pytest imports this module at every start, in projects that never heard of eBPF too: it imports nothing but pytest,
which is there already. Everything else comes when a test asks for a fixture.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ebpf.testing.lab import Lab

_options: pytest.StashKey[frozenset[str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--ebpf-cov`` and its relatives."""
    group = parser.getgroup("ebpf", "tests of eBPF programs")
    group.addoption("--ebpf-cov", action="append", nargs="?", const="term", default=[], metavar="REPORT",
                    help="coverage of the programs' source: term (the default), html[:DIR], json[:FILE], lcov[:FILE]")
    group.addoption("--ebpf-cov-fail-under", type=float, default=0.0, metavar="PERCENT",
                    help="fail if less of the programs' statements and branches was run")
    group.addoption("--no-ebpf-cov", action="store_true",
                    help="leave the programs' source out of what --cov (pytest-cov, coverage.py) reports")
    group.addoption("--ebpf-kernels", metavar="KERNELS",
                    help="run tests that use the kernel again in guests under these kernels: 5.10,6.1 or all "
                         "(python -m ebpf.testing.guests --fetch 6.1 fetches one)")
    parser.addini("ebpf_kernels", "what --ebpf-kernels is when it is not given", default="")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Remember which options there are before the project adds its own; and let our modules be as they are.

    pytest writes the assertions of a plugin's whole distribution anew: of this one that is some hundred modules without
    any, each read, changed and compiled where the result cannot be kept.
    """
    marked = getattr(early_config.pluginmanager.rewrite_hook, "_must_rewrite", None)
    if isinstance(marked, set):
        marked.difference_update(("ebpf", "bcc"))
    early_config.stash[_options] = frozenset(vars(early_config.known_args_namespace))


def pytest_configure(config: pytest.Config) -> None:
    """The markers' names; the rest only if an option asks for it."""
    config.addinivalue_line("markers", "ebpf_kernels(*kernels, here=True, timeout_s=120): runs in guests, too, where "
                                       "--ebpf-kernels asks for one of these (none given: any) kernels; here=False: "
                                       "nowhere else")
    config.addinivalue_line("markers", "ebpf_budget(source, program=None, **limits): the program stays within its "
                                       "budget (instructions, states, visited, stack, paths)")
    if config.getoption("ebpf_cov"):
        from ebpf.testing.cov import CoveragePlugin

        config.pluginmanager.register(CoveragePlugin(config), "ebpf_cov")
    if "coverage" in sys.modules and not config.getoption("no_ebpf_cov"):
        from ebpf.testing.cov_merge import MergePlugin, measuring

        if measuring(config) is not None:
            config.pluginmanager.register(MergePlugin(config), "ebpf_cov_merge")
    if kernels := config.getoption("ebpf_kernels") or config.getini("ebpf_kernels"):
        from ebpf.testing.guests.kernels import KernelsPlugin, chosen

        own = [name for name in vars(config.option) if name not in config.stash.get(_options, vars(config.option))]
        config.pluginmanager.register(KernelsPlugin(config, chosen(kernels), own), "ebpf_kernels")


@pytest.fixture
def ebpf_machine(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The userspace machine: ``ebpf_machine.load("prog.c")`` gives a `Rig` to send packets and events to.

    No kernel and no privilege is needed. Paths are relative to the test's file. Everything is closed after the test.
    """
    yield from _lab(request, "machine")


@pytest.fixture
def ebpf_kernel(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The running kernel, with the same methods; the test is skipped where this user may not load programs, and where
    the kernel lacks what it asks for.
    """
    yield from _lab(request, "kernel")


@pytest.fixture(params=["machine", "kernel"])
def ebpf_backend(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Both, one after the other: the test runs in the machine and, where it may, in the kernel."""
    yield from _lab(request, request.param)


@pytest.fixture
def ebpf_guest_kernel() -> str | None:
    """The kernel's name in a guest (``"6.1"``), ``None`` on this machine."""
    return None


def _lab(request: pytest.FixtureRequest, backend: str) -> Iterator[Lab]:
    from ebpf.testing.lab import open_lab

    with open_lab(request, backend) as lab:
        yield lab


def pytest_runtest_setup(item: pytest.Item) -> None:
    """The budgets of the test's marks, and whether it is for guests alone."""
    only = item.get_closest_marker("ebpf_kernels")
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    if only is not None and not only.kwargs.get("here", True) and parameters.get("ebpf_guest_kernel") is None:
        pytest.skip("runs in guests only (--ebpf-kernels)")
    for mark in item.iter_markers("ebpf_budget"):
        from ebpf.testing.budget import assert_budget
        from ebpf.testing.rig import resolve

        source, *rest = mark.args
        assert_budget(resolve(source, item.path.parent), *rest, **mark.kwargs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Any:
    """What a kernel cannot do is no failure of a test that runs there."""
    try:
        return (yield)
    except Exception as error:
        funcargs: dict[str, Any] = getattr(item, "funcargs", None) or {}
        for name in ("ebpf_kernel", "ebpf_backend"):
            if name in funcargs:
                funcargs[name].skip_if_impossible(error)
        raise


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Packets field by field, records member by member, verdicts by name; nothing else is touched."""
    for value in (left, right):
        if type(value).__module__.startswith(("ebpf.", "scapy.")):
            break
    else:
        return None
    from ebpf.testing.explanations import explain

    return explain(op, left, right)
