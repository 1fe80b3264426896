"""`ebpf stubs`: an example type-checks against what it writes, and a misspelt member does not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ebpf
from ebpf.btf import Btf
from ebpf.session.stubs import Wanted

SRC = Path(ebpf.__file__).parents[1]

EXAMPLE = '''
import ebpf
from ebpf import u32, u64

opens = ebpf.Hash(u32, u64, max_entries=10_240)


@ebpf.tracepoint("syscalls:sys_enter_openat")
def count(ctx: ebpf.contexts.tracepoint.syscalls.sys_enter_openat) -> None:
    opens[ebpf.pid()] += 1
    flags: int = ctx.args.flags
    name: bytes = ctx.filename


@ebpf.fexit("vfs_read")
def seen(ctx: ebpf.contexts.fexit.vfs_read) -> None:
    task = ebpf.current_task()
    pid: int = task.mm.owner.pid
    comm: bytes = task.comm
    number: int = ctx.args.file.f_inode.i_ino
    result: int = ctx.ret


@ebpf.xdp(interface="eth0")
def drop(ctx: ebpf.contexts.xdp) -> int:
    size: int = ctx.data_end
    return ebpf.linux.XDP_DROP


def main() -> None:
    with ebpf.attach(count, seen, drop.on(flags=2)) as session:
        total: int = sum(opens.values())
        session.maps["opens"].to_arrow()
'''

MISTAKES = {
    "    pid: int = task.mm.owner.pid\n": ("    pid = task.mm.ownr.pid\n", '"mm_struct" has no attribute "ownr"'),
    "    comm: bytes = task.comm\n": ("    comm: int = task.comm\n", 'variable has type "int"'),
    "    flags: int = ctx.args.flags\n": ("    flags = ctx.args.flag\n", 'has no attribute "flag"'),
    "    opens[ebpf.pid()] += 1\n": ('    opens["x"] += 1\n', 'expected type "int"'),
    'drop.on(flags=2)': ("print", "incompatible type"),
    '@ebpf.fexit("vfs_read")': ('@ebpf.fexit("vfs_read", pid=3)', 'Unexpected keyword argument "pid"'),
}


@pytest.fixture(scope="module")
def kernel() -> Btf:
    found = Path("/sys/kernel/btf/vmlinux")
    if not found.exists():
        pytest.skip("this kernel tells no types")
    return Btf.parse(found.read_bytes())


def check(directory: Path, text: str) -> str:
    """What mypy says of the example."""
    (directory / "program.py").write_text(text)
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(directory / "cache"), "program.py"]
    done = subprocess.run(command, cwd=directory, env={"MYPYPATH": str(SRC), "PATH": "/usr/bin:/bin"},
                          stdout=subprocess.PIPE, text=True)
    return done.stdout


@pytest.mark.slow
def test_an_example_type_checks_against_its_stubs(kernel: Btf, tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(EXAMPLE)
    text = ebpf.stubs([tmp_path / "program.py"])
    (tmp_path / "ebpf_linux.pyi").write_text(text)
    assert check(tmp_path, EXAMPLE) == "Success: no issues found in 1 source file\n"
    broken = EXAMPLE
    for good, (bad, _) in MISTAKES.items():
        assert good in broken
        broken = broken.replace(good, bad)
    said = check(tmp_path, broken)
    for _, message in MISTAKES.values():
        assert message in said, said
    assert len(set(re.findall(r"program\.py:(\d+): error", said))) == len(MISTAKES), said


def test_only_what_is_named_is_written(kernel: Btf) -> None:
    text = ebpf.stubs(types=["task_struct"], depth=0)
    classes = {node.name for node in ast.parse(text).body[-2].body if isinstance(node, ast.ClassDef)}  # type: ignore[attr-defined]
    assert "task_struct" in classes and "mm_struct" not in classes
    assert "mm: _Any" in text
    assert "class mm_struct:" in ebpf.stubs(types=["task_struct"], depth=1)


def test_every_struct_of_a_kernel_can_be_written(kernel: Btf) -> None:
    text = ebpf.stubs(everything=True)
    assert len(ast.parse(text).body) > 3 and text.count("\n    class ") > 5000


def test_what_files_name_is_found() -> None:
    wanted = Wanted()
    wanted.read(EXAMPLE, "x.py")
    assert set(wanted.types) == {"task_struct", "XDP_DROP"}
    assert set(wanted.hooks) == {("tracepoint", "syscalls:sys_enter_openat"), ("fexit", "vfs_read"), ("xdp", "")}


@pytest.mark.parametrize(("ask", "said"), [
    ({"types": ["task_strcut"]}, "did you mean 'task_struct'"),
    ({"hooks": ["tracepiont/a/b"]}, "no hook with the section 'tracepiont/a/b'"),
])
def test_what_there_is_not(kernel: Btf, ask: dict[str, list[str]], said: str) -> None:
    with pytest.raises(ebpf.EbpfError) as caught:
        ebpf.stubs(**ask)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_a_file_that_is_no_python(tmp_path: Path, kernel: Btf) -> None:
    (tmp_path / "x.py").write_text("def (")
    with pytest.raises(ebpf.UsageError, match="x.py:1: "):
        ebpf.stubs([tmp_path / "x.py"])


def test_annotations_cost_nothing_at_run_time() -> None:
    assert repr(ebpf.contexts.tracepoint.syscalls.sys_enter_openat) == "ebpf.contexts.tracepoint.syscalls.sys_enter_openat"
