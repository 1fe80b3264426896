"""`ebpf compile` and `ebpf run` on C: what comes out, who else can read it, and what wrong C is answered with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"

PROGRAM = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event { __u64 pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 16); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
    __type(value, struct event);
} events SEC(".maps");

SEC("kprobe/sys_clone") int on_clone(struct pt_regs *ctx)
{
    __u32 key = 1;
    __u64 one = 1, *count = bpf_map_lookup_elem(&counts, &key);
    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&counts, &key, &one, BPF_ANY);
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


def run(*arguments: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(SRC), "NO_COLOR": "1", "XDG_CACHE_HOME": str(cwd / "cache")}
    return subprocess.run([sys.executable, "-m", "ebpf.cli", *arguments], text=True, env=environment, cwd=cwd, input=stdin,
                          capture_output=True, timeout=110, check=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "prog.c").write_text(PROGRAM)
    return tmp_path


def test_an_object_that_others_read(source: Path) -> None:
    done = run("compile", "prog.c", cwd=source)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(p.name for p in source.glob("prog*")) == ["prog.c", "prog.o"]
    readers = [[shutil.which("llvm-objdump") or shutil.which("llvm-objdump-14"), "-d"],
               [shutil.which("bpftool") or "/usr/sbin/bpftool", "btf", "dump", "file"]]
    read = 0
    for reader in readers:
        if reader[0] and os.path.exists(reader[0]):
            text = subprocess.run([*reader, "prog.o"], cwd=source, text=True, stdout=subprocess.PIPE, check=True).stdout  # type: ignore[list-item]
            assert "on_clone" in text
            read += 1
    if not read:
        pytest.skip("neither llvm-objdump nor bpftool")


def test_to_standard_output_and_from_standard_input(source: Path) -> None:
    listing = run("compile", "-", "--emit", "asm", cwd=source, stdin=PROGRAM)
    assert listing.returncode == 0 and 'on_clone:  SEC("kprobe/sys_clone")' in listing.stdout
    assert "// map counts" in listing.stdout and "call bpf_ringbuf_submit#132" in listing.stdout
    ir = run("compile", "prog.c", "--emit=ir", cwd=source)
    assert ir.returncode == 0 and "define dso_local i32 @on_clone(" in ir.stdout


def test_defines_and_include_directories(source: Path) -> None:
    (source / "inc").mkdir()
    (source / "inc" / "mine.h").write_text("#define ANSWER BASE + 2\n")
    (source / "p.c").write_text('#include "mine.h"\n__attribute__((section("socket"))) int f(void *c) { return ANSWER; }\n'
                                'char _license[] __attribute__((section("license"))) = "GPL";\n')
    done = run("compile", "-I", "inc", "-D", "BASE=40", "--emit=asm", "p.c", cwd=source)
    assert done.returncode == 0, done.stderr
    assert "= 42" in done.stdout


def test_wrong_c_is_shown_where_it_is_wrong(source: Path) -> None:
    (source / "prog.o").write_bytes(b"what was there before")
    (source / "prog.c").write_text(PROGRAM.replace("e->pid =", "e->pidd =").replace("&key)", "&kye)"))
    done = run("compile", "prog.c", cwd=source)
    assert done.returncode == 1 and done.stdout == "" and "Traceback" not in done.stderr
    assert done.stderr.count("error[C") == 2
    assert "--> prog.c:" in done.stderr and "^" in done.stderr and "`pid`" in done.stderr.replace("'", "`")
    assert (source / "prog.o").read_bytes() == b"what was there before"


def test_clang_instead(source: Path) -> None:
    if shutil.which("clang") is None and shutil.which("clang-14") is None:
        pytest.skip("no clang")
    (source / "plain.c").write_text('__attribute__((section("socket"), used)) int f(void *c) { return 7; }\n'
                                    'char _license[] __attribute__((section("license"), used)) = "GPL";\n')
    done = run("compile", "--cc", "clang", "plain.c", cwd=source)
    assert done.returncode == 0, done.stderr
    assert (source / "plain.o").read_bytes().startswith(b"\x7fELF")


@pytest.mark.guest(timeout_s=120)
def test_run_shows_events_and_says_what_it_attached(tmp_path: Path) -> None:
    (tmp_path / "prog.c").write_text(PROGRAM)
    forks = subprocess.Popen(["/bin/bash", "-c", "while :; do (:); sleep 0.1; done"])
    try:
        done = run("run", "--duration", "2", "--maps", "prog.c", cwd=tmp_path)
    finally:
        forks.kill()
        forks.wait()
    assert done.returncode == 0, done.stderr
    assert "attached: on_clone (kprobe) to __x64_sys_clone" in done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.endswith('.comm = "bash"}') for line in lines) >= 3
    assert any(line.startswith("counts: 1 entry") for line in lines) and lines[-1].startswith("  1: ")


@pytest.mark.guest(timeout_s=120)
def test_doctor_finds_kprobes_where_they_are(tmp_path: Path) -> None:
    import json

    done = run("doctor", "--json", cwd=tmp_path)
    states = {f["name"]: f["state"] for f in json.loads(done.stdout)}
    assert done.returncode == 0
    assert [states[hook] for hook in ("kprobe", "fentry", "tracepoint", "uprobe", "lsm", "xdp")] == ["ok"] * 6


@pytest.mark.guest(timeout_s=120)
def test_the_hello_example(tmp_path: Path) -> None:
    example = SRC.parent / "examples" / "hello.py"
    done = subprocess.run([sys.executable, str(example)], env={**os.environ, "PYTHONPATH": str(SRC)}, text=True,
                          capture_output=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Hello, python") == 5 and done.stdout.endswith("detached\n")
