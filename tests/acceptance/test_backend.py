"""A code generator that gives up, crashes or never ends: one diagnostic with a place, and the process lives on."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

import ebpf
from ebpf.compiler import pipeline
from ebpf.compiler.llvm.child import CodeGenerationError, CodeGenerator
from ebpf.compiler.llvm.explain import explain
from tests.acceptance.process import EBPF, PYTHON, run

pytest.importorskip("llvmlite")

HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
TARGET = 'target triple = "bpfel"\n'

# What LLVM cannot make code of, how it ends then, and a part of its words.
IR = [
    ("define i64 @f(i64 %n) { %p = alloca i8, i64 %n\n store volatile i8 1, ptr %p\n ret i64 0 }", "exit status 1",
     "dynamic stack"),
    ("define i64 @f() { fence seq_cst\n ret i64 0 }", "SIGABRT", "Cannot select"),
    ("define i128 @f(i128 %a, i128 %b) { %c = udiv i128 %a, %b\n ret i128 %c }", "SIGABRT", "unable to allocate"),
    ("define what", "refused", "expected type"),
    ("define i64 @f(ptr %p) { ret i32 0 }", "refused", "i32"),
]


@pytest.mark.parametrize(("ir", "how", "words"), IR)
def test_how_llvm_ends(ir: str, how: str, words: str) -> None:
    with CodeGenerator() as generator, pytest.raises(CodeGenerationError) as caught:
        generator.run(TARGET + ir)
    assert caught.value.how == how and words in caught.value.stderr
    assert not children(), "the child was not reaped"


def children() -> list[int]:
    return [int(p) for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.mark.parametrize("threads", [False, True], ids=["forked", "fresh interpreter"])
def test_a_child_that_is_killed(threads: bool) -> None:
    """What the system's memory killer does, at a moment of its own choice."""
    stop = threading.Event()
    other = threading.Thread(target=stop.wait)
    if threads:
        other.start()
    try:
        with CodeGenerator() as generator:
            os.kill(generator._pid, signal.SIGKILL)
            with pytest.raises(CodeGenerationError) as caught:
                generator.run(TARGET + "define i64 @f() { ret i64 0 }")
        assert caught.value.how == "SIGKILL"
        with CodeGenerator() as generator:
            assert generator.run(TARGET + "define i64 @f() { ret i64 0 }")[:4] == b"\x7fELF"
    finally:
        stop.set()
        if threads:
            other.join()
    assert not children()


def test_a_child_that_never_ends() -> None:
    start = time.monotonic()
    with CodeGenerator(timeout_seconds=0.5) as generator:
        os.kill(generator._pid, signal.SIGSTOP)
        with pytest.raises(CodeGenerationError) as caught:
            generator.run(TARGET + "define i64 @f() { ret i64 0 }" + ";\n" * 100_000)
    assert caught.value.how == "timeout" and time.monotonic() - start < 5
    assert not children()


# C that only the back end finds fault with: line, code, words.
C = [
    ("""SEC("xdp") int f(struct xdp_md *ctx)
{
    char big[600] = {};
    asm volatile("" :: "r"(big) : "memory");
    return big[ctx->rx_queue_index & 511];
}
""", (3, 4, 5, 6, 7), "C0601", "512 bytes"),
    ("""static __always_inline int inner(int n) { char a[300] = {}; asm volatile("" :: "r"(a) : "memory"); return a[n & 255]; }
SEC("xdp") int f(struct xdp_md *ctx)
{
    char b[300] = {};
    asm volatile("" :: "r"(b) : "memory");
    return b[ctx->rx_queue_index & 255] + inner(ctx->rx_queue_index);
}
""", (3, 4, 5, 6, 7, 8), "C0601", "inlined"),
    ("""SEC("xdp") int f(struct xdp_md *ctx)
{
    asm volatile("" :: "{nowhere}"(1));
    return 0;
}
""", (3, 4, 5), "C06", "LLVM"),
]


@pytest.mark.parametrize(("text", "lines", "code", "words"), C)
def test_one_diagnostic_with_a_place(text: str, lines: tuple[int, ...], code: str, words: str) -> None:
    with pytest.raises(ebpf.CompileError) as caught:
        ebpf.compile(HEAD + text + 'char L[] SEC("license") = "GPL";\n', filename="prog.c", cache=False)
    (diagnostic,) = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert diagnostic.code.startswith(code) and words in str(caught.value)
    assert diagnostic.span is not None and diagnostic.span.file == "prog.c" and diagnostic.span.line in lines
    assert diagnostic.helps


@pytest.mark.parametrize("how", ["SIGABRT", "SIGSEGV", "SIGKILL", "exit status 1", "timeout", "missing",
                                 "not started", "ended early"])
def test_whatever_happens_has_one_wording_with_a_place(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(self: CodeGenerator, ir: str, meanwhile: object = None) -> bytes:
        raise CodeGenerationError(how, "")

    monkeypatch.setattr(pipeline.CodeGenerator, "run", crash)
    with pytest.raises(ebpf.CompileError) as caught:
        ebpf.compile(HEAD + 'SEC("xdp") int f(struct xdp_md *ctx) { return 1; }\n', filename="prog.c", cache=False)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.helps and (how == "missing" or (diagnostic.span is not None and diagnostic.span.line))


def test_every_meaning_of_llvm_s_words_is_reached() -> None:
    from ebpf.compiler.c.source import SourceMap
    from ebpf.compiler.llvm.explain import _MEANINGS

    sources = SourceMap()
    sources.add_file("prog.c", "int f(void)\n{\n    return 1;\n}\n")
    for part, code, _, _, _ in _MEANINGS:
        words = f"error: prog.c:3:5: in function f i32 (ptr): about {part} or so\n"
        for (diagnostic,) in (explain(CodeGenerationError("exit status 1", words), sources, "prog.c", "v3", {}),
                              explain(CodeGenerationError("SIGABRT", f"LLVM ERROR: {part}\nIn function: f\n"), sources,
                                      "prog.c", "v3", {})):
            assert diagnostic.code == code and "`f`" in diagnostic.message and "{" not in diagnostic.message
            assert diagnostic.span is not None and diagnostic.span.file == "prog.c"


def test_the_command_says_it_without_a_traceback_and_llvm_s_crash_report(tmp_path: Path) -> None:
    (tmp_path / "prog.c").write_text(HEAD + C[0][0])
    program = run([*EBPF, "compile", tmp_path / "prog.c", "-o", tmp_path / "prog.o"])
    assert program.process.returncode == 1 and not (tmp_path / "prog.o").exists()
    assert program.err.count("error[") == 1 and re.search(r"--> \S*prog\.c:\d+:\d+", program.err)
    assert "Traceback" not in program.err and "PLEASE submit" not in program.err and "Stack dump" not in program.err


def test_without_llvmlite(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import sys\nsys.modules['llvmlite'] = None\nsys.modules['llvmlite.binding'] = None\n"
                      "from bcc import BPF\nBPF(text='int f(void *ctx) { return 0; }')\n")
    program = run([*PYTHON, script], env={"EBPF_CACHE_DIR": ""})
    assert program.process.returncode == 1 and "pip install llvmlite" in program.err and "Traceback" not in program.err


def test_the_child_keeps_nothing_of_ours_open() -> None:
    """A link of ours must not live on in a child that compiles."""
    keep = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    try:
        for fd in keep:
            os.set_inheritable(fd, True)
        with CodeGenerator() as generator:
            place = f"/proc/{generator._pid}/fd"
            end = time.monotonic() + 5
            while len(os.listdir(place)) > 6 and time.monotonic() < end:
                time.sleep(0.01)
            assert len(os.listdir(place)) <= 6, [os.readlink(f"{place}/{fd}") for fd in os.listdir(place)]
    finally:
        for fd in keep:
            os.close(fd)
