"""A program's own types, out of its debug information, and where its functions' arguments are when they begin.

The calling conventions are those of C on Linux: System V for x86-64, AAPCS64 for arm64. Registers for floating-point
numbers are out of a probe's reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.btf import Btf
from ebpf.compiler.c import types as C
from ebpf.compiler.c.kernel_types import KernelTypes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ebpf.compiler.facts import ScriptFacts

_KEYWORDS = {4: "struct ", 5: "union ", 6: "enum ", 8: ""}  # by BTF kind


class UserTypes(KernelTypes):
    """Types of the file at ``path``, as a probe of its function ``near`` sees them: looked up when they are named."""

    def __init__(
        self, facts: ScriptFacts, path: str, near: str, own_tag: Callable[[str, str], C.CType | None]
    ) -> None:
        super().__init__(facts, own_tag)
        self._script_facts = facts
        self._path = path
        self._near = near
        self._found: dict[str, Btf | None] = {}
        self.has_any = True
        """False once it has turned out that the file has no debug information."""

    @property
    def btf(self) -> Btf | None:
        return None

    def _btfs(self) -> Iterator[Btf]:
        yield from [btf for btf in self._found.values() if btf is not None]

    def _ask(self, name: str) -> Btf | None:
        if name not in self._found:
            raw = self._script_facts.user_types(self._path, name, self._near) if self.has_any else None
            self.has_any = self.has_any and raw is not None
            self._found[name] = Btf.parse(raw) if raw else None
        return self._found[name]

    def _find(self, name: str, kinds: tuple[int, ...]) -> tuple[Btf, int] | None:
        known = super()._find(name, kinds)
        if known is not None:
            return known
        for kind in kinds:
            btf = self._ask(_KEYWORDS[kind] + name) if kind in _KEYWORDS else None
            found = btf.find(name, kind) if btf is not None else None  # type: ignore[arg-type]
            if btf is not None and found is not None:
                return btf, found
        return None

    def function(self, name: str) -> tuple[C.Function, bool] | None:
        btf = self._ask(f"{name}()")
        found = btf.find(name, 12) if btf is not None else None  # type: ignore[arg-type]
        if btf is None or found is None:
            return None
        made = self.from_btf(btf, btf.type(found).type)  # type: ignore[union-attr]
        return (made, False) if isinstance(made, C.Function) else None

    def enumerator(self, name: str) -> tuple[C.Enum, int] | None:
        """Of the enums that were come across."""
        return super().enumerator(name)

    def _fill_from_abi(self, record: C.Record) -> None:
        """Nothing: what this program does not define is not known."""


class Place(NamedTuple):
    """Where an argument is: ``registers``: the first of the argument registers (``at``) and how many words; ``stack``:
    ``at`` words above the return address (arm64: above the stack pointer); ``address``: memory that the register ``at``
    points to; ``float``: out of reach.
    """

    kind: str
    at: int = 0
    words: int = 1


def places(prototype: C.Function, arch: str) -> list[Place]:
    """Of each of the function's parameters, as it begins."""
    return _arm64(prototype) if arch == "arm64" else _x86(prototype)


def _x86(prototype: C.Function) -> list[Place]:
    result = C.strip(prototype.result)
    # What is returned in memory is an argument before all others.
    whole = isinstance(result, C.Record) and _classes(result) is None
    taken, floats, stack = int(whole), 0, 0
    out = []
    for parameter in prototype.parameters:
        classes = _classes(C.strip(parameter))
        integers = classes.count("i") if classes is not None else 99
        others = classes.count("f") if classes is not None else 0
        if classes is not None and taken + integers <= 6 and floats + others <= 8:
            out.append(Place("float") if others else Place("registers", taken, integers))
            taken, floats = taken + integers, floats + others
            continue
        if _align(parameter) > 8:
            stack += stack % 2
        size = max(C.size_of(parameter) or 0, 1)
        out.append(Place("stack", stack, (size + 7) // 8))
        stack += (size + 7) // 8
    return out


def _classes(t: C.CType) -> str | None:
    """Of each 8 bytes: ``i`` in a register for integers, ``f`` in one for floating point. None: it goes into memory."""
    size = C.size_of(t) or 0
    if isinstance(t, C.Float):
        return "f" if size <= 8 else None
    if not isinstance(t, (C.Record, C.Array)):
        return "i" * max((size + 7) // 8, 1)
    if not 0 < size <= 16:
        return None
    words = ["f"] * ((size + 7) // 8)
    for offset, leaf in _leaves(t, 0):
        leaf_size = C.size_of(leaf) or 1
        if offset % min(leaf_size, 16) or (isinstance(leaf, C.Float) and leaf_size > 8):
            return None  # packed, or a long double
        if not isinstance(leaf, C.Float):
            for word in range(offset // 8, min((offset + leaf_size + 7) // 8, len(words))):
                words[word] = "i"
    return "".join(words)


def _leaves(t: C.CType, at: int) -> Iterator[tuple[int, C.CType]]:
    """(offset in bytes, type) of each scalar in a record."""
    inner = C.strip(t)
    if isinstance(inner, C.Record):
        inner.ensure_complete()
        for f in inner.fields:
            # Of a bit-field the byte that it begins in decides: it shares no word with floating point.
            yield from [(at + f.bit_offset // 8, C.UCHAR)] if f.bit_size else _leaves(f.type, at + f.bit_offset // 8)
    elif isinstance(inner, C.Array):
        size = C.size_of(inner.element) or 1
        for i in range(min(inner.count or 0, 16)):
            yield from _leaves(inner.element, at + i * size)
    else:
        yield at, inner


def _align(t: C.CType) -> int:
    inner = C.strip(t)
    if isinstance(inner, C.Record):
        return inner.align
    return max(C.size_of(inner) or 1, 1)


def _arm64(prototype: C.Function) -> list[Place]:
    taken, floats, stack = 0, 0, 0
    out = []
    for parameter in prototype.parameters:
        inner = C.strip(parameter)
        size = C.size_of(inner) or 1
        kinds = {C.size_of(leaf) if isinstance(leaf, C.Float) else 0 for _, leaf in _leaves(inner, 0)}
        if len(kinds) == 1 and 0 not in kinds and size <= 4 * max(k or 0 for k in kinds):
            needed = size // max(k or 1 for k in kinds)
            if floats + needed <= 8:
                floats += needed
                out.append(Place("float"))
                continue
            floats = 8
        elif isinstance(inner, C.Record) and size > 16:
            out.append(Place("address", taken) if taken < 8 else Place("stack address", stack))
            taken, stack = (taken + 1, stack) if taken < 8 else (taken, stack + 1)
            continue
        else:
            words = (size + 7) // 8
            if words > 1 and _align(inner) > 8:
                taken += taken % 2
            if taken + words <= 8:
                out.append(Place("registers", taken, words))
                taken += words
                continue
            taken = 8
        if _align(inner) > 8:
            stack += stack % 2
        out.append(Place("stack", stack, (size + 7) // 8))
        stack += (size + 7) // 8
    return out
