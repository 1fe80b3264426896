"""Hooks of the network, in a network namespace of our own: order, conflicts, what is refused."""

from __future__ import annotations

import os
import subprocess
import sys as python

import pytest

pytestmark = pytest.mark.kernel

# Runs in a namespace of its own; prints what it has seen.
COMMON = """
import socket, subprocess
from ebpf.abi.maps import MapType
from ebpf.abi.programs import AttachType, ProgType
from ebpf.errors import AttachError, NotSupported, TargetNotFound, UsageError
from ebpf.kernel import maps, programs
from ebpf.kernel.attach import netfilter, netns, sockmap, tcx
from tests.kernel import code

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

def counter(result, name="", **how):
    m = maps.create_map(name="n", type=2, key_size=4, value_size=8, max_entries=1)
    p = programs.load_program(code.counter(m.fileno(), result), name=name, **how)
    return p, lambda: int.from_bytes(m.lookup(bytes(4)), "little")

def send(count=1):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as u, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 9))  # else the kernel answers, and that is a packet too
        for _ in range(count):
            u.sendto(b"hello", ("127.0.0.1", 9))

def refused(error, job):
    try:
        job()
    except error as found:
        return str(found).splitlines()[0]
    raise SystemExit("not refused")
"""

TCX = """
side = dict(type=ProgType.SCHED_CLS, expected_attach_type=AttachType.TCX_EGRESS)
try:
    probe = tcx.attach(counter(-1, **side)[0], "lo", "egress")
except NotSupported as error:
    print("NotSupported", error); raise SystemExit
probe.detach()
NEXT, PASS = -1, 0
last, last_count = counter(PASS, **side)
first, first_count = counter(NEXT, "first", **side)
middle, middle_count = counter(PASS, **side)          # a verdict: those after it do not run
with tcx.attach(last, "lo", "egress") as end:
    assert end.info().details["ifindex"] == socket.if_nametoindex("lo")
    send(2)
    with tcx.attach(first, "lo", "egress", before=0), tcx.attach(middle, "lo", "egress", before=end):
        send(3)
        print(refused(AttachError, lambda: tcx.attach(first, "lo", "egress")))
    with tcx.attach(middle, "lo", "egress", after=last):
        send(4)
print(first_count(), middle_count(), last_count())
print(refused(AttachError, lambda: tcx.attach(first, "lo", "egress", before=last)))
print(refused(UsageError, lambda: tcx.attach(first, "lo", "sideways")))
print(refused(TargetNotFound, lambda: tcx.attach(first, "l0", "egress")))
"""

NETFILTER = """
try:
    drop, dropped = counter(0, type=ProgType.NETFILTER, expected_attach_type=AttachType.NETFILTER)
    see, seen = counter(1, type=ProgType.NETFILTER, expected_attach_type=AttachType.NETFILTER)
    with netfilter.attach(see, "output", priority=-10):
        send(2)
        with netfilter.attach(drop, "output", priority=-20):
            try:
                send()
            except PermissionError:
                print("dropped")
        print(refused(AttachError, lambda: netfilter.attach(drop, "output", priority=-10)))
except NotSupported as error:
    print("NotSupported", error); raise SystemExit
print(dropped(), seen())
print(refused(UsageError, lambda: netfilter.attach(see, "outputs")))
print(refused(UsageError, lambda: netfilter.attach(see, "output", priority=1 << 31)))
"""

NETNS = """
look, looked = counter(1, type=ProgType.SK_LOOKUP, expected_attach_type=AttachType.SK_LOOKUP)
listener = socket.create_server(("127.0.0.1", 0))
with netns.attach(look) as link:
    assert link.info().details["netns_ino"] == __import__("os").stat("/proc/self/ns/net").st_ino, link.info()
    refused(ConnectionRefusedError, lambda: socket.create_connection(("127.0.0.1", 9)))
print(looked() > 0)
print(refused(TargetNotFound, lambda: netns.attach(look, "/proc/self/ns/absent")))
print(refused(TargetNotFound, lambda: netns.attach(look, "/dev/null")))
"""

SOCKMAP = """
socks = maps.create_map(name="socks", type=MapType.SOCKMAP, key_size=4, value_size=4, max_entries=2)
block, blocked = counter(0, type=ProgType.SK_MSG, expected_attach_type=AttachType.SK_MSG_VERDICT)
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
peer, _ = server.accept()
try:
    with sockmap.attach(block, socks):
        socks.update(bytes(4), client.fileno().to_bytes(4, "little"))
        try:
            client.send(b"never arrives")
        except PermissionError:
            print("blocked", blocked())
        print(refused(AttachError, lambda: sockmap.attach(block, socks)))
    socks.delete(bytes(4))
    client.send(b"arrives")
    print(peer.recv(100))
except NotSupported as error:
    print("NotSupported", error); raise SystemExit
"""


def in_a_namespace(text: str) -> list[str]:
    run = subprocess.run(["unshare", "-n", python.executable, "-c", COMMON + text], capture_output=True, text=True,
                         env={**os.environ, "PYTHONPATH": os.pathsep.join([p for p in python.path if p])})
    if "unshare" in run.stderr and "Operation not permitted" in run.stderr:
        pytest.skip("cannot make a network namespace")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    if lines and lines[0].startswith("NotSupported"):
        pytest.skip(lines[0])
    return lines


@pytest.mark.usefixtures("privileged")
def test_programs_on_a_device_stand_in_the_order_that_was_asked_for() -> None:
    assert in_a_namespace(TCX) == [
        "'first' is attached to lo egress already",
        "3 3 6",
        "the program that 'first' should stand before is not attached to lo egress",
        "tcx has no side 'sideways'",
        "no network device 'l0'",
    ]


@pytest.mark.usefixtures("privileged")
def test_netfilter_by_priority() -> None:
    assert in_a_namespace(NETFILTER) == [
        "dropped", "netfilter ipv4 output has a program of priority -10 already", "1 2",
        "netfilter has no hook 'outputs'", "priority 2147483648 does not fit: it lies between -2147483647 and 2147483646",
    ]


@pytest.mark.usefixtures("privileged")
def test_socket_lookup_in_a_namespace() -> None:
    assert in_a_namespace(NETNS) == ["True", "no network namespace /proc/self/ns/absent: No such file or directory",
                                     "/dev/null is no network namespace"]


@pytest.mark.usefixtures("privileged")
def test_messages_of_a_sockmaps_sockets() -> None:
    assert in_a_namespace(SOCKMAP) == ["blocked 1", "map 'socks' has such a program already", "b'arrives'"]
