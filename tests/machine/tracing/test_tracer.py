"""What a traced command does, told event by event, with strace as the witness. Any user may do this."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpf.abi.syscalls import number_of, syscall_names
from ebpf.machine.tracing import (
    Event,
    Exec,
    Exit,
    Fork,
    Interval,
    Needs,
    Sample,
    SyscallEnter,
    SyscallExit,
    Tracer,
)
from ebpf.machine.tracing.events import Hook
from tests.machine.tracing.commands import build, finish, trace

NAMES = syscall_names(os.uname().machine)


def number(name: str) -> int:
    found = number_of(name, os.uname().machine)
    assert found is not None
    return found


def strace_counts(argv: list[str], folder: Path) -> Counter[str]:
    """System calls by name, as strace counts them: those that returned."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    subprocess.run(["strace", "-f", "-qq", "-o", str(folder / "log"), *argv], check=True, stdout=subprocess.DEVNULL)
    found: Counter[str] = Counter()
    for line in (folder / "log").read_text().splitlines():
        # "17 openat(…" begins a call; "<... openat resumed>" goes on with one.
        match = re.match(r"\d+ +(\w+)\(", line)
        if match:
            found[match[1]] += 1
    return found


# One after the other: of processes that run at the same time, signals and full pipes decide how often they call.
COMMANDS = {
    "one process": "echo hello",
    "children": "for i in 1 2 3; do /bin/true; (cd /usr; echo $i); done",
    "a chain of exec": "exec sh -c 'exec sh -c \"exec true\"'",
    "files": "cat /etc/hostname /dev/null; ls -l /usr",
}


@pytest.mark.parametrize("wait", [True, False], ids=["waiting", "not waiting"])
@pytest.mark.parametrize("script", COMMANDS.values(), ids=COMMANDS)
def test_counts_are_those_of_strace(script: str, wait: bool, tmp_path: Path) -> None:
    argv = ["sh", "-c", script]
    # Which addresses a process gets decides how often it asks for memory, and who runs first, how often it waits.
    vary = ("brk", "mmap", "munmap", "mremap", "wait4", "rt_sigreturn", "read", "futex", "rseq", "newfstatat", "fstat")
    witness = strace_counts(argv, tmp_path)
    entered: Counter[str] = Counter()
    left: Counter[str] = Counter()
    null = os.open(os.devnull, os.O_WRONLY)
    saved = os.dup(1)
    os.dup2(null, 1)
    try:
        status = trace(argv, [(SyscallEnter(), lambda e: entered.update([NAMES[e.number]])),
                              (SyscallExit(), lambda e: left.update([NAMES[e.number]]))], wait=wait)
    finally:
        os.dup2(saved, 1)
        os.close(saved)
        os.close(null)
    assert status == 0
    for counts in (witness, entered, left):
        for name in vary:
            counts.pop(name, None)
    assert entered == witness
    assert left == entered - Counter({"exit_group": entered["exit_group"]})


def test_arguments_results_and_memory(tmp_path: Path) -> None:
    command = build(tmp_path, """
int main(void) {
    int fd = openat(AT_FDCWD, "/dev/null", O_RDWR);
    int bad = openat(AT_FDCWD, "/nowhere/at/all", O_RDONLY);
    return pwrite(fd, "some bytes", 10, 77) == 10 && bad == -1 ? 7 : 1;
}""")
    opened: list[bytes] = []
    results: list[int] = []
    written: list[tuple[bytes, tuple[int, ...]]] = []
    with Tracer([command]) as tracer:
        def at_open(event: Event) -> None:
            opened.append(tracer.memory.read(event.arguments[1], 64).partition(b"\0")[0])

        def at_write(event: Event) -> None:
            written.append((tracer.memory.read(event.arguments[1], event.arguments[2]), event.arguments))

        tracer.probe(SyscallEnter(number("openat")), at_open)
        tracer.probe(SyscallExit(number("openat")), lambda event: results.append(event.result))
        tracer.probe(SyscallEnter(number("pwrite64")), at_write)
        assert finish(tracer) == 7
    assert opened[-2:] == [b"/dev/null", b"/nowhere/at/all"]
    assert results[-2] >= 3 and results[-1] == -2
    [(data, arguments)] = written
    assert data == b"some bytes" and arguments[2:4] == (10, 77)


def test_memory_can_be_changed_and_faults_are_errors(tmp_path: Path) -> None:
    command = build(tmp_path, 'int main(void) { char text[] = "old"; write(1, text, 0); return text[0] == \'n\'; }')
    faults: list[type] = []
    with Tracer([command]) as tracer:
        def handle(event: Event) -> None:
            tracer.memory.write(event.arguments[1], b"new")
            for action in (lambda: tracer.memory.read(8, 4), lambda: tracer.memory.write(8, b"x"),
                           lambda: tracer.memory.read((1 << 64) - 8, 16)):
                try:
                    action()
                except OSError as error:
                    faults.append(type(error))

        tracer.probe(SyscallEnter(number("write")), handle)
        assert finish(tracer) == 1
        with pytest.raises(OSError, match="No such process"):
            tracer.memory.read(4096, 4)
    assert len(faults) == 3


def test_a_result_can_be_replaced_and_a_call_left_out(tmp_path: Path) -> None:
    command = build(tmp_path, f"""
int main(void) {{
    int made = mkdir("{tmp_path}/made", 0700), error = errno;
    return getppid() == 4711 && made == -1 && error == ENOSPC ? 0 : 1;
}}
#include <sys/stat.h>""".replace("int main", "#include <sys/stat.h>\nint main"))
    probes: list[tuple[Hook, Callable[[Event], object]]] = [
        (SyscallEnter(number("mkdir")), lambda event: event.override(-28)),
        (SyscallExit(number("getppid")), lambda event: event.override(4711))]
    assert trace([command], probes) == 0
    assert not (tmp_path / "made").exists()


def test_processes() -> None:
    told: list[tuple[str, int, object]] = []
    status = trace(["sh", "-c", "(exit 3); exec true"], [
        (Fork(), lambda e: told.append(("fork", e.task.tid, e.child))),
        (Exec(), lambda e: told.append(("exec", e.task.tid, os.path.basename(e.file_name)))),
        (Exit(), lambda e: told.append(("exit", e.task.tid, (os.waitstatus_to_exitcode(e.status), e.group_dead)))),
    ])
    shell = told[0][1]
    child = told[1][2]
    assert status == 0
    assert told == [("exec", shell, b"sh"), ("fork", shell, child), ("exit", child, (3, True)),
                    ("exec", shell, b"true"), ("exit", shell, (0, True))]


def test_a_child_tells_nothing_before_its_parent_has_told_of_it() -> None:
    known: set[int] = set()
    strangers: list[int] = []
    with Tracer(["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do (true; true) & done; wait"]) as tracer:
        known.add(tracer.pid)
        tracer.probe(Fork(), lambda e: known.add(e.child), Needs(wait=False))
        tracer.probe(SyscallEnter(), lambda e: strangers.append(e.task.tid) if e.task.tid not in known else None,
                     Needs(wait=False))
        assert finish(tracer) == 0
    assert len(known) == 9 and not strangers


def test_threads_and_an_exec_of_one_that_is_not_the_first(tmp_path: Path) -> None:
    command = build(tmp_path, """
static pthread_barrier_t all;
static void *thread(void *which) {
    for (int i = 0; i < 20; i++) syscall(SYS_getpgid, 0);
    pthread_barrier_wait(&all);
    if (!which) execl("/bin/true", "true", NULL);
    pause();
    return NULL;
}
int main(void) {
    pthread_t t;
    pthread_barrier_init(&all, NULL, 5);
    for (long i = 0; i < 5; i++) pthread_create(&t, NULL, thread, (void *)i);
    pause();
}""")
    calls: Counter[int] = Counter()
    groups: set[int] = set()
    execs: list[tuple[int, int, int]] = []
    forks: list[int] = []
    with Tracer([command]) as tracer:
        def called(event: Event) -> None:
            calls[event.task.tid] += 1
            groups.add(event.task.pid)

        tracer.probe(SyscallEnter(number("getpgid")), called)
        tracer.probe(Exec(), lambda e: execs.append((e.task.pid, e.task.tid, e.former)))
        tracer.probe(Fork(), lambda e: forks.append(e.child))
        assert finish(tracer) == 0
        assert groups == {tracer.pid}
        assert execs[0] == (tracer.pid,) * 3 and execs[1][:2] == (tracer.pid,) * 2 and execs[1][2] in calls
    assert set(calls) == set(forks) and set(calls.values()) == {20}


def test_the_task_of_an_event() -> None:
    tasks: list[tuple[int, int, int, int, bytes, int]] = []
    with Tracer(["true"]) as tracer:
        for needs in (Needs(), Needs(wait=False, comm=True, ids=True, cgroup=True)):
            tracer.probe(SyscallEnter(number("exit_group")), lambda e: tasks.append(
                (e.task.pid, e.task.tid, e.task.uid, e.task.gid, e.task.comm, e.task.cgroup_id)), needs)
        finish(tracer)
    assert tasks[0] == tasks[1]
    assert tasks[0][2:5] == (os.getuid(), os.getgid(), b"true")


def test_a_stack_by_frame_pointers(tmp_path: Path) -> None:
    command = build(tmp_path, """
__attribute__((noinline)) int inner(int n) { return syscall(SYS_getpgid, n) + 1; }
__attribute__((noinline)) int outer(int n) { return inner(n) + 1; }
int main(void) { printf("%p %p\\n", (void *)inner, (void *)outer); fflush(stdout); return !outer(0); }""",
                    "-fno-omit-frame-pointer", "-no-pie")
    stacks: list[list[int]] = []
    assert trace([command], [(SyscallEnter(number("getpgid")), lambda e: stacks.append(list(e.task.user_stack)))]) == 0
    inner, outer = (int(word, 16) for word in subprocess.run([command], capture_output=True, text=True,
                                                             check=True).stdout.split())
    # syscall() of the C library has no frame; its caller is found by the pointer that inner left.
    assert any(outer < address < outer + 64 for address in stacks[0]), (stacks, inner, outer)


def test_only_system_calls_that_are_asked_for_stop_the_command() -> None:
    told: list[int] = []
    trace(["sh", "-c", "cd /; true; cd /tmp"], [(SyscallEnter(number("chdir")), lambda e: told.append(e.number))])
    assert told == [number("chdir")] * 2


@pytest.mark.parametrize(("name", "stops"), [("chdir", False), ("getppid", True)])
def test_what_nobody_asks_for_passes_at_full_speed(name: str, stops: bool, tmp_path: Path) -> None:
    """Each stop costs the command a switch to another process, which the kernel counts."""
    command = build(tmp_path, "int main(void) { for (int i = 0; i < 5000; i++) syscall(SYS_getppid); return 0; }")
    switches: list[int] = []

    def at_the_end(event: Event) -> None:
        with open(f"/proc/{event.task.tid}/status") as file:
            switches.extend(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))

    probes: list[tuple[Hook, Callable[[Event], object]]] = [
        (SyscallEnter(number(name)), lambda event: None), (SyscallEnter(number("exit_group")), at_the_end)]
    assert trace([command], probes) == 0
    assert (switches[0] >= 5000) is stops and (switches[0] < 200) is not stops


def test_probes_made_later_see_what_the_filter_lets_pass() -> None:
    late: Counter[str] = Counter()
    with Tracer(["sh", "-c", "cd /; cd /tmp; cd /; true; cd /tmp"]) as tracer:
        def first(event: Event) -> None:
            if not late:
                late["probes"] = 1
                tracer.probe(SyscallEnter(number("exit_group")), lambda e: late.update(["exit_group"]))

        tracer.probe(SyscallEnter(number("chdir")), first)
        finish(tracer)
    assert late == {"probes": 1, "exit_group": 1}


def test_a_removed_probe_is_silent() -> None:
    told: list[str] = []
    with Tracer(["sh", "-c", "cd /; cd /tmp; cd /"]) as tracer:
        def once(event: Event) -> None:
            told.append("event")
            probe.remove()
            probe.remove()

        probe = tracer.probe(SyscallEnter(number("chdir")), once)
        finish(tracer)
    assert told == ["event"]


def test_what_a_handler_raises_comes_out_and_the_command_goes_on() -> None:
    with Tracer(["sh", "-c", "cd /; exit 4"]) as tracer:
        tracer.probe(SyscallEnter(number("chdir")), lambda event: os.environ["missing"])
        with pytest.raises(KeyError, match="missing"):
            finish(tracer)
        assert finish(tracer) == 4


def test_signals_and_job_control(tmp_path: Path) -> None:
    command = build(tmp_path, """
static volatile int got;
static void handler(int n) { got += n; }
int main(void) {
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    if (got != SIGUSR1) return 1;
    pid_t child = fork();
    int status;
    if (!child) { raise(SIGSTOP); _exit(5); }
    if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) return 2;
    kill(child, SIGCONT);
    if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 5) return 3;
    child = fork();
    if (!child) abort();
    if (waitpid(child, &status, 0) != child || WTERMSIG(status) != SIGABRT) return 4;
    return 0;
}""")
    assert trace([command], [(SyscallEnter(), lambda event: None), (SyscallExit(), lambda event: None)]) == 0


def test_a_program_may_send_a_signal() -> None:
    with Tracer(["sh", "-c", "cd /; sleep 1000"]) as tracer:
        tracer.probe(SyscallEnter(number("chdir")), lambda event: tracer.signal(signal.SIGTERM))
        assert finish(tracer) == -signal.SIGTERM


def test_intervals_come_while_the_command_sleeps_and_samples_only_while_it_runs(tmp_path: Path) -> None:
    ticks: list[int] = []
    samples: list[bytes] = []
    begin = time.monotonic_ns()
    with Tracer(["sleep", "1000"]) as tracer:
        tracer.probe(Interval(5_000_000), lambda event: ticks.append(event.time_ns))
        tracer.probe(Sample(5_000_000), lambda event: samples.append(event.task.comm))
        tracer.release()
        while len(ticks) < 8:
            tracer.dispatch(1)
    assert time.monotonic_ns() - begin >= 8 * 5_000_000 and ticks == sorted(ticks)
    asleep = len(samples)
    with Tracer(["sh", "-c", "while :; do :; done"]) as tracer:
        tracer.probe(Sample(2_000_000), lambda event: samples.append(event.task.comm))
        tracer.release()
        while len(samples) < asleep + 5:
            tracer.dispatch(1)
    assert samples[-1] == b"sh" and asleep <= 4
