"""Scripts whose traced command has ended: those that wait in vain get Ctrl-C, those that work on what came do not."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ebpf.session import waiting

ROOT = Path(__file__).parents[2]
SCRIPT = """
import time, select
import ebpf
from ebpf import u32, u64

opens = ebpf.Hash(u32, u64)
notes = ebpf.RingBuf(u32, max_entries=4096)

@ebpf.tracepoint("syscalls:sys_enter_openat")
def count(ctx):
    opens[ebpf.pid()] += 1
    if ebpf.pid() == 0:
        notes.send(ebpf.pid())

def work(seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass

ebpf.use("machine", command=["cat", "/dev/null"])
with ebpf.attach(count) as session:
"""


def run(body: str, folder: Path) -> tuple[str, float]:
    script = folder / "script.py"
    script.write_text(SCRIPT + "".join(f"    {line}\n" for line in body.splitlines()) + "print('the end')\n")
    start = time.monotonic()
    done = subprocess.run([sys.executable, script], env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, text=True,
                          capture_output=True, timeout=60, check=False)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout, time.monotonic() - start


@pytest.mark.parametrize("body", [
    "time.sleep(0.5); dict(opens)\nwork(0.5)",  # it has looked at what came, and works on it
    "time.sleep(0.5); dict(opens)\nselect.select([], [], [], 0.3)",  # it waits for another's answer
    "time.sleep(6)\nassert sum(opens.values()) > 1",  # a sleep, then the results
], ids=["computes", "asks another", "sleeps first"])
def test_scripts_that_come_to_their_end(body: str, tmp_path: Path) -> None:
    assert run(body, tmp_path)[0].endswith("the end\n")


@pytest.mark.parametrize("body", [
    "while True:\n    time.sleep(0.1)\n    print(sum(opens.values()))",
    "session.on_event('notes', print)\nwhile True:\n    session.poll(0.01)\n    dict(opens)",
    "try:\n    time.sleep(99999999)\nexcept KeyboardInterrupt:\n    print(sum(opens.values()))",
], ids=["looks again and again", "polls for ever", "sleeps until Ctrl-C"])
def test_scripts_that_would_go_on_for_ever(body: str, tmp_path: Path) -> None:
    printed, seconds = run(body, tmp_path)
    assert seconds < 20
    if "print(sum" in body:
        assert int(printed.replace("the end", "").split()[-1]) > 1


def during(action: Callable[[], object], *, results_seen: bool) -> float | None:
    """What is said while the main thread does that."""
    found: list[float | None] = []

    def ask() -> None:
        time.sleep(0.05)
        found.append(waiting.patience_s(results_seen=results_seen))

    thread = threading.Thread(target=ask)
    thread.start()
    action()
    thread.join()
    return found[0]


def compute() -> None:
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        pass


@pytest.mark.skipif(not os.path.exists("/proc/self/syscall"), reason="this kernel does not tell what a task waits in")
@pytest.mark.parametrize(("action", "seen", "unseen"), [
    (lambda: time.sleep(0.2), 0.1, None),
    (lambda: select.epoll().poll(0.2), 0.1, 5.0),
    (lambda: select.poll().poll(200), 1.5, 5.0),
    (lambda: threading.Event().wait(0.2), 5.0, 5.0),
    (compute, None, None),
], ids=["sleep", "epoll", "poll", "futex", "compute"])
def test_what_the_main_thread_does(action: Callable[[], object], seen: float | None, unseen: float | None) -> None:
    assert threading.current_thread() is threading.main_thread()
    # A thread that computes is sometimes seen where it waits for the interpreter's lock, which we hold.
    assert during(action, results_seen=True) == seen or action is compute
    assert during(action, results_seen=False) == unseen or action is compute
