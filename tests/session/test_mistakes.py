"""Mistaken arguments at the front door: one clear error each, and nothing of the caller's is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ebpf

PROGRAMS = """
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_QUEUE);
    __uint(max_entries, 3);
    __type(value, __u32);
} waiting SEC(".maps");
SEC("socket") int filter(struct __sk_buff *packet) { return 0; }
SEC("krobe/vfs_read") int mistyped(struct pt_regs *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


def compiled() -> ebpf.Object:
    return ebpf.compile(PROGRAMS, filename="mistakes.c")


def test_a_number_is_no_source_and_its_descriptor_stays_open() -> None:
    reading, writing = os.pipe()
    try:
        with pytest.raises(ebpf.UsageError, match="C text or a path is wanted, not int"):
            ebpf.compile(reading)  # type: ignore[arg-type]
        os.fstat(reading)
    finally:
        os.close(reading)
        os.close(writing)


@pytest.mark.parametrize(("call", "kind", "words"), [
    (lambda: ebpf.compile("prog.txt"), ebpf.UsageError, "neither C text nor the path of a .c file"),
    (lambda: ebpf.load("prog.c"), ebpf.UsageError, "prog.c is C, not an object"),
    (lambda: ebpf.load(5), ebpf.UsageError, "a path or bytes are wanted, not int"),  # type: ignore[arg-type]
    (lambda: ebpf.load(compiled(), types={"filter": "xpd"}), ebpf.UsageError, "there is no program type 'xpd'"),
    (lambda: ebpf.load(compiled(), types={"flter": "xdp"}), ebpf.UnknownName, "did you mean 'filter'"),
], ids=["path", "C", "int", "type", "program"])
def test_arguments_that_do_not_fit(call: Callable[[], Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert words in str(caught.value)


@pytest.mark.kernel
def test_types_by_name_and_paths(tmp_path: Path) -> None:
    built = ebpf.build(PROGRAMS)
    path = tmp_path / "prog.o"
    path.write_bytes(built.data)
    with ebpf.load(path, load_programs=["filter"], types={"filter": "cgroup_skb"}) as session:
        assert session.programs["filter"].type == ebpf.ProgType.CGROUP_SKB


@pytest.mark.kernel
def test_what_a_session_cannot_do() -> None:
    session = ebpf.load(compiled())
    with pytest.raises(ebpf.AttachError) as caught:
        session.attach()
    assert "mistyped: section 'krobe/vfs_read' is not known; did you mean 'kprobe/vfs_read'?" in caught.value.helps
    with pytest.raises(ebpf.UsageError, match="a queue cannot be read as a whole"):
        session.maps["waiting"].items()
    with pytest.raises(ebpf.UnknownName) as unknown:
        session.programs["filter"].attach_perf_event("cpu-clok", frequency=99)
    assert "cpu-clock" in unknown.value.similar
    session.close()
    with pytest.raises(ebpf.UsageError, match="the session is closed"):
        session.attach()
