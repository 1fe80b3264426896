"""What goes wrong in scripts that are right: another machine's registers, processes that end, programs without symbols,
events that nobody fetched. Each is told in a sentence, or counted."""

from __future__ import annotations

import ctypes
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bcc
import ebpf
from bcc import BPF, USDT, USDTException

SRC = Path(bcc.__file__).resolve().parents[1]
NOTHING = "int f(struct pt_regs *ctx) { return 0; }"


@pytest.fixture
def ended() -> int:
    with subprocess.Popen(["/bin/true"]) as child:
        pass
    return child.pid


def test_a_script_for_another_architecture() -> None:
    foreign, theirs = ("gpr", "powerpc") if os.uname().machine != "ppc64le" else ("di", "x86")
    with pytest.raises(ebpf.CompileError, match="no member") as caught:
        BPF(text=f"int f(struct pt_regs *ctx) {{ return ctx->{foreign}[3]; }}")
    assert f"that is {theirs}'s" in str(caught.value)


@pytest.mark.kernel
def test_a_process_that_has_ended(ended: int) -> None:
    assert BPF.sym(0x401000, ended, show_module=True, show_offset=True) == b"[unknown]"
    with pytest.raises(USDTException, match=f"no process {ended}"):
        USDT(pid=ended)
    b = BPF(text=NOTHING)
    with pytest.raises(ebpf.TargetNotFound, match=f"no process {ended}"):
        b.attach_uprobe(name="c", sym="malloc", fn_name="f", pid=ended)
    assert b.num_open_uprobes() == 0
    b.cleanup()


@pytest.mark.kernel
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_a_program_without_symbols(tmp_path: Path) -> None:
    (tmp_path / "app.c").write_text("static int hidden(int x) { return x; } int main(int c, char **v) { return hidden(c); }")
    subprocess.run(["gcc", "-s", "app.c", "-o", "app"], cwd=tmp_path, check=True)
    b = BPF(text=NOTHING)
    with pytest.raises(ebpf.TargetNotFound, match="no function 'main'") as caught:
        b.attach_uprobe(name=str(tmp_path / "app"), sym="main", fn_name="f")
    assert "stripped" in str(caught.value) and b.num_open_uprobes() == 0
    with pytest.raises(ebpf.TargetNotFound, match="no function of"):
        b.attach_uprobe(name=str(tmp_path / "app"), sym_re="hidden.*", fn_name="f")
    (tmp_path / "script").write_text("#!/bin/sh\n")
    with pytest.raises(ebpf.EbpfError, match="not an ELF file"):
        b.attach_uprobe(name=str(tmp_path / "script"), sym="main", fn_name="f")
    b.cleanup()


@pytest.mark.kernel
def test_64_kib_of_lost_events() -> None:
    """What came and what was lost is what was sent."""
    with BPF(text="""
        struct event { u64 a[8]; };
        BPF_PERF_OUTPUT(events);
        int emit(struct __sk_buff *skb) { struct event e = {}; events.perf_submit(skb, &e, sizeof(e)); return 0; }
        """) as b:
        function = b.load_func("emit", BPF.SOCKET_FILTER)
        came, lost = [], []
        b["events"].open_perf_buffer(lambda cpu, data, size: came.append(size), page_cnt=1, lost_cb=lost.append)
        sent = 2 * (64 << 10) // 64
        function.program.test_run(bytes(64), repeat=sent)
        b.perf_buffer_consume()
        function.program.test_run(bytes(64), repeat=1)  # the kernel tells of losses with the next event that has room
        b.perf_buffer_consume()
        assert sum(lost) * 64 > 64 << 10 and len(came) + sum(lost) == sent + 1
        assert b["events"].lost == sum(lost) and set(came) == {ctypes.sizeof(ctypes.c_uint64) * 8 + 4}


def test_what_only_reaches_into_the_c_library() -> None:
    with pytest.raises(ImportError, match="BCC's binding to its C library"):
        bcc.lib  # noqa: B018
    with pytest.raises(ImportError, match="BCC's binding to its C library"):
        importlib.import_module("bcc.libbcc")


SCRIPTS = {
    "a tracepoint that is gone": ('BPF(text="TRACEPOINT_PROBE(random, urandom_read) { return 0; }")', "random"),
    "a function of a module that is absent": ("BPF(text=NOTHING).attach_kprobe(event='zpl_read', fn_name='f')", ""),
    "a function that the text lacks": ("BPF(text=NOTHING).attach_kprobe(event='vfs_read', fn_name='g')", "g"),
    "a network card's own program": ("BPF(text=NOTHING, device='lo')", "device="),
    "a library that is not there": ("BPF(text=NOTHING).attach_uprobe(name='nolib', sym='x', fn_name='f')", "nolib"),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_end_with_a_sentence(name: str, tmp_path: Path) -> None:
    statement, word = SCRIPTS[name]
    (tmp_path / "script.py").write_text(f"from bcc import BPF\nNOTHING = {NOTHING!r}\n{statement}\n")
    done = subprocess.run([sys.executable, str(tmp_path / "script.py")], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(SRC)})
    assert done.returncode == 1 and word in done.stderr
    assert "Traceback" not in done.stderr and str(SRC) not in done.stderr
