"""The network examples that are Python functions: the same verdicts, packets, maps and bytes as their C versions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import ebpf
from tests.examples.traffic import checksum, traffic

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "functions"


@pytest.fixture(params=[pytest.param("kernel", marks=pytest.mark.kernel), "machine"])
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in ("firewall", "balancer", "echo", "packets"):
        sys.modules.pop(name, None)


@cache
def in_c(name: str) -> ebpf.Object:
    return ebpf.compile(HERE / f"{name}.c")


def module(name: str) -> ModuleType:
    from importlib import import_module

    return import_module(name)


def outcome(session: ebpf.Session, program: str) -> list[tuple[int, bytes]]:
    """The verdict on each packet, and what became of it."""
    runs = [session.programs[program].test_run(data) for data in traffic()]
    return [(run.result, run.data) for run in runs]


def filled(session: ebpf.Session) -> dict[str, Any]:
    """What is in the maps that count."""
    return {name: session.maps[name].to_numpy()[1].sum(axis=1).tolist() for name in ("verdicts", "packets")
            if name in session.maps}


def test_the_firewall(backend: str) -> None:
    example = module("firewall")
    with ebpf.load(in_c("firewall"), backend=backend) as theirs, ebpf.load(example.firewall, backend=backend) as ours:
        for network in ("10.0.0.0/8", "192.0.2.7", "192.0.2.128/25"):
            example.block(network)
            theirs.maps["networks"][network] = 0
        example.ports[25] = theirs.maps["ports"][25] = 1
        expected = outcome(theirs, "firewall")
        assert {verdict for verdict, _ in expected} == {1, 2}, "packets pass, and packets are dropped"
        assert outcome(ours, "firewall") == expected
        assert filled(ours) == filled(theirs) and min(filled(ours)["verdicts"]) > 10


def test_the_balancer(backend: str) -> None:
    example = module("balancer")
    virtual = 0xCB007101
    machines = [(f"10.9.0.{i}", bytes([2, 0, 0, 0, 0, i])) for i in (1, 2, 3)]
    with ebpf.load(in_c("balancer"), variables={"virtual": virtual}, backend=backend) as theirs, \
            ebpf.load(example.balance, variables={example.virtual: virtual}, backend=backend) as ours:
        assert {verdict for verdict, _ in outcome(ours, "balance")} == {1, 2}, "without machines all is dropped"
        outcome(theirs, "balance")
        example.use(machines)
        for i, (address, mac) in enumerate(machines):
            theirs.maps["backends"][i] = {"address": int.from_bytes(bytes(map(int, address.split("."))), "little"), "mac": list(mac)}
        theirs.variables["count"] = len(machines)
        expected = outcome(theirs, "balance")
        assert {verdict for verdict, _ in expected} == {1, 2, 3}
        assert outcome(ours, "balance") == expected
        sent = [data for verdict, data in expected if verdict == 3]
        assert {data[30:34] for data in sent} == {bytes([10, 9, 0, i]) for i in (1, 2, 3)}, "each machine has some"
        for data in sent:
            assert checksum(data[14:14 + (data[14] & 15) * 4]) == 0
        assert filled(ours) == filled(theirs) and sum(filled(ours)["packets"]) == len(sent)


# In a network namespace of its own; a client's bytes come back, and none of them reached the server's process.
ECHO = """
import socket, subprocess, sys
sys.path.insert(0, {examples!r})
import ebpf, echo

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

def talk(session, sockets, echoed):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        sockets[0] = server.fileno()
        server.setblocking(False)
        client.settimeout(20)
        answers = []
        for text in (b"hello", b"x" * 5000, b"bye"):
            client.sendall(text)
            got = b""
            while len(got) < len(text):
                got += client.recv(1 << 16)
            answers.append(got == text)
        try:
            print("reached the server:", server.recv(100))
        except BlockingIOError:
            pass
        print(answers, echoed())
        client.close(); server.close()

try:
    obj = ebpf.compile(open({c!r}).read())
    with ebpf.load(obj, backend="kernel") as session:
        for name in ("parser", "verdict"):
            session.programs[name].attach_sockmap(session.maps["sockets"])
        talk(session, session.maps["sockets"], lambda: session.variables["echoed"])
    with ebpf.attach(echo.parser.on(map=echo.sockets), echo.verdict.on(map=echo.sockets), backend="kernel") as session:
        talk(session, echo.sockets, lambda: echo.echoed.value)
except ebpf.NotSupported as error:
    print("NotSupported", error)
"""

FIREWALL = """
import socket, subprocess, sys
sys.path.insert(0, {examples!r})
import ebpf, firewall

subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with ebpf.attach(firewall.firewall.on(interface="lo", flags=2), backend="kernel") as session:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as us:
        there.bind(("127.0.0.1", 4242))
        there.settimeout(20)
        us.bind(("127.0.0.1", 0))
        firewall.ports[4243] = 1
        us.sendto(b"1", ("127.0.0.1", 4242))
        print(there.recv(10))
        firewall.block("127.0.0.0/8")
        us.sendto(b"2", ("127.0.0.1", 4242))
        del firewall.networks["127.0.0.0/8"]
        us.sendto(b"3", ("127.0.0.1", 4242))
        print(there.recv(10), [sum(cpus) for cpus in firewall.verdicts])
        print(session.links)
"""


def in_a_namespace(text: str) -> str:
    done = subprocess.run(["unshare", "-n", sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    if "unshare failed" in done.stdout:
        pytest.skip("kernel tests: not privileged (run as root)")
    assert done.returncode == 0, done.stdout
    if done.stdout.startswith("NotSupported"):
        pytest.skip(done.stdout.strip())
    return done.stdout


@pytest.mark.kernel
def test_the_echo_server() -> None:
    lines = in_a_namespace(ECHO.format(examples=str(EXAMPLES), c=str(HERE / "echo.c"))).splitlines()
    assert lines == ["[True, True, True] 5008"] * 2


@pytest.mark.kernel
def test_the_firewall_at_a_device() -> None:
    lines = in_a_namespace(FIREWALL.format(examples=str(EXAMPLES))).splitlines()
    assert lines[:2] == ["b'1'", "b'3' [1, 2]"]
