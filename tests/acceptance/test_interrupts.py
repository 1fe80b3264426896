"""Ctrl-C, SIGTERM and SIGKILL at any moment: the right exit status, no words but Python's own, nothing left behind."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path

import pytest

from tests.acceptance.process import (
    EBPF,
    PROGRAMS,
    PYTHON,
    Running,
    group_members,
    run,
    shows_our_frames,
    wait_until,
)

PLAIN = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } hits SEC(".maps");
SEC("kprobe/sys_getppid") int f(struct pt_regs *ctx)
{
    u32 k = 0; u64 one = 1;
    bpf_map_update_elem(&hits, &k, &one, BPF_ANY);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_while_compiling(number: int, status: int, tmp_path: Path) -> None:
    """Through the whole of a compilation, front end, code generator and writing; a file is there whole or not at all."""
    source, target = tmp_path / "prog.c", tmp_path / "prog.o"
    source.write_text(PLAIN)
    start = time.monotonic()
    whole = run([*EBPF, "compile", source, "-o", target])
    assert whole.process.returncode == 0, whole.err
    took, size = time.monotonic() - start, target.stat().st_size
    interrupted = 0
    for step in range(12):
        target.unlink(missing_ok=True)
        with Running([*EBPF, "compile", source, "-o", target]) as program:
            # Before our code runs the interpreter ends as it always does; when exactly that is nobody promises.
            time.sleep(took * (step + 1) / 12)
            answer = program.end(number)
            mine = answer == status
            assert mine or answer in (0, 1, -number), (answer, str(program))
            assert not mine or program.err == "", program.err
            assert answer == 1 or not shows_our_frames(program.err), program.err
            interrupted += mine
            assert wait_until(lambda g=program.pid: not group_members(g)), "a child is still there"
        assert sorted(p.name for p in tmp_path.iterdir()) in (["prog.c"], ["prog.c", "prog.o"])
        assert not target.exists() or target.stat().st_size == size
    assert interrupted >= 4


@pytest.mark.slow
def test_the_code_generator_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(textwrap.dedent("""
        from ebpf.compiler.llvm.child import CodeGenerator
        with CodeGenerator() as generator:
            print(generator._pid, flush=True)
            # Much to do: one function with thousands of branches.
            rows = "".join(f"b{i}: %x{i} = load volatile i64, ptr %p\\n %c{i} = icmp eq i64 %x{i}, {i}\\n"
                           f" br i1 %c{i}, label %b{i + 1}, label %b{(i * 7919) % 20000}\\n" for i in range(20000))
            generator.run('target triple = "bpfel"\\ndefine i64 @f(ptr %p) {\\n br label %b0\\n' + rows
                          + "b20000: ret i64 0\\n}\\n")
            print("done", flush=True)
        """))
    with Running([*PYTHON, script]) as program:
        program.wait_for(r"\d+\n")
        child = int(program.out)
        time.sleep(1)
        assert "done" not in program.out and os.path.exists(f"/proc/{child}")
        os.kill(program.pid, signal.SIGKILL)
        program.process.wait()
        assert wait_until(lambda: child not in group_members(program.pid), 3)


PROGRAM_ID = "b.session.programs['f'].info.id"
LOOPS = {
    "reading a map": "while True: b['table'].items()",
    "reading a map key by key": "while True:\n    for k in b['table']: b['table'][k]",
    "NumPy": "while True: b.session.maps['table'].to_numpy()",
    "waiting for a perf buffer": "b['events'].open_perf_buffer(print)\nwhile True: b.perf_buffer_poll()",
    "waiting for a ring buffer": "b['ring'].open_ring_buffer(print)\nwhile True: b.ring_buffer_poll()",
    "iterating over events": "for event in b.session.maps['ring'].events(): pass",
    "compiling": "while True: ebpf.compile(TEXT, dialect='bcc', cache=False)",
    "loading": "while True:\n    with ebpf.load(b.module, types={'f': 6}): pass",
}
TEXT = """
BPF_HASH(table);
BPF_PERF_OUTPUT(events);
BPF_RINGBUF_OUTPUT(ring, 8);
int f(struct xdp_md *ctx) { u64 k = 1; table.increment(k); ring.ringbuf_output(&k, 8, 0); return XDP_PASS; }
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", LOOPS)
@pytest.mark.parametrize("backend", [pytest.param("kernel", marks=pytest.mark.kernel), "machine"])
def test_in_the_middle_of(backend: str, what: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if backend == "kernel":
        request.getfixturevalue("privileged")
    script = tmp_path / "script.py"
    script.write_text(f"import ebpf\nfrom bcc import BPF\nTEXT = {TEXT!r}\nb = BPF(text=TEXT)\n"
                      "for i in range(500): b['table'][b['table'].Key(i)] = b['table'].Leaf(i)\n"
                      "b.load_func('f', BPF.XDP)\n"
                      f"print({PROGRAM_ID if backend == 'kernel' else 0}, flush=True)\n{LOOPS[what]}\n")
    from ebpf.kernel.programs import iter_programs

    for argv, number, status in (([*PYTHON, script], signal.SIGINT, -signal.SIGINT),
                                 ([*EBPF, "run", script], signal.SIGINT, 130),
                                 ([*EBPF, "run", script], signal.SIGTERM, 143),
                                 ([*PYTHON, script], signal.SIGKILL, -signal.SIGKILL)):
        with Running(argv, env={"EBPF_BACKEND": backend}) as program:
            program.wait_for(r"^\d+\n")
            id = int(program.out.split()[0])
            time.sleep(0.15)
            # Python ends by the signal itself where that came in an exec() of text; shells say 130 of both.
            assert program.end(number) in (status, -number if status == 130 else status), str(program)
            # Ctrl-C in the script's own line shows that line, as ever.
            assert not shows_our_frames(program.err) and "Exception ignored" not in program.err, program.err
            assert not program.err or "script.py" in program.err
            assert wait_until(lambda p=program.pid: not group_members(p))
        assert backend == "machine" or wait_until(lambda i=id: i not in [p.id for p in iter_programs()])


def left_in_the_kernel() -> list[str]:
    """Programs, links, maps and probe definitions in a guest that nobody else uses."""
    from ebpf.kernel.attach.link import iter_links
    from ebpf.kernel.maps import iter_maps
    from ebpf.kernel.programs import iter_programs

    # Linux keeps a few of its own since 5.18 (iterators of bpf_preload, LSM).
    return [*(f"program {p.name}" for p in iter_programs() if p.name in ("f", "on_clone", "count")),
            *(f"map {m.name}" for m in iter_maps() if m.name in ("hits", "calls")),
            *(f"link {link}" for link in iter_links()),
            *(line for line in Path("/sys/kernel/tracing/kprobe_events").read_text().splitlines() if line)]


@pytest.mark.guest(timeout_s=200)
def test_from_start_to_attached(tmp_path: Path) -> None:
    """`ebpf run prog.o`: import, load, attach, wait."""
    (tmp_path / "prog.c").write_text(PLAIN)
    made = run([*EBPF, "compile", tmp_path / "prog.c", "-o", tmp_path / "prog.o"], timeout_s=90)
    assert made.process.returncode == 0, made.err
    start = time.monotonic()
    with Running([*EBPF, "run", tmp_path / "prog.o"]) as program:
        program.wait_for("attached: f")
        took = time.monotonic() - start
        assert "link" in " ".join(left_in_the_kernel()) or "program" in " ".join(left_in_the_kernel())
        assert program.end(signal.SIGTERM) == 143
    assert not left_in_the_kernel()
    ended = 0
    for step in range(14):
        number, statuses = ((signal.SIGINT, (130, 0)), (signal.SIGTERM, (143,)))[step % 2]
        with Running([*EBPF, "run", tmp_path / "prog.o"]) as program:
            time.sleep(took * (0.4 + 0.7 * step / 13))
            answer = program.end(number)
            # 0: Ctrl-C is how a run that is attached ends. 1: Python's own, while it starts.
            assert answer in (*statuses, 1, -number), (answer, str(program))
            assert answer == 1 or "Traceback" not in program.err, str(program)
            assert "Exception ignored" not in program.err, str(program)
            ended += answer in statuses
        assert wait_until(lambda: not left_in_the_kernel()), left_in_the_kernel()
    assert ended >= 5


@pytest.mark.guest(timeout_s=120)
def test_sigkill_leaves_nothing_attached() -> None:
    import subprocess

    with Running([*PYTHON, PROGRAMS / "clone_counter.py"], cwd="/") as program:
        program.wait_for(r"56 \d+", meanwhile=lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0) and
                         subprocess.run("(true)", shell=True), timeout_s=80)
        assert left_in_the_kernel()
        assert program.end(signal.SIGKILL) == -signal.SIGKILL
    assert wait_until(lambda: not left_in_the_kernel()), left_in_the_kernel()
    shown = run([*EBPF, "link", "list"])
    assert shown.process.returncode == 0 and "count" not in shown.out, str(shown)
