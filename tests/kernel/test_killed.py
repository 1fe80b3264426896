"""SIGKILL at random moments, hook by hook: nothing stays attached but what was pinned, and others' programs run on."""

from __future__ import annotations

import os
import random
import subprocess
import sys as python
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]

# What a child attaches, over and over, until it is killed. `wide` ones are for guests.
_OWN = {
    "xdp": "p.attach_xdp('v1', flags=2)", "tc": "p.attach_tc('v1', priority=9)", "tcx_ingress": "p.attach_tcx('v1')",
    "netfilter": "p.attach_netfilter('input', priority=9)", "sk_lookup": "p.attach_netns()",
    "flow_dissector": "p.attach_netns()", "lwt_out": "p.attach_lwt('10.77.0.0/24', 'v0')",
    "sk_msg": "p.attach_sockmap(session.maps['socks'])", "uprobe": "p.attach_uprobe('c', 'getpgid', pid=os.getpid())",
    "perf_event": "p.attach_perf_event('cpu-clock', frequency=99, pid=os.getpid())",
    "xdp chain": "p.attach_xdp('v1', flags=2, chain=1)",
    "cgroup_skb_egress": "p.attach_cgroup(os.environ['GROUP'])", "sockops": "p.attach_cgroup(os.environ['GROUP'])",
    "cgroup_bind4": "p.attach_cgroup(os.environ['GROUP'])", "reuseport": "Shared(p)", "socket_filter": "Shared(p)",
    "netkit": "hooks.on_netkit(None, p)",
}
_WIDE = {"kprobe": "p.attach()", "tracepoint": "p.attach()", "raw_tracepoint": "p.attach()", "fentry": "p.attach()",
         "btf_tracepoint": "p.attach()", "lsm": "p.attach()",
         "lsm_cgroup": "p.attach_cgroup(os.environ['GROUP'])"}

_CHILD = """
import os, socket, sys, ebpf
from tests.kernel.contract import hooks, triggers
name, how, source = sys.argv[1:]
class Shared:  # what is attached to a socket goes with it
    def __init__(self, p):
        if p.name == "reuseport":
            self.socket, _ = triggers.shared_port()
            p.attach_reuseport(self.socket)
        else:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            p.attach_socket(self.socket)
    def detach(self):
        self.socket.close()
session = ebpf.load(ebpf.compile(open(source).read()), backend="kernel", load_programs=[])
try:
    p = session.load_program(name.partition(" ")[0])
    eval(how).detach()
except ebpf.NotSupported:
    print("NotSupported", flush=True); sys.exit()
print("ready", flush=True)
while True:
    link = eval(how)
    link.detach()
"""

_PARENT = """
import atexit, json, os, random, signal, subprocess, sys, tempfile, time
from pathlib import Path
import ebpf
from ebpf.kernel import hooks as kernel_hooks, maps, programs
from tests.kernel.contract import hooks, maps as ours, triggers
ours.alone()
triggers.devices()
top = kernel_hooks.cgroup2_mount()
os.environ["GROUP"] = tempfile.mkdtemp(prefix="ebpf-killed-", dir=top) if top else "/nowhere"
atexit.register(lambda: top and os.rmdir(os.environ["GROUP"]))
table, child, rounds, seed = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(seed)
# Somebody else's program, which must be there to the end.
bystander = ebpf.load(ebpf.compile(hooks.SOURCE.read_text()), backend="kernel", load_programs=[])
kept = bystander.load_program("tc").attach_tc("v0", priority=3)
filters = lambda: [f[2] for f in __import__("ebpf.kernel.netlink", fromlist=["x"]).filters(
    __import__("socket").if_nametoindex("v0"), "ingress")]
mine = bystander.programs["tc"].info.id
def loaded():
    return {i.id for i in programs.iter_programs() if i.created_by_uid == os.getuid() and
            i.name in {n[:15] for n in bystander.obj.programs} | {"ebpf_xdp_chain"}}
before = loaded()
for name, how in table.items():
    for _ in range(rounds):
        job = subprocess.Popen([sys.executable, "-c", child, name, how, str(hooks.SOURCE)], stdout=subprocess.PIPE)
        answer = job.stdout.readline().strip()
        if answer == b"NotSupported":
            job.wait()
            print(name, "NotSupported")
            break
        assert answer == b"ready", (name, answer)
        time.sleep(chance.random() * 0.2)
        job.send_signal(signal.SIGKILL)
        job.wait()
        end = time.monotonic() + 20
        while loaded() - before and time.monotonic() < end:
            time.sleep(0.02)  # the kernel and the janitor are at it
        assert not loaded() - before, (name, "stays", loaded() - before)
        assert filters() == [mine], (name, "the bystander's filter is gone", filters(), mine)
    else:
        print(name, "yes")
assert kept.attached
print("done")
"""


def _run(table: dict[str, str], rounds: int) -> str:
    import json

    seed = int(os.environ.get("EBPF_TEST_SEED", random.randrange(1 << 30)))
    done = subprocess.run([python.executable, "-c", _PARENT, json.dumps(table), _CHILD, str(rounds), str(seed)],
                          capture_output=True, text=True, cwd=_ROOT)
    if "namespaces of our own" in done.stderr:
        pytest.skip("no namespaces of our own")
    assert done.returncode == 0, f"EBPF_TEST_SEED={seed}: {done.stderr}"
    assert done.stdout.endswith("done\n")
    return done.stdout


@pytest.mark.kernel
def test_killed_at_a_random_moment() -> None:
    assert "tc yes" in _run(_OWN, 1)


@pytest.mark.guest(thorough=True, timeout_s=400)
def test_killed_in_a_guest(guest_kernel: str) -> None:
    assert "kprobe yes" in _run(_OWN | _WIDE, 1)


@pytest.mark.kernel
def test_what_was_pinned_stays(tmp_path: Path) -> None:
    """A pinned link outlives the process that is killed; it is ours to take off again."""
    script = """
import ebpf, os, sys, time
from tests.kernel.contract import hooks, maps, triggers
pins = maps.alone()
if pins is None:
    print("NotSupported", flush=True); sys.exit()
triggers.devices()
child = os.fork()
if not child:
    session = ebpf.load(ebpf.compile(hooks.SOURCE.read_text()), backend="kernel", load_programs=[])
    link = session.load_program("xdp").attach_xdp("v1", flags=2)
    link.pin(pins + "/kept")
    os.kill(os.getpid(), 9)
os.waitpid(child, 0)
with ebpf.inventory.link(pins + "/kept") as link:
    assert link.info().type == "xdp" and link.info().target == "v1"
from ebpf.kernel import netlink
import socket
assert netlink.xdp_program(socket.if_nametoindex("v1"))
os.unlink(pins + "/kept")
end = time.monotonic() + 10
while netlink.xdp_program(socket.if_nametoindex("v1")) and time.monotonic() < end:
    time.sleep(0.02)
assert not netlink.xdp_program(socket.if_nametoindex("v1"))
print("done")
"""
    done = subprocess.run([python.executable, "-c", script], capture_output=True, text=True, cwd=_ROOT)
    if "namespaces of our own" in done.stderr or "NotSupported" in done.stdout:
        pytest.skip("no namespaces, or no BPF file system, of our own")
    assert done.stdout == "done\n", done.stderr
