"""Two backends side by side: a session in the one imports nothing of the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ebpf

CODE = """
import sys
sys.path.insert(0, {src!r})
import ebpf
session = ebpf.load(ebpf.compile({text!r}, dialect="libbpf"), backend={backend!r})
assert session.programs["f"].test_run(bytes(64)).result == 2 and session.maps["counts"][0] == 1
session.close()
print(*sys.modules)
"""
TEXT = """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } counts SEC(".maps");
SEC("xdp") int f(struct xdp_md *ctx)
{
    u32 key = 0;
    u64 *n = bpf_map_lookup_elem(&counts, &key);
    if (n)
        ++*n;
    return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""
# What asks about the host, and brings nothing of a program into a kernel.
QUESTIONS = {"ebpf.kernel", *(f"ebpf.kernel.{name}" for name in (
    "cpus", "facts", "features", "privileges", "replacement", "symbols", "sys", "tracepipe"))}


def modules_of(backend: str) -> set[str]:
    code = CODE.format(src=str(Path(ebpf.__file__).parents[1]), text=TEXT, backend=backend)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if "this user lacks" in done.stderr:
        raise ebpf.PrivilegeError("load")
    assert not done.returncode, done.stderr
    return set(done.stdout.split())


@pytest.mark.kernel
def test_a_session_in_the_kernel() -> None:
    found = modules_of("kernel")
    assert "ebpf.kernel.loader" in found
    assert not [name for name in found if name.startswith(("ebpf.machine", "ebpf.verifier", "ebpf.session.on_machine"))]


def test_a_session_in_the_machine() -> None:
    found = modules_of("machine")
    assert "ebpf.machine.machine" in found
    assert {name for name in found if name.startswith("ebpf.kernel")} <= QUESTIONS
    assert not found & {"numpy", "llvmlite", "ebpf.session.on_kernel", "dataclasses", "subprocess"}
