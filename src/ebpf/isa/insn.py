"""One BPF instruction, and the numbers that name its parts (RFC 9669 sections 3 to 5)."""

from __future__ import annotations

SLOT_BYTES = 8

# Classes: the low three bits of the opcode.
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)

# Source operand of arithmetic and jumps: immediate or register.
K, X = 0x00, 0x08

# Sizes and modes of loads and stores.
W, H, B, DW = 0x00, 0x08, 0x10, 0x18
MODE_IMM, MODE_ABS, MODE_IND, MODE_MEM, MODE_MEMSX, MODE_ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0

OP_CALL = JMP | 0x80
OP_CALLX = JMP | X | 0x80
OP_EXIT = JMP | 0x90
OP_LDDW = LD | MODE_IMM | DW

# `src` of a wide load: what its 64 bits stand for until the kernel replaces them.
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE = range(1, 7)

# `src` of a call: a helper's number, an instruction offset, or a kernel function's BTF id.
PSEUDO_CALL, PSEUDO_KFUNC_CALL = 1, 2

# `imm` of atomic operations (RFC 9669 section 5.3; the last two are Linux 6.15's).
ATOMIC_FETCH, ATOMIC_XCHG, ATOMIC_CMPXCHG = 0x01, 0xE1, 0xF1
ATOMIC_LOAD_ACQ, ATOMIC_STORE_REL = 0x100, 0x110


class Insn:
    """One instruction. Treat it as immutable.

    ``off`` is signed 16 bits, ``imm`` signed 32 bits; a wide load (opcode 0x18) occupies two slots and its ``imm`` is
    the unsigned 64-bit value whose low half stands in the first slot.
    """

    # A plain slotted class: 140 ns to make, against 400 ns for a frozen dataclass; programs have tens of thousands.
    __slots__ = ("dst", "imm", "off", "opcode", "src")

    def __init__(self, opcode: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> None:
        self.opcode = opcode
        self.dst = dst
        self.src = src
        self.off = off
        self.imm = imm

    @property
    def slots(self) -> int:
        """How many 8-byte slots the instruction occupies: 2 for a wide load, else 1."""
        return 2 if self.opcode == OP_LDDW else 1

    def _key(self) -> tuple[int, int, int, int, int]:
        return self.opcode, self.dst, self.src, self.off, self.imm

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Insn) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Insn(0x{self.opcode:02x}, dst={self.dst}, src={self.src}, off={self.off}, imm={self.imm})"

    def __str__(self) -> str:
        from ebpf.isa.text import format_insn

        return format_insn(self)
