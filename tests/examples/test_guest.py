"""The examples at their hooks, on kernels of their own: each sees what it is for, and what its C version sees."""

from __future__ import annotations

from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

import ebpf
from tests.examples.events import in_c, module
from tests.examples.live import CLONE, LIVE, seen

APART = ("execve",)
"""Examples whose program has the name of another's: not all can be in one session."""


def attached(source: ModuleType | ebpf.Object, **options: Any) -> ebpf.Session:
    """The programs at their hooks, with the entries that they look for."""
    if isinstance(source, ModuleType):
        session = ebpf.attach(*source.PROGRAMS, backend="kernel", **options)
    else:
        session = ebpf.load(source, backend="kernel", **options)
        session.attach()
    if "syscalls" in session.maps:
        session.maps["syscalls"][CLONE] = {"calls": 0}
    return session


@pytest.mark.guest(timeout_s=240)
def test_some_of_them() -> None:
    see_them_all("opensnoop", "exitsnoop", "tcpconnect", "syscall_counter")


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_all_of_them_at_once() -> None:
    see_them_all(*(name for name in LIVE if name not in APART))


def see_them_all(*names: str) -> None:
    """Attach these examples in one session, have something happen to each, and look that each has seen it."""
    with ExitStack() as open_modules:
        modules = [open_modules.enter_context(module(name)) for name in names]
        programs = [p for m in modules for p in m.PROGRAMS]
        together = ModuleType("together")
        together.PROGRAMS = programs  # type: ignore[attr-defined]
        with attached(together) as session:
            assert len(session.links) >= len(programs)
            pids = {name: LIVE[name].work() for name in names}
            for link in session.links:
                link.detach()
            found = seen(session)
        for name in names:
            assert LIVE[name].pick(found, pids[name]), name


@pytest.mark.guest(thorough=True, timeout_s=400)
@pytest.mark.parametrize("name", sorted(LIVE))
def test_the_same_as_in_c(name: str) -> None:
    live = LIVE[name]
    obj = in_c(name)
    with module(name) as example, attached(example) as ours, attached(obj) as theirs:
        for session in (ours, theirs):
            seen(session)  # what only one of them could see until now
        pid = live.work()
        for session in (ours, theirs):
            for link in session.links:
                link.detach()
        mine, other = (live.pick(seen(session), pid) for session in (ours, theirs))
        assert mine == other
        assert mine and mine != [False]


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_what_is_printed() -> None:
    with module("hello_autoattach") as example, attached(example), attached(in_c("hello_autoattach")) as theirs:
        with theirs.trace_pipe() as pipe:
            LIVE["hello"].work()
            lines = []
            while len(lines) < 4 and (line := pipe.read_line(10)) is not None:
                if b"Hello, DockerCon!" in line:  # others may have left theirs in the one pipe
                    lines.append(line)
        assert len(lines) == 4


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_a_missing_entry_has_to_be_asked_for() -> None:
    with module("null_check") as example, pytest.raises(ebpf.CompileError) as refused:
        ebpf.attach(example.unchecked)
    assert "`p` is Counter or None" in str(refused.value) and "p.calls += 1" in str(refused.value)
