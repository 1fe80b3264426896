"""Bytes ↔ instructions, strictly: whatever `decode` accepts, `encode` gives back unchanged.

Little-endian only (the `bpfel` target): the byte order of every machine that this package loads programs on.
"""

from __future__ import annotations

from struct import Struct, iter_unpack, unpack

from ebpf.errors import InsnError
from ebpf.isa.forms import BY_OPCODE, DST, IMM, OFF, SRC
from ebpf.isa.insn import OP_LDDW, SLOT_BYTES, Insn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ebpf.isa.forms import Form

_SLOT = Struct("<BBhi")
_WIDE = Struct("<BBhIII")

# Register fields are four bits wide, registers end at r10 (RFC 9669 section 2).
_BAD_REGISTERS = frozenset(b for b in range(256) if b & 15 > 10 or b >> 4 > 10)


def decode(code: bytes | bytearray | memoryview, *, translated: bool = False) -> list[Insn]:
    """The instructions in ``code``.

    ``translated`` also takes the forms that only the kernel makes (dumps of loaded programs contain them).
    Raises `InsnError` with the byte offset for an unknown opcode, a reserved field that is not zero, a register
    above r10, a wide load without its second slot, or a length that is not a multiple of 8.
    """
    if len(code) % SLOT_BYTES:
        raise InsnError(f"code ends within an instruction: {len(code)} bytes are not a multiple of 8",
                        offset=len(code) - len(code) % SLOT_BYTES)
    words = unpack(f"<{len(code) // SLOT_BYTES}Q", code)
    insns: list[Insn] = []
    append = insns.append
    by_opcode, bad = BY_OPCODE, _BAD_REGISTERS
    low = -1  # slot of a wide load whose second slot comes next
    slot = -1
    for opcode, regs, off, imm in iter_unpack("<BBhi", code):
        slot += 1
        if low >= 0:
            append(_decode_wide(words, low, translated))
            low = -1
            continue
        if opcode == OP_LDDW:
            low = slot
            continue
        word = words[slot]
        for mask, match, form in by_opcode[opcode]:
            if word & mask == match and (translated or not form.internal):
                break
        else:
            raise _refusal(word, slot)
        if regs in bad:
            raise _refusal(word, slot)
        append(Insn(opcode, regs & 15, regs >> 4, off, imm))
    if low >= 0:
        raise InsnError("code ends within a wide load: its second slot is missing", offset=low * SLOT_BYTES)
    return insns


def _decode_wide(words: tuple[int, ...], slot: int, translated: bool) -> Insn:
    word, high = words[slot], words[slot + 1]
    if high & ~IMM:
        raise InsnError(f"the second slot of a wide load must be zero but for its immediate, found {_hex(high)}",
                        offset=(slot + 1) * SLOT_BYTES)
    for mask, match, form in BY_OPCODE[OP_LDDW]:
        if word & mask == match and (form.high or not high) and (translated or not form.internal):
            break
    else:
        raise _refusal(word, slot, high)
    if word >> 8 & 255 in _BAD_REGISTERS:
        raise _refusal(word, slot)
    return Insn(OP_LDDW, word >> 8 & 15, word >> 12 & 15, 0, word >> 32 | high & IMM)


def encode(insns: Iterable[Insn]) -> bytes:
    """The bytes of ``insns``. Raises `InsnError` where `decode` would, or where a field does not fit."""
    out = bytearray()
    pack = _SLOT.pack
    for insn in insns:
        opcode, imm = insn.opcode, insn.imm
        try:
            regs = insn.dst | insn.src << 4
            if insn.dst > 15:
                raise InsnError(f"{insn!r}: there is no register r{insn.dst}", offset=len(out))
            if opcode == OP_LDDW:
                raw = _WIDE.pack(opcode, regs, insn.off, imm & 0xFFFFFFFF, 0, imm >> 32)
            else:
                raw = pack(opcode, regs, insn.off, imm)
        except Exception as error:  # struct.error; importing its name would cost more than it says
            if isinstance(error, InsnError):
                raise
            raise InsnError(f"{insn!r}: a field does not fit ({error})", offset=len(out)) from None
        word = int.from_bytes(raw[:8], "little")
        high = imm >> 32 if opcode == OP_LDDW else 0
        for mask, match, form in BY_OPCODE[opcode]:
            if word & mask == match and (form.high or not high):
                break
        else:
            raise _refusal(word, len(out) // SLOT_BYTES, high)
        if regs in _BAD_REGISTERS:
            raise _refusal(word, len(out) // SLOT_BYTES)
        out += raw
    return bytes(out)


def form_of(insn: Insn) -> Form:
    """The row of the table that ``insn`` is an instance of; raises `InsnError` if there is none."""
    imm = insn.imm
    word = (insn.opcode | insn.dst << 8 | insn.src << 12 | (insn.off & 0xFFFF) << 16 | (imm & 0xFFFFFFFF) << 32)
    high = imm >> 32 if insn.opcode == OP_LDDW else 0
    for mask, match, form in BY_OPCODE[insn.opcode]:
        if word & mask == match and (form.high or not high):
            return form
    raise _refusal(word, None, high)


def iter_slots(insns: Iterable[Insn]) -> Iterator[tuple[int, Insn]]:
    """Each instruction with its slot number: what jump distances, calls and the verifier's log count in."""
    slot = 0
    for insn in insns:
        yield slot, insn
        slot += 2 if insn.opcode == OP_LDDW else 1


def _hex(word: int) -> str:
    return word.to_bytes(8, "little").hex(" ")


def _refusal(word: int, slot: int | None, high: int = 0) -> InsnError:
    """Why ``word`` is no instruction: the words for a decision that the table has made already."""
    opcode = word & 0xFF
    rows = BY_OPCODE[opcode]
    if not rows:
        why = f"unknown opcode 0x{opcode:02x}"
    elif any(word & mask == match and (form.high or not high) for mask, match, form in rows) and (
            word >> 8 & 255 in _BAD_REGISTERS):
        why = f"there is no register r{max(word >> 8 & 15, word >> 12 & 15)} (registers end at r10)"
    elif any(word & mask == match and form.internal for mask, match, form in rows):
        why = f"opcode 0x{opcode:02x} in this form is made by the kernel only"
    elif any(word & mask == match for mask, match, form in rows):
        why = "the second immediate of this wide load must be zero"
    else:
        # The form with the fewest fields in disagreement is the one that was probably meant.
        names = ((DST, "dst"), (SRC, "src"), (OFF, "off"), (IMM, "imm"))
        wrong = min(([name for field, name in names if (word ^ match) & mask & field] for mask, match, _ in rows),
                    key=len)
        why = f"opcode 0x{opcode:02x} with an unexpected {' and '.join(wrong)}"
    return InsnError(f"{why} in instruction {_hex(word)}", offset=None if slot is None else slot * SLOT_BYTES,
                     notes=() if slot is None else (f"byte {slot * SLOT_BYTES} of the code, slot {slot}",))
