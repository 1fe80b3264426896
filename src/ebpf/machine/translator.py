"""Instructions → Python functions, one for each function of the program.

Python has no goto, so a function becomes one loop around a tree of tests that finds the block to run next. Blocks with
a single way in are nested into the block that leads to them, and a block that jumps back to itself becomes a loop of
its own: most programs hardly ever pass the tree. Every line of the text belongs to one instruction
(`Translated.slots`), and registers are local variables: when an access faults, the traceback says which instruction it
was and what the registers held, at no cost before.

Measured (2-core Zen 5, CPython 3.11): 30 to 45 ns per instruction in loops, 100 to 170 in long programs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from ebpf.errors import InsnError, NotSupported
from ebpf.isa.insn import SLOT_BYTES
from ebpf.machine.semantics import (
    JUMPS,
    LOADS,
    NAMESPACE,
    STACK_BYTES,
    condition,
    packet_load,
    quiet_load,
    statements,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from ebpf.machine.environment import Environment
    from ebpf.machine.image import Image

REGISTERS = tuple(f"r{n}" for n in range(11))
MAX_NESTING = 12  # blocks within blocks; Python's parser allows 100 levels of indentation
PROLOGUE = -1  # in `Translated.slots`: a line that belongs to a function's entry

_GOTO = "goto"


class Translated:
    """One program in Python: ``entry(depth, r1 … r5) -> r0``, and the slot that each line of ``source`` belongs to."""

    __slots__ = ("entry", "functions", "image", "slots", "source")

    def __init__(self, image: Image, source: str, slots: list[int], functions: dict[int, Callable[..., int]]) -> None:
        self.image = image
        self.source = source
        self.slots = slots
        self.functions = functions
        self.entry = functions[0]


def translate(image: Image, environment: Environment, *, metered: bool = False) -> Translated:
    """The program as Python functions that work on ``environment``.

    ``metered``: every jump backwards takes one from ``environment.fuel``; the program stops with a fault when none is
    left.
    """
    lines: list[str] = []
    slots: list[int] = [PROLOGUE]
    for start in image.starts:
        function = _Function(image, environment, start, metered)
        for text, slot in function.emit():
            lines.append(text)
            slots.append(slot)
    source = "\n".join(lines) + "\n"
    namespace = {**NAMESPACE, **environment.namespace()}
    exec(_compiled(source, file_name(image)), namespace)
    functions = {start: namespace[f"f{start}"] for start in image.starts}
    for start, made in functions.items():
        environment.functions[image.address_of(start)] = made  # type: ignore[assignment]
    return Translated(image, source, slots, functions)  # type: ignore[arg-type]


@lru_cache(maxsize=64)
def _compiled(source: str, name: str) -> CodeType:
    """Python's compiler takes most of the time; tests load the same program into one machine after the other."""
    return compile(source, name, "exec")


def file_name(image: Image) -> str:
    """What tracebacks call the file of a translated program."""
    return f"<bpf {image.name} {image.window:x}>"


class _Function:
    """One function on its way to Python."""

    def __init__(self, image: Image, environment: Environment, start: int, metered: bool) -> None:
        self.image = image
        self.environment = environment
        self.start = start
        self.end = next((s for s in image.starts if s > start), image.size)
        self.metered = metered
        self.ways_in = self._count_ways()
        self.heads: dict[int, int] = {start: 0}  # slot → number of the block
        self.order = [start]  # the same by number
        self.bodies: list[list[tuple[int, str, int]]] = []  # (indentation, text, slot)
        self.body: list[tuple[int, str, int]] = []
        self.uses_stack = any(10 in (i.dst, i.src) for s, i in image.insns.items() if start <= s < self.end)
        self.uses_may_goto = any(image.ops[s] == "may_goto" for s in image.insns if start <= s < self.end)

    def _count_ways(self) -> dict[int, int]:
        ways: dict[int, int] = {self.start: 1}
        for slot, insn in self.image.insns.items():
            if self.start <= slot < self.end:
                op = self.image.ops[slot]
                for target in self.image.jump_targets(slot, insn):
                    ways[target] = ways.get(target, 0) + 1
                if op not in ("ja", "exit", "gotox"):
                    ways[slot + insn.slots] = ways.get(slot + insn.slots, 0) + 1
        return ways

    def emit(self) -> list[tuple[str, int]]:
        """The function's text, line by line, with the slot of each."""
        for slot in self.order:  # grows meanwhile
            self.body = []
            self._block(slot, 0)
            self.bodies.append(self.body)
        out: list[tuple[str, int]] = [(f"def f{self.start}(depth, r1, r2=0, r3=0, r4=0, r5=0):", PROLOGUE),
                                      (" r0 = r6 = r7 = r8 = r9 = 0", PROLOGUE)]
        if self.uses_stack:
            out += [
                (" stack = frames[depth]", PROLOGUE),
                (" stack[:] = ZEROS", PROLOGUE),
                (" r10 = tops[depth]", PROLOGUE),
            ]
        else:
            out += [(" r10 = tops[depth]", PROLOGUE)]
        if self.uses_may_goto:
            out.append((f" budget = {self.environment.may_goto_budget}", PROLOGUE))
        if len(self.bodies) == 1 and not any(text is _GOTO for _, text, _ in self.bodies[0]):
            out += [(" " * (indent + 1) + text, slot) for indent, text, slot in self.bodies[0]]
            return out
        if len(self.bodies) > 1:
            out += [(" b = 0", PROLOGUE), (" while True:", PROLOGUE)]
            self._tree(out, 0, len(self.bodies), 2)
        else:
            self._leaf(out, 0, 1)
        return out

    def _tree(self, out: list[tuple[str, int]], low: int, high: int, indent: int) -> None:
        if high - low == 1:
            self._leaf(out, low, indent)
            return
        # The entry runs once: it stands apart, so that the tree is balanced for the rest.
        middle = (low + high) // 2
        out.append((" " * indent + f"if b < {middle}:", PROLOGUE))
        self._tree(out, low, middle, indent + 1)
        out.append((" " * indent + "else:", PROLOGUE))
        self._tree(out, middle, high, indent + 1)

    def _leaf(self, out: list[tuple[str, int]], number: int, indent: int) -> None:
        body = self.bodies[number]
        own_loop = any(text is _GOTO and self.heads[target] == number for _, text, target in body if text is _GOTO)
        if own_loop:
            out.append((" " * indent + "while True:", PROLOGUE))
            indent += 1
        for depth, text, slot in body:
            if text is not _GOTO:
                out.append((" " * (indent + depth) + text, slot))
                continue
            target = self.heads[slot]
            if own_loop and target == number:
                out.append((" " * (indent + depth) + "continue", slot))
            else:
                out.append((" " * (indent + depth) + f"b = {target}; {'break' if own_loop else 'continue'}", slot))

    # ---- blocks ----

    def _line(self, indent: int, text: str, slot: int) -> None:
        self.body.append((indent, text, slot))

    def _go(self, origin: int, target: int, indent: int) -> None:
        """Continue at ``target``: here, if nobody else comes there, else by way of the tree."""
        if target not in self.image.insns or target >= self.end:
            self._line(indent, f"runs_off({origin})", origin)
            return
        if self.ways_in.get(target) == 1 and indent < MAX_NESTING and target not in self.heads:
            self._block(target, indent)
            return
        if self.metered and target <= origin:
            self._line(indent, "fuel[0] -= 1", origin)
            self._line(indent, "if fuel[0] < 0: exhausted()", origin)
        if target not in self.heads:
            self.heads[target] = len(self.order)
            self.order.append(target)
        self._line(indent, _GOTO, target)

    def _block(self, slot: int, indent: int) -> None:
        image = self.image
        while True:
            insn, op = image.insns[slot], image.ops[slot]
            after = slot + insn.slots
            if op in JUMPS:
                self._line(indent, f"if {condition(insn, op, REGISTERS)}:", slot)
                self._go(slot, image.jump_targets(slot, insn)[0], indent + 1)
            elif op == "may_goto":
                self._line(indent, "if not budget:", slot)
                self._go(slot, image.jump_targets(slot, insn)[0], indent + 1)
                self._line(indent, "budget -= 1", slot)
            elif op == "ja":
                self._go(slot, image.jump_targets(slot, insn)[0], indent)
                return
            elif op == "exit":
                self._line(indent, "return r0", slot)
                return
            elif op == "lddw":
                self._line(indent, f"r{insn.dst} = {image.constant(slot):#x}", slot)
            elif op in ("ld_abs", "ld_ind"):
                self._line(indent, f"r0 = {packet_load(insn, REGISTERS)}", slot)
                self._line(indent, "if r0 is None: return 0", slot)
            elif op == "call":
                for text in self.environment.call_text(insn.imm):
                    self._line(indent, text, slot)
            elif op == "call_local":
                self._line(indent, f"r0 = f{slot + 1 + insn.imm}(depth + 1, r1, r2, r3, r4, r5)", slot)
            elif op == "callx":
                self._line(indent, f"r0 = function(r{insn.dst})(depth + 1, r1, r2, r3, r4, r5)", slot)
            elif op == "call_kfunc":
                self._line(indent, self.environment.kfunc_text(image.kfuncs.get(slot, f"number {insn.imm}")), slot)
            elif slot in image.quiet and op in LOADS:
                self._line(indent, quiet_load(insn, op, REGISTERS), slot)
            elif op == "gotox":
                raise NotSupported("jumps through tables (gotox)", who="the userspace machine")
            else:
                for text in statements(insn, op, REGISTERS):
                    self._line(indent, text, slot)
            if (
                after in self.image.insns
                and after < self.end
                and self.ways_in.get(after) == 1
                and after not in self.heads
            ):
                slot = after
                continue
            self._go(slot, after, indent)
            return


def check_size(code: bytes) -> None:
    """Refuse code that is longer than any kernel takes (a million instructions), before time is spent on it."""
    if len(code) // SLOT_BYTES > 1_000_000:
        raise InsnError(f"{len(code) // SLOT_BYTES} instructions: a program has at most 1,000,000", offset=0)


assert STACK_BYTES == len(NAMESPACE["ZEROS"])  # type: ignore[arg-type]
