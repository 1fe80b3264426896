"""Compiled, loaded, attached, bound: programs of this file at hooks of its own, in the machine, and in guests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ebpf
from ebpf import chars, linux, u32, u64

ROOT = Path(__file__).resolve().parents[3]

opens = ebpf.Hash(u32, u64, max_entries=10_240)
lengths = ebpf.Array(u64, 2)
allowed = ebpf.Global(u32, 1)


class Opened(ebpf.Struct):
    pid: u32
    flags: u32
    comm: chars[16]  # type: ignore[valid-type]


events = ebpf.RingBuf(Opened)


@ebpf.tracepoint("syscalls:sys_enter_openat")
def count(ctx: Any) -> None:
    opens[ebpf.pid()] += 1
    events.send(Opened(pid=ebpf.pid(), flags=u32(ctx.args.flags), comm=ebpf.comm()))


@ebpf.tracepoint("syscalls:sys_exit_openat")
def ended(ctx: Any) -> None:
    if ctx.args.ret < 0:
        lengths[1] += 1


@ebpf.socket_filter
def measure(skb: Any) -> int:
    lengths[0] += skb.len
    return skb.len


@ebpf.cgroup_skb("egress")
def gate(skb: Any) -> int:
    lengths[1] += 1
    return 1 if allowed.value else 0


@pytest.mark.kernel
def test_a_socket_of_ours() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, ebpf.attach(measure.on(socket=theirs), backend="kernel") as session:
        ours.send(b"hello")
        ours.send(b"you")
        assert theirs.recv(10) == b"hello" and list(lengths) == [8, 0]
        assert measure.session is session and measure.program is session.programs["measure"]
        assert measure.test_run(bytes(64)).result == 50 and lengths[0] == 58, "it runs where it is attached"


@pytest.mark.kernel
def test_two_programs_share_what_they_name() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, ebpf.load([measure, gate], backend="kernel") as session:
        session.programs["measure"].attach_socket(theirs)
        ours.send(b"abc")
        session.programs["gate"].test_run(bytes(64))
        assert list(lengths) == [3, 1] and set(session.maps) >= {"lengths"}


@pytest.mark.kernel
def test_what_cannot_be_attached_leaves_nothing_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ebpf.TargetNotFound):
        ebpf.attach(gate.on(cgroup="/no/such/group"), backend="kernel")
    with pytest.raises(ebpf.UsageError, match="its session is closed"):
        lengths[0]
    assert len(os.listdir("/proc/self/fd")) <= before + 1  # the cache's own may have been opened


TRACED = """
import sys
sys.path.insert(0, {root!r})
import ebpf
from tests.session.functions import test_attaching as t
ebpf.use("machine", command=["sh", "-c", "cat /etc/hostname /no/such/file 2> /dev/null"])
with ebpf.attach(t.count, t.ended, backend="machine") as session:
    seen = [event for event in session.events(t.Opened)]
    print(len(seen) == sum(t.opens.values()), sorted({{event.comm.decode() for event in seen}}), t.lengths[1] >= 1, session.backend)
    table = t.opens.to_numpy()
"""


def test_a_traced_command_in_the_machine(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", TRACED.format(root=str(ROOT))], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={**os.environ, "EBPF_CACHE_DIR": str(tmp_path)})
    assert done.returncode == 0, done.stdout
    assert "True ['cat', 'sh'] True machine" in done.stdout, done.stdout


@pytest.mark.guest(timeout_s=240)
def test_tracepoints_of_the_whole_system() -> None:
    with ebpf.attach(count, ended, backend="kernel") as session:
        child = subprocess.Popen(["cat", "/etc/hostname", "/no/such/file"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        child.wait()
        mine: list[Opened] = []
        for event in session.events(Opened, timeout=30):  # others open files, too, all the time
            if event.pid == child.pid:
                mine.append(event)
            if len(mine) == opens[child.pid]:
                break
        assert len(mine) >= 2 and {event.comm for event in mine} <= {b"cat", b"python3"}
        assert lengths[1] >= 1


@pytest.mark.guest(timeout_s=240)
def test_a_group_of_ours(tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "cgroup2", "none", str(tmp_path)], check=True)
    group = tmp_path / "gate"
    group.mkdir()
    text = "import socket\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.sendto(b'x', ('127.0.0.1', 9))"
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with ebpf.attach(gate.on(cgroup=str(group)), backend="kernel"):
        for value, status in ((1, 0), (0, 1)):
            allowed.value = value
            done = subprocess.run(["sh", "-c", f"echo $$ > {group}/cgroup.procs; exec {sys.executable} -c \"{text}\""],
                                  stderr=subprocess.DEVNULL)
            assert done.returncode == status
        assert lengths[1] >= 2
    group.rmdir()


def test_drop_is_what_the_header_says() -> None:
    @ebpf.xdp
    def drop(ctx: Any) -> int:
        return linux.XDP_DROP

    assert drop.test_run(bytes(64)).result == 1
    assert "XDP_DROP" in drop._repr_html_() and "w0 = 1" in drop._repr_html_()
