"""A machine's programs on the hooks of a traced command: attached by a kernel's names, with a kernel's contexts."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import ebpf
from ebpf.errors import NotSupported, TargetNotFound, UsageError
from ebpf.machine import Machine
from ebpf.machine.hooks import Hooks
from ebpf.machine.hooks.needs import needs_of
from ebpf.machine.tracing import Needs, Tracer
from tests.machine.tracing.commands import SECONDS, build, finish


class Traced:
    """A command, a machine with the programs of a C text, and hooks."""

    def __init__(self, text: str, argv: list[str], *, dialect: str = "bcc") -> None:
        self.machine = Machine(ebpf.compile(text, dialect=dialect))
        self.tracer = Tracer(argv)
        self.hooks = Hooks(self.machine, self.tracer, btf=ebpf.host.btf)

    def attach(self, *rows: tuple[Any, ...], **details: Any) -> None:
        for kind, program, target in rows:
            self.hooks.attach(kind, program, target, **details)

    def lines(self) -> list[str]:
        """What the programs printed until the command ended."""
        with self.tracer:
            finish(self.tracer)
        return list(self.machine.printed)


CONTEXTS = r"""
int hello(void *ctx) { bpf_trace_printk("clone\n"); return 0; }
int syscall__chdir(struct pt_regs *ctx, const char *path) {
    char name[16] = {};
    bpf_probe_read_user_str(name, sizeof name, path);
    bpf_trace_printk("kprobe %s\n", name);
    return 0;
}
int result(struct pt_regs *ctx) { bpf_trace_printk("kretprobe %d\n", (int)PT_REGS_RC(ctx)); return 0; }
TRACEPOINT_PROBE(syscalls, sys_enter_chdir) {
    char name[16] = {};
    bpf_probe_read_user_str(name, sizeof name, args->filename);
    bpf_trace_printk("tracepoint %d %s\n", args->__syscall_nr, name);
    return 0;
}
TRACEPOINT_PROBE(syscalls, sys_exit_chdir) { bpf_trace_printk("tracepoint returns %d\n", args->ret); return 0; }
TRACEPOINT_PROBE(raw_syscalls, sys_enter) {
    if (args->id == 80) bpf_trace_printk("raw_syscalls %d\n", args->args[0] != 0);
    return 0;
}
RAW_TRACEPOINT_PROBE(sys_exit) {
    struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
    unsigned long number = 0;
    bpf_probe_read_kernel(&number, sizeof number, &regs->orig_ax);
    if (number == 80) bpf_trace_printk("raw_tracepoint %d\n", (int)ctx->args[1]);
    return 0;
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers and registers of x86-64")
def test_every_way_to_a_system_call_tells_the_same() -> None:
    traced = Traced(CONTEXTS, ["sh", "-c", "cd /usr; cd /nowhere"])
    traced.attach(("kprobe", "syscall__chdir", "__x64_sys_chdir"), ("kretprobe", "result", "sys_chdir"),
                  ("tracepoint", "tracepoint__syscalls__sys_enter_chdir", "syscalls:sys_enter_chdir"),
                  ("tracepoint", "tracepoint__syscalls__sys_exit_chdir", "syscalls/sys_exit_chdir"),
                  ("tracepoint", "tracepoint__raw_syscalls__sys_enter", "raw_syscalls:sys_enter"),
                  ("raw_tracepoint", "raw_tracepoint__sys_exit", "sys_exit"))
    lines = traced.lines()
    assert sorted(lines[:6]) == ["kprobe /usr", "kretprobe 0", "raw_syscalls 1", "raw_tracepoint 0",
                                 "tracepoint 80 /usr", "tracepoint returns 0"]
    assert sorted(lines[6:]) == ["kprobe /nowhere", "kretprobe -2", "raw_syscalls 1", "raw_tracepoint -2",
                                 "tracepoint 80 /nowhere", "tracepoint returns -2"]


PROCESSES = r"""
TRACEPOINT_PROBE(sched, sched_process_fork) {
    char comm[16];
    bpf_get_current_comm(comm, sizeof comm);
    bpf_trace_printk("fork %s %d\n", comm, args->child_pid > 0 && args->parent_pid > 0);
    return 0;
}
TRACEPOINT_PROBE(sched, sched_process_exec) {
    char name[32];
    TP_DATA_LOC_READ_STR(name, filename, sizeof name);
    bpf_trace_printk("exec %s %d\n", name, args->pid == args->old_pid);
    return 0;
}
TRACEPOINT_PROBE(sched, sched_process_exit) {
    bpf_trace_printk("exit %s %d\n", args->comm, args->pid == (u32)bpf_get_current_pid_tgid());
    return 0;
}
TRACEPOINT_PROBE(task, task_newtask) { bpf_trace_printk("newtask %s %d\n", args->comm, args->clone_flags != 0); return 0; }
"""


def test_processes() -> None:
    traced = Traced(PROCESSES, ["sh", "-c", "(exit 1); exec /bin/true"])
    traced.attach(*(("tracepoint", name, name.removeprefix("tracepoint__").replace("__", ":"))
                    for name in traced.machine.obj.programs))
    lines = traced.lines()
    assert lines[0].startswith("exec /") and lines[0].endswith("/sh 1")
    assert sorted(lines[1:3]) == ["fork sh 1", "newtask sh 1"]
    assert lines[3:] == ["exit sh 1", "exec /bin/true 1", "exit true 1"]


LIBBPF = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "GPL";
int calls, sum;
SEC("tracepoint/syscalls/sys_enter_chdir") int by_record(struct trace_event_raw_sys_enter *ctx) {
    calls += ctx->id == 80 && ctx->args[0] > 4096;
    return 0;
}
SEC("ksyscall/chdir") int BPF_KSYSCALL(by_arguments, const char *path) {
    char text[8] = {};
    bpf_probe_read_user_str(text, sizeof text, path);
    sum += text[1];
    return 0;
}
SEC("tp_btf/sys_enter") int BPF_PROG(by_words, struct pt_regs *regs, long id) {
    if (id == 80) calls += 100;
    return 0;
}
"""


@pytest.mark.skipif(os.uname().machine != "x86_64" or not os.path.exists("/sys/kernel/btf/vmlinux"),
                    reason="numbers of x86-64; types of the kernel")
def test_objects_for_libbpf() -> None:
    traced = Traced(LIBBPF, ["sh", "-c", "cd /usr; cd /bin"], dialect="libbpf")
    traced.attach(("tracepoint", "by_record", "syscalls:sys_enter_chdir"), ("kprobe", "by_arguments", "sys_chdir"),
                  ("tracing", "by_words", None))
    traced.lines()
    data = traced.machine.maps[".bss"].lookup(bytes(4))
    assert data is not None
    assert sorted((int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little"))) == [
        202, ord("u") + ord("b")]


OPENED = r"""
int opened(struct pt_regs *ctx, int dfd, const char *filename, struct open_how *how) {
    char name[24] = {};
    u64 flags = 0;
    bpf_probe_read_user_str(name, sizeof name, (void *)PT_REGS_PARM2(ctx));
    bpf_probe_read_kernel(&flags, sizeof flags, (void *)PT_REGS_PARM3(ctx));
    bpf_trace_printk("%s %x %d\n", name, flags & 0x40, (int)PT_REGS_PARM1(ctx));
    return 0;
}
"""


def test_a_function_behind_several_system_calls(tmp_path: Path) -> None:
    command = build(tmp_path, """
int main(void) {
    struct { unsigned long flags, mode, resolve; } how = {O_RDONLY, 0, 0};
    close(openat(AT_FDCWD, "/tmp/by/openat", O_RDWR | O_CREAT, 0600));
    syscall(437, 5, "/tmp/by/openat2", &how, sizeof how);
#ifdef SYS_open
    syscall(SYS_open, "/tmp/by/open", O_RDONLY);
    syscall(SYS_creat, "/tmp/by/creat", 0600);
#endif
}""")
    traced = Traced(OPENED, [command])
    traced.attach(("kprobe", "opened", "do_sys_openat2"))
    lines = [line for line in traced.lines() if "/tmp/by" in line]
    assert lines[:2] == ["/tmp/by/openat 40 -100", "/tmp/by/openat2 0 5"]
    if os.uname().machine == "x86_64":
        assert lines[2:] == ["/tmp/by/open 0 -100", "/tmp/by/creat 40 -100"]


ACTING = r"""
int deny(struct pt_regs *ctx) { bpf_override_return(ctx, -13); return 0; }
int rewrite(struct pt_regs *ctx) {
    struct pt_regs *user = (struct pt_regs *)PT_REGS_PARM1(ctx);
    unsigned long path = 0;
    bpf_probe_read_kernel(&path, sizeof path, &user->di);
    bpf_probe_write_user((void *)path, "/usr", 5);
    return 0;
}
int stop(struct pt_regs *ctx) { bpf_send_signal(15); return 0; }
"""


def test_programs_act_on_the_task(tmp_path: Path) -> None:
    command = build(tmp_path, """
int main(void) {
    char path[] = "/etc", now[64];
    if (mkdir("/proc/nothing", 0700) != -1 || errno != EACCES) return 1;
    if (chdir(path) || strcmp(getcwd(now, sizeof now), "/usr")) return 2;
    getppid();
    pause();
}""".replace("int main", "#include <sys/stat.h>\nint main", 1))
    traced = Traced(ACTING, [command])
    traced.attach(("kprobe", "deny", "sys_mkdir"), ("kprobe", "rewrite", "sys_chdir"), ("kprobe", "stop", "sys_getppid"))
    traced.lines()
    assert traced.tracer.exit_status == -15


TASKS = r"""
#include <linux/sched.h>
#include <linux/cred.h>
int looks(struct pt_regs *ctx) {
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    struct task_struct *parent = task->real_parent;
    char name[16];
    bpf_probe_read_kernel_str(name, sizeof name, parent->comm);
    u64 both = bpf_get_current_pid_tgid();
    bpf_trace_printk("%d %d", task->tgid == both >> 32 && task->pid == (u32)both,
                     task->group_leader->tgid == task->tgid);
    bpf_trace_printk("parent %d %s", parent->tgid, name);
    bpf_trace_printk("user %d started %d", task->cred->euid.val, task->start_time > 0);
    bpf_trace_printk("memory %d", task->mm != 0);
    return 0;
}
RAW_TRACEPOINT_PROBE(sched_process_fork) {
    struct task_struct *parent = (struct task_struct *)ctx->args[0], *child = (struct task_struct *)ctx->args[1];
    bpf_trace_printk("forks %d", child->real_parent->tgid == parent->tgid && child->tgid != parent->tgid);
    return 0;
}
"""


@pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="types of the kernel")
def test_a_task_struct_made_of_what_proc_tells() -> None:
    traced = Traced(TASKS, ["sh", "-c", "(cd /); true"])
    traced.attach(("raw_tracepoint", "raw_tracepoint__sched_process_fork", "sched_process_fork"),
                  ("kprobe", "looks", "sys_chdir"))
    assert traced.lines() == ["forks 1", "1 1", f"parent {traced.tracer.pid} sh", f"user {os.getuid()} started 1",
                              "memory 0"]


UPROBE = r"""
int entered(struct pt_regs *ctx) { bpf_trace_printk("enter %d\n", (int)PT_REGS_PARM1(ctx)); return 0; }
int left(struct pt_regs *ctx) { bpf_trace_printk("leave %d\n", (int)PT_REGS_RC(ctx)); return 0; }
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="uprobes in the machine: x86-64 alone")
def test_uprobes_by_symbol(tmp_path: Path) -> None:
    command = build(tmp_path, "__attribute__((noinline, noipa)) int f(int n) { return n + 1; }\n"
                              "int main(void) { return f(41) != 42; }")
    traced = Traced(UPROBE, [command])
    traced.hooks.attach("uprobe", "entered", command, symbol="f")
    traced.hooks.attach("uretprobe", "left", command, symbol="f")
    with pytest.raises(TargetNotFound, match="no function 'ff'"):
        traced.hooks.attach("uprobe", "entered", command, symbol="ff")
    assert traced.lines() == ["enter 41", "leave 42"]


def test_clocks_and_cookies() -> None:
    text = """
    int tick(void *ctx) { bpf_trace_printk("tick %d\\n", (int)bpf_get_attach_cookie(ctx)); return 0; }"""
    traced = Traced(text, ["sleep", "1000"])
    traced.hooks.attach("interval", "tick", 3_000_000, cookie=7)
    with traced.tracer as tracer:
        tracer.release()
        while len(traced.machine.printed) < 3:
            tracer.dispatch(1)
    assert set(traced.machine.printed) == {"tick 7"}


TIMER = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct value { struct bpf_timer timer; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct value); }
    timers SEC(".maps");
static int again(void *map, int *key, struct value *value) {
    bpf_printk("rings");
    bpf_timer_start(&value->timer, 2000000, 0);
    return 0;
}
SEC("tracepoint/syscalls/sys_enter_chdir") int start(void *ctx) {
    u32 zero = 0;
    struct value *value = bpf_map_lookup_elem(&timers, &zero);
    if (value) {
        bpf_timer_init(&value->timer, &timers, 1);
        bpf_timer_set_callback(&value->timer, again);
        bpf_timer_start(&value->timer, 1000000, 0);
    }
    return 0;
}
"""


@pytest.mark.skipif(not os.path.exists("/sys/kernel/btf/vmlinux"), reason="types of the kernel")
def test_a_programs_own_timer_rings_while_the_command_sleeps() -> None:
    traced = Traced(TIMER, ["sh", "-c", "cd /; exec sleep 1000"], dialect="libbpf")
    traced.attach(("tracepoint", "start", "syscalls:sys_enter_chdir"))
    with traced.tracer as tracer:
        tracer.release()
        while len(traced.machine.printed) < 4:
            tracer.dispatch(1)
    assert set(traced.machine.printed) == {"rings"}


def test_attaching_while_another_thread_handles_events() -> None:
    traced = Traced(CONTEXTS, ["sh", "-c", "while cd /; do true; done"])
    traced.attach(("kretprobe", "result", "sys_chdir"))
    with traced.tracer as tracer:
        tracer.release()
        stop = threading.Event()

        def handle() -> None:
            while not stop.is_set():
                tracer.dispatch(0.1)

        thread = threading.Thread(target=handle)
        thread.start()
        try:
            for _ in range(20):
                with traced.hooks.attach("tracepoint", "tracepoint__syscalls__sys_exit_chdir", "syscalls:sys_exit_chdir"):
                    with traced.hooks.lock:
                        seen = len(traced.machine.printed)
                    deadline = time.monotonic() + SECONDS
                    while len(traced.machine.printed) <= seen:
                        assert time.monotonic() < deadline
            assert {"kretprobe 0", "tracepoint returns 0"} >= set(traced.machine.printed)
        finally:
            stop.set()
            thread.join()


def test_links_detach_and_other_processes_are_left_out() -> None:
    traced = Traced(CONTEXTS, ["sh", "-c", "cd /; cd /"])
    with traced.hooks.attach("kprobe", "result", "sys_chdir") as link:
        assert link.attached and link.target == "sys_chdir" and link.fileno() == -1
    assert not link.attached
    traced.hooks.attach("kretprobe", "result", "sys_chdir", pid=1)
    traced.hooks.attach("kretprobe", "result", "sys_chdir", pid=traced.tracer.pid)
    assert traced.lines() == ["kretprobe 0"] * 2


@pytest.mark.parametrize(("kind", "target", "error", "words"), [
    ("kprobe", "vfs_read", NotSupported, "tracepoint:syscalls:sys_enter_read"),
    ("kprobe", "tcp_v4_connect", NotSupported, "tracepoint:syscalls:sys_enter_connect"),
    ("kprobe", "ext4_file_write_iter", NotSupported, "tracepoint:syscalls:sys_enter_write"),
    ("kprobe", "oom_kill_process", NotSupported, "use the kernel"),
    ("kprobe", "tcp_set_state", NotSupported, "tracepoint:syscalls:sys_enter_connect"),
    ("kprobe", "blk_account_io_done", NotSupported, "use the kernel"),
    ("kretprobe", "do_exit", NotSupported, "tracepoint:sched:sched_process_exit"),
    ("kprobe", "sys_clonee", TargetNotFound, "sys_clone"),
    ("tracepoint", "sched:sched_switch", NotSupported, "inside a kernel"),
    ("tracepoint", "syscalls:sys_enter_opena", TargetNotFound, "sys_enter_open"),
    ("raw_tracepoint", "sched_switch", NotSupported, "inside a kernel"),
    ("perf_event", 0, NotSupported, "PERF_COUNT_SW_CPU_CLOCK"),
    ("lsm", "file_open", NotSupported, "programs at a lsm"),
])
def test_hooks_that_only_a_kernel_has(kind: str, target: Any, error: type[Exception], words: str) -> None:
    traced = Traced(CONTEXTS, ["true"])
    with traced.tracer, pytest.raises(error) as caught:
        traced.hooks.attach(kind, "hello", target)
    assert words in str(caught.value)


def test_a_sample_takes_a_rate() -> None:
    traced = Traced(CONTEXTS, ["true"])
    with traced.tracer, pytest.raises(UsageError, match="frequency"):
        traced.hooks.attach("perf_event", "hello", 1)


@pytest.mark.parametrize(("body", "needs"), [
    ("u64 k = bpf_get_current_pid_tgid(); m.increment(k);", Needs(wait=False)),
    ("char c[16]; bpf_get_current_comm(c, 16); u64 k = c[0]; m.increment(k);", Needs(wait=False, comm=True)),
    ("u64 k = bpf_get_current_uid_gid(); m.increment(k);", Needs(wait=False, ids=True)),
    ("u64 k = 0; bpf_probe_read_user(&k, 8, (void *)4096); m.increment(k);", Needs()),
    ("bpf_send_signal(9);", Needs()),
])
def test_what_a_program_needs_is_in_its_instructions(body: str, needs: Needs) -> None:
    machine = Machine(ebpf.compile(f"BPF_HASH(m, u64, u64); int f(void *ctx) {{ {body} return 0; }}", dialect="bcc"))
    assert needs_of(machine.program("f")) == needs
