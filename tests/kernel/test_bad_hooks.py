"""Mistakes around maps and hooks: one clear answer each, and nothing half attached."""

from __future__ import annotations

import subprocess
import sys as python
from pathlib import Path

import pytest

pytestmark = pytest.mark.kernel

_SCRIPT = r"""
import os, socket, subprocess, tempfile
import ebpf
from ebpf.kernel import loader, maps as kernel_maps
from tests.kernel.contract import hooks, maps, triggers
pins = maps.alone()
triggers.devices()
HEAD = '''
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
'''
PINNED = HEAD + '''
struct { __uint(type, BPF_MAP_TYPE_%s); __type(key, __u32); __type(value, %s); __uint(max_entries, 8);
         __uint(pinning, LIBBPF_PIN_BY_NAME); } kept SEC(".maps");
'''

def refused(error, job, *words):
    try:
        job()
    except error as found:
        text = str(found)
        assert all(word in text for word in words), (words, text)
        return
    raise SystemExit(f"not refused: {words}")

if pins is not None:
    read = lambda *shape: ebpf.compile(PINNED % shape)
    with loader.load(read("HASH", "__u64"), pin_root=pins) as one:
        one.maps["kept"].update(bytes(4), bytes(8))
    with loader.load(read("HASH", "__u64"), pin_root=pins) as two:  # a second start: the same map
        assert two.maps["kept"].lookup(bytes(4)) == bytes(8)
    refused(ebpf.MapError, lambda: loader.load(read("HASH", "__u32"), pin_root=pins), "value size 8", "has 4", "remove")
    refused(ebpf.MapError, lambda: loader.load(read("ARRAY", "__u64"), pin_root=pins), "type hash", "array")

obj = ebpf.compile(hooks.SOURCE)
with ebpf.load(obj, backend="kernel", load_programs=[]) as session:
    xdp = session.load_program("xdp")
    if pins is not None:
        xdp.pin(pins + "/program")
        refused(ebpf.KernelError, lambda: xdp.pin(pins + "/program"), "exists already", "'xdp'", "ago by root", "remove")
        link = xdp.attach_xdp("v1", flags=2)
        link.pin(pins + "/link")
        refused(ebpf.KernelError, lambda: link.pin(pins + "/link"), "exists already", "xdp link", "v1")
        os.unlink(pins + "/link"); link.detach()
    # the device goes while programs are on it
    link = xdp.attach_xdp("v1", flags=2)
    chained = session.load_program("tc").attach_tc("v1")
    route = session.load_program("lwt_out").attach_lwt("10.77.0.0/24", "v0")
    subprocess.run(["ip", "link", "del", "v0"], check=True)
    assert link.info().target == "a device that is gone"
    refused(ebpf.AttachError, lambda: link.update(xdp.raw), "is gone", "attach anew")
    for gone in (link, chained, route):
        gone.detach()
    refused(ebpf.TargetNotFound, lambda: xdp.attach_xdp("v1"), "v1", "there are: lo")
    refused(ebpf.TargetNotFound, lambda: session.programs["tc"].attach_tc("v1"), "v1")
    refused(ebpf.UsageError, lambda: session.programs["lwt_out"].attach_lwt("10.77.0.1/24", "lo"), "no network")
    # the control group goes
    from ebpf.kernel.hooks import cgroup2_mount
    top = cgroup2_mount()
    if top is not None:
        group = tempfile.mkdtemp(prefix="ebpf-", dir=top)
        link = session.load_program("cgroup_skb_egress").attach_cgroup(group)
        os.rmdir(group)
        import time
        end = time.monotonic() + 20  # the kernel detaches in its own time
        while "gone" not in link.info().target and time.monotonic() < end:
            time.sleep(0.05)
        assert "gone" in link.info().target, link.info()
        link.detach()
        refused(ebpf.TargetNotFound, lambda: session.programs["cgroup_skb_egress"].attach_cgroup(group), "no control group")
print("done")
"""


def test_mistakes() -> None:
    done = subprocess.run([python.executable, "-c", _SCRIPT], capture_output=True, text=True,
                          cwd=Path(__file__).resolve().parents[2])
    if "namespaces of our own" in done.stderr:
        pytest.skip("no namespaces of our own")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"
