"""Where variables live: DWARF's ranges, location lists and expressions, versions 4 and 5.

Source: DWARF 5 (https://dwarfstd.org), sections 2.5 (expressions), 2.17 (ranges), 7.7 (location lists), 7.25 (ranges).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from ebpf.binaries.dwarf import _sleb, _uleb
from ebpf.errors import ElfError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.binaries.dwarf import Dwarf, Entry, Unit
    from ebpf.binaries.elf import Binary

LEXICAL_BLOCK, INLINED_SUBROUTINE, VARIABLE = 0x0B, 0x1D, 0x34
AT_DECL_LINE, AT_LOW_PC, AT_HIGH_PC, AT_RANGES, AT_FRAME_BASE, AT_LOCATION = 0x3B, 0x11, 0x12, 0x55, 0x40, 0x02
AT_LOCLISTS_BASE, AT_RNGLISTS_BASE, AT_CALL_LINE = 0x8C, 0x74, 0x59
_ADDRESS_FORMS = frozenset((0x01, 0x1B, 0x29, 0x2A, 0x2B, 0x2C))
_LISTX_FORMS = frozenset((0x22, 0x23))
_M64 = (1 << 64) - 1
_MOST_STEPS = 1000

Range = tuple[int, int]  # first address, one past the last


class Location(NamedTuple):
    """``kind``: ``memory`` at address ``value``, ``register`` number ``value``, or the ``value`` itself."""

    kind: str
    value: int


class Lists:
    """The sections with ranges and locations of one file."""

    def __init__(self, binary: Binary, dwarf: Dwarf) -> None:
        self._dwarf = dwarf
        self._sections = {section.name: binary.whole_contents(section) for section in binary.sections
                          if section.name in (".debug_loc", ".debug_loclists", ".debug_ranges", ".debug_rnglists")}

    def ranges(self, entry: Entry) -> list[Range]:
        """The addresses of a function or block; none where it says nothing."""
        low, high = entry.get(AT_LOW_PC), entry.get(AT_HIGH_PC)
        if isinstance(low, int) and isinstance(high, int):
            return [(low, high if _form(entry, AT_HIGH_PC) in _ADDRESS_FORMS else low + high)]
        at = entry.get(AT_RANGES)
        if not isinstance(at, int):
            return []
        return [(low, high) for low, high, _ in self._read(entry, AT_RANGES, at, with_expressions=False)]

    def expression(self, entry: Entry, address: int) -> bytes | None:
        """How to find the variable ``entry`` at the instruction ``address``; None where it cannot be found there."""
        location = entry.get(AT_LOCATION)
        if isinstance(location, bytes):
            return location
        if not isinstance(location, int):
            return None
        default = None
        for low, high, expression in self._read(entry, AT_LOCATION, location, with_expressions=True):
            if low <= address < high:
                return expression
            if high < 0:
                default = expression
        return default

    def _read(self, entry: Entry, attribute: int, at: int, *, with_expressions: bool) -> list[tuple[int, int, bytes]]:
        unit = entry.unit
        try:
            if unit.version < 5:
                return self._version_4(unit, at, with_expressions)
            return self._version_5(unit, at, _form(entry, attribute) in _LISTX_FORMS, with_expressions)
        except (struct.error, IndexError):
            raise ElfError(f"{self._dwarf.path}: damaged debug information: a list of addresses at {at:#x}") from None

    def _base(self, unit: Unit) -> int:
        top = self._dwarf.top(unit)
        low = top.get(AT_LOW_PC) if top is not None else None
        return low if isinstance(low, int) else 0

    def _version_4(self, unit: Unit, at: int, with_expressions: bool) -> list[tuple[int, int, bytes]]:
        data, order = self._sections.get(".debug_loc" if with_expressions else ".debug_ranges", b""), self._dwarf.order
        word = order + ("QQ" if unit.address_size == 8 else "II")
        base, most = self._base(unit), (1 << 8 * unit.address_size) - 1
        found: list[tuple[int, int, bytes]] = []
        while True:
            low, high = struct.unpack_from(word, data, at)
            at += 2 * unit.address_size
            if not low and not high:
                return found
            if low == most:
                base = high
                continue
            expression = b""
            if with_expressions:
                (size,) = struct.unpack_from(order + "H", data, at)
                expression = data[at + 2:at + 2 + size]
                at += 2 + size
            found.append((base + low, base + high, expression))

    def _version_5(self, unit: Unit, at: int, indexed: bool, with_expressions: bool) -> list[tuple[int, int, bytes]]:
        name, lists = (".debug_loclists", AT_LOCLISTS_BASE) if with_expressions else (
            ".debug_rnglists", AT_RNGLISTS_BASE)
        data, dwarf = self._sections.get(name, b""), self._dwarf
        size = 8 if unit.wide else 4
        if indexed:
            top = dwarf.top(unit)
            start = top.get(lists) if top is not None else None
            start = start if isinstance(start, int) else (20 if unit.wide else 12)
            (offset,) = struct.unpack_from(dwarf.order + ("Q" if unit.wide else "I"), data, start + at * size)
            at = start + offset
        base = self._base(unit)
        found: list[tuple[int, int, bytes]] = []

        def number() -> int:
            nonlocal at
            value, at = _uleb(data, at)
            return value

        def address() -> int:
            nonlocal at
            (value,) = struct.unpack_from(dwarf.order + ("Q" if unit.address_size == 8 else "I"), data, at)
            at += unit.address_size
            return int(value)

        while True:
            kind, at = data[at], at + 1
            # Ranges have no kind 5 of their own: what follows it is numbered one lower there.
            kind += not with_expressions and kind >= 5
            if kind == 0:
                return found
            if kind == 1:
                base = dwarf.indexed_address(unit, number())
                continue
            if kind == 6:
                base = address()
                continue
            if kind in (2, 3):
                low = dwarf.indexed_address(unit, number())
                high = dwarf.indexed_address(unit, number()) if kind == 2 else low + number()
            elif kind == 4:
                low, high = base + number(), base + number()
            elif kind == 5:
                low = high = -1  # where nothing else holds
            elif kind in (7, 8):
                low = address()
                high = address() if kind == 7 else low + number()
            else:
                raise IndexError
            expression = b""
            if with_expressions:
                length = number()
                expression = data[at:at + length]
                at += length
            found.append((low, high, expression))


def _form(entry: Entry, attribute: int) -> int:
    return next((form for name, form, _ in entry.abbreviation.specs if name == attribute), 0)


def locate(expression: bytes, registers: Sequence[int], frame_base: Callable[[int], int | None],
           read: Callable[[int, int], bytes]) -> Location | None:
    """What ``expression`` comes to; None where it needs what is not known any more (or is of several pieces).

    ``frame_base(offset)`` gives the address that far from the frame's base, ``read(address, size)`` memory. `ElfError`
    for what is no expression.
    """
    stack: list[int] = []
    at, steps, register = 0, 0, -1
    try:
        while at < len(expression):
            op, at, steps = expression[at], at + 1, steps + 1
            if steps > _MOST_STEPS:
                return None
            if register >= 0:
                return None  # a register is a whole expression, or a piece
            if 0x30 <= op <= 0x4F:  # DW_OP_lit
                stack.append(op - 0x30)
            elif 0x50 <= op <= 0x6F:  # DW_OP_reg
                register = op - 0x50
            elif op == 0x90:  # DW_OP_regx
                register, at = _uleb(expression, at)
            elif 0x70 <= op <= 0x8F:  # DW_OP_breg
                offset, at = _sleb(expression, at)
                found = frame_base(offset) if op == 0x7A else registers[op - 0x70] + offset
                if found is None:
                    return None
                stack.append(found & _M64)
            elif op == 0x91:  # DW_OP_fbreg
                offset, at = _sleb(expression, at)
                found = frame_base(offset)
                if found is None:
                    return None
                stack.append(found & _M64)
            elif op in _CONSTANTS:
                layout = "<" + _CONSTANTS[op]
                stack.append(struct.unpack_from(layout, expression, at)[0] & _M64)
                at += struct.calcsize(layout)
            elif op in (0x10, 0x11):  # DW_OP_constu, DW_OP_consts
                value, at = (_uleb if op == 0x10 else _sleb)(expression, at)
                stack.append(value & _M64)
            elif op == 0x23:  # DW_OP_plus_uconst
                value, at = _uleb(expression, at)
                stack[-1] = stack[-1] + value & _M64
            elif op == 0x06:  # DW_OP_deref
                stack[-1] = int.from_bytes(read(stack[-1], 8), "little")
            elif op == 0x94:  # DW_OP_deref_size
                size, at = expression[at], at + 1
                stack[-1] = int.from_bytes(read(stack[-1], size), "little")
            elif op == 0x9F:  # DW_OP_stack_value
                return Location("value", stack[-1]) if at == len(expression) else None
            elif op == 0xA8:  # DW_OP_convert: to what type matters where the value is used, and there it is cut
                _, at = _uleb(expression, at)
            elif op in _BINARY:
                right, left = stack.pop(), stack.pop()
                stack.append(_BINARY[op](left, right) & _M64)
            elif op in _UNARY:
                stack.append(_UNARY[op](stack.pop()) & _M64)
            elif op == 0x12:  # DW_OP_dup
                stack.append(stack[-1])
            elif op == 0x13:  # DW_OP_drop
                stack.pop()
            elif op == 0x16:  # DW_OP_swap
                stack[-1], stack[-2] = stack[-2], stack[-1]
            else:
                return None  # DW_OP_entry_value, DW_OP_piece and what only threads and objects need
    except (IndexError, struct.error, ZeroDivisionError):
        raise ElfError("damaged debug information: no expression of DWARF") from None
    if register >= 0:
        return Location("register", register) if register < len(registers) else None
    return Location("memory", stack[-1]) if stack else None


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _divide(left: int, right: int) -> int:
    """Towards zero."""
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


_CONSTANTS = {0x03: "Q", 0x08: "B", 0x09: "b", 0x0A: "H", 0x0B: "h", 0x0C: "I", 0x0D: "i", 0x0E: "Q", 0x0F: "q"}
_BINARY: dict[int, Callable[[int, int], int]] = {
    0x1A: lambda a, b: a & b, 0x1B: lambda a, b: _divide(_signed(a), _signed(b)), 0x1C: lambda a, b: a - b,
    0x1D: lambda a, b: a % b, 0x1E: lambda a, b: a * b, 0x21: lambda a, b: a | b, 0x22: lambda a, b: a + b,
    0x24: lambda a, b: a << b if b < 64 else 0, 0x25: lambda a, b: a >> b, 0x26: lambda a, b: _signed(a) >> b,
    0x27: lambda a, b: a ^ b, 0x29: lambda a, b: int(a == b), 0x2A: lambda a, b: int(_signed(a) >= _signed(b)),
    0x2B: lambda a, b: int(_signed(a) > _signed(b)), 0x2C: lambda a, b: int(_signed(a) <= _signed(b)),
    0x2D: lambda a, b: int(_signed(a) < _signed(b)), 0x2E: lambda a, b: int(a != b),
}
_UNARY: dict[int, Callable[[int], int]] = {0x19: lambda a: abs(_signed(a)), 0x1F: lambda a: -a, 0x20: lambda a: ~a}
