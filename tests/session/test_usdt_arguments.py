"""Arguments of static probes in libbpf's way: `BPF_USDT` compiled by us, by clang with libbpf's header; in both backends."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import ebpf
from ebpf.binaries.usdt import UsdtProbe, parse_arguments
from ebpf.errors import AttachError
from ebpf.session.usdt_specs import addresses_in

# Two places of one probe, whose arguments lie in different ways; every kind of operand that compilers write.
PROBED = r"""
#include <stdio.h>
#define NOTE(arguments, ...) \
    __asm__ volatile("990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n" \
        ".4byte 992f-991f, 994f-993f, 3\n991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n" \
        ".8byte 0, 0\n.asciz \"demo\"\n.asciz \"hit\"\n.asciz \"" arguments "\"\n" \
        "994: .balign 4\n.popsection\n" : : __VA_ARGS__ : "memory")
int main(void)
{
    static unsigned char bytes[8] = {1, 2, 250, 4};
    static int words[4] = {7, -8, 9, -10};
    while (getchar() != EOF)
        for (long i = 0; i < 3; i++) {
            NOTE("-4@%%eax 8@%%rsi 1@(%%rdx,%%rcx)", "a"(i - 1), "S"(i << 40), "d"(bytes), "c"(i));
            NOTE("-4@4(%%rbx,%%rcx,4) -8@$-5 -1@2(%%rdx)", "b"(words), "c"(i), "d"(bytes));
        }
    return 0;
}
"""
SEEN = [(-1, 0, 1), (-8, -5, -6), (0, 1 << 40, 2), (9, -5, -6), (1, 2 << 40, 250), (-10, -5, -6)]

TEXT = """
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>
struct event { long a, b, c; long count, cookie, beyond; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct event); } events SEC(".maps");
SEC("usdt") int BPF_USDT(hit, int a, long b, long c)
{
    long unused;
    struct event e = { a, b, c, bpf_usdt_arg_cnt(ctx), bpf_usdt_cookie(ctx), bpf_usdt_arg(ctx, 3, &unused) };

    bpf_ringbuf_output(&events, &e, sizeof(e), 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


class Event(ebpf.Struct):
    a: ebpf.i64
    b: ebpf.i64
    c: ebpf.i64


python_events = ebpf.RingBuf(Event)


def build(folder: Path) -> str:
    if shutil.which("gcc") is None or os.uname().machine != "x86_64":
        pytest.skip("no gcc here, or not x86-64")
    (folder / "probed.c").write_text(PROBED)
    subprocess.run(["gcc", "-O1", "-o", str(folder / "probed"), str(folder / "probed.c")], check=True)
    return str(folder / "probed")


def by_clang(folder: Path) -> ebpf.Object:
    """With Debian's header of libbpf, which knows no index register: the operands with one are left out."""
    header = Path("/usr/include/bpf/usdt.bpf.h")
    if not shutil.which("clang-14") or not shutil.which("bpftool") or not header.exists():
        pytest.skip("clang-14, bpftool or libbpf-dev is not installed")
    types = subprocess.run(["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"],
                           capture_output=True, text=True)
    if types.returncode:
        pytest.skip("this kernel has no types to be dumped")
    (folder / "vmlinux.h").write_text(types.stdout)
    done = subprocess.run(["clang-14", "-target", "bpf", "-D__TARGET_ARCH_x86", "-O2", "-g", f"-I{folder}",
                           "-I/usr/include/x86_64-linux-gnu", "-x", "c", "-c", "-", "-o", "-"], input=TEXT.encode(),
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return ebpf.open(done.stdout)


def seen_in_kernel(obj: ebpf.Object, path: str) -> list[tuple[int, ...]]:
    with ebpf.load(obj, backend="kernel") as session, \
            subprocess.Popen([path], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        got: list[tuple[int, ...]] = []
        stream = session.maps["events"].events()
        session.programs["hit"].attach_usdt(path, "hit", provider="demo", pid=process.pid, cookie=77)
        process.stdin.write(b"\n")
        process.stdin.close()
        process.wait()
        stream.consume(lambda e: got.append(tuple(e) if not isinstance(e, (bytes, memoryview)) else
                                            tuple(memoryview(bytes(e)).cast("q"))))
        return got


@pytest.mark.kernel
def test_in_the_kernel(tmp_path: Path) -> None:
    got = seen_in_kernel(ebpf.compile(TEXT), build(tmp_path))
    assert [e[:3] for e in got] == SEEN
    assert {e[3:] for e in got} == {(3, 77, -2)}


def test_in_the_machine(tmp_path: Path) -> None:
    path = build(tmp_path)
    (tmp_path / "go.sh").write_text(f"#!/bin/sh\necho | {path}\n")
    (tmp_path / "go.sh").chmod(0o755)
    ebpf.use("machine", command=[str(tmp_path / "go.sh")])
    try:
        with ebpf.load(ebpf.compile(TEXT), backend="machine") as session:
            session.programs["hit"].attach_usdt(path, "hit", cookie=77)
            got = [tuple(e) for e in session.maps["events"].events()]
    finally:
        ebpf.use(None)
    assert [e[:3] for e in got] == SEEN and {e[3:] for e in got} == {(3, 77, -2)}


def in_python(ctx, a: ebpf.i32, b, c):
    python_events.send(Event(a, b, c))


@pytest.mark.kernel
def test_a_python_function_in_the_kernel(tmp_path: Path) -> None:
    with subprocess.Popen([build(tmp_path)], stdin=subprocess.PIPE) as process, \
            ebpf.attach(ebpf.usdt("demo:hit", binary=f"{tmp_path}/probed", pid=process.pid)(in_python),
                        backend="kernel") as session:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        process.wait()
        got = [(e.a, e.b, e.c) for e in session.events(Event, timeout=0)]
    assert got == SEEN


def test_a_python_function_in_the_machine(tmp_path: Path) -> None:
    path = build(tmp_path)
    (tmp_path / "go.sh").write_text(f"#!/bin/sh\necho | {path}\n")
    (tmp_path / "go.sh").chmod(0o755)
    ebpf.use("machine", command=[str(tmp_path / "go.sh")])
    try:
        with ebpf.attach(ebpf.usdt("demo:hit", binary=path)(in_python), backend="machine") as session:
            got = [(e.a, e.b, e.c) for e in session.events(Event)]
    finally:
        ebpf.use(None)
    assert got == SEEN


@pytest.mark.kernel
def test_an_object_of_clang_and_libbpf(tmp_path: Path) -> None:
    obj, path = by_clang(tmp_path), build(tmp_path)
    with ebpf.load(obj, backend="kernel") as session:
        with pytest.raises(ebpf.NotSupported, match="was built with does not support the argument of demo:hit"):
            session.programs["hit"].attach_usdt(path, "hit")
    # The same probes with operands that the older layout has.
    text = PROBED.replace("1@(%%rdx,%%rcx)", "1@(%%rdx)").replace("-4@4(%%rbx,%%rcx,4)", "-4@12(%%rbx)")
    (tmp_path / "probed.c").write_text(text)
    subprocess.run(["gcc", "-O1", "-o", path, str(tmp_path / "probed.c")], check=True)
    got = seen_in_kernel(obj, path)
    assert [e[:3] for e in got] == [(-1, 0, 1), (-10, -5, -6), (0, 1 << 40, 1), (-10, -5, -6), (1, 2 << 40, 1), (-10, -5, -6)]
    assert {e[3:] for e in got} == {(3, 77, -2)}


@pytest.mark.guest(kernels=("5.10", "6.1"))
def test_where_there_are_no_cookies(tmp_path: Path) -> None:
    """Linux 5.10 tells places apart by their addresses in the process."""
    got = seen_in_kernel(ebpf.compile(TEXT), build(tmp_path))
    assert [e[:3] for e in got] == SEEN and {e[3:] for e in got} == {(3, 77, -2)}


def test_a_map_that_is_full_and_a_file_that_is_not_mapped(tmp_path: Path) -> None:
    obj = ebpf.compile(TEXT)
    places = [UsdtProbe("demo", "hit", 0, 0, 0, parse_arguments(f"8@${n}"), f"8@${n}") for n in range(257)]
    with ebpf.load(obj, backend="machine") as session:
        specs = session.usdt_specs
        assert specs is not None
        assert specs.numbers(places[:256], 0, "x86_64") == list(range(256))
        assert specs.numbers(places[5:7], 0, "x86_64") == [5, 6]  # places that are alike share a number
        with pytest.raises(AttachError, match="in more ways than `__bpf_usdt_specs` has room for"):
            specs.numbers(places[256:], 0, "x86_64")
    (tmp_path / "file").write_text("x")
    with pytest.raises(AttachError, match="has not mapped"):
        addresses_in(os.getpid(), str(tmp_path / "file"), places[:1])
