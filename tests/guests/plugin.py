"""pytest and guests: a test marked ``guest`` is not called here but inside a guest, once per kernel.

::

    @pytest.mark.guest                         # on 6.1 by default; on the whole matrix with --all-guests
    def test_kprobe_sees_clone() -> None: ...

    @pytest.mark.guest(smoke=True)             # quick and telling: on every kernel also by default
    @pytest.mark.guest(kernels=("6.12", "7.2"))   # needs something that the sample kernel lacks
    @pytest.mark.guest(thorough=True)          # takes minutes there: only with --all-guests or --guest-kernels

Such a function runs as root in a fork of its own inside the guest, with the machine to itself: system-wide probes are
fine. It may take ``guest_kernel`` (the kernel's name), ``tmp_path`` and parameters (picklable), no other fixture. A
mark's ``timeout_s`` (default 60) bounds it. NotSupported skips there; a test that no kernel of the matrix could run
fails the ``--all-guests`` run. All of a kernel's tests share one boot, which goes on in the background while other
tests run.
"""

from __future__ import annotations

import base64
import compileall
import json
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ebpf.testing.guests import Guest, GuestError, store
from ebpf.testing.guests.pool import Lines, Pool, Take
from tests.guests import inside

_ROOT = Path(__file__).resolve().parents[2]
_pool_key: pytest.StashKey[_Pool] = pytest.StashKey()
_kernel_key: pytest.StashKey[str] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("guests")
    group.addoption("--all-guests", action="store_true", help="every guest test on every kernel of the matrix")
    group.addoption("--guest-kernels", metavar="K,K", help="guest tests on these kernels only")
    group.addoption("--no-guests", action="store_true", help="leave the guest tests out")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("guest")
    if mark is None:
        return
    allowed = mark.kwargs.get("kernels", store.KERNELS)
    chosen = metafunc.config.getoption("--guest-kernels")
    if chosen:
        kernels = [k for k in chosen.split(",") if k in allowed or k not in store.KERNELS]
    elif metafunc.config.getoption("--all-guests") or mark.kwargs.get("smoke") or "kernels" in mark.kwargs:
        kernels = list(allowed)
    else:
        kernels = [store.SAMPLE]
    if "guest_kernel" not in metafunc.fixturenames:
        metafunc.fixturenames.append("guest_kernel")
    metafunc.parametrize("guest_kernel", kernels)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Guest tests last, kernel by kernel: their results come in that order while the others run."""
    if not config.getoption("--all-guests") and not config.getoption("--guest-kernels"):
        left_out = [i for i in items if (m := i.get_closest_marker("guest")) is not None and m.kwargs.get("thorough")]
        if left_out:
            items[:] = [i for i in items if i not in left_out]
            config.hook.pytest_deselected(items=left_out)
    order = {name: i for i, name in enumerate((store.SAMPLE, *(k for k in store.KERNELS if k != store.SAMPLE)), 1)}
    for item in items:
        if isinstance(item, pytest.Function) and item.get_closest_marker("guest"):
            kernel = item.callspec.params["guest_kernel"]
            if isinstance(kernel, str):  # else none of its kernels was chosen, and pytest skips it by itself
                item.stash[_kernel_key] = kernel
    items.sort(key=lambda item: order.get(k, 99) if (k := item.stash.get(_kernel_key, "")) else 0)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    pool = _Pool([i for i in session.items if isinstance(i, pytest.Function) and _kernel_key in i.stash])
    session.config.stash[_pool_key] = pool
    if not session.config.option.collectonly and not session.config.getoption("--no-guests"):
        pool.start()
    try:
        return (yield)
    finally:
        pool.stop()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    kernel = item.stash.get(_kernel_key, None)
    if kernel is None:
        return
    if item.config.getoption("--no-guests"):
        pytest.skip("guest tests: --no-guests")
    if (reason := store.why_not(kernel)) is not None:
        pytest.skip(f"guest tests: {reason}")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if _kernel_key not in pyfuncitem.stash:
        return None
    result = pyfuncitem.config.stash[_pool_key].result(pyfuncitem)
    if result["output"]:
        pyfuncitem.add_report_section("call", "guest", result["output"])
    pyfuncitem.user_properties.append(("guest_seconds", result["seconds"]))
    if result["outcome"] == "skipped":
        pytest.skip(result["message"])
    if result["outcome"] == "failed":
        pytest.fail(f"in guest {pyfuncitem.stash[_kernel_key]}:\n{result['message']}", pytrace=False)
    return True


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip must not rot: with the whole matrix at hand, somebody has to have run each test."""
    pool = session.config.stash.get(_pool_key, None)
    if pool is None or not session.config.getoption("--all-guests") or session.config.getoption("--guest-kernels"):
        return
    pool.never_run = pool.never_ran()
    if pool.never_run and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    pool = config.stash.get(_pool_key, None)
    for name in pool.never_run if pool is not None else ():
        terminalreporter.write_line(f"FAILED: no kernel of the matrix could run {name}", red=True)


class _Pool:
    """Runs every selected guest test, one boot per kernel, in the background; hands results out by test."""

    def __init__(self, items: list[pytest.Function]) -> None:
        self._jobs: dict[str, list[pytest.Function]] = {}
        for item in items:
            self._jobs.setdefault(item.stash[_kernel_key], []).append(item)
        self._pool = Pool([k for k in self._jobs if store.why_not(k) is None], self._run_all)
        self.stop = self._pool.stop
        self.never_run: list[str] = []

    def start(self) -> None:
        if any(store.why_not(k) is None for k in self._jobs) and os.access(_ROOT / "src", os.W_OK):
            # Guests see our files but cannot keep bytecode: compiling it there costs every process seconds.
            compileall.compile_dir(_ROOT / "src", quiet=2)
        self._pool.hire((os.cpu_count() or 1) - 1)  # leave one processor to the tests that run here

    def result(self, item: pytest.Function) -> dict[str, Any]:
        kernel = item.stash[_kernel_key]
        result: dict[str, Any] | None = self._pool.result(kernel, item.nodeid)
        return result or _failed(self._pool.over[kernel])

    def never_ran(self) -> list[str]:
        """Functions whose every result is "not supported"."""
        ran: dict[str, bool] = {}
        for items in self._jobs.values():
            for item in items:
                if (result := self._pool.results.get(item.nodeid)) is not None:
                    name = f"{item.path.name}::{item.originalname}"
                    unsupported = result["outcome"] == "skipped" and result["message"].startswith("NotSupported")
                    ran[name] = ran.get(name, False) or not unsupported
        return [name for name, did in ran.items() if not did]

    def _run_all(self, kernel: str, take: Take) -> str:
        checks = []
        for item in self._jobs[kernel]:
            try:
                checks.append(_check(item))
            except (GuestError, pickle.PicklingError, TypeError, AttributeError) as error:
                take(item.nodeid, _failed(str(error)))
        if not checks:
            return "nothing could be run"
        timeout_s = 60 + sum(check["timeout_s"] for check in checks)
        job = json.dumps({"sys_path": [str(_ROOT / "src"), str(_ROOT)], "checks": checks}).encode()
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(_ROOT / "src"), "EBPF_GUEST": kernel,
            "EBPF_BACKEND": "kernel",
        }
        done = Guest(kernel).run([sys.executable, inside.__file__], cwd=str(_ROOT), env=environment, stdin=job,
                                 timeout_s=timeout_s, on_stdout=Lines(lambda result: take(result["id"], result)),
                                 stop=lambda: self._pool.stopping)
        complaint = done.stderr.decode(errors="replace").strip()
        return f"the guest's test process ended (status {done.returncode}) without a result\n{complaint}".strip()


def _failed(message: str) -> dict[str, Any]:
    return {"outcome": "failed", "message": message, "output": "", "seconds": 0.0}


def _check(item: pytest.Function) -> dict[str, Any]:
    mark = item.get_closest_marker("guest")
    assert mark is not None
    parameters = dict(item.callspec.params)
    names = item._fixtureinfo.argnames
    strangers = [n for n in names if n not in parameters and n != "tmp_path"]
    if strangers:
        raise GuestError(f"a guest test takes no fixtures but guest_kernel and tmp_path, and this wants {strangers}")
    function = item.originalname if item.cls is None else f"{item.cls.__name__}::{item.originalname}"
    arguments = {n: parameters[n] for n in names if n in parameters}
    return {
        "id": item.nodeid, "file": str(item.path), "function": function, "tmp_path": "tmp_path" in names,
        "arguments": base64.b64encode(pickle.dumps(arguments)).decode(),
        "timeout_s": mark.kwargs.get("timeout_s", 60),
    }
