"""The code generator's process: it stays, it may die, it belongs to one process; its user never has LLVM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ebpf.compiler.llvm.child import CodeGenerationError
from ebpf.machine.native import codegen
from ebpf.machine.native.codegen import FULL, HASTY, QUICK, compile_host
from ebpf.machine.native.loader import NativeCode

pytest.importorskip("llvmlite")

ADD = "define i64 @f(i64 %a) {\n  %b = add i64 %a, 5\n  ret i64 %b\n}\n"


def run(elf: bytes, argument: int, name: str = "f") -> int:
    import ctypes

    found: int = NativeCode(elf).function(name, ctypes.c_uint64, ctypes.c_uint64)(argument)
    return found


@pytest.mark.parametrize("opt", [HASTY, QUICK, FULL])
def test_one_process_takes_job_after_job(opt: int) -> None:
    compile_host(ADD)
    assert codegen._child is not None
    pid = codegen._child.pid
    for n in range(5):
        assert run(compile_host(ADD.replace("5", str(n)), opt=opt), 37) == 37 + n
    assert codegen._child.pid == pid


def test_ir_that_is_none_is_refused_and_the_process_stays() -> None:
    compile_host(ADD)
    assert codegen._child is not None
    pid = codegen._child.pid
    for bad in ("this is no IR", "define i64 @f() {\n  ret i32 0\n}\n", "define i64 @f() {\n  %x = add i64 %y, 1\n  ret i64 %x\n}\n"):
        with pytest.raises(CodeGenerationError) as caught:
            compile_host(bad)
        assert caught.value.how == "refused"
    assert run(compile_host(ADD), 1) == 6
    assert codegen._child.pid == pid


def test_a_process_that_was_killed_is_one_error_and_then_there_is_another() -> None:
    compile_host(ADD)
    assert codegen._child is not None
    pid = codegen._child.pid
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(CodeGenerationError) as caught:
        compile_host(ADD)
    assert caught.value.how == "SIGKILL"
    with pytest.raises(ChildProcessError):  # it was reaped
        os.waitpid(pid, 0)
    assert run(compile_host(ADD), 1) == 6


def test_one_that_left_because_nobody_wanted_it_is_replaced_in_silence() -> None:
    compile_host(ADD)
    child = codegen._child
    assert child is not None
    os.close(child.job)  # what ends it: the end of its jobs
    child._fds.remove(child.job)
    child.job = os.open(os.devnull, os.O_WRONLY)
    child._fds.append(child.job)
    assert run(compile_host(ADD), 1) == 6
    assert codegen._child is not child


def test_ctrl_c_while_it_works_ends_it() -> None:
    compile_host(ADD)
    # A module that takes LLVM seconds.
    body = "\n".join(f"  %v{n + 1} = mul i64 %v{n}, %v{n // 2}" for n in range(1, 60_000))
    slow = f"define i64 @f(i64 %v0) {{\n  %v1 = add i64 %v0, 1\n{body}\n  ret i64 %v60000\n}}\n"
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in range(1000):
                compile_host(slow)
    finally:
        timer.cancel()
    assert codegen._child is None
    assert run(compile_host(ADD), 1) == 6


def test_threads_take_turns() -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: run(compile_host(ADD.replace("5", str(n))), 100), range(20)))
    assert results == [100 + n for n in range(20)]


def test_a_forked_process_has_its_own() -> None:
    compile_host(ADD)
    assert codegen._child is not None
    pid = codegen._child.pid
    child = os.fork()
    if child == 0:
        status = 1
        try:
            fine = codegen._child is None and run(compile_host(ADD), 1) == 6
            status = 0 if fine and codegen._child is not None and codegen._child.pid != pid else 2
            codegen._drop()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert run(compile_host(ADD), 1) == 6
    assert codegen._child is not None and codegen._child.pid == pid


PROGRAM = """
import os, sys
from ebpf import isa
from ebpf.machine import run_raw
from ebpf.machine.native import codegen
assert run_raw(isa.encode(isa.assemble("r0 = %d\\nexit")), engine="jit") == %d
print(codegen._child.pid if codegen._child else 0, "llvmlite" in sys.modules)
sys.stdout.flush()
%s
"""


def process(number: int, end: str, **environment: str) -> tuple[int, list[str]]:
    done = subprocess.run([sys.executable, "-c", PROGRAM % (number, number, end)], capture_output=True, text=True,
                          env={**os.environ, **environment}, timeout=60)
    assert done.returncode >= 0 or "SIGKILL" in end, done.stderr
    return done.returncode, done.stdout.split()


def _gone(pid: int) -> bool:
    """Whether the process has ended, or does so within the time that a loaded machine may take."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    import select

    ready, _, _ = select.select([descriptor], [], [], 20)
    os.close(descriptor)
    return bool(ready)


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), __import__('signal').SIGKILL)  # SIGKILL"], ids=["exit", "killed"])
def test_it_ends_with_its_user_who_never_has_llvm(end: str) -> None:
    _, (pid, has_llvm) = process(20, end, EBPF_CACHE_DIR="")
    assert int(pid) and has_llvm == "False"
    assert _gone(int(pid))
