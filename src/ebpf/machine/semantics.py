"""What each instruction means: one row an operation, as Python source over the names of registers.

This is the machine's definition of eBPF (RFC 9669 and what Linux added). Registers are integers from 0 to 2**64-1. The
translator puts the statements of a whole function behind each other (registers are local variables then), the stepper
runs them one at a time (``r[3]``): one text for both, so that both mean the same.

Placeholders: ``{d}`` and ``{s}`` destination and source register, ``{b}`` the second operand (register, or the
immediate as unsigned 64 or 32 bits), ``{i}`` the immediate as it stands, ``{off}`` the signed offset. Names that the
text uses beyond those are those of `NAMESPACE`, of the address space (``rd``, ``wr``) and, for control flow, of the
translator and the stepper.

Memory is an access through a window (see `ebpf.machine.memory`): ``rd[a >> 24]`` raises KeyError where there is no
window, the buffer's own bounds raise IndexError or struct.error; who runs the text turns these into `MachineFault`.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault
from ebpf.isa import form_of
from ebpf.isa.insn import ALU, ALU64, JMP32, LDX, MODE_IND, STX, X

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ebpf.isa import Insn

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
S32, S64 = 1 << 31, 1 << 63
_TEXT = {"M": f"{M64:#x}", "N": f"{M32:#x}", "S": f"{S64:#x}", "T": f"{S32:#x}"}
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
STACK_BYTES = 512
LOADS = ("ldx", "ldsx", "load_acquire")

# Arithmetic on 64 bits. M, N are masks of 64 and 32 bits, S, T the sign bits: `(x ^ S) - S` is x as a signed number.
ALU64_OPS = {
    "add": "{d} = ({d} + {b}) & M",
    "sub": "{d} = ({d} - {b}) & M",
    "mul": "{d} = ({d} * {b}) & M",
    "div": "{d} = {d} // {b} if {b} else 0",
    "mod": "{d} = {d} % {b} if {b} else {d}",
    "sdiv": "{d} = sdiv({d}, {b}, S, M)",
    "smod": "{d} = smod({d}, {b}, S, M)",
    "or": "{d} |= {b}",
    "and": "{d} &= {b}",
    "xor": "{d} ^= {b}",
    "lsh": "{d} = ({d} << ({b} & 63)) & M",
    "rsh": "{d} >>= {b} & 63",
    "arsh": "{d} = ((({d} ^ S) - S) >> ({b} & 63)) & M",
    "neg": "{d} = -{d} & M",
    "mov": "{d} = {b}",
    "movsx": "{d} = ((({s} & {low}) ^ {sign}) - {sign}) & M",
    "bswap": "{d} = swap({d} & {low}, {bytes})",
}
# On 32 bits: operands are the low halves, the upper half of the result is zero.
ALU32_OPS = {
    "add": "{d} = ({d} + {b}) & N",
    "sub": "{d} = ({d} - {b}) & N",
    "mul": "{d} = ({d} * {b}) & N",
    "div": "{d} = ({d} & N) // {b} if {b} else 0",
    "mod": "{d} = ({d} & N) % {b} if {b} else {d} & N",
    "sdiv": "{d} = sdiv({d} & N, {b}, T, N)",
    "smod": "{d} = smod({d} & N, {b}, T, N)",
    "or": "{d} = ({d} | {b}) & N",
    "and": "{d} &= {b}",
    "xor": "{d} = ({d} ^ {b}) & N",
    "lsh": "{d} = ({d} << ({b} & 31)) & N",
    "rsh": "{d} = ({d} & N) >> ({b} & 31)",
    "arsh": "{d} = (((({d} & N) ^ T) - T) >> ({b} & 31)) & N",
    "neg": "{d} = -{d} & N",
    "mov": "{d} = {b}",
    "movsx": "{d} = ((({s} & {low}) ^ {sign}) - {sign}) & N",
    "le": "{d} &= {low}",
    "be": "{d} = swap({d} & {low}, {bytes})",
}
JUMPS = {
    "jeq": "{d} == {b}", "jne": "{d} != {b}", "jset": "{d} & {b}",
    "jgt": "{d} > {b}", "jge": "{d} >= {b}", "jlt": "{d} < {b}", "jle": "{d} <= {b}",
    "jsgt": "({d} ^ {x}) > ({b} ^ {x})", "jsge": "({d} ^ {x}) >= ({b} ^ {x})",
    "jslt": "({d} ^ {x}) < ({b} ^ {x})", "jsle": "({d} ^ {x}) <= ({b} ^ {x})",
}
# Atomic operations by what becomes of the old value `v`; `w` is the source register cut to the width.
ATOMICS = {"add": "(v + w) & {mask}", "or": "v | w", "and": "v & w", "xor": "v ^ w"}


def sdiv(a: int, b: int, sign: int, mask: int) -> int:
    """Signed division that truncates; x / 0 = 0, INT_MIN / -1 = INT_MIN (RFC 9669 section 4.1)."""
    a, b = (a ^ sign) - sign, (b ^ sign) - sign
    if not b:
        return 0
    quotient = abs(a) // abs(b)
    return (-quotient if (a < 0) != (b < 0) else quotient) & mask


def smod(a: int, b: int, sign: int, mask: int) -> int:
    """Remainder of truncating division: its sign is the dividend's; x % 0 = x, INT_MIN % -1 = 0."""
    a, b = (a ^ sign) - sign, (b ^ sign) - sign
    if not b:
        return a & mask
    remainder = abs(a) % abs(b)
    return (-remainder if a < 0 else remainder) & mask


def swap(value: int, size: int) -> int:
    """``size`` bytes the other way round."""
    return int.from_bytes(value.to_bytes(size, "little"), "big")


def misaligned(address: int, size: int, access: str) -> None:
    """Refuse an access that the kernel demands to be aligned."""
    raise MachineFault(
        f"{access} access of {size} bytes at {address & M64:#x}: the address is not a multiple of {size}",
        address=address & M64,
        access=access,
        size=size,
    )


NAMESPACE: dict[str, object] = {
    "sdiv": sdiv, "smod": smod, "swap": swap, "misaligned": misaligned, "ZEROS": bytes(STACK_BYTES),
    **{f"U{n}": Struct(f"<{c}").unpack_from for n, c in ((2, "H"), (4, "I"), (8, "Q"))},
    **{f"P{n}": Struct(f"<{c}").pack_into for n, c in ((2, "H"), (4, "I"), (8, "Q"))},
}



def _masks(text: str) -> str:
    """M, N, S, T as numbers: a constant is faster than a global name."""
    words = []
    for word in text.replace("(", "( ").replace(")", " )").replace(",", " ,").split(" "):
        words.append(_TEXT.get(word, word))
    return " ".join(words).replace("( ", "(").replace(" )", ")").replace(" ,", ",")


ALU64_OPS = {name: _masks(text) for name, text in ALU64_OPS.items()}
ALU32_OPS = {name: _masks(text) for name, text in ALU32_OPS.items()}


def condition(insn: Insn, op: str, registers: Sequence[str]) -> str:
    """The condition of a conditional jump, as a Python expression."""
    wide = insn.opcode & 7 != JMP32
    d = registers[insn.dst] if wide else f"({registers[insn.dst]} & {M32:#x})"
    if insn.opcode & X:
        b = registers[insn.src] if wide else f"({registers[insn.src]} & {M32:#x})"
        return JUMPS[op].format(d=d, b=b, x=f"{S64 if wide else S32:#x}")
    number = insn.imm & (M64 if wide else M32)
    if op.startswith("js") and op != "jset":
        # The other side of the comparison is known.
        sign = S64 if wide else S32
        return JUMPS[op].replace("({b} ^ {x})", f"{number ^ sign:#x}").format(d=d, x=f"{sign:#x}")
    return JUMPS[op].format(d=d, b=f"{number:#x}")


def statements(insn: Insn, op: str, registers: Sequence[str]) -> list[str]:
    """Python statements for an instruction that is no control flow; ``op`` is the name in its form."""
    cls = insn.opcode & 7
    if cls in (ALU, ALU64):
        return [_arithmetic(insn, op, registers)]
    return _memory(insn, op, registers)


def _arithmetic(insn: Insn, op: str, registers: Sequence[str]) -> str:
    wide = insn.opcode & 7 == ALU64
    d, s = registers[insn.dst], registers[insn.src]
    if op == "addr_space_cast":
        return f"{d} = {s}"  # an arena's memory has one address here (`maps.arena`)
    if op in ("le", "be", "bswap"):
        width = insn.imm
        if width == 64 and op == "le":
            return "pass"
        text = (ALU64_OPS if op == "bswap" else ALU32_OPS)[op]
        return text.format(d=d, low=f"{(1 << width) - 1:#x}", bytes=width // 8)
    table = ALU64_OPS if wide else ALU32_OPS
    if op == "movsx":
        return table[op].format(d=d, s=s, low=f"{(1 << insn.off) - 1:#x}", sign=f"{1 << (insn.off - 1):#x}")
    if insn.opcode & X and op != "neg":
        b = s if wide else f"({s} & {M32:#x})"
    elif op in ("add", "sub", "lsh", "rsh", "arsh"):
        b = f"({insn.imm})" if insn.imm < 0 else str(insn.imm)
        if op in ("lsh", "rsh", "arsh"):
            return (
                table[op]
                .replace("({b} & 63)", str(insn.imm & 63))
                .replace("({b} & 31)", str(insn.imm & 31))
                .replace("{b} & 63", str(insn.imm & 63))
                .format(d=d)
            )
    else:
        b = f"{insn.imm & (M64 if wide else M32):#x}"
        if op in ("div", "mod"):  # by a constant: no test for zero
            zero = {"div": "0", "mod": d if wide else f"{d} & {M32:#x}"}[op]
            low = d if wide else f"({d} & {M32:#x})"
            return f"{d} = {zero}" if not insn.imm else f"{d} = {low} {'//' if op == 'div' else '%'} {b}"
    return table[op].format(d=d, b=b)


def _plus(register: str, off: int) -> str:
    return register if not off else f"{register} + {off}" if off > 0 else f"{register} - {-off}"


def _in_frame(base: int, off: int, size: int) -> bool:
    return base == 10 and -STACK_BYTES <= off and off + size <= 0


def _memory(insn: Insn, op: str, registers: Sequence[str]) -> list[str]:
    cls, size, off = insn.opcode & 7, SIZES[insn.opcode & 0x18], insn.off
    d, s = registers[insn.dst], registers[insn.src]
    mask = (1 << size * 8) - 1
    reads = cls == LDX or op == "load_acquire"
    base = insn.src if reads else insn.dst
    known = _in_frame(base, off, size)
    before = []
    if known:
        if off % size:
            return [f"misaligned({registers[10]} - {-off}, {size}, 'stack')"]
        read, write, at = "stack", "stack", str(STACK_BYTES + off)
    else:
        before = [f"a = {_plus(registers[base], off)}"]
        read, write, at = "rd[a >> 24]", "wr[a >> 24]", "a & 0xffffff"
    if op in ("ldx", "ldsx", "load_acquire"):
        if op == "load_acquire" and not known and size > 1:
            before.append(f"if a & {size - 1}: misaligned(a, {size}, 'atomic')")
        value = f"{read}[{at}]" if size == 1 else f"U{size}({read}, {at})[0]"
        if op == "ldsx":
            sign = 1 << size * 8 - 1
            value = f"(({value} ^ {sign:#x}) - {sign:#x}) & {M64:#x}"
        return [*before, f"{d} = {value}"]
    if op in ("st", "stx", "store_release"):
        if op == "st":
            value = f"{insn.imm & mask:#x}"
        else:
            value = s if size == 8 else f"{s} & {mask:#x}"
        if op == "store_release" and not known and size > 1:
            before.append(f"if a & {size - 1}: misaligned(a, {size}, 'atomic')")
        return [*before, f"{write}[{at}] = {value}" if size == 1 else f"P{size}({write}, {at}, {value})"]
    assert cls == STX
    if not known:
        before.append(f"if a & {size - 1}: misaligned(a, {size}, 'atomic')")
    lines = [*before, f"v = U{size}({read}, {at})[0]", f"w = {s}" if size == 8 else f"w = {s} & {mask:#x}"]
    if op == "xchg":
        return [*lines, f"P{size}({write}, {at}, w)", f"{s} = v"]
    if op == "cmpxchg":
        r0 = registers[0]
        expected = r0 if size == 8 else f"({r0} & {mask:#x})"
        # The place is written in either case, as the processor's instruction does: it must be writable.
        return [*lines, f"P{size}({write}, {at}, w if v == {expected} else v)", f"{r0} = v"]
    fetch = op.startswith("atomic_fetch_")
    new = ATOMICS[op.rpartition("_")[2]].format(mask=f"{mask:#x}")
    lines.append(f"P{size}({write}, {at}, {new})")
    return [*lines, f"{s} = v"] if fetch else lines


def quiet_load(insn: Insn, op: str, registers: Sequence[str]) -> str:
    """A load through a pointer to a kernel's object: 0 where nothing can be read."""
    size = SIZES[insn.opcode & 0x18]
    return f"{registers[insn.dst]} = quiet_load({_plus(registers[insn.src], insn.off)}, {size}, {op == 'ldsx'})"


def packet_load(insn: Insn, registers: Sequence[str]) -> str:
    """The expression for a legacy packet load: None if the packet is too short (the program then ends with 0)."""
    size = SIZES[insn.opcode & 0x18]
    at = str(insn.imm)
    if insn.opcode & 0xE0 == MODE_IND:
        at = f"{at} + {registers[insn.src]}"
    return f"load_packet({at}, {size})"


def operation(insn: Insn) -> str:
    """The instruction's operation, by the names of `ebpf.isa.forms`."""
    name: str = form_of(insn).op
    return name
