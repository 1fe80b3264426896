"""Several XDP programs on one device, in order, of several processes; one killed leaves the others."""

from __future__ import annotations

import subprocess
import sys as python
from pathlib import Path

import pytest

_SCRIPT = r"""
import os, signal, socket, subprocess, sys, time
import ebpf
from ebpf.kernel import netlink
from tests.kernel.contract import triggers
SOURCE = '''
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4); }
    seen SEC(".maps");
__u64 clock;
static __attribute__((noinline)) int note(__u32 which) {
    __u64 *at = bpf_map_lookup_elem(&seen, &which);
    if (at) *at = ++clock;  // no fetching atomic: Linux 5.12
    return which;
}
SEC("xdp") int a(struct xdp_md *ctx) { volatile __u64 x[4] = {1}; return note(0) + XDP_PASS; }
SEC("xdp") int b(struct xdp_md *ctx) { return note(1) == 1 && ctx->data < ctx->data_end ? XDP_PASS : XDP_ABORTED; }
SEC("xdp") int drop(struct xdp_md *ctx) { note(2); return XDP_DROP; }
'''
obj = ebpf.compile(SOURCE)
if sys.argv[1:] == ["child"]:
    session = ebpf.load(obj)
    session.programs["b"].attach_xdp("v1", flags=2, chain=5)
    print("there", flush=True)
    time.sleep(99)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
assert triggers.devices()
index = socket.if_nametoindex("v1")

def times(session):
    session.maps["seen"].clear()
    for _ in range(100):
        triggers.frame()
        if session.maps["seen"][0]:
            break
        time.sleep(0.02)
    time.sleep(0.05)
    return [session.maps["seen"][i] for i in range(3)]

with ebpf.load(obj) as session:
    p = session.programs
    last = p["b"].attach_xdp("v1", flags=2, chain=20)
    first = p["a"].attach_xdp("v1", flags=2, chain=10)
    one, two, three = times(session)
    assert 0 < one < two and not three, (one, two, three)
    middle = p["drop"].attach_xdp("v1", flags=2, chain=15)
    assert len(first.members()) == 3
    one, two, three = times(session)
    assert 0 < one < three and not two, (one, two, three)
    middle.detach()
    one, two, three = times(session)
    assert 0 < one < two and not three, (one, two, three)
    # another process joins, and is killed: only its member goes
    child = subprocess.Popen([sys.executable, sys.argv[0], "child"] if sys.argv[0] != "-c" else
                             [sys.executable, "-c", os.environ["SCRIPT"], "child"], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"there\n"
    assert len(first.members()) == 3
    child.send_signal(signal.SIGKILL); child.wait()
    end = time.monotonic() + 20
    while len(first.members()) == 3 and time.monotonic() < end:
        time.sleep(0.05)
    assert len(first.members()) == 2
    one, two, three = times(session)
    assert 0 < one < two and not three, (one, two, three)
    # a plain program is told who is there
    try:
        p["a"].attach_xdp("v1", flags=2)
    except ebpf.AttachError as error:
        assert "ebpf_xdp_chain" in str(error.notes), error
    else:
        raise SystemExit("replaced")
    last.detach(); first.detach()
    assert netlink.xdp_program(index) == 0
print("done")
"""


def _run() -> None:
    if subprocess.run(["unshare", "-n", "true"]).returncode:
        pytest.skip("no network namespace of our own")
    import os

    done = subprocess.run(["unshare", "-n", python.executable, "-c", _SCRIPT], capture_output=True, text=True,
                          cwd=Path(__file__).resolve().parents[2], env={**os.environ, "SCRIPT": _SCRIPT})
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")


@pytest.mark.kernel
def test_a_chain_has_an_order_and_outlives_its_members() -> None:
    _run()


@pytest.mark.guest(kernels=("5.10",))
def test_a_chain_in_a_guest(guest_kernel: str) -> None:
    _run()
