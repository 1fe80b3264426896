"""A device of our own: real programs use the network, and what BPF programs say of their frames happens.

The clients are Python scripts inside; none waits for what must not come: what was sent after it, and came, says so.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ebpf.errors import AttachError, NotSupported, TargetNotFound, UsageError
from ebpf.machine import Machine
from ebpf.machine.network import Wire
from ebpf.object import Object

pytestmark = pytest.mark.kernel  # for the skips: a user without user namespaces has no wire

CLIENT = """
import json, socket, sys
FAR, FAR6 = "192.0.2.1", "2001:db8::1"
def udp(family=socket.AF_INET):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(10)
    return made
def tcp(host, port, text):
    with socket.create_connection((host, port), timeout=10) as made:
        made.sendall(text)
        return made.recv(4096).decode()
"""


@cache
def programs() -> Object:
    import ebpf

    return ebpf.compile(Path(__file__).with_name("programs.c"))


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as made:
        yield made


def run(wire: Wire, script: str) -> Any:
    """Run a client inside to its end, frames passing meanwhile; what it printed, from JSON."""
    child = wire.start([sys.executable, "-I", "-S", "-c", CLIENT + textwrap.dedent(script)], stdout=subprocess.PIPE)
    while child.poll() is None:
        wire.dispatch(0.05)
    assert child.stdout is not None and child.returncode == 0
    with child.stdout:
        return json.load(child.stdout)


def count(machine: Machine, index: int) -> int:
    return int.from_bytes(machine.maps["counts"].lookup(index.to_bytes(4, "little")) or b"", "little")


def test_the_far_side_answers(wire: Wire) -> None:
    machine = Machine(programs())
    link = wire.attach(machine, "pass", "eth0")
    assert (link.program, link.kind, link.target, link.attached) == ("pass", "xdp", "eth0", True)
    answers = run(wire, """
    sockets = [udp(), udp(socket.AF_INET6)]
    for made, host in zip(sockets, (FAR, FAR6)):
        made.sendto(b"hi", (host, 7))
    print(json.dumps([tcp(FAR, 7, b"one"), tcp(FAR6, 7, b"two"), tcp(FAR, 80, b"GET /"), *[s.recv(9).decode() for s in sockets]]))
    """)
    assert answers[:2] == ["one", "two"] and "hello" in answers[2] and answers[3:] == ["hi", "hi"]
    assert wire.received == count(machine, 0) > 6 and wire.dropped == 0 == wire.count_lost()
    link.detach()
    link.detach()
    assert not link.attached
    before = count(machine, 0)
    run(wire, "print(json.dumps(tcp(FAR, 7, b'unseen')))")
    assert count(machine, 0) == before


def test_what_xdp_drops_is_gone(wire: Wire) -> None:
    machine = Machine(programs())
    wire.attach(machine, "no_echo")
    lost, echoed = run(wire, """
    made = udp()
    made.sendto(b"hi", (FAR, 7))
    echoed = tcp(FAR, 7, b"after")
    made.setblocking(False)
    try:
        lost = made.recv(9) is None
    except BlockingIOError:
        lost = True
    print(json.dumps([lost, echoed]))
    """)
    assert lost and echoed == "after" and count(machine, 1) == 1 and wire.dropped == 1


def test_a_program_that_aborts_everything_still_sees_it(wire: Wire) -> None:
    """As the classic counter does, which returns 0: nobody is answered, and the demonstration is counted all the same."""
    machine = Machine(programs())
    wire.attach(machine, "abort_all")
    wire.demonstrate()
    while count(machine, 0) < 5:
        assert wire.dispatch(10), "no traffic"
    assert wire.dropped == wire.received == count(machine, 0)


@pytest.mark.parametrize("program", ["bounce_tx", "bounce_redirect", "bounce_map"])
def test_frames_are_sent_back(wire: Wire, program: str) -> None:
    machine = Machine(programs())
    machine.maps["devices"].update((1).to_bytes(4, "little"), wire.ifindex.to_bytes(4, "little"))
    wire.attach(machine, program)
    assert run(wire, """
    made = udp()
    made.sendto(b"ping pong", (FAR, 7))
    print(json.dumps(made.recv(20).decode()))
    """) == "ping pong"
    assert count(machine, 2) == 4, "three times thrown back, echoed again each time, and let through"


@pytest.mark.parametrize("engine", ["interpreter", "jit"])
def test_tc_edits_what_leaves(wire: Wire, engine: str) -> None:
    machine = Machine(programs(), engine=engine)
    wire.attach(machine, "edit", kind="egress")
    assert run(wire, """
    made = udp()
    made.sendto(b"hi there", (FAR, 7))
    print(json.dumps(made.recv(20).decode()))
    """) == "ho there"  # the far side's stack found the checksum right
    assert count(machine, 3) == 1


def test_tc_sends_back_in(wire: Wire) -> None:
    wire.attach(Machine(programs()), "reflect", kind="egress")
    assert run(wire, """
    made = udp()
    made.bind(("", 9999))
    made.sendto(b"to myself", (FAR, 9999))
    print(json.dumps(made.recvfrom(20)[1]))
    """) == ["192.0.2.1", 9999]


def test_tc_drops_what_arrives(wire: Wire) -> None:
    machine = Machine(programs())
    wire.attach(machine, "shot")
    assert run(wire, """
    made = udp()
    made.sendto(b"hi", (FAR, 7))
    print(json.dumps(tcp(FAR, 7, b"after")))
    """) == "after"
    assert wire.dropped == 1 and count(machine, 4) > 2  # addressed to us


def test_a_socket_filter_keeps_what_it_says(wire: Wire) -> None:
    link = wire.attach(Machine(programs()), "only_datagrams")
    assert link.kind == "socket" and link.socket is not None
    run(wire, """
    made = udp()
    made.sendto(b"hi", (FAR, 7))
    print(json.dumps([made.recv(20).decode(), tcp(FAR, 7, b"not kept")]))
    """)
    kept = [link.socket.recv(100), link.socket.recv(100)]
    assert [len(k) for k in kept] == [24, 20]  # outgoing (type 4), then for us (type 0)
    assert [k[:12] for k in kept] == [wire.far_mac + wire.near_mac, wire.near_mac + wire.far_mac]
    link.detach()
    assert link.socket.recv(100) == b"", "nothing else was kept"
    link.socket.close()


def test_wrong_attachments(wire: Wire) -> None:
    machine = Machine(programs())
    wire.attach(machine, "pass")
    with pytest.raises(AttachError, match="has an XDP program already: 'pass'"):
        wire.attach(machine, "no_echo")
    with pytest.raises(TargetNotFound, match="no network device 'eth7'"):
        wire.attach(machine, "no_echo", "eth7")
    with pytest.raises(NotSupported, match="kprobe programs on a network device"):
        wire.attach(machine, "elsewhere")
    with pytest.raises(UsageError, match="cannot be attached as 'egress'"):
        wire.attach(machine, "pass", kind="egress")
    with pytest.raises(NotSupported, match="loopback"):
        Wire("lo")
    with pytest.raises(UsageError, match="no network device can be called"):
        Wire("a-name-that-is-too-long")


def test_closing_ends_commands_and_namespaces() -> None:
    wire = Wire("net0")
    child = wire.start([sys.executable, "-I", "-S", "-c", "print('up', flush=True); import time; time.sleep(1000)"], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"up\n"
    assert os.readlink(f"/proc/{child.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    peer = wire._peer
    assert peer is not None
    wire.close()
    wire.close()
    child.stdout.close()
    assert child.returncode == -15 and peer.returncode == 0 and wire.namespaces == wire.namespaces


def test_two_wires_are_two_worlds(wire: Wire) -> None:
    with Wire() as other:
        here, there = (w.attach(Machine(programs()), "only_datagrams") for w in (wire, other))
        assert here.socket is not None and there.socket is not None
        run(wire, """
        made = udp()
        made.sendto(b"hi", (FAR, 7))
        print(json.dumps(made.recv(20).decode()))
        """)
        while other.dispatch(0):
            pass
        for link in (here, there):
            link.detach()
        assert here.socket.recv(100) and not there.socket.recv(100)
        here.socket.close()
        there.socket.close()


# ---- without privilege, and where that is refused ----

def _without_capabilities() -> None:
    libc = ctypes.CDLL(None)
    for capability in range(64):
        if capability != 31:  # CAP_SETFCAP: without it uid 0 may not be mapped to itself; others need it for nothing
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP: after the next exec even root has it no longer


_OPEN_A_WIRE = """
from ebpf.machine.network import Wire
from ebpf.errors import NotSupported
import subprocess, sys
try:
    with Wire() as wire:
        child = wire.start([sys.executable, "-c", "import socket; print(socket.create_connection(('192.0.2.1', 7), 10).getpeername())"], stdout=subprocess.PIPE)
        while child.poll() is None:
            wire.dispatch(0.05)
        print(len(wire.namespaces), child.stdout.read().decode().strip())
except NotSupported as error:
    print(error)
"""


def test_it_needs_no_privilege() -> None:
    done = subprocess.run([sys.executable, "-c", _OPEN_A_WIRE], preexec_fn=_without_capabilities, capture_output=True, text=True, timeout=60)
    if "does not support" in done.stdout:
        raise NotSupported("user namespaces")
    assert done.stdout == "2 ('192.0.2.1', 7)\n", done.stderr


def _no_more_namespaces() -> None:
    from ebpf.machine.network.namespaces import own_user_namespace

    own_user_namespace()  # with limits of its own
    for kind in ("net", "user"):
        Path(f"/proc/sys/user/max_{kind}_namespaces").write_text("0")


def test_a_refusal_says_what_to_do() -> None:
    try:
        done = subprocess.run([sys.executable, "-c", _OPEN_A_WIRE], preexec_fn=_no_more_namespaces, capture_output=True, text=True, timeout=60)
    except subprocess.SubprocessError:
        raise NotSupported("user namespaces") from None
    assert "this system does not support a network device of the user's own" in done.stdout, done.stderr
    assert "max_net_namespaces" in done.stdout and "--pcap FILE" in done.stdout


def test_frames_of_any_kind_pass_unharmed(wire: Wire) -> None:
    """What a raw socket inside sends is what the filter's socket shows, odd sizes and unknown protocols included."""
    link = wire.attach(Machine(programs()), "only_datagrams")
    assert link.socket is not None
    sent = run(wire, """
    import os
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    made.bind(("eth0", 0))
    frames = [bytes.fromhex("020000000001020000000002") + kind + os.urandom(n) for kind, n in ((b"\\x12\\x34", 0), (b"\\x88\\xb5", 1), (b"\\x88\\xb5", 1500))]
    for frame in frames:
        made.send(frame)
    print(json.dumps([f.hex() for f in frames]))
    """)
    assert wire.sent >= 3 and wire.dropped == 0 and len(sent) == 3
    link.detach()
    link.socket.close()


def test_sockets_here_are_not_touched(wire: Wire) -> None:
    """The process that owns the wire stays in its own network."""
    names = {name for _, name in socket.if_nameindex()}
    assert not names & {"near0", "far0"}
