"""Programs in the kernel's own tables: a TCP congestion control, a scheduler."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys as python
import time
from pathlib import Path

import pytest

import ebpf
from ebpf.errors import AttachError, NotSupported, RelocationError
from tests.kernel.congestion import known, transfer

PROGRAMS = Path(__file__).with_name("programs")
CREEP = PROGRAMS / "congestion_control.c"


def use(obj: ebpf.Object) -> None:
    with ebpf.load(obj) as session:
        assert "ebpf_creep" not in known()
        link = session.attach()[0]
        assert "ebpf_creep" in known() and link.kind == "struct_ops"
        info = link.info()
        assert info is None or info.target == "creep"  # no link before 6.4: a janitor
        transfer("ebpf_creep")
        assert session.variables["started"] >= 1 and session.variables["acknowledged"] > 3
        with ebpf.load(obj) as second, pytest.raises(AttachError, match="name"):
            second.attach()
        link.detach()
        assert "ebpf_creep" not in known()


@pytest.mark.kernel
def test_a_congestion_control_of_ours() -> None:
    use(ebpf.compile(CREEP))


@pytest.mark.guest(kernels=("5.10",))
def test_a_congestion_control_in_guests(guest_kernel: str) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    use(ebpf.compile(CREEP))
    # Killed: nothing stays registered, with a link or without.
    script = f"import ebpf, time; s = ebpf.load(ebpf.compile({str(CREEP)!r})); s.attach(); print(); time.sleep(99)"
    child = subprocess.Popen([python.executable, "-uc", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert "ebpf_creep" in known()
    child.send_signal(signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 20
    while "ebpf_creep" in known() and time.monotonic() < deadline:
        time.sleep(0.05)  # the kernel, or the janitor, is at it
    assert "ebpf_creep" not in known()


@pytest.mark.kernel
def test_a_congestion_control_of_clang_s(tmp_path: Path) -> None:
    clang, bpftool = shutil.which("clang-14") or shutil.which("clang"), shutil.which("bpftool")
    if clang is None or bpftool is None or not Path("/usr/include/bpf/bpf_tracing.h").exists():
        pytest.skip("no clang, bpftool or libbpf headers")
    types = subprocess.run([bpftool, "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"],
                           capture_output=True, check=True).stdout
    (tmp_path / "vmlinux.h").write_bytes(types)
    made = tmp_path / "creep.o"
    subprocess.run([clang, "-g", "-O2", "-target", "bpf", "-D__TARGET_ARCH_x86", f"-I{tmp_path}", "-c", CREEP, "-o",
                    made], check=True)
    use(ebpf.open(made))


@pytest.mark.guest(kernels=("7.2",))
def test_a_scheduler(guest_kernel: str) -> None:
    with ebpf.load(ebpf.compile(PROGRAMS / "scheduler.c")) as session:
        with session.attach()[0]:
            assert Path("/sys/kernel/sched_ext/state").read_text().strip() == "enabled"
            for _ in range(3):
                os.sched_yield()
                time.sleep(0.01)
            assert session.variables["enqueued"] > 0
        assert Path("/sys/kernel/sched_ext/state").read_text().strip() != "enabled"


MISSING = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
{type}
SEC("struct_ops/f") int f(void *ctx) {{ return 0; }}
SEC(".struct_ops.link") struct {name} mine = {{ {members} }};
"""


@pytest.mark.kernel
def test_what_the_kernel_lacks() -> None:
    unknown = MISSING.format(type="struct no_such_ops { int (*f)(void); };", name="no_such_ops",
                             members=".f = (void *)f")
    with pytest.raises(NotSupported, match="no_such_ops") as refused:
        ebpf.load(ebpf.compile(unknown))
    assert "tcp_congestion_ops" in str(refused.value.helps)
    flavour = MISSING.format(type="struct tcp_congestion_ops___new { int (*release_all)(void); char name[16]; };",
                             name="tcp_congestion_ops___new", members='.release_all = (void *)f, .name = "x"')
    with pytest.raises(RelocationError, match="release_all") as lacking:
        ebpf.load(ebpf.compile(flavour))
    assert "release" in str(lacking.value.helps)
