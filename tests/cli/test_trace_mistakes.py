"""What beginners write, and what the command says: each mistake gets the words that mend it. On the running kernel, as
whoever runs the tests; `tests/compiler/trace/mistakes.txt` has the whole messages, on a made-up kernel.
"""

from __future__ import annotations

import os

import pytest

from ebpf import cli

OPENAT = "tracepoint:syscalls:sys_enter_openat"
# script → what must be said of it
MISTAKES = {
    "kprob:vfs_read { }": "did you mean `kprobe:vfs_read`?",
    "kprobe:vfs_raed { }": "did you mean `vfs_read`",
    "kprobe:sys_openat { }": "or use `tracepoint:syscalls:sys_enter_openat`",
    "tracepoint:sys_enter_openat { }": "did you mean `tracepoint:syscalls:sys_enter_openat`?",
    "tracepoint:syscalls:sys_enter_opnat { }": "did you mean `tracepoint:syscalls:sys_enter_openat`",
    OPENAT + ' { printf("%s", args->file); }': "its fields are: dfd, filename, flags, mode",
    OPENAT + ' { printf("%s", args->filename); }': "wrap it: `str(args->filename)`",
    OPENAT + ' { printf("%d", comm); }': "it is shown by `%s`",
    OPENAT + ' { printf("%s", pid); }': "an integer is shown by `%d`",
    'BEGIN { printf("%d %d", pid); }': "the format has 2 conversions, and there is 1 value",
    'BEGIN { printf("%5.2f", 1); }': "use integers and scale",
    "BEGIN { @x = 1.5; }": "BPF has no floating point",
    "BEGIN { x = 1; }": "variables start with `$`",
    'BEGIN { $x = 1; $x = "a"; }': "`$x` is an integer since line 1",
    'BEGIN { $x = 1; printf("%d", $y); }': "set so far: `$x`",
    "BEGIN { @[pid] = count; }": "write `count()`",
    "BEGIN { @ = hist(); }": "the value is missing: `hist(n)`",
    "BEGIN { @a[pid] = 1; @a[pid, tid] = 1; }": "`@a` has 1 key part since line 1",
    "BEGIN { if (pid = 1) { } }": "`==` compares",
    'kprobe:vfs_read /pid == 1/ printf("x");': "the action needs braces around it",
    'BEGIN { printf("x") printf("y"); }': "`;` is missing after `)`",
    'BEGIN { printf("x"); ': "`}` is missing for the `{` in line 1",
    'kretprobe:vfs_read { printf("%d", arg0); }': "save the argument by `tid` in the entry probe",
    'kprobe:vfs_read { printf("%d", retval); }': "write `kretprobe:vfs_read`",
    "uprobe:/bin/bash { }": "the function is missing",
    "uprobe:/bin/bash:readlin { }": "similar functions: readline",
    "uprobe:libpthread:pthread_create { }": "",  # what is said depends on the C library
    "uprobe:/nonexistent:main { }": "/nonexistent",
    "interval:1 { }": "write `interval:s:1`",
    "profile:99 { }": "write `profile:hz:99`",
    "kprobe:vfs_read { $t = (struct tsak_struct *)arg0; }": "did you mean `struct task_struct`",
    'kprobe:vfs_read { printf("%s", str(arg0)); }': "is a `struct file *`: there is no text where it leads",
}
_KERNEL = ("kprobe", "kretprobe")


@pytest.mark.parametrize("script", MISTAKES)
def test_each_mistake_gets_its_hint(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    if script.startswith(_KERNEL) and not os.path.exists("/sys/kernel/btf/vmlinux"):
        pytest.skip("this kernel has no BTF")
    if "bash" in script and not os.path.exists("/bin/bash"):
        pytest.skip("there is no bash")
    status = cli.main(["trace", "--check", "-e", script])
    said = capsys.readouterr()
    if script.startswith("uprobe:libpthread") and status == 0:
        return  # an older C library has it there
    assert status == 1 and said.out == "" and MISTAKES[script] in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("script", [
    "BEGIN { if pid == 1 { } }", "interval:1s { }", "begin { } end { }", 'BEGIN { system("ls"); }',
])
def test_what_newer_spellings_allow_is_right(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trace", "--check", "-e", script]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("script", [
    'BEGIN { x = 1; printf("x") printf("y"); @ = 1.5; }', "BEGIN { $y = z; @a = hist(); }\nkprob:f { }",
])
def test_several_mistakes_are_told_at_once(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the grammar first, then of the meaning."""
    assert cli.main(["trace", "--check", "-e", script]) == 1
    assert capsys.readouterr().err.count("error[") == 3
