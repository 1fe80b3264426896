"""Which registers hold a place in memory that LLVM can be told of: worked out once per function, before it is lifted.

LLVM knows little of an address that went through an integer. So a register that certainly points into the stack frame,
the block that r1 leads to, the packet, or a map's value that the code names is kept as an *offset* from that base, and
an access becomes ``getelementptr base, offset``: the frame dissolves into registers, loops over memory can be
vectorised. The pair says exactly what the register says (base + offset, modulo 2**64), so a base that was guessed
wrongly costs speed, never correctness.

A base is a tuple: ``("stack",)``, ``("arg",)``, ``("value", map's name)``, ``("loaded", slot)`` (what the load or
call at that slot gave), ``("function", slot)``; None: the register is just a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ebpf.isa import Insn

Base = tuple[object, ...] | None
Bases = tuple[Base, ...]

STACK: Base = ("stack",)
ARG: Base = ("arg",)
UNKNOWN: Bases = (*(None,) * 10, STACK)


class Rules:
    """The rules; ``loaded(slot)`` says whether what that slot gives is worth a base of its own, ``named(slot)`` gives
    the base that a wide load names."""

    def __init__(self, insns: dict[int, Insn], ops: dict[int, str], loaded: Callable[[int], bool],
                 named: Callable[[int], Base]) -> None:
        self.insns = insns
        self.ops = ops
        self.loaded = loaded
        self.named = named
        self.known: dict[int, Bases] = {}  #: after `solve`: the bases after each instruction

    def after(self, before: Bases, slot: int) -> Bases:
        """The bases after the instruction at ``slot``."""
        insn, op = self.insns[slot], self.ops[slot]
        cls = insn.opcode & 7
        if cls in (4, 7):
            base = self._arithmetic(before, insn, op)
            return before if base == before[insn.dst] else (*before[:insn.dst], base, *before[insn.dst + 1:])
        if op in ("st", "stx") or cls in (5, 6) and not op.startswith("call"):
            return before
        now = list(before)
        if op in ("ldx", "ldsx", "load_acquire"):
            self._gives(now, insn.dst, slot)
        elif op == "lddw":
            now[insn.dst] = self.named(slot)
        elif op.startswith("atomic_fetch") or op == "xchg":
            now[insn.src] = None
        elif op == "cmpxchg":
            now[0] = None
        elif op.startswith("call") or op in ("ld_abs", "ld_ind"):
            now[1:6] = [None] * 5
            self._gives(now, 0, slot)
        return tuple(now)

    def _gives(self, now: list[Base], register: int, slot: int) -> None:
        base: Base = ("loaded", slot)
        for n, other in enumerate(now):
            if other == base:  # this base is about to move: who was relative to where it was becomes a number
                now[n] = None
        now[register] = base if self.loaded(slot) else None

    def _arithmetic(self, before: Bases, insn: Insn, op: str) -> Base:
        mine, register = before[insn.dst], insn.opcode & 8
        other = before[insn.src] if register else None
        if insn.opcode & 7 != 7:
            return None
        if op == "mov":
            return other
        if op == "add":
            return None if mine and other else mine or other
        if op == "sub":
            return mine if mine and not other else None
        return None

    def solve(self, entry: int, start: Bases, ways: Callable[[int], Iterable[int]],
              blocks: dict[int, list[int]]) -> dict[int, Bases]:
        """The bases at each block's head: ``blocks`` are the slots by head, ``ways(last slot)`` is where it leads."""
        found: dict[int, Bases] = {entry: start}
        known_after = self.known
        work = [entry]
        while work:
            head = work.pop()
            bases = found[head]
            last = head
            for slot in blocks[head]:
                bases = known_after[slot] = self.after(bases, slot)
                last = slot
            for target in ways(last):
                if target not in blocks:
                    continue
                known = found.get(target)
                joined = bases if known is None or known == bases else tuple(
                    a if a == b else None for a, b in zip(bases, known, strict=True))
                if joined != known:
                    found[target] = joined
                    work.append(target)
        return found
