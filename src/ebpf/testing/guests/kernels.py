"""``pytest --ebpf-kernels 5.10,6.1``: tests run here, and again in guests under these kernels.

A test that uses the kernel (`ebpf_kernel`, `ebpf_backend`), or is marked ``ebpf_kernels``, has one variant for each
kernel, with the kernel's name in its id. Those variants are not called here: pytest runs inside the guest, on all of a
kernel's tests in one boot, and its reports are shown as if they had been made here (as pytest-xdist does).
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pytest

import ebpf
from ebpf.testing.guests import store
from ebpf.testing.guests.guest import Guest, GuestError
from ebpf.testing.guests.pool import Lines, Pool, Take

#: the parameter (and fixture) that says which kernel a variant is for; ``None``: this machine's own
PARAMETER = "ebpf_guest_kernel"
#: seconds that a test may take in a guest, unless its mark says otherwise
TIMEOUT_S = 120
_START_S = 600  # from the start of Python in the guest to its first test: all is slow there
_FIXTURES = ("ebpf_kernel", "ebpf_backend")
# Options of pytest's own that decide what a report says.
_OPTIONS = ("tbstyle", "showlocals", "fulltrace", "verbose", "pythonwarnings", "importmode")
_NOT_INSIDE = re.compile(r"PYTEST_|COV_CORE_|COVERAGE_")
_HERE = getattr(pytest, "HIDDEN_PARAM", "here")  # since pytest 8.4: ids of what runs here stay what they are

_kernel: pytest.StashKey[str] = pytest.StashKey()


def chosen(text: str) -> list[str]:
    """Kernels by name, ``all``: those of the matrix and what else was fetched. `pytest.UsageError` for other words."""
    names = [name for name in re.split(r"[,\s]+", text) if name]
    if "all" in names:
        return list(dict.fromkeys([*store.KERNELS, *store.fetched()]))
    for name in names:
        if not re.fullmatch(r"\d+\.\d+", name):
            raise pytest.UsageError(f"--ebpf-kernels={text}: {name!r} is no kernel; write all, or kernels such as "
                                    f"{','.join(store.KERNELS)} ({store.FETCH} {store.SAMPLE} fetches one)")
    return list(dict.fromkeys(names))


class KernelsPlugin:
    """Registered where kernels are asked for, outside and inside (``EBPF_GUEST`` is set there), so that ids agree."""

    def __init__(self, config: pytest.Config, names: Sequence[str], conftest_options: Sequence[str]) -> None:
        self._config = config
        self._names = names
        self._conftest_options = conftest_options
        self._inside = "EBPF_GUEST" in os.environ
        self._items: dict[str, list[pytest.Item]] = {}
        self._pool: Pool | None = None

    # ---- which tests there are ----

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A variant for each kernel."""
        mark = metafunc.definition.get_closest_marker("ebpf_kernels")
        if mark is None and not any(name in metafunc.fixturenames for name in _FIXTURES):
            return
        only = mark.args if mark is not None else ()
        kernels: list[str | None] = [name for name in self._names if not only or name in only]
        ids: list[Any] = list(kernels)
        if mark is None or mark.kwargs.get("here", True) or not kernels:
            kernels, ids = [None, *kernels], [_HERE, *ids]
        if kernels == [None]:
            return
        if PARAMETER not in metafunc.fixturenames:
            metafunc.fixturenames.append(PARAMETER)
        metafunc.parametrize(PARAMETER, kernels, ids=ids)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Guests' tests last, kernel by kernel: the others run while guests start."""
        idle = []
        for item in items:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            kernel = parameters.get(PARAMETER)
            if kernel is None:
                continue
            item.stash[_kernel] = kernel
            if parameters.get("ebpf_backend") == "machine" and item.get_closest_marker("ebpf_kernels") is None:
                idle.append(item)  # the machine is the same everywhere
        if idle:
            gone = set(idle)
            items[:] = [item for item in items if item not in gone]
            config.hook.pytest_deselected(items=idle)
        if not self._inside:
            order = {name: number for number, name in enumerate(self._names, 1)}
            items.sort(key=lambda item: order.get(item.stash.get(_kernel, ""), 0))

    # ---- running ----

    @pytest.hookimpl(wrapper=True, trylast=True)  # over before coverage is reported
    def pytest_runtestloop(self, session: pytest.Session) -> Iterator[Any]:
        """Guests run in the background, as long as the tests do."""
        if self._inside or session.config.option.collectonly:
            return (yield)
        for item in session.items:
            if (kernel := item.stash.get(_kernel, None)) is not None:
                self._items.setdefault(kernel, []).append(item)
        self._pool = Pool([name for name in self._items if store.why_not(name) is None], self._run)
        if not hasattr(session.config, "workerinput"):  # a worker of pytest-xdist has all tests, and runs only some
            self._pool.hire((os.cpu_count() or 1) - 1)
        try:
            return (yield)
        finally:
            self._pool.stop()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """The reports from inside, as if they had been made here."""
        kernel = item.stash.get(_kernel, None)
        if kernel is None or self._pool is None:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        if (reason := store.why_not(kernel)) is not None:
            reports = [_report(item, "skipped", (str(item.path), item.location[1] or 0, f"Skipped: {reason}"))]
        else:
            made = self._pool.result(kernel, item.nodeid)
            if isinstance(made, list):
                reports = [self._restored(data) for data in made]
            else:
                reports = [_report(item, "failed", made or self._pool.over[kernel])]
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        # What the tests before this one have set up, and the next one does not need.
        item.session._setupstate.teardown_exact(nextitem)
        return True

    def _restored(self, data: dict[str, Any]) -> Any:
        if isinstance(data["longrepr"], list):
            data["longrepr"] = tuple(data["longrepr"])  # a skip's place and reason, which JSON makes a list
        return self._config.hook.pytest_report_from_serializable(config=self._config, data=data)

    def _run(self, kernel: str, take: Take) -> str:
        """All tests of one kernel, in as few boots as it takes: one, and one more for each test that ends its guest."""
        assert self._pool is not None
        left = {item.nodeid: item for item in self._items[kernel]}
        ended = ""
        while left and not self._pool.stopping:
            watch = _Watch(left, take)
            try:
                done = Guest(kernel).run(
                    [sys.executable, "-m", "ebpf.testing.guests.inside"], cwd=str(self._config.invocation_params.dir),
                    env=_environment(kernel), stdin=self._job(left.values()), on_stdout=Lines(watch),
                    timeout_s=_START_S + sum(map(_limit, left.values())),
                    stop=partial(_stop, self._pool, watch))
                ended = f"guest {kernel}: pytest ended (status {done.returncode}) without a result"
                log = done.stderr.decode(errors="replace")
            except GuestError as error:
                ended, log = f"guest {kernel}: {watch.lateness}" if watch.lateness else error.message, ""
            if watch.running:
                take(watch.running, f"{ended}\n{log[-4000:]}".strip())
                del left[watch.running]
            elif left:
                return "\n".join(filter(None, (ended, *watch.problems, "" if watch.problems else log[-4000:])))
        return ended

    def _job(self, items: Any) -> bytes:
        config, option = self._config, self._config.option
        arguments = ["--rootdir", str(config.rootpath), *(["-c", str(config.inipath)] if config.inipath else []),
                     "-o", "addopts=", *(part for given in option.override_ini or () for part in ("-o", given)),
                     *(part for name in option.plugins if name != "no:cacheprovider" for part in ("-p", name)),
                     "-p", "no:cacheprovider", "--basetemp", "/run/pytest", "--ebpf-kernels", ",".join(self._names)]
        arguments += [f"{item.path}{item.nodeid[item.nodeid.index('::'):]}" for item in items]
        options = {name: getattr(option, name) for name in (*_OPTIONS, *self._conftest_options)
                   if _is_plain(getattr(option, name, None))}
        return json.dumps({"sys_path": sys.path, "arguments": arguments, "options": options,
                           "coverage": ebpf.coverage.running}).encode()


class _Watch:
    """Takes what a guest tells; knows which test runs, and whether it has run for too long."""

    def __init__(self, left: dict[str, pytest.Item], take: Take) -> None:
        self._left = left
        self._hand_on = take
        self._since: float | None = None
        self.running = ""
        self.lateness = ""
        self.problems: list[str] = []

    def __call__(self, told: dict[str, Any]) -> None:
        self._since = time.monotonic()
        for name, lines, ways in told.get("coverage", ()):
            ebpf.coverage.add(name, dict(lines), {(way[0], way[1]): ran for way, ran in ways})
        if "start" in told and told["start"] in self._left:
            self.running = told["start"]
        elif "test" in told and told["test"] in self._left:
            self.running = ""
            del self._left[told["test"]]
            self._hand_on(told["test"], told["reports"])
        elif "problem" in told:
            self.problems.append(told["problem"])

    def late(self) -> bool:
        """Whether what runs has had its time."""
        limit = _limit(self._left[self.running]) if self.running else _START_S
        if self._since is not None and time.monotonic() - self._since > limit:
            self.lateness = f"not done after {limit:g} s"
        return bool(self.lateness)


def _stop(pool: Pool, watch: _Watch) -> bool:
    return pool.stopping or watch.late()


def _limit(item: pytest.Item) -> float:
    mark = item.get_closest_marker("ebpf_kernels")
    limit: float = TIMEOUT_S if mark is None else mark.kwargs.get("timeout_s", TIMEOUT_S)
    return limit


def _environment(kernel: str) -> dict[str, str]:
    """Ours, without what steers this pytest; programs are loaded into the kernel there."""
    ours = {name: value for name, value in os.environ.items() if not _NOT_INSIDE.match(name)}
    path = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    return {**ours, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1", "EBPF_GUEST": kernel, "EBPF_BACKEND": "kernel"}


def _report(item: pytest.Item, outcome: Any, longrepr: Any) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, dict.fromkeys(item.keywords, 1), outcome, longrepr,
                             "setup" if outcome == "skipped" else "call")


def _is_plain(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return value is not None
