"""BCC's USDT class on a program of our own: its probes, their arguments, semaphores, and what is missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ebpf
from bcc import BPF, USDT, USDTException
from tests.binaries.static_probes import build

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")

TEXT = """
BPF_HASH(seen, u64, u64);
int begin(struct pt_regs *ctx) { u64 k = 0, v = 0; int a = 0; bpf_usdt_readarg(1, ctx, &a); v = a; seen.update(&k, &v); return 0; }
int end(struct pt_regs *ctx) { u64 k = 0, *count; bpf_usdt_readarg(1, ctx, &k); seen.increment(k); return 0; }
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return build(tmp_path)


@pytest.fixture
def app(path: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def step(app: subprocess.Popen[str]) -> str:
    assert app.stdin is not None and app.stdout is not None
    app.stdin.write("\n")
    app.stdin.flush()
    return app.stdout.readline().strip()


@pytest.mark.kernel
def test_functions_run_with_their_arguments(app: subprocess.Popen[str]) -> None:
    step(app)
    usdt = USDT(pid=app.pid)
    usdt.enable_probe(probe="begin", fn_name="begin")
    usdt.enable_probe(probe="app:end", fn_name="end")
    b = BPF(text=TEXT, usdt_contexts=[usdt])
    assert [step(app) for _ in range(3)] == ["semaphore 1"] * 3
    assert {k.value: v.value for k, v in b["seen"].items()} == {0: 7, 2: 2, 3: 2, 4: 2}
    b.cleanup()
    assert step(app) == "semaphore 0"


def test_what_tplist_prints(path: str) -> None:
    begin, end = USDT(path=path).enumerate_probes()
    assert begin.short_name() == "app:begin" and begin.semaphore and f"[sema {begin.semaphore:#x}]" in str(begin)
    assert (end.num_locations, end.num_arguments) == (2, 2)
    first = end.get_location(0)
    assert str(first) == f"{path} {first.address:#x}"
    assert [str(first.get_argument(n)) for n in range(2)] == ["8 unsigned bytes @ ax", "8 unsigned bytes @ *(sp + 8)"]
    assert str(begin.get_location(0).get_argument(0)) == "4   signed bytes @ 7"
    with pytest.raises(USDTException):
        end.get_location(2)


def test_types_of_arguments(path: str) -> None:
    usdt = USDT(path=path)
    assert (usdt.get_probe_arg_ctype("app:begin", 0), usdt.get_probe_arg_ctype("end", 0)) == ("int32_t", "uint64_t")
    with pytest.raises(USDTException, match="no argument 5"):
        usdt.get_probe_arg_ctype("end", 4)


def test_a_probe_that_is_not_there_is_named_with_those_that_are(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    usdt = USDT(path=path)
    with pytest.raises(USDTException, match="Failed to enable USDT probe 'ends'") as caught:
        usdt.enable_probe("ends", "f")
    assert isinstance(caught.value, ebpf.TargetNotFound) and "app:begin, app:end" in str(caught.value)
    with pytest.raises(SystemExit):
        usdt.enable_probe_or_bail("ends", "f")
    assert "Failed to enable USDT probe 'ends'" in capsys.readouterr().err


def test_neither_process_nor_file_is_an_error() -> None:
    with pytest.raises(USDTException, match="pid or a binary path"):
        USDT()
    with pytest.raises(USDTException, match="process 4194303"):
        USDT(pid=4194303)


def test_reading_in_a_function_without_a_probe_points_at_the_call() -> None:
    with pytest.raises(ebpf.CompileError, match="no static probe .* is enabled for the function `end`"):
        ebpf.compile(TEXT, dialect="bcc")
