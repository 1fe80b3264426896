"""The machine's interpreter, in nanoseconds per instruction, beside a decode loop as everybody writes it first."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.harness import Report, Row, alternate

if TYPE_CHECKING:
    from collections.abc import Callable

TARGET_NS = 250
M32, M64 = (1 << 32) - 1, (1 << 64) - 1

# FNV-1a over a block: eight instructions a byte, one of them a load.
HASH = """
    r0 = 0x811c9dc5 ll
    r3 = 0
loop:
    r4 = r1
    r4 += r3
    r5 = *(u8 *)(r4 +0)
    r0 ^= r5
    w0 *= 16777619
    r3 += 1
    if r3 < r2 goto loop
    exit
"""
# The Internet checksum over 16-bit words, stored back on the stack: half of it is memory access.
CHECKSUM = """
    r0 = 0
    r3 = 0
loop:
    r4 = *(u16 *)(r1 +0)
    r0 += r4
    *(u64 *)(r10 -8) = r0
    r5 = *(u32 *)(r10 -8)
    r1 += 2
    r3 += 2
    if r3 < r2 goto loop
    r0 = r5
    exit
"""
BYTES = 4096


def naive(code: bytes, memory: bytes) -> tuple[int, int]:
    """A decode loop for the instructions above: (r0, instructions executed)."""
    stack = bytearray(512)
    base, top = 1 << 32, (2 << 32) + 512
    r = [0, base, len(memory), 0, 0, 0, 0, 0, 0, 0, top]

    def load(address: int, size: int) -> int:
        block, at = (stack, address - top + 512) if address >> 32 == 2 else (memory, address - base)
        if not 0 <= at <= len(block) - size:
            raise IndexError(at)
        return int.from_bytes(block[at:at + size], "little")

    pc = executed = 0
    while True:
        executed += 1
        op, regs = code[pc * 8], code[pc * 8 + 1]
        dst, src = regs & 15, regs >> 4
        off = int.from_bytes(code[pc * 8 + 2:pc * 8 + 4], "little", signed=True)
        imm = int.from_bytes(code[pc * 8 + 4:pc * 8 + 8], "little", signed=True)
        if op == 0xBF:
            r[dst] = r[src]
        elif op == 0xB7:
            r[dst] = imm & M64
        elif op == 0x0F:
            r[dst] = r[dst] + r[src] & M64
        elif op == 0x07:
            r[dst] = r[dst] + imm & M64
        elif op == 0x71:
            r[dst] = load(r[src] + off, 1)
        elif op == 0x69:
            r[dst] = load(r[src] + off, 2)
        elif op == 0x61:
            r[dst] = load(r[src] + off, 4)
        elif op == 0x7B:
            at = r[dst] + off - top + 512
            stack[at:at + 8] = r[src].to_bytes(8, "little")
        elif op == 0xAF:
            r[dst] ^= r[src]
        elif op == 0x24:
            r[dst] = r[dst] * imm & M32
        elif op == 0xAD:
            if r[dst] < r[src]:
                pc += off
        elif op == 0x18:
            r[dst] = imm & M32 | int.from_bytes(code[pc * 8 + 12:pc * 8 + 16], "little") << 32
            pc += 1
        elif op == 0x95:
            return r[0], executed
        else:
            raise ValueError(hex(op))
        pc += 1


def run(report: Report) -> None:
    from ebpf import isa
    from ebpf.machine import RawProgram

    def timed(job: Callable[..., object], *arguments: object) -> Callable[[], float]:
        def once() -> float:
            start = time.perf_counter()
            job(*arguments)
            return time.perf_counter() - start

        return once

    memory = bytes(n * 7 & 255 for n in range(BYTES))
    for name, text in (("hash", HASH), ("checksum", CHECKSUM)):
        code = isa.encode(isa.assemble(text))
        program = RawProgram(code)
        expected, executed = naive(code, memory)
        if program.run(memory) != expected:
            raise RuntimeError(f"{name}: the interpreters disagree")
        ours, theirs = alternate(report.rounds, timed(program.run, memory), timed(naive, code, memory))
        report.add(Row(f"interpreter: {name}, ns per instruction, naive loop", f"{ours / executed * 1e9:.0f} ns",
                       f"{theirs / executed * 1e9:.0f} ns", ours / theirs, None))
        report.add(Row(f"interpreter: {name}, of {TARGET_NS} ns per instruction", f"{ours / executed * 1e9:.0f} ns",
                       f"{TARGET_NS} ns", ours / executed * 1e9 / TARGET_NS, 1.0))
