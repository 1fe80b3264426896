"""The pytest plugin as a project of a user's sees it: packets and events in, verdicts, maps, events and lines out."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from ebpf.session.build import compile_bytes
from tests.testing.conftest import Run

HEAD = '''
import ebpf, pytest
PACKET = bytes(12) + b"\\x08\\x00" + bytes.fromhex("4500002800010000400600000a0000010a000002") + bytes(20)

@pytest.fixture
def fw(ebpf_machine):
    return ebpf_machine.load("traffic.c")
'''


def test_packets_verdicts_and_maps(project: Run) -> None:
    project(HEAD + '''
def test_drop(fw):
    assert fw.send(PACKET) == "XDP_DROP"
    assert fw.send(PACKET.hex()) == 1
    assert fw.maps["drops"][0x0100000a] == 2
    assert fw.printed == ["dropped 100000a"] * 2
    assert [v.name for v in fw.send_many([PACKET, PACKET[:30]])] == ["XDP_DROP", "XDP_PASS"]

def test_each_test_has_its_own_maps(fw):
    assert len(fw.maps["drops"]) == 0
''').assert_outcomes(passed=2)


def test_captures_and_anything_that_becomes_bytes(project: Run) -> None:
    project(HEAD + '''
import ebpf

class Scapy:
    def __bytes__(self):
        return PACKET

def test_capture(fw, tmp_path):
    packet = next(iter(ebpf.read_pcap(capture(tmp_path))))
    assert [v.result for v in fw.send_many(tmp_path / "x.pcap")] == [1, 1]
    assert fw.send(packet) == "DROP"
    assert fw.send(Scapy()) == "DROP"

def capture(tmp_path):
    from ebpf.machine.network.pcap import CapturedPacket
    path = tmp_path / "x.pcap"
    ebpf.write_pcap(path, [PACKET, CapturedPacket(PACKET, 0, len(PACKET), 1)])
    return path
''').assert_outcomes(passed=1)


def test_packets_of_scapy_itself(project: Run) -> None:
    pytest.importorskip("scapy")
    result = project(HEAD + '''
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

SYN = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(dport=80)

def test_sent(fw, tmp_path):
    verdict = fw.send(SYN)
    assert verdict == "XDP_DROP"
    assert bytes(verdict.packet()) == bytes(SYN) and verdict.packet()[TCP].dport == 80
    wrpcap(str(tmp_path / "x.pcap"), [SYN, SYN])
    assert [v.name for v in fw.send_many(tmp_path / "x.pcap")] == ["XDP_DROP"] * 2

def test_compared(fw):
    assert fw.send(SYN).packet() == SYN

def test_changed(fw):
    assert fw.send(SYN).packet() == SYN / b"x"
''', apart=True)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(["*assert these packets are the same bytes*", "*packets differ*", "*length: 54 != 55 bytes"])


def test_events_by_the_names_of_their_arguments(project: Run) -> None:
    project(HEAD + '''
def test_events(fw):
    fw.task.set(pid=77, comm="cat")
    assert fw.fire("kprobe/do_sys_openat2", filename="/etc/passwd", dfd=-100).signed == -100
    fw.advance(2)
    assert fw.fire("ksyscall/unlinkat", pathname="/tmp/x", dfd=3) == 3
    assert fw.fire("syscalls:sys_enter_openat", filename="/etc/x") == 257
    first, second, third = fw.events()
    assert (first.pid, first.comm, first.name, first.when) == (77, b"cat", b"/etc/passwd", 1000 * 10**9)
    assert (second.name, second.when) == (b"/tmp/x", 1002 * 10**9)
    assert third.name == b"/etc/x"
    assert fw.events() == []

def test_structs_of_the_kernel(fw):
    fw.fire("gone", dir={"i_ino": 40}, dentry={"d_parent": {"d_name": {"len": 2}}})
    assert fw.variables["seen"] == 42
    assert fw.fire("lsm/file_open", file={"f_flags": 7}).signed == -1
    assert fw.fire("lsm/file_open", file={"f_flags": 6}, ret=-13) == -13
    fw.fire("sched_process_exit", p={"pid": 99})
    assert fw.variables["seen"] == 99

def test_memory_of_one_kind_only(fw):
    fw.fire("kprobe/do_sys_openat2", filename=fw.memory.kernel("/etc/passwd"))
    fw.fire("kprobe/do_sys_openat2", filename=fw.memory.user("/etc/passwd"))
    assert [e.name for e in fw.events()] == [b"", b"/etc/passwd"]
''').assert_outcomes(passed=3)


def test_a_failure_shows_the_packet_and_the_differing_fields(project: Run) -> None:
    result = project(HEAD + '''
def test_verdict(fw):
    assert fw.send(PACKET) == "XDP_PASS"

def test_record(fw):
    fw.fire("kprobe/do_sys_openat2", filename="/a")
    event, = fw.events()
    assert event == event._replace(pid=7, name=b"/b")
''')
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([
        "*<fw: XDP_DROP (1)> == 'XDP_PASS'*", "*IPv4: src 10.0.0.1, dst 10.0.0.2, protocol 6*",
        "*records differ*", "*.pid: 1000 != 7*", "*.name: b'/a' != b'/b'*", "*(2 other members are equal)*"])


def test_mistakes_are_told_in_one_line(project: Run) -> None:
    rows = [
        ('fw.fire("kprobe/do_sys_openat3")', "no program runs at 'kprobe/do_sys_openat3'"),
        ('fw.fire("kprobe/do_sys_openat2", filenam="x")', "did you mean 'filename'"),
        ('fw.fire("gone", dir={"i_inode": 4})', "no member called 'i_inode'"),
        ('fw.send("not hexadecimal")', "hexadecimal digits are wanted"),
        ('fw.task.set(colour=3)', "a task has no 'colour'"),
        ('fw.events("drops")', "only ring buffers and perf event arrays"),
        ('fw.maps["drop"]', "did you mean 'drops'"),
    ]
    result = project(HEAD + f"""
@pytest.mark.parametrize(("line", "words"), {rows!r})
def test_it(fw, line, words):
    with pytest.raises(ebpf.EbpfError) as caught:
        exec(line, {{"fw": fw}})
    assert words in ebpf.format_error(caught.value)
""")
    result.assert_outcomes(passed=len(rows))


@pytest.mark.kernel
def test_the_same_test_in_both_backends(project: Run, privileged: None) -> None:
    result = project(HEAD + '''
def test_both(ebpf_backend):
    rig = ebpf_backend.load("traffic.c", load_programs=["fw"])
    assert rig.send(PACKET) == "XDP_DROP"
    assert rig.maps["drops"][0x0100000a] == 1

def test_kernel(ebpf_kernel):
    rig = ebpf_kernel.load("traffic.c", load_programs=["fw"])
    rig.clock.advance(1)
''', "-rs")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*SKIPPED*not in this kernel: *setting the clock*"])


def test_budgets_as_marks(project: Run) -> None:
    result = project(HEAD + '''
@pytest.mark.ebpf_budget("traffic.c", "fw", instructions=100, stack=64)
def test_within(fw):
    pass

@pytest.mark.ebpf_budget("traffic.c", program="fw", instructions=10)
def test_beyond(fw):
    pass
''', "--strict-markers")
    result.assert_outcomes(passed=1, errors=1)
    assert "fw exceeds its budget" in result.stdout.str()


def test_without_privilege_the_kernels_tests_are_skipped_with_a_reason(project: Run) -> None:
    result = project('''
import ebpf, pytest
@pytest.fixture(autouse=True)
def unprivileged(monkeypatch):
    from ebpf.session import on_kernel
    def load(*args, **how):
        raise ebpf.PrivilegeError("bpf(BPF_PROG_LOAD)", needs=("CAP_BPF",))
    monkeypatch.setattr(on_kernel, "load", load)

def test_it(ebpf_kernel):
    ebpf_kernel.load("traffic.c")
''', "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*SKIPPED*this user may not use the kernel*"])


def test_whoever_does_not_use_it_pays_nothing(project: Run) -> None:
    result = project('''
import sys
def test_nothing_was_imported():
    assert not [name for name in sys.modules if name.startswith("ebpf.") and name not in
                ("ebpf.testing", "ebpf.testing.plugin")]
    assert [] == [1]
''', apart=True)
    result.assert_outcomes(failed=1)
    assert "assert [] == [1]" in result.stdout.str()


def test_it_works_where_there_is_no_linux(project: Run, pytester: pytest.Pytester) -> None:
    """macOS and Windows have no fcntl that helps, no eventfd, no /sys: what only Linux has is made to be missing."""
    source = str(pytester.path / "traffic.c")
    (pytester.path / "traffic.o").write_bytes(compile_bytes(Path(source).read_text(), filename=source))
    project('''
import os, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fcntl", "ctypes", "_ctypes", "resource", "termios", "pty", "mmap"):
            raise ImportError(f"{name} is not there")

for name in ("ctypes", "fcntl", "mmap", "resource", "termios"):
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
import select
del select.epoll
for name in ("eventfd", "pidfd_open", "sched_getaffinity"):
    os.__dict__.pop(name, None)
PACKET = bytes(12) + b"\\x08\\x00" + bytes.fromhex("4500002800010000400600000a0000010a000002") + bytes(20)

def test_packets_and_events(ebpf_machine):
    rig = ebpf_machine.load(open("traffic.o", "rb").read(), load_programs=["fw", "opened"])
    assert rig.send(PACKET, program="fw") == "XDP_DROP"
    assert rig.maps["drops"][0x0100000a] == 1
    rig.fire("opened", parm2="/etc/passwd")
    assert rig.events()[0].name == b"/etc/passwd"
''', apart=True).assert_outcomes(passed=1)


def test_the_plugin_is_an_entry_point() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"] == {"ebpf": "ebpf.testing.plugin"}
