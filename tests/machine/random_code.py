"""Random programs that every verifier accepts: arithmetic, branches, stack, atomics, loads and stores, calls. The same for the same seed.

A program is of type syscall: its context is 256 bytes, from which it takes its registers and to which it writes all of them (and its stack) in the end,
so that a run shows all 64 bits of everything.
"""

from __future__ import annotations

import random

from ebpf.isa import Insn, encode
from ebpf.isa.insn import (
    ALU,
    ALU64,
    DW,
    JMP,
    JMP32,
    LDX,
    MODE_ATOMIC,
    MODE_MEM,
    MODE_MEMSX,
    OP_CALL,
    OP_EXIT,
    ST,
    STX,
    B,
    H,
    W,
    X,
)

CONTEXT_BYTES = 256
STACK_WORDS = 8
_SCALARS = range(9)  # r0 to r8; r9 keeps the context
_BINARY = (0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xA0, 0xB0, 0xC0)
_JUMPS = (0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xA0, 0xB0, 0xC0, 0xD0)
_SIZES = ((B, 1), (H, 2), (W, 4), (DW, 8))
_CORNERS = (0, 1, -1, 2, 7, 8, 31, 32, 63, 64, 255, 256, 0x7FFF, -0x8000, 0x7FFFFFFF, -0x80000000, -2)
_ATOMICS = (0x00, 0x40, 0x50, 0xA0, 0x01, 0x41, 0x51, 0xA1, 0xE1, 0xF1)


def _immediate(rng: random.Random) -> int:
    return rng.choice(_CORNERS) if rng.random() < 0.6 else rng.randint(-(1 << 31), (1 << 31) - 1)


def arithmetic(rng: random.Random, registers: range = _SCALARS) -> Insn:
    """One operation of any kind on scalars."""
    cls = rng.choice((ALU, ALU64))
    dst, src = rng.choice(registers), rng.choice(registers)
    kind = rng.random()
    if kind < 0.06:
        return Insn(cls | 0x80, dst)
    if kind < 0.14:
        return Insn(rng.choice((ALU | 0xD0, ALU | 0xD0 | X, ALU64 | 0xD0)), dst, imm=rng.choice((16, 32, 64)))
    if kind < 0.22:
        return Insn(cls | X | 0xB0, dst, src, rng.choice((8, 16, 32) if cls == ALU64 else (8, 16)))
    op = rng.choice(_BINARY)
    signed = int(op in (0x30, 0x90) and rng.random() < 0.5)
    if rng.random() < 0.5:
        return Insn(cls | X | op, dst, src, signed)
    imm = _immediate(rng)
    if op in (0x30, 0x90):
        imm = imm or 3  # the verifier refuses division by a constant zero
    if op in (0x60, 0x70, 0xC0):
        imm = rng.randrange(64 if cls == ALU64 else 32)
    return Insn(cls | op, dst, 0, signed, imm)


def _memory(rng: random.Random) -> list[Insn]:
    """A load, store or atomic operation, on the stack or the context, aligned."""
    register, bits_size = rng.choice(_SCALARS), rng.choice(_SIZES)
    bits, size = bits_size
    stack = rng.random() < 0.6
    base = 10 if stack else 9
    off = rng.randrange(0, STACK_WORDS * 8 if stack else CONTEXT_BYTES, size)
    off -= STACK_WORDS * 8 if stack else 0
    kind = rng.random()
    if kind < 0.3:
        return [Insn(LDX | MODE_MEM | bits, register, base, off)]
    if kind < 0.45 and size < 8 and stack:
        return [Insn(LDX | MODE_MEMSX | bits, register, base, off)]
    if kind < 0.6:
        return [Insn(STX | MODE_MEM | bits, base, register, off)]
    if kind < 0.7:
        return [Insn(ST | MODE_MEM | bits, base, 0, off, _immediate(rng))]
    if kind < 0.8 and stack:  # through a pointer that was computed
        return [Insn(ALU64 | X | 0xB0, register, 10), Insn(ALU64, register, 0, 0, off - 8),
                Insn(STX | MODE_MEM | bits, register, rng.choice([r for r in _SCALARS if r != register]), 8),
                Insn(LDX | MODE_MEM | bits, register, register, 8)]
    bits, size = rng.choice(((W, 4), (DW, 8)))
    off = rng.randrange(0, STACK_WORDS * 8, size) - STACK_WORDS * 8
    op = rng.choice(_ATOMICS)
    insns = [Insn(STX | MODE_ATOMIC | bits, 10, register, off, op)]
    if op & 1:
        # Kernels up to 6.18 prune wrongly where a constant came through an atomic operation on the stack (backtracking does not
        # follow it), and drop branches that are taken: mix in what no verifier knows.
        result = 0 if op == 0xF1 else register
        other = rng.choice([r for r in _SCALARS if r != result])
        insns += [Insn(LDX | MODE_MEM | DW, other, 9, 120), Insn(ALU64 | X | 0xA0, result, other)]
    return insns


def program(seed: int, length: int = 40) -> bytes:
    """A program of about ``length`` operations on 256 bytes at r1."""
    rng = random.Random(seed)
    # Entries: instructions that belong together, or a jump: (how many entries to pass, instruction without offset).
    body: list[list[Insn] | tuple[int, Insn]] = []
    for _ in range(length):
        kind = rng.random()
        if kind < 0.55:
            body.append([arithmetic(rng)])
        elif kind < 0.78:
            body.append(_memory(rng))
        elif kind < 0.94:
            cls, op = rng.choice((JMP, JMP32)), rng.choice(_JUMPS)
            if rng.random() < 0.5:
                insn = Insn(cls | X | op, rng.choice(_SCALARS), rng.choice(_SCALARS))
            else:
                insn = Insn(cls | op, rng.choice(_SCALARS), 0, 0, _immediate(rng))
            body.append((rng.randint(1, 6), insn))
        elif kind < 0.97:
            body.append((rng.randint(1, 4), Insn(JMP if rng.random() < 0.5 else JMP32)))
        else:
            body.append((-1, Insn(OP_CALL, 0, 1)))  # the function behind the program
    head = [Insn(ALU64 | X | 0xB0, 9, 1)]
    head += [Insn(LDX | MODE_MEM | DW, register, 9, 8 * register) for register in _SCALARS]
    head += [Insn(STX | MODE_MEM | DW, 10, register, -8 * (register + 1)) for register in range(STACK_WORDS)]
    tail = [Insn(STX | MODE_MEM | DW, 9, register, 8 * register) for register in _SCALARS]
    for word in range(STACK_WORDS):
        tail += [Insn(LDX | MODE_MEM | DW, 0, 10, -8 * (word + 1)), Insn(STX | MODE_MEM | DW, 9, 0, 128 + 8 * word)]
    tail += [Insn(LDX | MODE_MEM | DW, 0, 9, 0), Insn(OP_EXIT)]
    # Calls leave r1 to r5 undefined to the verifier: give them values again.
    after_call = [Insn(ALU64 | X | 0xB0, register, 6 + register % 3) for register in range(1, 6)]
    flat: list[Insn] = []
    starts: list[int] = []
    fix: list[tuple[int, int]] = []
    calls: list[int] = []
    for index, entry in enumerate(body):
        starts.append(len(flat))
        if isinstance(entry, list):
            flat += entry
        elif entry[0] < 0:
            calls.append(len(flat))
            flat += [entry[1], *after_call]
        else:
            if entry[1].opcode in (JMP, JMP32):  # what follows stays reachable by jumping over the jump
                flat.append(Insn(JMP | 0x10, 3, 0, 1, 7))
            fix.append((len(flat), min(index + entry[0], len(body))))
            flat.append(entry[1])
    starts.append(len(flat))
    for at, target in fix:
        insn, distance = flat[at], starts[target] - at - 1
        if insn.opcode == JMP32:
            flat[at] = Insn(insn.opcode, imm=distance)
        else:
            flat[at] = Insn(insn.opcode, insn.dst, insn.src, max(distance, 0), insn.imm)
    insns = [*head, *flat, *tail]
    if calls:
        callee = len(insns)
        for at in calls:
            where = len(head) + at
            insns[where] = Insn(OP_CALL, 0, 1, 0, callee - where - 1)
        # Its registers are its arguments; r6 to r9 are its own.
        insns += [Insn(ALU64 | X | 0xB0, 0, 1)]
        insns += [Insn(ALU64 | X | 0xB0, register, register - 5) for register in range(6, 9)]
        insns += [Insn(ALU64 | X | 0xB0, 9, 2)]
        insns += [arithmetic(rng, range(10)) for _ in range(8)]
        insns.append(Insn(OP_EXIT))
    return encode(insns)


def inputs(seed: int) -> bytes:
    """A context: corners and random words."""
    rng = random.Random(seed)
    words = [rng.choice(_CORNERS) & (1 << 64) - 1 if rng.random() < 0.4 else rng.getrandbits(rng.choice((8, 31, 32, 33, 63, 64)))
             for _ in range(CONTEXT_BYTES // 8)]
    return b"".join(word.to_bytes(8, "little") for word in words)
