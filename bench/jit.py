"""The machine's JIT beside gcc -O2 of the same C and beside the kernel's JIT; map look-ups; first runs; packets.

The programs are bench/native/*.c, compiled for BPF by our own compiler and natively by gcc. Both run in a loop of
native code on the same block of memory and must give the same result.
"""

from __future__ import annotations

import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.harness import PYTHON, Report, Row, alternate, ms, rate

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCES = Path(__file__).parent / "native"
TARGET = 1.0  # geometric mean of ours / gcc -O2
PACKETS = 1_000_000
KEYS = 10_000
LOOKUPS = 32  # in each run


# ---- blocks of memory ----


def _numbers(count: int) -> bytes:
    return bytes(n * 7 + (n >> 8) & 255 for n in range(count))


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _frame(size: int = 1514) -> bytes:
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, size - 14, 1, 0, 64, 6, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    ip = ip[:10] + struct.pack(">H", _checksum(ip)) + ip[12:]
    payload = _numbers(size - 14 - 20 - 20)
    tcp = struct.pack(">HHIIBBHHH", 40000, 443, 1, 2, 5 << 4, 0x18, 1000, 0, 0)
    pseudo = ip[12:20] + struct.pack(">HH", 6, len(tcp) + len(payload))
    tcp = tcp[:16] + struct.pack(">H", _checksum(pseudo + tcp + payload)) + tcp[18:]
    return bytes.fromhex("020000000002 020000000001 0800") + ip + tcp + payload


def _crc_table() -> bytes:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    return struct.pack("<256I", *table)


# name → (block, runs for about 20 ms)
PROGRAMS: dict[str, tuple[Callable[[], bytes], int]] = {
    "loop": (lambda: bytes(8), 20),
    "sieve": (lambda: bytes(65536), 400),
    "parse": (_frame, 100_000),
    "filter": (lambda: _frame(64), 10_000_000),
    "siphash": (lambda: _numbers(16 + 4096), 20_000),
    "crc32": (lambda: _crc_table() + _numbers(4096), 3_000),
}


# ---- ours and gcc's ----


def _code(name: str) -> bytes:
    import ebpf

    obj = ebpf.compile(SOURCES / f"{name}.c", include_dirs=[str(SOURCES)], dialect="libbpf")
    return obj.functions["run"].code


def _ours(name: str, block: bytes, times: int) -> tuple[Callable[[], float], int]:
    from ebpf.machine import RawProgram

    program = RawProgram(_code(name), engine="jit")
    memory = bytearray(block)

    def once() -> float:
        start = time.perf_counter()
        program.repeat(memory, times)
        return (time.perf_counter() - start) / times

    return once, program.run(bytearray(block))


def _gcc(name: str, block: bytes, times: int, folder: Path) -> tuple[Callable[[], float], int]:
    program, file = folder / name, folder / f"{name}.block"
    file.write_bytes(block)
    # Two files, so that nothing of the measured function is known to the loop around it.
    subprocess.run(["gcc", "-O2", str(SOURCES / f"{name}.c"), str(SOURCES / "time.c"), "-o", str(program)], check=True)

    def output() -> list[str]:
        return subprocess.run([str(program), str(file), str(times)], check=True, capture_output=True,
                              text=True).stdout.split()

    return lambda: float(output()[1]) / 1e9, int(output()[0])


def _against_gcc(report: Report) -> None:
    if shutil.which("gcc") is None:
        report.skip("jit: programs", "no gcc here")
        return
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (make, times) in PROGRAMS.items():
            times = times if report.rounds > 1 else max(times // 20, 1)
            block = make()
            ours, result = _ours(name, block, times)
            theirs, expected = _gcc(name, block, times, Path(folder))
            if result != expected:
                raise RuntimeError(f"{name}: the JIT gives {result}, gcc's program {expected}")
            a, b = alternate(report.rounds, ours, theirs)
            ratios.append(a / b)
            report.add(Row(f"jit: {name}, beside gcc -O2", _short(a), _short(b), a / b, None))
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    report.add(Row(f"jit: geometric mean of {len(ratios)} programs", f"{mean:.2f}", "1.00", mean, TARGET))


def _short(seconds: float) -> str:
    if seconds < 1e-6:
        return f"{seconds * 1e9:.2f} ns"
    return f"{seconds * 1e6:.2f} µs" if seconds < 1e-3 else ms(seconds)


# ---- beside the kernel's JIT ----

_FILTER = """
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

SEC("xdp") int filter(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = (void *)(eth + 1);
    __be16 *ports = (void *)(ip + 1);

    if ((void *)(ports + 2) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
        return XDP_PASS;
    if (ip->protocol == 6 && ports[1] == bpf_htons(443))
        return XDP_DROP;
    return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""

_LOOKUPS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_%s);
    __uint(max_entries, %d);
    __type(key, %s);
    __type(value, __u64);
} numbers SEC(".maps");

SEC("xdp") int look(struct xdp_md *ctx)
{
    __u64 sum = 0;
    __u32 at = ctx->rx_queue_index + 12345;

#pragma unroll
    for (int i = 0; i < %d; i++) {
        at = at * 1664525 + 1013904223;
        %s key = (at >> 8) %% %d;
        __u64 *value = bpf_map_lookup_elem(&numbers, &key);
        if (value)
            sum += *value;
    }
    return sum & 1 ? XDP_DROP : XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"""


def _machine(obj: Any, name: str, packet: bytes, count: int) -> tuple[Any, Callable[[], float]]:
    import numpy

    from ebpf.machine import Machine

    machine = Machine(obj, engine="jit")
    packets = numpy.frombuffer(packet * count, dtype=numpy.uint8).reshape(count, len(packet))

    def once() -> float:
        start = time.perf_counter()
        machine.run_many(name, packets)
        return (time.perf_counter() - start) / count

    return machine, once


def _kernel(session: Any, name: str, packet: bytes, count: int) -> Callable[[], float]:
    program = session.programs[name]
    return lambda: program.test_run(packet, repeat=count).duration_ns / 1e9


def _against_kernel(report: Report) -> None:
    import ebpf

    count = PACKETS if report.rounds > 1 else PACKETS // 20
    packet = _frame(64)
    obj = ebpf.compile(_FILTER)
    _, ours = _machine(obj, "filter", packet, count)
    try:
        with ebpf.load(obj, backend="kernel") as session:
            a, b = alternate(report.rounds, ours, _kernel(session, "filter", packet, count))
    except (ebpf.PrivilegeError, ebpf.NotSupported) as error:
        report.skip("jit: beside the kernel's", error.message)
        [a] = alternate(report.rounds, ours)
        b = None
    if b is not None:
        report.add(Row("jit: XDP header filter, beside the kernel's JIT", _short(a), _short(b), a / b, None))
    report.add(Row("jit: a million packets of 64 bytes, one call", rate(1 / a), "20 M/s", 1 / a / 20e6, 1.0,
                   at_least=True))
    if b is None:
        return
    key = {"ARRAY": "__u32", "HASH": "__u64"}
    for kind in ("ARRAY", "HASH"):
        _lookups(report, kind, key[kind], PACKETS // LOOKUPS)


def _lookups(report: Report, kind: str, key: str, count: int) -> None:
    """One look-up of random keys, all of which are there."""
    import ebpf

    obj = ebpf.compile(_LOOKUPS % (kind, KEYS, key, LOOKUPS, key, KEYS))
    packet = _frame(64)
    machine, ours = _machine(obj, "look", packet, count)
    size = 4 if kind == "ARRAY" else 8
    with ebpf.load(obj, backend="kernel") as session:
        for n in range(KEYS):
            session.maps["numbers"][n] = n
            machine.maps["numbers"].update(n.to_bytes(size, "little"), n.to_bytes(8, "little"))
        a, b = alternate(report.rounds, ours, _kernel(session, "look", packet, count))
    report.add(Row(f"jit: look-up, {kind.lower()} of {KEYS:,}, beside the kernel's", _short(a / LOOKUPS),
                   _short(b / LOOKUPS), a / b, 1.0))


# ---- first runs ----

_FIRST = """
import sys, time
from ebpf import isa
from ebpf.machine import RawProgram

def program(seed):                 # 300 instructions: arithmetic, stack, memory, branches
    rows = ["r6 = r1", "r0 = %d" % (seed % 1000)]   # below the constants: each branch is open
    for n in range(49):
        rows += ["r2 = *(u32 *)(r6 +%d)" % (n * 4), "r2 ^= %d" % (seed + n), "r0 += r2",
                 "if r0 > %d goto +1" % (1000 + n), "r0 *= 31", "*(u64 *)(r10 -8) = r0"]
    rows += ["r3 = *(u64 *)(r10 -8)", "r0 += r3", "r0 += 1", "exit"]
    return isa.encode(isa.assemble("\\n".join(rows)))

def first(seed):                   # seconds to verify it, and to make and run its native code
    code, block = program(seed), bytearray(256)
    start = time.perf_counter()
    program_ = RawProgram(code, engine="jit")
    if sys.argv[2] == "fresh":
        program_.verified(len(block))
    verified = time.perf_counter()
    program_.run(block)
    return verified - start, time.perf_counter() - verified

base = int(sys.argv[1])
first(base)                        # loads our modules and, where it is not in the cache, LLVM
runs = [first(base + 1 + n) for n in range(5)]
print(sorted(v for v, _ in runs)[2], sorted(r for _, r in runs)[2])
"""


def _first_runs(report: Report) -> None:
    """A process each: the median of five programs, first compiled, then found in the cache. Verifying has a figure of
    its own (bench/verifier.py); code in the cache was verified when it was made.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The cache wants a directory that only we can write.
        environment = {**os.environ, "XDG_CACHE_HOME": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)

        def medians(how: str) -> list[float]:
            rounds = []
            for n in range(report.rounds):
                done = subprocess.run([PYTHON, "-c", _FIRST, str(1000 * n), how], env=environment, capture_output=True,
                                      text=True)
                if done.returncode:
                    raise RuntimeError(done.stderr)
                rounds.append([float(word) for word in done.stdout.split()])
            return [sorted(column)[len(rounds) // 2] for column in zip(*rounds, strict=True)]

        verified, compiled = medians("fresh")
        cached = sum(medians("cached"))
    report.add(Row("jit: first run of 300 instructions, LLVM warm", ms(compiled), "10 ms", compiled / 0.010, 1.0))
    report.add(Row("    and verifying it (49 branches, both ways open)", ms(verified), "", None, None))
    report.add(Row("jit: first run of 300 instructions, from the cache", ms(cached), "2 ms", cached / 0.002, 1.0))


def run(report: Report) -> None:
    if sys.maxsize < 1 << 32:
        report.skip("jit", "a 64-bit machine is wanted")
        return
    _against_gcc(report)
    _against_kernel(report)
    _first_runs(report)
