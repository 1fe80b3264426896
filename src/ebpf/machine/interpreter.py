"""Running a program: its Python functions, called; what goes wrong, told in words.

A fault costs nothing until it happens: the traceback holds the line (so the instruction) and the registers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ebpf.errors import MachineFault, NotSupported
from ebpf.isa import format_insn
from ebpf.machine.environment import MAX_FRAMES
from ebpf.machine.semantics import M64, SIZES
from ebpf.machine.translator import PROLOGUE, Translated, file_name, translate
from ebpf.verifier.values import ARENA, BTF, PERCPU_BTF

if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.machine.environment import Environment
    from ebpf.machine.image import Image
    from ebpf.verifier import Verified

# What an access beyond a window's buffer, or to no window at all, raises in a program's text.
_ACCESS_ERRORS = (KeyError, IndexError, struct.error)


#: kinds of pointers (bits) whose reads a verifier does not bound
KERNEL_OBJECTS = 1 << BTF | 1 << PERCPU_BTF | 1 << ARENA


class Program:
    """A program that the machine can run. It becomes Python when it runs first.

    ``verified``: what the verifier found; ``None`` if it was not asked, and then this never becomes native code.
    """

    def __init__(
        self, image: Image, environment: Environment, *, type: int = 0, id: int = 0, metered: bool = False,
        verified: Verified | None = None
    ) -> None:
        self.image = image
        self.environment = environment
        self.name = image.name
        self.type = type
        self.id = id
        self.metered = metered
        self.verified = verified
        self._translated: Translated | None = None
        if verified is not None:
            # A verifier lets programs read a kernel's objects without a check; a kernel makes that a probe read.
            image.quiet = frozenset(slot for slot, kinds in enumerate(verified.pointer_kinds)
                                    if kinds & KERNEL_OBJECTS and not kinds & ~KERNEL_OBJECTS)

    def __repr__(self) -> str:
        return f"<Program {self.name}: {len(self.image.insns)} instructions>"

    @property
    def translated(self) -> Translated:
        """The program as Python text and functions."""
        if self._translated is None:
            self._translated = translate(self.image, self.environment, metered=self.metered)
            self.environment.translated[file_name(self.image)] = self._translated
        return self._translated

    @property
    def entry(self) -> Callable[..., int]:
        return self.translated.entry

    def call(self, r1: int = 0, r2: int = 0) -> int:
        """Run it; r0. Raises `MachineFault` where a verified program would never come."""
        entry = self.translated.entry
        environment = self.environment
        environment.space.enter()
        try:
            return entry(0, r1, r2)
        except MachineFault as fault:
            raise locate(fault, environment) from None
        except NotSupported as error:
            raise _with_place(error, environment) from None
        except _ACCESS_ERRORS as error:
            fault_ = from_access(error, environment)
            if fault_ is None:
                raise  # from a helper: a bug of ours
            raise fault_ from None
        finally:
            environment.space.leave()


def _frames(error: BaseException, environment: Environment) -> list[tuple[Translated, int, dict[str, int], bool]]:
    """(program, line, locals, innermost) of the frames of programs in a traceback, outermost first."""
    found = []
    tb = error.__traceback__
    while tb is not None:
        translated = environment.translated.get(tb.tb_frame.f_code.co_filename)
        if translated is not None:
            found.append((translated, tb.tb_lineno, tb.tb_frame.f_locals, tb.tb_next is None))
        tb = tb.tb_next
    return found


def from_access(error: BaseException, environment: Environment) -> MachineFault | None:
    """The fault behind an exception that a program's text raised; None if it was not the program's."""
    frames = _frames(error, environment)
    if not frames or not frames[-1][3]:
        return None
    translated, line, registers, _ = frames[-1]
    slot = translated.slots[line]
    if slot == PROLOGUE:
        fault = MachineFault(f"more than {MAX_FRAMES} functions call each other", access="call")
        translated, line, registers, _ = frames[-2] if len(frames) > 1 else frames[-1]
        return place(fault, translated.image, translated.slots[line])
    return place(access_fault(translated.image, slot, registers["a"], environment), translated.image, slot)


def access_fault(image: Image, slot: int, address: int, environment: Environment) -> MachineFault:
    """The fault of the load or store at ``slot``."""
    insn, op = image.insns[slot], image.ops[slot]
    access = "read" if op in ("ldx", "ldsx", "load_acquire") else "write"
    return environment.space.fault(address & M64, SIZES[insn.opcode & 0x18], access)


def locate(fault: MachineFault, environment: Environment) -> MachineFault:
    """Say which instruction it was, if nobody has yet."""
    frames = _frames(fault, environment)
    if fault.slot is None and frames:
        translated, line, _, _ = frames[-1]
        place(fault, translated.image, translated.slots[line])
    return fault


def place(fault: MachineFault, image: Image, slot: int) -> MachineFault:
    """Enter the program and instruction into a fault."""
    fault.program = image.name
    if slot != PROLOGUE:
        fault.slot = slot
        fault.notes = (*fault.notes, where(image, slot))
    return fault


def where(image: Image, slot: int) -> str:
    """An instruction in words: program, slot, text, source line."""
    line = image.line_of(slot)
    source = f", {line.file}:{line.line}: {line.text.strip()}" if line is not None else ""
    return f"in {image.function_name(slot)}, slot {slot}: {format_insn(image.insns[slot])}{source}"


def _with_place(error: NotSupported, environment: Environment) -> NotSupported:
    frames = _frames(error, environment)
    if frames:
        translated, line, _, _ = frames[-1]
        slot = translated.slots[line]
        if slot != PROLOGUE:
            error.notes = (*error.notes, where(translated.image, slot))
    return error
