"""What a kernel or its set-up refuses: one clear answer each, that says what is missing and what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.process import EBPF, PYTHON, ROOT, Running, environment, run

KPROBE = "from bcc import BPF\nb = BPF(text='int kprobe__sys_getppid(void *ctx) { return 0; }')\nprint('attached', flush=True)\n"
PRINTING = KPROBE + "b.trace_print()\n"
OBJECT = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 100000); __type(key, u32); __type(value, u64); } big SEC(".maps");
SEC("raw_tp/sys_enter") int f(void *ctx)
{
    int x = 0;
    u32 k = 1;
    u64 *v = bpf_map_lookup_elem(&big, &k);
    bpf_probe_read_kernel(&x, sizeof(x), (void *)bpf_get_current_task());
    if (v)
        *v += x;
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
TRACEPOINT = """#include <bpf/bpf_helpers.h>
SEC("tracepoint/syscalls/sys_enter_getppid") int f(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""
USER = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


def holding(*names: str) -> tuple[str, ...]:
    """An ordinary user with these capabilities."""
    held = ",".join(f"+{name}" for name in names)
    return (*USER, "--inh-caps", held, "--ambient-caps", held)


def in_mounts(setup: str) -> tuple[str, ...]:
    """In a mount namespace of its own, after `setup`."""
    return ("unshare", "--mount", "sh", "-c", f"{setup}; exec \"$@\"", "sh")


NO_TRACEFS = in_mounts("umount -l /sys/kernel/debug; while umount -l /sys/kernel/tracing 2>/dev/null; do :; done")
NO_BTF = in_mounts("mount -t tmpfs tmpfs /sys/kernel/btf")
RUN = (*EBPF, "run", "--duration", "0.2")


class Row:
    """Who runs what with what in the way; the exit status, and what the words must match, in this order."""

    def __init__(self, way: tuple[str, ...], command: tuple[str, ...], status: int, *words: str, paranoid: int = 2,
                 out: str = "") -> None:
        self.way, self.command, self.status, self.words = way, command, status, words
        self.paranoid, self.out = paranoid, out


ROWS = {
    "user, object": Row(USER, (*RUN, "f.o"), 3, "creating map 'big': this user lacks CAP_BPF",
                        "note: kernel.unprivileged_bpf_disabled", "help: run it as root, or give the process CAP_BPF"),
    "user, script": Row(USER, (*PYTHON, "kprobe.py"), 1, "error: loading 'kprobe__sys_getppid': this user lacks CAP_BPF and "
                        "CAP_PERFMON", "note: kernel.unprivileged_bpf_disabled", "help: run it as root", r"kprobe\.py:2: b = BPF"),
    "user, script by ebpf": Row(USER, (*EBPF, "run", "kprobe.py"), 1, "CAP_BPF and CAP_PERFMON", r"raised by kprobe\.py:2"),
    "user, list": Row(USER, (*EBPF, "prog", "list"), 3, "this user lacks CAP_SYS_ADMIN", "help: "),
    "CAP_BPF only": Row(holding("bpf"), (*RUN, "f.o"), 3, "loading 'f': this user lacks CAP_PERFMON", "help: .*CAP_PERFMON"),
    "CAP_PERFMON only": Row(holding("perfmon"), (*RUN, "f.o"), 3, "this user lacks CAP_BPF", "help: .*CAP_BPF"),
    "both": Row(holding("bpf", "perfmon"), (*RUN, "f.o"), 0, "attached: f"),
    "both, kprobe": Row(holding("bpf", "perfmon"), (*PYTHON, "kprobe.py"), 0, out="attached\n"),
    "both, distribution's sysctl": Row(holding("bpf", "perfmon"), (*PYTHON, "kprobe.py"), 1, "CAP_SYS_ADMIN",
                                       "note: kernel.perf_event_paranoid is 3", "help: sysctl kernel.perf_event_paranoid=2",
                                       paranoid=3),
    "both, tracefs closed": Row(holding("bpf", "perfmon"), (*PYTHON, "printing.py"), 1, "tracefs is closed to this user",
                                "help: run it as root, or mount it for a group", out="attached\n"),
    "user namespace": Row(("unshare", "--user", "--map-root-user"), (*RUN, "f.o"), 3, "not permitted here",
                          "note: this process is in a user namespace"),
    "no tracefs, tracepoint": Row(NO_TRACEFS, (*RUN, "t.o"), 1, "tracefs is not mounted",
                                  "help: mount -t tracefs tracefs /sys/kernel/tracing"),
    "no tracefs, printing": Row(NO_TRACEFS, (*PYTHON, "printing.py"), 1, "tracefs is not mounted", "help: mount",
                                r"printing\.py:4", out="attached\n"),
    "no BTF, not needed": Row(NO_BTF, (*RUN, "f.o"), 0, "attached: f"),
    "no BTF, needed": Row(NO_BTF, (*EBPF, "compile", "task.c", "-o", "task.o"), 1, "members of `struct task_struct` are not known",
                          r"--> task\.c:3:\d+", "note: this kernel has no BTF", "help: "),
    "no memory to lock": Row(("sh", "-c", "ulimit -l 64; exec \"$@\"", "sh", *holding("bpf", "perfmon")), (*RUN, "f.o"),
                             3, "over RLIMIT_MEMLOCK", "help: raise it .ulimit -l unlimited., or run with CAP_SYS_RESOURCE"),
}
TASK = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("kprobe/x") int f(void *ctx) { struct task_struct *t = (void *)bpf_get_current_task(); return t->pid; }
"""


def prepare(folder: Path, objects: tuple[str, ...] = ("f", "t")) -> None:
    """Files that every user may read, compiled by root: what is refused is loading them."""
    for name, text in (("kprobe.py", KPROBE), ("printing.py", PRINTING), ("f.c", OBJECT), ("t.c", TRACEPOINT), ("task.c", TASK)):
        (folder / name).write_text(text)
    for name in objects:
        made = run([*EBPF, "compile", folder / f"{name}.c", "-o", folder / f"{name}.o"], timeout_s=90)
        assert made.process.returncode == 0, made.err
    folder.chmod(0o755)


def check(name: str, folder: Path) -> list[str]:
    """What is wrong with this row's answer."""
    import resource

    row = ROWS[name]
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))  # rows say it themselves
    Path("/proc/sys/kernel/perf_event_paranoid").write_text(str(row.paranoid))
    with Running([*row.way, *row.command], cwd=folder, env={"EBPF_CACHE_DIR": "", "HOME": "/"}) as program:
        status = program.end(timeout_s=60)
        wrong = [] if status == row.status else [f"status {status}, not {row.status}"]
        at = 0
        for words in row.words:
            found = re.compile(words).search(program.err, at)
            if found is None:
                wrong.append(f"no {words!r} (in this order)")
            else:
                at = found.end()
        if row.out and program.out != row.out:
            wrong.append(f"output {program.out!r}")
        if "Traceback" in program.err or "Exception ignored" in program.err:
            wrong.append("a traceback")
    return [f"{name}: {', '.join(wrong)}\n{program}"] if wrong else []


@pytest.mark.guest(timeout_s=240)
def test_every_refusal_has_its_answer(tmp_path: Path) -> None:
    if shutil.which("setpriv") is None or shutil.which("unshare") is None:
        pytest.skip("no setpriv(1) or unshare(1) here")
    from ebpf.kernel import features

    prepare(tmp_path)
    counted = features.have("memcg_accounting") is False  # memory counts against RLIMIT_MEMLOCK: before 5.11
    wrong = [w for name in ROWS if name != "no memory to lock" for w in check(name, tmp_path)]
    if counted:
        wrong += check("no memory to lock", tmp_path)
    assert not wrong, "\n".join(wrong)


@pytest.mark.guest(kernels=("5.10",), timeout_s=120)
def test_memory_that_counts(tmp_path: Path) -> None:
    """Linux before 5.11: root's limit is lifted without a word, an ordinary user is told."""
    prepare(tmp_path, ("f",))
    with Running(["sh", "-c", "ulimit -S -l 64; exec \"$@\"", "sh", *RUN, "f.o"], cwd=tmp_path) as program:
        assert program.end(timeout_s=60) == 0, str(program)
    wrong = check("no memory to lock", tmp_path)
    assert not wrong, wrong[0]


LOCKED = """
import json, subprocess, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.acceptance.process import *
from tests.acceptance.test_refusals import prepare, RUN
folder = Path("/run/locked")
folder.mkdir()
prepare(folder, ("f",))
Path("/sys/kernel/security/lockdown").write_text("confidentiality")
said = {{}}
for name, command in {{"script": [*PYTHON, "kprobe.py"], "object": [*RUN, "f.o"]}}.items():
    done = run(command, cwd=folder)
    said[name] = done.process.returncode, done.out + done.err
print(json.dumps(said))
"""


@pytest.mark.slow
def test_a_kernel_that_is_locked_down() -> None:
    """In a machine of its own: nothing lifts it again."""
    import json

    from tests.guests import SAMPLE, Guest, why_not

    if (reason := why_not(SAMPLE)) is not None:
        pytest.skip(f"guest tests: {reason}")
    done = Guest().run([sys.executable, "-c", LOCKED.format(root=str(ROOT))], cwd="/", timeout_s=120,
                       env={**environment(), "HOME": "/root", "EBPF_CACHE_DIR": ""})
    assert done.returncode == 0, done.stderr.decode()
    said = json.loads(done.text.splitlines()[-1])
    for name, status, *words in (
            ("script", 1, "attaching 'kprobe__sys_getppid'", "note: the kernel is locked down (confidentiality)",
             "help: lockdown comes with", "kprobe.py:2"),
            ("object", 1, "`bpf_probe_read_kernel` cannot be called", "f.c:9:", "note: the kernel is locked down (confidentiality)")):
        assert said[name][0] == status and "Traceback" not in said[name][1], said[name]
        for part in words:
            assert part in said[name][1], (part, said[name][1])


def test_an_ordinary_user_on_this_machine(tmp_path: Path) -> None:
    """Without any guest: what an ordinary user sees who insists on the kernel."""
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv(1) here")
        way = [*USER]
    else:
        way = []
    script = tmp_path / "script.py"
    script.write_text("import ebpf\nwith ebpf.load(ebpf.compile('''" + TRACEPOINT + "''')) as session: print('loaded')\n")
    reach = subprocess.run([*way, sys.executable, "-c", f"open({str(script)!r}); import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import ebpf"],
                           capture_output=True, text=True)
    if reach.returncode != 0:
        for place in (tmp_path, *tmp_path.parents):
            if place.owner() == "root" and len(place.parts) > 2:
                place.chmod(place.stat().st_mode | 0o055)
    done = run([*way, *PYTHON, script], env={"HOME": "/nonexistent", "EBPF_BACKEND": "kernel"})
    if "ModuleNotFoundError" in done.err or "Permission denied: " in done.err:
        pytest.skip("an ordinary user cannot read this checkout")
    assert done.process.returncode == 1 and "CAP_BPF" in done.err and "run it as root" in done.err, str(done)


@pytest.mark.guest(timeout_s=60)
def test_a_second_reader_of_the_trace_pipe() -> None:
    """Newer kernels let only one program read it; older ones give each line to one of the two."""
    import ebpf

    with ebpf.host.trace_pipe():
        try:
            ebpf.host.trace_pipe().close()
        except ebpf.KernelError as error:
            assert "another program reads the trace pipe" in error.message and "fuser" in str(error)
    ebpf.host.trace_pipe().close()
