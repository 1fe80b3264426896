"""One instruction at a time, with everything to look at: for debuggers and for tests.

The statements are those that the translator puts together (`ebpf.machine.semantics`). A helper is one step; callbacks
that it calls run whole.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from ebpf.errors import MachineFault, UsageError
from ebpf.isa import format_insn
from ebpf.machine.environment import MAX_FRAMES, runs_off, unknown_helper, unknown_kfunc
from ebpf.machine.interpreter import access_fault, place
from ebpf.machine.semantics import JUMPS, LOADS, M64, NAMESPACE, condition, packet_load, quiet_load, statements

if TYPE_CHECKING:
    from types import CodeType

    from ebpf.btf.ext import LineInfo
    from ebpf.machine.image import Image
    from ebpf.machine.interpreter import Program

_NAMES = tuple(f"r[{n}]" for n in range(11))


class Stepper:
    """A program that stands before its next instruction, `slot`.

    ``registers`` are r0 to r10 (you may change them), ``stack`` the 512 bytes of the current frame, ``result`` r0 once
    it has `finished`.
    """

    def __init__(self, program: Program, r1: int = 0, r2: int = 0) -> None:
        self.environment = program.environment
        self.image: Image = program.image
        program.translated  # noqa: B018  (callbacks run as Python functions)
        self.slot = 0
        self.steps = 0
        self.result: int | None = None
        self.registers = [0, r1, r2, 0, 0, 0, 0, 0, 0, 0, 0]
        self._callers: list[tuple[Image, int, list[int], int]] = []  # image, where to go on, r6 to r10, budget
        self._budget = self.environment.may_goto_budget
        self._code: dict[tuple[str, int], CodeType] = {}
        self._names: dict[str, object] = {**NAMESPACE, **self.environment.namespace(), "r": self.registers}
        self._enter_frame()

    # ---- looking ----

    @property
    def finished(self) -> bool:
        return self.result is not None

    @property
    def depth(self) -> int:
        """How many functions called each other to come here: 0 in the program itself."""
        return len(self._callers)

    @property
    def stack(self) -> bytes:
        """The current frame: its last byte lies just below r10."""
        return bytes(self.environment.frames[self.depth])

    @property
    def function(self) -> str:
        return self.image.function_name(self.slot)

    @property
    def text(self) -> str:
        """The next instruction."""
        return format_insn(self.image.insns[self.slot])

    @property
    def line(self) -> LineInfo | None:
        """Where the next instruction comes from in the source, if the object says."""
        return self.image.line_of(self.slot)

    # ---- going on ----

    def run(self, until: int | None = None) -> int | None:
        """Go on to the end, or until the next instruction is the one at slot ``until``; the result, if it has ended."""
        while self.result is None:
            self.step()
            if self.slot == until:
                break
        return self.result

    def step(self) -> None:
        """Execute one instruction. Raises `MachineFault`; the program then stays where it is."""
        if self.result is not None:
            raise UsageError("the program has ended")
        slot, image = self.slot, self.image
        space = self.environment.space
        space.running += 1  # what it deletes stays readable until it ends
        try:
            self._step(slot, image)
            self._check_end(slot, image)
        except MachineFault as fault:
            raise (place(fault, image, slot) if fault.slot is None else fault) from None
        except (KeyError, IndexError, struct.error):
            if image.ops[slot] in ("call", "callx"):
                raise
            address = self._names.get("a")
            assert isinstance(address, int)
            raise place(access_fault(image, slot, address, self.environment), image, slot) from None
        finally:
            space.running -= 1
        self.steps += 1
        if self.result is not None:
            space.enter()
            space.leave()

    def _check_end(self, slot: int, image: Image) -> None:
        """Refuse to go on behind the end of a function; the program then stays at its last instruction."""
        if self.result is None and self.image is image and (
            self.slot not in image.insns
            or (self.slot == slot + image.insns[slot].slots and image.ops[slot] not in ("call_local", "ja", "exit")
                and image.function_start(self.slot) != image.function_start(slot))
        ):
            self.slot = slot
            runs_off(slot)

    def _enter_frame(self) -> None:
        frame = self.environment.frames.get(self.depth)
        if frame is None:
            self._callers.pop()
            raise MachineFault(f"more than {MAX_FRAMES} functions call each other", access="call")
        frame[:] = bytes(len(frame))
        self._names["stack"] = frame
        self.registers[10] = self.environment.tops[self.depth]

    def _evaluate(self, text: str) -> Any:
        return eval(text, self._names)

    def _step(self, slot: int, image: Image) -> None:
        insn, op, r = image.insns[slot], image.ops[slot], self.registers
        after = slot + insn.slots
        environment = self.environment
        if op in JUMPS:
            self.slot = image.jump_targets(slot, insn)[0] if self._evaluate(condition(insn, op, _NAMES)) else after
        elif op == "ja":
            self.slot = image.jump_targets(slot, insn)[0]
        elif op == "may_goto":
            if self._budget:
                self._budget -= 1
                self.slot = after
            else:
                self.slot = image.jump_targets(slot, insn)[0]
        elif op == "exit":
            self._return()
        elif op == "lddw":
            r[insn.dst] = image.constant(slot)
            self.slot = after
        elif op in ("ld_abs", "ld_ind"):
            found: int | None = self._evaluate(packet_load(insn, _NAMES))
            if found is None:
                r[0] = 0
                self._return()
            else:
                r[0] = found
                self.slot = after
        elif op == "call":
            self._helper(insn.imm, after)
        elif op == "call_kfunc":
            self._kfunc(image.kfuncs.get(slot, f"number {insn.imm}"), after)
        elif op == "call_local":
            self._call(image, slot + 1 + insn.imm, after)
        elif op == "callx":
            target = r[insn.dst]
            environment.function(target)
            self._call(image, (target & 0xFFFFFF) >> 3, after)
        else:
            key = image.name, slot
            code = self._code.get(key)
            if code is None:
                quiet = slot in image.quiet and op in LOADS
                text = quiet_load(insn, op, _NAMES) if quiet else "\n".join(statements(insn, op, _NAMES))
                code = self._code[key] = compile(text, f"<step {slot}>", "exec")
            exec(code, self._names)
            self.slot = after

    def _helper(self, number: int, after: int) -> None:
        from ebpf.machine.helpers import TAIL_CALL, by_id

        r, environment = self.registers, self.environment
        environment.depth = self.depth
        if number == TAIL_CALL:
            program = environment.tail_program(r[2], r[3])
            if program is not None:
                program.translated  # noqa: B018
                self.image, self.slot = program.image, 0
                r[2:6] = [0, 0, 0, 0]
                self._budget = environment.may_goto_budget
                self._enter_frame()
                return
        else:
            found = by_id().get(number)
            if found is None:
                unknown_helper(number)
            else:
                r[0] = found.function(environment, *r[1:1 + found.arguments]) & M64
        self.slot = after

    def _kfunc(self, name: str, after: int) -> None:
        from ebpf.machine.helpers.kfuncs import KFUNCS

        found = KFUNCS.get(name)
        if found is None:
            unknown_kfunc(name)
        else:
            self.registers[0] = found.function(self.environment, *self.registers[1:1 + found.arguments]) & M64
        self.slot = after

    def _call(self, image: Image, target: int, after: int) -> None:
        self._callers.append((image, after, self.registers[6:11], self._budget))
        saved = self.registers[1:6]
        self._enter_frame()
        self.registers[1:6] = saved
        self.registers[6:10] = [0, 0, 0, 0]
        self._budget = self.environment.may_goto_budget
        self.slot = target

    def _return(self) -> None:
        if not self._callers:
            self.result = self.registers[0]
            return
        self.image, self.slot, self.registers[6:11], self._budget = self._callers.pop()
        self._names["stack"] = self.environment.frames[self.depth]
