"""C that is wrong: every mistake in one run, each with its place, a caret, and what may have been meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ebpf
from tests.acceptance.process import EBPF, PYTHON, run

HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'

# Dialect, text, and of each error: line, code, and what its words must match. The texts start at line 1.
MISTAKES: list[tuple[str, str, list[tuple[int, str, str]]]] = [
    ("libbpf", HEAD + """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } hits SEC(".maps");
SEC("kprobe/sys_getppid") int f(void *ctx)
{
    struct task_struct *t = (void *)bpf_get_current_task();
    u32 pid = t->tgidd;
    u64 x = bpf_get_curent_pid_tgid();
    u64 *v = bpf_map_lookup_elem(&hitz, &pid);
    return missing + x;
}
""", [(8, "C", r"no member .*tgidd(?s:.*)did you mean `tgid`"),
      (9, "C", r"bpf_get_curent_pid_tgid(?s:.*)did you mean `bpf_get_current_pid_tgid`"),
      (10, "C", r"`hitz`(?s:.*)did you mean `hits`"),
      (11, "C", r"`missing`")]),
    ("libbpf", HEAD + "u33 first;\nstruct { u46 a; } second;\n",
     [(3, "C0205", r"unknown type name `u33`(?s:.*)`u32`"), (4, "C0205", r"unknown type name `u46`(?s:.*)`u64`")]),
    ("libbpf", HEAD + "int f(void)\n{\n    int y = 1\n    return y;\n}\nint g(void) { return (1; }\n",
     [(5, "C", "`;` expected"), (8, "C", r"`\)` expected")]),
    ("libbpf", '#include "not_there.h"\n#if 1\nint x;\n', [(1, "C", "not_there.h"), (2, "C", "#if|#endif")]),
    ("bcc", """BPF_HASH(counts, u32);
BPF_HSH(other, u32);
BPF_PERF_OUTPUT(events);
int hello(struct pt_regs *ctx)
{
    u32 key = 1;
    counts.incremnt(key);
    u64 *p = counts.lookp(&key);
    events.perf_sumbit(ctx, &key, sizeof(key));
    nowhere.update(&key, &key);
    return 0;
}
""", [(2, "C0401", "`BPF_HSH`(?s:.*)`BPF_HASH`"), (7, "C0402", "`incremnt`(?s:.*)`increment`"),
      (8, "C0402", "`lookp`(?s:.*)`lookup`"), (9, "C0402", "`perf_sumbit`(?s:.*)`perf_submit`"),
      (10, "C", "`nowhere`")]),
]


@pytest.mark.parametrize(("dialect", "text", "expected"), MISTAKES)
def test_every_mistake_is_told_once_with_its_place(dialect: str, text: str, expected: list[tuple[int, str, str]]) -> None:
    with pytest.raises(ebpf.CompileError) as caught:
        ebpf.compile(text, filename="prog.c", dialect=dialect, cache=False)
    found = [d for d in caught.value.diagnostics if d.severity == "error"]
    assert [d.span.line if d.span else 0 for d in found] == [line for line, _, _ in expected], str(caught.value)
    for diagnostic, (line, code, words) in zip(found, expected, strict=True):
        shown = ebpf.format_diagnostic(diagnostic)
        assert diagnostic.code.startswith(code)
        assert re.search(words, shown), shown
        assert f"--> prog.c:{line}:" in shown and "^" in shown.splitlines()[3], shown
        assert text.splitlines()[line - 1].strip() in shown


def test_the_command_and_a_script_tell_the_same(tmp_path: Path) -> None:
    text = "BPF_HASH(counts, u32);\nint hello(void *ctx) { u32 k = 0; counts.lookp(&k); return 0; }\n"
    (tmp_path / "prog.c").write_text(text)
    command = run([*EBPF, "compile", tmp_path / "prog.c", "-o", tmp_path / "prog.o"])
    assert command.process.returncode == 1 and command.out == "" and not (tmp_path / "prog.o").exists()
    (tmp_path / "script.py").write_text(f"from bcc import BPF\nb = BPF(text={text!r})\nprint('not reached')\n")
    script = run([*PYTHON, tmp_path / "script.py"])
    assert script.process.returncode == 1 and script.out == ""
    by_command = run([*EBPF, "run", tmp_path / "script.py"])
    assert by_command.process.returncode == 1 and by_command.out == ""
    for shown in (command.err, script.err, by_command.err):
        assert "Traceback" not in shown and "`lookp`" in shown and "did you mean `lookup`" in shown and ":2:" in shown
    assert "script.py:2" in script.err and "script.py:2" in by_command.err


@pytest.mark.kernel
def test_names_that_are_not_there_at_run_time() -> None:
    text = HEAD + 'int seen;\nSEC("xdp") int count(struct xdp_md *ctx) { seen++; return 2; }\nchar L[] SEC("license") = "GPL";\n'
    with ebpf.load(ebpf.compile(text)) as session:
        for table, name, similar in ((session.programs, "cuont", "count"), (session.maps, ".bsss", ".bss")):
            with pytest.raises(ebpf.UnknownName) as caught:
                table[name]
            assert similar in caught.value.similar and similar in str(caught.value)
        with pytest.raises(ebpf.TargetNotFound) as target:
            session.programs["count"].attach_xdp("loo")
        assert "lo" in target.value.similar


@pytest.mark.kernel
def test_a_map_that_is_full() -> None:
    """From the API, from a script, and what the program itself sees."""
    text = HEAD + """
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 2); __type(key, u32); __type(value, u64); } few SEC(".maps");
long answer;
SEC("xdp") int add(struct xdp_md *ctx) { u32 k = 9; u64 v = 1; answer = bpf_map_update_elem(&few, &k, &v, BPF_ANY); return 2; }
char L[] SEC("license") = "GPL";
"""
    with ebpf.load(ebpf.compile(text)) as session:
        few = session.maps["few"]
        few[1] = few[2] = 1
        with pytest.raises(ebpf.MapFull) as caught:
            few[3] = 1
        assert caught.value.map_name == "few" and "2" in caught.value.message and "max_entries" in str(caught.value)
        few[2] = 5  # an entry that is there can be changed
        session.programs["add"].test_run(bytes(64))
        assert int.from_bytes(session.maps[".bss"][0], "little", signed=True) == -7  # -E2BIG
    script = "from bcc import BPF\nb = BPF(text='BPF_HASH(few, u32, u64, 2);')\nt = b['few']\nfor i in range(3): t[t.Key(i)] = t.Leaf(1)\n"
    done = run([*PYTHON, "-c", script])
    assert done.process.returncode == 1 and "Traceback" not in done.err and "'few'" in done.err and "max_entries" in done.err


PROBES = """
BPF_HASH(table);
int f(struct pt_regs *ctx) { return 0; }
int g(void *ctx) { return 0; }
int h(struct bpf_raw_tracepoint_args *ctx) { return 0; }
"""


@pytest.mark.guest(timeout_s=100)
def test_probes_that_do_not_exist_name_similar_ones() -> None:
    import bcc

    cases = [
        (lambda: b.attach_kprobe(event="vfs_reed", fn_name="f"), "vfs_read"),
        (lambda: b.attach_kprobe(event="sys_opennat", fn_name="f"), "sys_openat"),
        (lambda: b.attach_kretprobe(event=b.get_syscall_fnname("cloone"), fn_name="f"), "__x64_sys_clone"),
        (lambda: b.attach_tracepoint(tp="sched:sched_swich", fn_name="g"), "sched:sched_switch"),
        (lambda: b.attach_raw_tracepoint(tp="sched_swich", fn_name="h"), "sched_switch"),
        (lambda: b.attach_uprobe(name="c", sym="mallocc", fn_name="f"), "malloc"),
        (lambda: b.attach_xdp(dev="loo", fn=b.load_func("g", bcc.BPF.XDP)), "lo"),
        (lambda: b.attach_kprobe(event="vfs_read", fn_name="ff"), "f"),
        (lambda: b["tabel"], "table"),
    ]
    with bcc.BPF(text=PROBES) as b:
        for call, similar in cases:
            with pytest.raises((ebpf.TargetNotFound, ebpf.UnknownName)) as caught:
                call()
            assert similar in caught.value.similar, (similar, str(caught.value))
            assert f"{similar}" in str(caught.value)
        assert b.num_open_kprobes() == b.num_open_tracepoints() == b.num_open_uprobes() == 0
