"""What the verifier knows of each register before each instruction, on all the ways that lead there taken together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ebpf.verifier.explore import Explorer
from ebpf.verifier.options import Options
from ebpf.verifier.prepare import link_for, prepare
from ebpf.verifier.program import CALL, CALL_KFUNC, CALL_LOCAL, LOAD, MOV_K, MOV_X, STORE_X, WIDE
from ebpf.verifier.ranges import includes, union
from ebpf.verifier.refuse import Refuse
from ebpf.verifier.values import Scalar, Value, describe
from ebpf.verifier.verdict import _explore

if TYPE_CHECKING:
    from ebpf.btf import Btf
    from ebpf.object import Object
    from ebpf.verifier.program import Program
    from ebpf.verifier.ranges import Range

_SHOWN = 3  # kinds of values that are told apart


class Known:
    """Of one register before one instruction: numbers out of ``range`` (``None``: never a number), or one of
    ``pointers`` (in words), or nothing at all (``unset``).
    """

    __slots__ = ("loose", "pointers", "range", "unset")

    def __init__(self) -> None:
        self.range: Range | None = None
        self.pointers: list[str] = []
        self.unset = False
        #: the verifier did not look at all values: what this holds makes no difference to safety
        self.loose = False

    def add(self, value: Value | None) -> None:
        """One way more on which the register holds ``value``."""
        if value is None:
            self.unset = True
        elif isinstance(value, Scalar):
            self.range = value.range if self.range is None else union(self.range, value.range)
        elif (words := describe(value)) not in self.pointers:
            self.pointers.append(words)

    def allows(self, value: int) -> bool:
        """Whether a register that holds a number may hold this one. Of pointers' values the verifier knows nothing."""
        return self.loose or bool(self.pointers) or self.unset or self.range is None or self.range.contains(value)

    def __str__(self) -> str:
        words = []
        if self.range is not None:
            words.append(f"{self.range!r}" if self.range.is_const else f"a number ({self.range!r})")
        words += self.pointers[:_SHOWN]
        if len(self.pointers) > _SHOWN:
            words.append("…")
        if self.unset:
            words.append("unset")
        return " or ".join(words) + (" or other, which does not matter" if self.loose else "")


class _Explorer(Explorer):
    """Remembers what it held where a way ended because an earlier one covers it."""

    def __init__(self, program: Program, options: Options) -> None:
        super().__init__(program, options)
        self.ended: list[tuple[int, list[Value | None]]] = []
        self.went_on: dict[int, list[list[Value | None]]] = {}

    def _visit_join(self, slot: int) -> int:
        held = list(self.regs)
        found = super()._visit_join(slot)
        if found < 0:
            self.ended.append((slot, held))
        else:
            self.went_on.setdefault(slot, []).append(held)
        return found


class _Watch(bytearray):
    """`Explorer.visited`, which is written before each instruction: then its registers are noted."""

    explorer: Explorer
    known: dict[int, list[Known]]

    def __setitem__(self, slot: object, value: object) -> None:
        super().__setitem__(slot, value)  # type: ignore[call-overload]
        assert isinstance(slot, int)
        row = self.known.get(slot)
        if row is None:
            row = self.known[slot] = [Known() for _ in range(11)]
        for known, held in zip(row, self.explorer.regs, strict=False):
            known.add(held)


def what_is_known(obj: Object, program: str, btf: Btf | None) -> dict[int, list[Known]]:
    """By slot the eleven registers; slots that no way reaches are missing. Of a program that is refused: as far as the
    verifier came."""
    known: dict[int, list[Known]] = {}
    options = Options(kernel_btf=btf)
    prepared = prepare(obj, program, link_for(obj, program, options), options)
    for way in (options, options._replace(unroll=True, max_insns=100_000)):
        explorer = _Explorer(prepared, way)
        watch = _Watch(explorer.visited)
        watch.explorer, watch.known = explorer, known
        explorer.visited = watch
        try:
            _explore(explorer, time.perf_counter())
            _loosen(explorer, known)
            break
        except Refuse:
            if not explorer.proved:
                break
    return known


_STACK = 1 << 11  # among the bits of registers: something on the stack


def _loosen(explorer: _Explorer, known: dict[int, list[Known]]) -> None:
    """A way may end where an earlier one covers it in all that matters; in what does not, it may differ from there on,
    and so may whatever is made of that.
    """
    program = explorer.program
    work: list[tuple[int, int]] = []
    for slot, held in explorer.ended:
        bits = _STACK  # stacks were compared in what matters, too
        for n, value in enumerate(held):
            # Which of the ways that went on covers this one is not known: all of them have to.
            if not all(_covers(other[n], value) for other in explorer.went_on.get(slot, ())):
                bits |= 1 << n
        work.append((slot, bits))
    seen: dict[int, int] = {}
    while work:
        slot, bits = work.pop()
        if bits & ~seen.get(slot, 0) == 0:
            continue
        bits = seen[slot] = seen.get(slot, 0) | bits
        for n, one in enumerate(known.get(slot, ())):
            one.loose = one.loose or bool(bits >> n & 1)
        kind, dst, src, _, imm, _ = program.ops[slot]
        if kind == STORE_X:
            bits |= _STACK if src >= 0 and bits >> src & 1 else 0
        elif kind in (MOV_K, WIDE):
            bits &= ~(1 << dst)
        elif kind == LOAD:
            bits = bits | 1 << dst if bits & (_STACK | 1 << src) else bits & ~(1 << dst)
        elif kind == MOV_X:
            bits = bits | 1 << dst if bits >> src & 1 else bits & ~(1 << dst)
        elif kind in (CALL, CALL_KFUNC, CALL_LOCAL):
            if kind == CALL_LOCAL:
                work.append((slot + 1 + imm, bits & (_STACK | 0b111110)))
            bits |= 1 if bits else 0  # what it was given may be such a value
        elif src >= 0 and bits >> src & 1:
            bits |= 1 << dst
        work += [(after, bits) for after in program.successors[slot]]


def _covers(other: Value | None, value: Value | None) -> bool:
    if isinstance(value, Scalar) and isinstance(other, Scalar):
        return includes(other.range, value.range)
    return describe(other) == describe(value)
