"""A program as the machine holds it: instructions by slot, its functions, what its wide loads stand for."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING

from ebpf.errors import InsnError
from ebpf.isa import decode, iter_slots
from ebpf.isa.insn import OP_CALL, OP_LDDW, PSEUDO_CALL, PSEUDO_FUNC
from ebpf.machine.memory import SHIFT
from ebpf.machine.semantics import JUMPS, operation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ebpf.btf.ext import LineInfo
    from ebpf.isa import Insn


@lru_cache(maxsize=64)
def _read(code: bytes) -> tuple[Mapping[int, Insn], Mapping[int, str]]:
    """Instructions and what each does, by slot. Tests load the same program into one machine after the other."""
    insns = dict(iter_slots(decode(code)))
    return insns, {slot: operation(insn) for slot, insn in insns.items()}


class Image:
    """Finished instructions. ``wide`` gives the value of wide loads that are no plain constants, ``kfuncs`` the names
    of the kernel functions that are called, both by slot.

    ``window`` is where its code has addresses: function pointers are ``window << 24 | slot * 8``; nothing can be read
    there. ``starts`` are the slots at which functions begin, ascending. Raises `InsnError` for bytes that are no
    instructions, and for jumps and calls that lead nowhere: everything else is a matter of the verifier, or faults when
    it is reached.
    """

    __slots__ = ("insns", "kfuncs", "lines", "name", "names", "ops", "quiet", "size", "starts", "wide", "window")

    def __init__(self, code: bytes, *, name: str = "program", window: int = 0, wide: Mapping[int, int] | None = None,
                 names: Sequence[tuple[int, str]] = (), lines: Sequence[LineInfo] = (),
                 kfuncs: Mapping[int, str] | None = None) -> None:
        self.name = name
        #: slots of loads through pointers to a kernel's objects: 0 where nothing can be read, as in a kernel
        self.quiet: frozenset[int] = frozenset()
        self.window = window
        self.wide = dict(wide or {})
        self.kfuncs = dict(kfuncs or {})
        self.names = tuple(names) or ((0, name),)
        self.lines = tuple(lines)
        self.insns, self.ops = _read(bytes(code))
        self.size = len(code) // 8
        if not self.insns:
            raise InsnError("there are no instructions", offset=0)
        starts = {0, *(slot for slot, _ in self.names)}
        for slot, insn in self.insns.items():
            if insn.opcode == OP_CALL and insn.src == PSEUDO_CALL:
                starts.add(self._checked(slot, slot + 1 + insn.imm, "call"))
            elif insn.opcode == OP_LDDW and insn.src == PSEUDO_FUNC:
                starts.add(self._checked(slot, self.function_target(slot), "function address"))
        self.starts = sorted(starts)
        for slot, insn in self.insns.items():
            for target in self.jump_targets(slot, insn):
                self._checked(slot, target, "jump")
                if self.function_start(target) != self.function_start(slot):
                    raise InsnError(
                        f"the jump at slot {slot} goes to slot {target}, into another function", offset=slot * 8
                    )

    def _checked(self, slot: int, target: int, what: str) -> int:
        if target not in self.insns:
            raise InsnError(f"the {what} at slot {slot} goes to slot {target}, where no instruction starts",
                            offset=slot * 8)
        return target

    def function_target(self, slot: int) -> int:
        """The slot whose address the wide load at ``slot`` gives."""
        low = self.insns[slot].imm & 0xFFFFFFFF
        return slot + 1 + (low - (1 << 32) if low >> 31 else low)

    def jump_targets(self, slot: int, insn: Insn) -> tuple[int, ...]:
        """Where a jump (conditional or not) at ``slot`` may lead, besides to the next instruction."""
        op = self.ops[slot]
        if op in JUMPS or op == "may_goto":
            return (slot + 1 + insn.off,)
        if op == "ja":
            return (slot + 1 + (insn.imm if insn.opcode & 7 == 6 else insn.off),)
        return ()

    def function_start(self, slot: int) -> int:
        """The first slot of the function that ``slot`` belongs to."""
        return self.starts[bisect_right(self.starts, slot) - 1]

    def function_name(self, slot: int) -> str:
        """The name of the function that ``slot`` belongs to."""
        return max((row for row in self.names if row[0] <= slot), default=(0, self.name))[1]

    def address_of(self, slot: int) -> int:
        """The address of the function that starts at ``slot``."""
        return self.window << SHIFT | slot * 8

    def constant(self, slot: int) -> int:
        """The 64 bits that the wide load at ``slot`` gives."""
        insn = self.insns[slot]
        if slot in self.wide:
            return self.wide[slot]
        if insn.src == PSEUDO_FUNC:
            return self.address_of(self.function_target(slot))
        if insn.src:
            raise InsnError(
                f"the wide load at slot {slot} refers to something (kind {insn.src}) that nobody has filled in",
                offset=slot * 8,
            )
        return insn.imm

    def line_of(self, slot: int) -> LineInfo | None:
        """The source line that ``slot`` comes from, if the object says."""
        found = None
        for line in self.lines:
            if line.insn_off > slot:
                break
            found = line
        return found
