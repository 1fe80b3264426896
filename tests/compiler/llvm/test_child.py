"""The code generator's process: what goes wrong in it becomes an answer, and nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from ebpf.compiler.llvm import child
from ebpf.compiler.llvm.child import CodeGenerationError, CodeGenerator

HEAD = 'target triple = "bpfel"\ntarget datalayout = "e-m:e-p:64:64-i64:64-i128:128-n32:64-S128"\n'
GOOD = HEAD + 'define i32 @f(ptr %c) section "xdp" {\n  ret i32 2\n}\n'
STACK = (
    HEAD
    + """define i32 @f(ptr %c) section "xdp" {
  %a = alloca [600 x i8]
  %r = call i64 inttoptr (i64 4 to ptr)(ptr %a)
  ret i32 2
}
"""
)
FENCE = HEAD + 'define i32 @f(ptr %c) section "xdp" {\n  fence seq_cst\n  ret i32 2\n}\n'


def children() -> set[int]:
    with open(f"/proc/self/task/{threading.get_native_id()}/children") as file:
        return {int(pid) for pid in file.read().split()}


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of one thread: NumPy, which another test may have imported, starts more."""
    monkeypatch.setattr(child, "_single_threaded", lambda: True)


@pytest.fixture(autouse=True)
def nothing_stays_behind():  # type: ignore[no-untyped-def]
    before, fds = children(), set(os.listdir("/proc/self/fd"))
    yield
    assert children() == before
    assert set(os.listdir("/proc/self/fd")) == fds


def test_makes_an_object() -> None:
    with CodeGenerator() as generator:
        elf = generator.run(GOOD)
    assert elf[:4] == b"\x7fELF" and elf[18:20] == b"\xf7\x00"


@pytest.mark.parametrize(("ir", "how", "words"), [
    (STACK, "exit status 1", "stack limit"),
    (FENCE, "SIGABRT", "Cannot select"),
    ("define i32 @f( {", "refused", "parsing error"),
    (HEAD + "define i32 @f() {\n  ret i64 0\n}\n", "refused", "value doesn't match"),
])  # fmt: skip
def test_refusals_are_told_with_llvms_words(ir: str, how: str, words: str) -> None:
    with CodeGenerator() as generator, pytest.raises(CodeGenerationError) as caught:
        generator.run(ir)
    assert caught.value.how == how
    assert words in caught.value.stderr


def test_a_child_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, forks: None) -> None:
    monkeypatch.setattr(child, "_generate", lambda *_: time.sleep(60))
    start = time.monotonic()
    with CodeGenerator(timeout_seconds=0.3) as generator, pytest.raises(CodeGenerationError) as caught:
        generator.run(GOOD)
    assert caught.value.how == "timeout"
    assert time.monotonic() - start < 5


def test_a_child_that_is_killed_is_told(monkeypatch: pytest.MonkeyPatch, forks: None) -> None:
    monkeypatch.setattr(child, "_generate", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with CodeGenerator() as generator, pytest.raises(CodeGenerationError) as caught:
        generator.run(GOOD * 10_000)  # more than a pipe holds: the write meets a closed pipe
    assert caught.value.how == "SIGKILL"


def test_without_llvmlite(monkeypatch: pytest.MonkeyPatch, forks: None) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'llvmlite'")

    monkeypatch.setattr(child, "_generate", missing)
    with CodeGenerator() as generator, pytest.raises(CodeGenerationError) as caught:
        generator.run(GOOD)
    assert caught.value.how == "missing"


def test_a_front_end_that_gives_up_leaves_no_child() -> None:
    with pytest.raises(ZeroDivisionError), CodeGenerator():
        raise ZeroDivisionError


def test_with_other_threads_it_starts_a_fresh_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_fork", lambda *_: pytest.fail("forked with several threads"))
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with CodeGenerator() as generator:
            assert generator.run(GOOD)[:4] == b"\x7fELF"
    finally:
        stop.set()
        thread.join()


def test_somebody_else_may_reap_the_child() -> None:
    old = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with CodeGenerator() as generator:
            assert generator.run(GOOD)[:4] == b"\x7fELF"
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_interrupting_ends_the_child() -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), CodeGenerator() as generator:
            os.kill(generator._pid, signal.SIGSTOP)
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            generator.run(GOOD)
    finally:
        signal.signal(signal.SIGALRM, old)


def test_the_parent_never_loads_llvm() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from ebpf.compiler.llvm.child import CodeGenerator\n"
        f"with CodeGenerator() as g: assert g.run({GOOD!r})\n"
        "assert not [m for m in sys.modules if m.startswith('llvmlite')]"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
