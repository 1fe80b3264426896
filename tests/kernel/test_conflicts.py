"""Places that take one program: the error names the other one, its owner and its age; nothing is replaced."""

from __future__ import annotations

import subprocess
import sys as python
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

_SCRIPT = """
import os, socket, subprocess
import ebpf
from ebpf.kernel import netlink
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
SOURCE = '''
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __type(key, int); __type(value, long long); __uint(max_entries, 4); }
    socks SEC(".maps");
SEC("xdp") int %(name)s(void *ctx) { return XDP_PASS; }
SEC("netfilter") int %(name)s_nf(void *ctx) { return 1; }
SEC("sk_lookup") int %(name)s_look(void *ctx) { return 1; }
SEC("flow_dissector") int %(name)s_flow(void *ctx) { return 0; }
SEC("sk_msg") int %(name)s_msg(void *ctx) { return 1; }
'''
holder = ebpf.load(ebpf.compile(SOURCE % {"name": "first"}), load_programs=[])
late = ebpf.load(ebpf.compile(SOURCE % {"name": "second"}), load_programs=[], reuse={"socks": holder.maps["socks"]})

def attach(session, name, how):
    try:
        program = session.load_program(name)
        return how(program)
    except ebpf.NotSupported:
        return None

for suffix, how in (("", lambda p: p.attach_xdp("lo", flags=2)), ("_nf", lambda p: p.attach_netfilter("input", priority=5)),
                    ("_flow", lambda p: p.attach_netns()), ("_msg", lambda p: p.attach_sockmap(holder.maps["socks"]))):
    link = attach(holder, "first" + suffix, how)
    if link is None:
        print("not here:", suffix)
        continue
    before = link.info()
    try:
        attach(late, "second" + suffix, how)
    except ebpf.AttachError as error:
        note = " ".join(error.notes)
        assert f"'first{suffix}'" in note and f"({os.getpid()})" in note and "ago by root" in note, (suffix, error)
    else:
        raise SystemExit(f"{suffix}: replaced")
    assert link.info() == before
    link.detach()
print("done")
"""


def test_a_conflict_names_the_other_program() -> None:
    if subprocess.run(["unshare", "-n", "true"]).returncode:
        pytest.skip("no network namespace of our own")
    done = subprocess.run(["unshare", "-n", python.executable, "-c", _SCRIPT], capture_output=True, text=True,
                          cwd=Path(__file__).resolve().parents[2])
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("done\n")
