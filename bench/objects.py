"""Opening and relocating a large object that clang made, beside bpftool; without what the kernel itself takes.

Measured is processor time, the kernel's for this process included, but what passes within bpf(2) taken off: both load
the same programs, so what that takes is measured in ours and taken off both. (User time alone is a guess in kernels
that sample it by ticks: 12 to 37 ms for the same run of bpftool.) Ours is that of `ebpf.load` in a fresh process
with a warm cache, late imports included; bpftool's that of its whole process.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

from bench.harness import PYTHON, Report, Row, ms, run_process

PROGRAMS, SIZE = 100, 2_000_000

HEAD = """
typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
static long (*bpf_probe_read_kernel)(void *to, u32 size, const void *from) = (void *)113;
static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static u64 (*bpf_get_current_task)(void) = (void *)35;
struct mm_struct { u64 total_vm, data_vm, stack_vm, start_code, end_code; } __attribute__((preserve_access_index));
struct task_struct { int pid, tgid, prio, static_prio; struct mm_struct *mm;
    struct task_struct *real_parent, *group_leader;
    u64 utime, stime, start_time; } __attribute__((preserve_access_index));
struct { int (*type)[2]; int (*max_entries)[64]; u32 *key; u64 *value; } sums SEC(".maps");
u64 total; const volatile u64 factor = 3;
#define READ(to, from) bpf_probe_read_kernel(&to, sizeof(to), &(from))
"""
# Addresses are computed early and kept, for which the stack is small: a few reads a function.
PIECE = """
static __attribute__((noinline)) u64 piece_{n}_{i}(struct task_struct *task, u64 value)
{{
    struct task_struct *parent;
    struct mm_struct *mm;
    int n = 0;
    u64 v = 0;

    READ(n, task->pid); value += n * {i};
    READ(parent, task->real_parent); READ(n, parent->tgid); value ^= n;
    READ(mm, task->mm); READ(v, mm->total_vm); value += v;
    READ(v, task->utime); value -= v << {i};
    READ(v, parent->start_time);
    return value + (v >> 3) + factor;
}}
"""
BODY = """
SEC("kprobe/f{n}") int program_{n}(void *ctx)
{{
    struct task_struct *task = (void *)bpf_get_current_task();
    u32 key = {n} % 64;
    u64 *sum = bpf_map_lookup_elem(&sums, &key), value = 0;
    {work}
    if (sum) *sum += value;
    total += value;
    return 0;
}}
"""
OURS = """
import sys, time
import ebpf
import ebpf.kernel.sys as system
from ebpf.session import load
clock, inner, within = time.process_time, system.bpf, 0.0
def timed(*arguments):
    global within
    start = clock()
    try:
        return inner(*arguments)
    finally:
        within += clock() - start
system.bpf = timed
start = clock()
with ebpf.load(sys.argv[1], backend="kernel") as session:
    used = clock() - start
    assert len(session.programs) == int(sys.argv[2])
print(used - within, within)
"""


def source(pieces: int) -> str:
    """C of `PROGRAMS` programs, each with so many functions that read through types that are relocated."""
    parts = [HEAD]
    for n in range(PROGRAMS):
        parts += [PIECE.format(n=n, i=i) for i in range(pieces)]
        parts.append(BODY.format(n=n, work="".join(f"value = piece_{n}_{i}(task, value);" for i in range(pieces))))
    return "".join(parts) + 'char LICENSE[] SEC("license") = "GPL";\n'


def make(folder: Path) -> Path:
    """The object; `SIZE` bytes or more without its DWARF, which neither loader reads."""
    path, pieces = folder / "large.o", 8
    while True:
        command = ["clang-14", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wno-everything", "-x", "c", "-c", "-", "-o",
                   str(path)]
        subprocess.run(command, input=source(pieces).encode(), check=True)
        strip = shutil.which("llvm-strip-14") or shutil.which("llvm-strip")
        if strip:
            subprocess.run([strip, "-g", str(path)], check=True)
        if path.stat().st_size >= SIZE:
            return path
        pieces = pieces * SIZE // path.stat().st_size + 1


def by_bpftool(path: Path) -> float:
    pin = Path(f"/sys/fs/bpf/ebpf-bench-{os.getpid()}")
    process = subprocess.Popen(["bpftool", "prog", "loadall", str(path), str(pin)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    assert process.stderr is not None
    words = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    shutil.rmtree(pin, ignore_errors=True)
    if process.returncode:
        raise RuntimeError(f"bpftool: {words.decode()[-300:]}")
    return usage.ru_utime + usage.ru_stime


def run(report: Report) -> None:
    what = f"open and relocate {PROGRAMS} programs, {SIZE // 1_000_000} MB"
    if os.geteuid() or not shutil.which("clang-14") or not shutil.which("bpftool"):
        report.skip(what, "takes root, clang-14 and bpftool")
        return
    with tempfile.TemporaryDirectory(prefix="ebpf-bench-") as folder:
        path = make(Path(folder))
        command = [PYTHON, "-c", OURS, str(path), str(PROGRAMS)]
        env = {"EBPF_CACHE_DIR": folder}
        ours, theirs = [], []
        run_process(command, env)
        for _ in range(report.rounds):
            own, within = map(float, run_process(command, env).output.split()[-2:])
            ours.append(own)
            theirs.append(by_bpftool(path) - within)
    one, peer = statistics.median(ours), statistics.median(theirs)
    report.add(Row(what, ms(one), ms(peer), one / peer, 1.5))
