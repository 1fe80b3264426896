"""Where the debugger stands and where it may stop: lines, functions, instructions, accesses to maps."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from ebpf.diagnostics import did_you_mean
from ebpf.errors import UsageError

if TYPE_CHECKING:
    from ebpf.machine.image import Image


class Place(NamedTuple):
    """A place in the source."""

    file: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}"


class Breakpoint(NamedTuple):
    """``kind``: ``line``, ``function``, ``insn`` or ``map``; ``what``: as it was given; ``slots``: where it stops (of a
    map: nowhere in particular).
    """

    number: int
    kind: str
    what: str
    slots: frozenset[int]

    def __str__(self) -> str:
        where = f", slot {', '.join(map(str, sorted(self.slots)[:4]))}" if self.slots else ""
        return f"{self.number}: {self.kind} {self.what}{where}"


def place_of(image: Image, slot: int) -> Place | None:
    """The source of ``slot``, if the object says."""
    found = image.line_of(slot)
    return None if found is None or not found.line else Place(found.file, found.line, found.column, found.text)


def resolve(image: Image, number: int, where: str | int, maps: list[str]) -> Breakpoint:
    """What ``where`` means: ``12`` or ``"file.c:12"`` a line, ``"#17"`` an instruction, ``"map:NAME"`` accesses to a
    map, a name a function. `UsageError` with what there is.
    """
    text = str(where).strip()
    if text.startswith("map:"):
        name = text[4:]
        if name not in maps:
            raise UsageError(f"there is no map {name!r}", helps=(_there_are(name, maps),))
        return Breakpoint(number, "map", name, frozenset())
    if text.startswith("#"):
        slot = int(text[1:]) if text[1:].isdigit() else -1
        if slot not in image.insns:
            raise UsageError(f"there is no instruction {text!r}", helps=(f"there are #0 to #{max(image.insns)}",))
        return Breakpoint(number, "insn", text, frozenset((slot,)))
    file, colon, line = text.rpartition(":")
    if line.isdigit():
        return Breakpoint(number, "line", text, _at_line(image, file if colon else "", int(line)))
    functions = {name: slot for slot, name in image.names}
    if text not in functions:
        raise UsageError(f"{text!r} is no line, instruction (#17), map (map:NAME) or function of this program",
                         helps=(_there_are(text, list(functions)),))
    return Breakpoint(number, "function", text, frozenset((functions[text],)))


def _at_line(image: Image, file: str, line: int) -> frozenset[int]:
    """The first instruction of each run of that line, or of the next line that has any."""
    rows = [(slot, place) for slot in sorted(image.insns) if (place := place_of(image, slot)) is not None
            and (not file or place.file == file or os.path.basename(place.file) == file)]
    lines = sorted({place.line for _, place in rows if place.line >= line})
    if not lines:
        known = sorted({place.line for _, place in rows})
        raise UsageError(f"no code comes from line {line}{f' of {file}' if file else ''}", helps=(
            f"code comes from lines {known[0]} to {known[-1]}" if known else "the object has no line information",))
    found, before = [], 0
    for slot, place in rows:
        if place.line == lines[0] != before:
            found.append(slot)
        before = place.line
    return frozenset(found)


def _there_are(name: str, known: list[str]) -> str:
    similar = did_you_mean(name, known, limit=3)
    return f"did you mean {' or '.join(map(repr, similar))}?" if similar else f"there are: {', '.join(known) or 'none'}"
