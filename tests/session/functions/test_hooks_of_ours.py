"""Decorators whose hook needs more than one word to say where: routes, groups of sockets, tc's filters, many uprobes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import ebpf
from ebpf import linux, u64
from ebpf.session.programs import Program

ROOT = Path(__file__).resolve().parents[3]

hits = ebpf.Array(u64, 4)


@ebpf.lwt_out(network="10.77.0.0/24", interface="v0")
def routed(skb: Any) -> int:
    hits[0] += 1
    return linux.BPF_OK


@ebpf.sk_reuseport
def chosen(ctx: Any) -> int:
    hits[1] += 1
    return linux.SK_PASS


@ebpf.tc(interface="v1")
def arriving(skb: Any) -> int:
    hits[2] += 1
    return linux.TC_ACT_OK


@ebpf.uprobe_multi("c:getpgi*", pid=os.getpid())
def asked(ctx: Any) -> int:
    hits[3] += 1
    return 0


def send(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"x", (address, 9))


def lwt() -> None:
    with ebpf.attach(routed, backend="kernel") as session:
        send("10.77.0.9")
        assert hits[0] == 1 and [link.attached for link in session.links] == [True]
        assert "10.77." in Path("/proc/net/fib_trie").read_text()
    assert "10.77." not in Path("/proc/net/fib_trie").read_text(), "the route is gone with its session"
    with pytest.raises(ebpf.AttachError, match="where to attach it is not said") as caught:
        ebpf.attach(ebpf.lwt_in(network="10.77.0.0/24")(routed.function), backend="kernel")
    assert "interface=…" in ebpf.format_error(caught.value) and "network=" not in ebpf.format_error(caught.value)


def reuseport() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        ours.bind(("127.0.0.1", 0))
        with ebpf.attach(chosen.on(socket=ours), backend="kernel"), \
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            out.sendto(b"hello", ours.getsockname())
            assert ours.recv(10) == b"hello" and hits[1] == 1


def tc() -> None:
    filters = ["tc", "filter", "show", "dev", "v1", "ingress"]
    with ebpf.attach(arriving.on(priority=7), backend="kernel") as session:
        assert session.links[0].kind == "tc" and "pref 7" in subprocess.check_output(filters, text=True)
        before = hits[2]
        send("10.1.0.2")
        assert hits[2] > before
    assert "pref 7" not in subprocess.check_output(filters, text=True)
    with pytest.raises(ebpf.UsageError, match="a priority is a tc filter's"):
        ebpf.attach(arriving.on(priority=7, before=0), backend="kernel")


def older_tc() -> None:
    """What a kernel before 6.6 does; where this one is such a kernel, nothing is put in its place."""

    def lacking(*given: Any, **more: Any) -> Any:
        raise ebpf.NotSupported("tcx links", since="6.6")

    Program.attach_tcx = lacking  # type: ignore[method-assign]
    with ebpf.attach(arriving, backend="kernel") as session:
        assert session.links[0].kind == "tc"
        before = hits[2]
        send("10.1.0.2")
        assert hits[2] > before
    with pytest.raises(ebpf.NotSupported, match="tcx"):
        ebpf.attach(arriving.on(before=0), backend="kernel")


def uprobes() -> None:
    for program in (asked.on(pid=os.getpid()),
                    ebpf.uprobe_multi("c", functions=["getpgid"], pid=os.getpid())(asked.function)):
        with ebpf.attach(program, backend="kernel"):
            before = hits[3]
            os.getpgid(0)
            assert hits[3] == before + 1
    with pytest.raises(ebpf.UsageError, match="no functions of it are named"):
        ebpf.attach(ebpf.uprobe_multi("c", pid=os.getpid())(asked.function), backend="kernel")


NETWORK = """
ip link set lo up; ip link add v0 type veth peer name v1; ip link set v0 up; ip link set v1 up
ip addr add 10.1.0.1/24 dev v0; ip neigh add 10.1.0.2 lladdr 02:00:00:00:00:02 dev v0
exec "$0" -c "$1"
"""


@pytest.mark.kernel
@pytest.mark.parametrize("case", ["lwt", "reuseport", "tc", "older_tc", "uprobes"])
def test_a_hook(case: str) -> None:
    """Each in a network of its own, in a process of its own."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {__name__} as t; t.{case}()"
    done = subprocess.run(["unshare", "-n", "sh", "-c", NETWORK, sys.executable, script], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode and "unshare" in done.stdout and "Operation not permitted" in done.stdout:
        pytest.skip("this user may not make a network of its own")
    if "ebpf.errors.NotSupported: uprobe" in done.stdout:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stdout
