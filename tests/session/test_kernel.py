"""What a session does in a kernel alone: other processes, facts of the host."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ebpf
from tests.session.objects import TEXT

pytestmark = pytest.mark.kernel


def test_a_uprobe_on_our_own_child() -> None:
    """By section and by method; only in a process that we started."""
    libc = ebpf.host.find_library("c")
    if libc is None:
        pytest.skip("no libc found")
    text = TEXT.replace("struct xdp_md *ctx)\n{\n    u64 key", "struct pt_regs *ctx)\n{\n    u64 key")
    text = text.replace('SEC("xdp") int count', 'SEC("uprobe") int count')
    child = subprocess.Popen([sys.executable, "-c", "import os, sys\nfor _ in sys.stdin: os.getpgrp()"],
                             stdin=subprocess.PIPE, text=True, bufsize=1)
    try:
        with ebpf.load(ebpf.compile(text, dialect="libbpf"), load_programs=["count"]) as session:
            with session.programs["count"].attach_uprobe(libc, "getpgrp", pid=child.pid) as link:
                assert link.attached and session.links == [link]
                assert child.stdin is not None
                child.stdin.write("\n" * 5)
                child.stdin.flush()
                child.stdin.close()
                child.wait(20)
                assert session.maps["counts"][1] == 5
            assert not link.attached
    finally:
        child.kill()
        child.communicate()


def test_host_facts() -> None:
    assert ebpf.host.online_cpus() and set(ebpf.host.online_cpus()) <= set(ebpf.host.possible_cpus())
    assert ebpf.host.struct_has_field("task_struct", "pid") is True
    assert ebpf.host.struct_has_field("task_struct", "no_such_field") is False
    assert ebpf.host.struct_has_field("no_such_struct", "x") is None
    assert ebpf.host.syscall_prefix().endswith("sys_")
    assert ebpf.host.kernel_function("sys_getpid").endswith("sys_getpid")
    assert "malloc" in ebpf.host.user_functions("c")
    with pytest.raises(ebpf.TargetNotFound):
        ebpf.host.find_binary("/no/such/file")
