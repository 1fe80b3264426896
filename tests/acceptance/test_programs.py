"""Scripts as people write them for BCC, unmodified, and what their authors expect to see: on every kernel."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.process import EBPF, PROGRAMS, PYTHON, Running, run, shows_our_frames, wait_until


def clone_once() -> None:
    """One clone system call (a shell's vfork would be another one)."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def nothing_of_ours_is_left() -> None:
    """No program, no link, no probe definition in a guest where nobody else uses eBPF."""
    from ebpf.kernel.attach.link import iter_links
    from ebpf.kernel.programs import iter_programs

    assert wait_until(lambda: not [*iter_programs()])
    assert not [*iter_links()]
    assert not [line for line in Path("/sys/kernel/tracing/kprobe_events").read_text().splitlines() if "ebpf" in line]


def watch(script: str, pattern: str, act: Callable[[], object], times: int, status: int, end: int,
          before: tuple[str, ...] = ()) -> Running:
    with Running([*before, *PYTHON, PROGRAMS / script], cwd="/") as program:
        program.wait_for(pattern, times=times, meanwhile=act, timeout_s=100)
        assert program.end(end) == status, str(program)
        assert not shows_our_frames(program.err), program.err
    nothing_of_ours_is_left()
    return program


@pytest.mark.guest(smoke=True, timeout_s=150)
def test_a_line_per_clone() -> None:
    watch("clone_lines.py", r"\w+-\d+ .*somebody clones", clone_once, 3, -signal.SIGINT, signal.SIGINT)


@pytest.mark.guest(timeout_s=150)
def test_attached_by_its_name() -> None:
    watch("clone_by_name.py", r"-\d+ .*by name", clone_once, 3, -signal.SIGTERM, signal.SIGTERM)


@pytest.mark.guest(timeout_s=150)
def test_a_count_that_grows() -> None:
    program = watch("clone_counter.py", r"(?m)^56 \d+$", clone_once, 3, -signal.SIGINT, signal.SIGINT)
    counts = [int(n) for n in re.findall(r"^56 (\d+)$", program.out, re.MULTILINE)]
    assert counts == sorted(counts) and counts[0] < counts[-1]


@pytest.mark.guest(timeout_s=150)
def test_events_through_a_perf_buffer() -> None:
    program = watch("listings.py", rf"(?m)^{os.getpid()} \S+", lambda: os.listdir("/"), 2, 0, signal.SIGINT)
    assert program.out.endswith("bye\n")


@pytest.mark.guest(timeout_s=150)
def test_packets_on_a_device() -> None:
    subprocess.run("ip netns add inner && ip link add eth0 netns inner type veth peer name outer && "
                   "ip -n inner addr add 10.9.0.1/24 dev eth0 && ip -n inner link set eth0 up && "
                   "ip addr add 10.9.0.2/24 dev outer && ip link set outer up", shell=True, check=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        program = watch("xdp_packets.py", r"key 0, counter \d+", lambda: sender.sendto(b"x", ("10.9.0.1", 9)), 3,
                        -signal.SIGINT, signal.SIGINT, before=("ip", "netns", "exec", "inner"))
    counts = [int(n) for n in re.findall(r"counter (\d+)", program.out)]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    device = subprocess.run(["ip", "-n", "inner", "link", "show", "eth0"], capture_output=True, text=True).stdout
    assert "eth0" in device and "xdp" not in device


@pytest.mark.guest(timeout_s=100)
def test_an_unchecked_pointer_is_explained() -> None:
    program = run([*PYTHON, PROGRAMS / "unchecked.py"], cwd="/", timeout_s=90)
    assert program.process.returncode == 1 and "Traceback" not in program.err
    assert "`n` may be NULL here" in program.err and "*n += 1;" in program.err
    assert re.search(r"--> \S*:8:\d+", program.err), program.err
    assert "help: test it first: `if (n)" in program.err or re.search(r"= help: .*if \(", program.err), program.err
    assert "unchecked.py:1" in program.err
    nothing_of_ours_is_left()


@pytest.mark.guest(smoke=True, timeout_s=150)
def test_an_object_file_made_here(tmp_path: Path) -> None:
    """C to an object, the object loaded, attached and read; Debian's tools agree that it is one."""
    made = run([*EBPF, "compile", PROGRAMS / "clones.bpf.c", "-o", tmp_path / "clones.o"], timeout_s=100)
    assert made.process.returncode == 0, made.err
    with Running([*EBPF, "run", "--maps", tmp_path / "clones.o"]) as program:
        program.wait_for("attached: count", timeout_s=60)
        for _ in range(5):
            clone_once()
        assert program.end(signal.SIGINT) == 0, str(program)
        assert f"{os.getpid()}: 5" in program.out
    nothing_of_ours_is_left()
    if shutil.which("bpftool") and os.path.ismount("/sys/fs/bpf"):
        subprocess.run(["bpftool", "prog", "load", str(tmp_path / "clones.o"), "/sys/fs/bpf/clones"], check=True)
        os.unlink("/sys/fs/bpf/clones")
