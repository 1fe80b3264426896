"""Beginnings and ends: commands that are none, die, hide or hang, and processes of ours that end before them."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ebpf.abi.syscalls import number_of
from ebpf.errors import NotSupported, PrivilegeError, UsageError
from ebpf.machine.tracing import SyscallEnter, Tracer
from ebpf.machine.tracing.ptrace import install_filter, libc
from tests.machine.tracing.commands import SECONDS, build, finish, trace

CHDIR = number_of("chdir", os.uname().machine)


def alive(pid: int) -> bool:
    """Whether a process runs (zombies have ended)."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + SECONDS
    while alive(pid):
        assert time.monotonic() < deadline, f"{pid} still lives"
        time.sleep(0.01)


@pytest.mark.parametrize(("argv", "words"), [
    ([], "no command to trace"),
    (["no-such-command-anywhere"], "no command 'no-such-command-anywhere' on PATH"),
    (["/no/such/file"], "there is no such file"),
    (["/etc"], "a folder"),
    (["true", "a\0b"], "NUL"),
])
def test_what_is_no_command(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Tracer(argv)


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("neither script nor program\n")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="may not be executed"):
        Tracer([str(path)])
    path.chmod(0o755)
    with Tracer([str(path)]) as tracer, pytest.raises(UsageError, match="Exec format error"):
        finish(tracer)
    with Tracer([str(path)]) as tracer, pytest.raises(UsageError, match="Exec format error"):
        tracer.probe(SyscallEnter(), lambda event: None)
        finish(tracer)


def test_a_folder_to_run_in_and_an_environment(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        Tracer(["true"], cwd=str(tmp_path / "missing"))
    script = f'test "$(pwd)" = "{tmp_path}" && test "$GREETING" = hello'
    with Tracer(["sh", "-c", script], cwd=str(tmp_path), env={"GREETING": "hello", "PATH": os.environ["PATH"]}) as tracer:
        assert finish(tracer) == 0


def test_the_exit_status_is_the_commands() -> None:
    assert trace(["sh", "-c", "exit 42"]) == 42
    assert trace(["sh", "-c", "kill -9 $$"]) == -signal.SIGKILL


def test_a_command_killed_from_outside() -> None:
    with Tracer(["sleep", "1000"]) as tracer:
        tracer.probe(SyscallEnter(), lambda event: None)
        tracer.release()
        os.kill(tracer.pid, signal.SIGKILL)
        assert finish(tracer) == -signal.SIGKILL


def test_closing_ends_the_command_and_its_children(tmp_path: Path) -> None:
    command = build(tmp_path, """
int main(void) {
    for (int i = 0; i < 3; i++) if (!fork()) { setsid(); if (fork()) _exit(0); for (;;) pause(); }
    for (;;) pause();
}""")
    from ebpf.machine.tracing import Fork

    children: list[int] = []
    with Tracer([command]) as tracer:
        pid = tracer.pid
        tracer.probe(Fork(), lambda event: children.append(event.child))
        tracer.release()
        while len(children) < 6:
            tracer.dispatch(1)
    for child in (pid, *children):
        wait_until_dead(child)


def test_closing_before_the_command_has_begun_leaves_nothing() -> None:
    tracer = Tracer(["touch", "/nowhere"])
    pid = tracer.pid
    tracer.close()
    tracer.close()
    wait_until_dead(pid)
    assert tracer.dispatch(0) == 0


def test_a_command_that_closes_its_descriptors() -> None:
    assert trace(["sh", "-c", "exec 0<&- 1>&- 2>&-; cd /; exit 3"], [(SyscallEnter(), lambda event: None)]) == 3


def test_who_reads_the_commands_output_sees_its_end() -> None:
    """Nobody of ours keeps the pipe open."""
    read, write = os.pipe()
    saved = os.dup(1)
    os.dup2(write, 1)
    try:
        tracer = Tracer(["sh", "-c", "echo out; exec 1>&-; sleep 1000"])
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(write)
    with tracer:
        tracer.release()
        data = b""
        while chunk := os.read(read, 100):
            data += chunk
        assert data == b"out\n" and alive(tracer.pid)
    os.close(read)


OUR_END = """
import os, sys, threading
from ebpf.machine.tracing import Fork, Tracer
if "threads" in sys.argv:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
tracer = Tracer(["sh", "-c", "sleep 1000 & wait"])
seen = [tracer.pid, tracer._child]
tracer.probe(Fork(), lambda event: seen.append(event.child))
tracer.release()
while len(seen) < 3:
    tracer.dispatch(0.5)
print(*seen, flush=True)
while True:
    tracer.dispatch(1)
"""


@pytest.mark.parametrize("threads", [False, True], ids=["forked", "spawned"])
def test_when_our_process_is_killed_nobody_is_left(threads: bool) -> None:
    ours = subprocess.Popen([sys.executable, "-c", OUR_END, *(["threads"] if threads else [])],
                            stdout=subprocess.PIPE, text=True)
    assert ours.stdout is not None
    pids = [int(word) for word in ours.stdout.readline().split()]
    assert len(pids) >= 3 and all(map(alive, pids))
    ours.kill()
    ours.wait()
    ours.stdout.close()
    for pid in pids:
        wait_until_dead(pid)


def test_from_a_thread_that_ends_before_the_command() -> None:
    """The kernel tells the tracer of the end of the thread that started it, which is not our process's end."""
    made: list[Tracer] = []
    thread = threading.Thread(target=lambda: made.append(Tracer(["sh", "-c", "cd /; exit 6"])))
    thread.start()
    thread.join()
    with made[0] as tracer:
        assert finish(tracer) == 6


def test_wait_statuses_of_others_stay_theirs() -> None:
    before = subprocess.Popen(["sh", "-c", "exit 11"])
    with Tracer(["sh", "-c", "exit 12"]) as tracer:
        during = subprocess.Popen(["sh", "-c", "exit 13"])
        assert finish(tracer) == 12
        assert (before.wait(), during.wait()) == (11, 13)
    for pid in (tracer.pid, before.pid, during.pid):
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_the_descriptor_tells_of_events() -> None:
    with Tracer(["true"]) as tracer:
        assert not select.select([tracer], [], [], 0)[0]
        assert tracer.dispatch(0) == 0
        tracer.probe(SyscallEnter(), lambda event: None)
        tracer.release()
        assert select.select([tracer], [], [], SECONDS)[0]
        assert tracer.dispatch(0) > 0
        finish(tracer)


def test_a_setuid_program_gets_no_new_privileges() -> None:
    """A filter asks for that; it is what keeps a traced command from being a way to more power."""
    words: list[str] = []
    with Tracer(["sh", "-c", "cd /; true"]) as tracer:
        def look(event: object) -> None:
            with open(f"/proc/{tracer.pid}/status") as file:
                words.extend(line.split()[1] for line in file if line.startswith("NoNewPrivs"))

        tracer.probe(SyscallEnter(CHDIR), look)
        finish(tracer)
    assert words == ["1"]


def test_a_command_in_namespaces_of_others() -> None:
    """In those of a wire: there its device is to be seen, and what we trace is traced all the same."""
    from ebpf.machine.network import Wire

    calls: list[int] = []
    try:
        wire = Wire()
    except NotSupported as error:
        pytest.skip(str(error))
    with wire, Tracer(["grep", "-q", wire.device, "/proc/net/dev"], namespaces=wire.namespaces) as tracer:
        tracer.probe(SyscallEnter(), lambda event: calls.append(event.task.pid))
        assert finish(tracer) == 0
    assert calls


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the number of ptrace")
def test_where_ptrace_is_forbidden() -> None:
    """As in a container with a strict filter: one error that says what is missing."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            deny = ((0x20, 0, 0, 0), (0x15, 0, 1, 101), (6, 0, 0, 0x50001), (6, 0, 0, 0x7FFF0000))
            install_filter(b"".join(struct.pack("=HBBI", *row) for row in deny))
            try:
                Tracer(["true"])
            except PrivilegeError as error:
                status = 0 if "ptrace" in str(error) and error.needs == ("CAP_SYS_PTRACE",) else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_thousand_children(tmp_path: Path) -> None:
    command = build(tmp_path, """
int main(void) {
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 50; j++) { pid_t p = fork(); if (!p) _exit(0); if (p < 0) return 1; }
        while (wait(NULL) > 0) ;
    }
    return 0;
}""")
    from ebpf.machine.tracing import Exit, Fork

    counts = {"fork": 0, "exit": 0}

    def count(what: str) -> None:
        counts[what] += 1

    assert trace([command], [(Fork(), lambda e: count("fork")), (Exit(), lambda e: count("exit"))], wait=False) == 0
    assert counts == {"fork": 1000, "exit": 1001}


@pytest.mark.skipif(os.getuid() != 0, reason="everything here runs as an ordinary user already")
def test_an_ordinary_user_may_do_all_this() -> None:
    """A fork of ours without any privilege traces, reads memory and replaces a result."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            libc.prctl(4, 1, 0, 0, 0)  # PR_SET_DUMPABLE: who gave up privileges may not be looked at until then
            texts: list[bytes] = []
            with Tracer(["sh", "-c", "cd /usr; test $(id -u) = 65534 && cd /nowhere || exit 8"]) as tracer:
                tracer.probe(SyscallEnter(CHDIR), lambda event: texts.append(
                    tracer.memory.read(event.arguments[0], 8).partition(b"\0")[0]))
                status = 0 if finish(tracer) == 8 and texts == [b"/usr", b"/nowhere"] else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
