"""Scripts of one line in files, as everybody has them: under either name of the command, on every kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.trace_guest.commands import BPFTRACE, TRACE, hidden, left, run

OPEN = 'tracepoint:syscalls:sys_enter_open { printf("%d %s\\n", pid, str(args->filename)); }\n'
EXECVE = "tracepoint:syscalls:sys_enter_execve { join(args->argv); }\n"
# Not by the C library, whose open() is openat.
OPENER = 'import ctypes, platform\nctypes.CDLL(None).syscall({"x86_64": 2}[platform.machine()], b"/dev/null", 0)\n'


@pytest.mark.guest(timeout_s=300)
def test_open_and_execve(tmp_path: Path) -> None:
    script, opener = tmp_path / "open.bt", tmp_path / "opener.py"
    script.write_text(OPEN)
    opener.write_text(OPENER)
    for command in (TRACE, BPFTRACE):
        done = run([*command, "-c", f"{sys.executable} {opener}", str(script)], EBPF_CACHE_DIR=str(tmp_path))
        first, said, *_ = done.stdout.splitlines()
        assert (done.returncode, done.stderr, first) == (0, "", "Attaching 1 probe...")
        number, name = said.split()
        assert int(number) > 1 and name == "/dev/null"
    script.write_text(EXECVE)
    for command in (TRACE, BPFTRACE):
        done = run([*command, "-c", "/bin/echo one two", str(script)], EBPF_CACHE_DIR=str(tmp_path))
        assert (done.returncode, done.stderr) == (0, "") and "/bin/echo one two\n" in done.stdout
    assert left() == []


@pytest.mark.guest(timeout_s=120)
def test_a_tracepoint_that_a_kernel_does_not_have(tmp_path: Path) -> None:
    """As on arm64, which never had open."""
    (tmp_path / "open.bt").write_text(OPEN)
    events = "/sys/kernel/tracing/events/syscalls"
    done = run(hidden(f"mount -t tmpfs none {events} && mkdir {events}/sys_enter_openat",
                      [*BPFTRACE, str(tmp_path / "open.bt")]))
    assert done.returncode == 1 and "there is no tracepoint `syscalls:sys_enter_open`" in done.stderr
    assert "`tracepoint:syscalls:sys_enter_openat`" in done.stderr
