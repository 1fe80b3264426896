"""The filter, run by an interpreter of classic BPF that is here for that."""

from __future__ import annotations

import struct

import pytest

from ebpf.machine.tracing.arch import ARCHES, Arch
from ebpf.machine.tracing.seccomp import RET_ALLOW, RET_TRACE, build_filter

I386 = 0x40000003


def verdict(code: bytes, number: int, audit: int, arguments: tuple[int, ...] = ()) -> int:
    """What the kernel would do with a system call."""
    data = struct.pack("<IIQ6Q", number, audit, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    at = accumulator = 0
    while True:
        op, yes, no, value = struct.unpack_from("<HBBI", code, at * 8)
        at += 1
        if op == 0x20:
            accumulator, = struct.unpack_from("<I", data, value)
        elif op == 0x06:
            return int(value)
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: bool(accumulator & value)}[op]
            at += yes if holds else no


@pytest.mark.parametrize("arch", ARCHES.values(), ids=ARCHES)
def test_only_what_is_asked_for_stops(arch: Arch) -> None:
    code = build_filter(arch, {3, 257, 59})
    stopped = {number for number in range(600) if verdict(code, number, arch.audit) == RET_TRACE}
    assert stopped == {3, 59, 257}


@pytest.mark.parametrize("arch", ARCHES.values(), ids=ARCHES)
def test_all_of_them_but_those_of_other_architectures(arch: Arch) -> None:
    code = build_filter(arch, None)
    assert all(verdict(code, number, arch.audit) == RET_TRACE for number in range(600))
    assert verdict(code, 3, I386) == RET_ALLOW
    assert verdict(code, 0x40000003, arch.audit) == RET_ALLOW


@pytest.mark.parametrize("arch", ARCHES.values(), ids=ARCHES)
def test_memory_that_becomes_executable(arch: Arch) -> None:
    code = build_filter(arch, {3}, executable=True)
    for number in (arch.mmap, arch.mprotect):
        assert verdict(code, number, arch.audit, (0, 4096, 5)) == RET_TRACE
        assert verdict(code, number, arch.audit, (0, 4096, 3)) == RET_ALLOW
    assert verdict(code, 3, arch.audit) == RET_TRACE and verdict(code, 4, arch.audit, (0, 0, 4)) == RET_ALLOW
    every = build_filter(arch, {arch.mmap}, executable=True)
    assert verdict(every, arch.mmap, arch.audit, (0, 4096, 1)) == RET_TRACE


def test_a_filter_of_all_numbers_fits_the_kernels_limit() -> None:
    assert len(build_filter(ARCHES["x86_64"], range(470), executable=True)) // 8 <= 4096
