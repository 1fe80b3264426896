"""A machine that is short of something, and files that are not what they should be: one line, never a traceback."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.acceptance.process import EBPF, run

TEXT = '#include <bpf/bpf_helpers.h>\nSEC("xdp") int f(void *ctx) { return 2; }\n'


def under(limits: str, *command: str | Path) -> list[str]:
    return ["sh", "-c", f'{limits} exec "$@"', "sh", *map(str, (*EBPF, *command))]


# What is done to the command, the rest of it, its exit status, and what its words must match.
SHORT = {
    "the disk, for the object": ("", ("prog.c", "-o", "/dev/full"), 1, "cannot be written: No space left"),
    "the disk, for the output": ("exec >/dev/full;", ("--emit", "ir", "prog.c"), 1, "cannot be written: No space left"),
    "descriptors": ("ulimit -n 8;", ("prog.c",), 1, "Too many open files\n.*help: .*ulimit -n"),
    "descriptors for the code generator": ("ulimit -n 12;", ("prog.c",), 1, "Too many open files"),
    "memory for LLVM": ("ulimit -v 150000;", ("prog.c",), 1, "llvmlite(?s:.*)help: .*ulimit -v"),
    "standard streams": ("exec <&- >&-;", ("prog.c",), 0, "^$"),
    "a source": ("", ("nowhere.c",), 1, "nowhere.c: No such file"),
    "a source that is a file": ("", (".",), 1, "Is a directory"),
    "a folder to write to": ("", ("prog.c", "-o", "nowhere/prog.o"), 1, "nowhere/prog.o: No such file"),
    "a folder that is there": ("mkdir gone && cd gone && rmdir ../gone;", ("--emit", "ir", "SOURCE"), 0, "^$"),
    "an environment": ("exec env -i PYTHONPATH=\"$PYTHONPATH\" ", ("prog.c",), 0, "^$"),
}


@pytest.mark.parametrize("what", SHORT)
def test_short_of(what: str, tmp_path: Path) -> None:
    limits, arguments, status, words = SHORT[what]
    (tmp_path / "prog.c").write_text(TEXT)
    argv = under(limits, "compile", *(str(tmp_path / "prog.c") if a == "SOURCE" else a for a in arguments))
    if limits.startswith("exec env"):
        argv = ["sh", "-c", limits + '"$@"', "sh", *argv[4:]]
    done = run(argv, cwd=tmp_path)
    assert done.process.returncode == status and re.search(words, done.err), str(done)
    assert "Traceback" not in done.err and "a bug of ours" not in done.err and "Exception ignored" not in done.err
    assert len(done.err.splitlines()) <= 8
    assert {p.name for p in tmp_path.iterdir()} <= ({"prog.c", "prog.o"} if status == 0 else {"prog.c"})


@pytest.mark.parametrize(("text", "status", "words"), [
    (b"/* \xff\xfe */ char x[] = \"\xff\";\n" + TEXT.encode(), 0, "^$"),
    (b"int f\xff(void) { return 1; }\n", 1, r"error\[C\d+\](?s:.*)prog.c:1:6"),
    (b"int f(void) { return 1; }\0 int g;\n", 1, r"U\+0000(?s:.*)prog.c:1:26"),
    (b"", 0, "^$"),
    (b"\x7fELF" + bytes(100), 1, r"error\[C\d+\]"),
    (b"(" * 100_000, 1, r"error\[C\d+\]"),
    (b"int " * 200_000, 1, r"error\[C\d+\]"),
    (b"#define A A A\n" + b"int x = " + b"-" * 50_000 + b"1;\n", 1, r"error\[C\d+\]"),
], ids=["bytes that are no text", "a name that is no text", "NUL", "empty", "an object", "deep", "long", "deep expression"])
def test_sources_that_are_strange(text: bytes, status: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "prog.c").write_bytes(text)
    done = run([*EBPF, "compile", "prog.c", "-o", "prog.o"], cwd=tmp_path)
    assert done.process.returncode == status and re.search(words, done.err), str(done)[:3000]
    assert "Traceback" not in done.err and done.err.count("error[") <= 20


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/n\xff.c"
    with open(name, "wb") as file:
        file.write(TEXT.encode() + b"int g(void) { return nothing; }\n")
    done = run([*EBPF, "compile", os.fsdecode(name), "-o", tmp_path / "x.o"])
    assert done.process.returncode == 1 and "`nothing`" in done.err and ":3:" in done.err, str(done)
