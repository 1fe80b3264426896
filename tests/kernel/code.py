"""Small programs, assembled by hand, for the tests of the kernel layer."""

from __future__ import annotations

import struct


def insn(opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("<BBhi", opcode, dst | src << 4, off, imm)


def wide(dst: int, src: int, imm: int, next_imm: int = 0) -> bytes:
    return insn(0x18, dst, src, 0, imm) + insn(0, imm=next_imm)


def mov(dst: int, imm: int) -> bytes:
    return insn(0xB7, dst, imm=imm)


EXIT = insn(0x95)


def returns(value: int) -> bytes:
    """r0 = value; exit"""
    return mov(0, value) + EXIT


def counter(map_fd: int, result: int = 0) -> bytes:
    """Add 1 to the u64 at the beginning of an array's first value, whose address needs no look-up; return `result`."""
    return wide(1, 2, map_fd) + mov(2, 1) + insn(0xDB, 1, 2) + returns(result)


def ringbuf_output(map_fd: int, words: int, word: int = 0x11) -> bytes:
    """bpf_ringbuf_output(map, `words` 8-byte words of `word`); its result is returned."""
    body = mov(6, word) + b"".join(insn(0x7B, 10, 6, -8 * i) for i in range(1, words + 1))
    body += wide(1, 1, map_fd) + insn(0xBF, 2, 10) + insn(0x07, 2, imm=-8 * words) + mov(3, 8 * words) + mov(4, 0)
    return body + insn(0x85, imm=130) + EXIT


def ringbuf_discard(map_fd: int, size: int) -> bytes:
    """Reserve `size` bytes and discard them."""
    return (wide(1, 1, map_fd) + mov(2, size) + mov(3, 0) + insn(0x85, imm=131) + insn(0x15, 0, off=3)
            + insn(0xBF, 1, 0) + mov(2, 0) + insn(0x85, imm=133) + returns(0))


def perf_output(map_fd: int, words: int, word: int = 0x22) -> bytes:
    """bpf_perf_event_output(ctx, map, BPF_F_CURRENT_CPU, `words` 8-byte words of `word`); its result is returned."""
    body = insn(0xBF, 7, 1) + mov(6, word) + b"".join(insn(0x7B, 10, 6, -8 * i) for i in range(1, words + 1))
    body += insn(0xBF, 1, 7) + wide(2, 1, map_fd) + wide(3, 0, -1) + insn(0xBF, 4, 10)
    body += insn(0x07, 4, imm=-8 * words) + mov(5, 8 * words)
    # BPF_F_CURRENT_CPU is 0xffffffff: the upper half of r3 stays clear
    return body.replace(wide(3, 0, -1), wide(3, 0, -1, 0)) + insn(0x85, imm=25) + EXIT


def trace_printk(text: bytes) -> bytes:
    """bpf_trace_printk(text); `text` at most 8 bytes with its NUL."""
    word = int.from_bytes(text.ljust(8, b"\0"), "little")
    low, high = word & 0xFFFFFFFF, word >> 32
    low, high = (v - (1 << 32) if v >> 31 else v for v in (low, high))
    return (wide(6, 0, low, high) + insn(0x7B, 10, 6, -8) + insn(0xBF, 1, 10) + insn(0x07, 1, imm=-8)
            + mov(2, len(text)) + insn(0x85, imm=6) + returns(0))
