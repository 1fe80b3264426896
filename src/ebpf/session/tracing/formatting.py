"""printf's formats, applied to values as C would: widths count bytes, lengths cut integers.

The rules are bpftrace 0.17's, with one difference: without a length (``%d``, ``%x``) an integer that needs more than 32
bits is written whole instead of being cut. One that needs 32 is an int: 4294967295 in ``%d``, which is what a register
holds of an int function's -1, is -1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from ebpf.session.tracing.values import Buffer, show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Convert = Callable[[Any], Any]

# Flags and width, precision, length, conversion. `%%` is no conversion: bpftrace 0.17 writes it as it stands.
_SPEC: Final = re.compile(r"%([-+ #0]*\d*)(\.\d+)?(hh|h|ll|l|j|z|t)?(r[xh]|[diuxXocspr])")
_BITS: Final = {"hh": 8, "h": 16}
_WIDE: Final = frozenset(("l", "ll", "j", "z", "t"))


class Format:
    """A format string, taken apart once: `apply` is all that an event costs.

    ``kinds`` says what its values are, where that spares work: ``"int"`` (integers of at most 32 bits with a sign),
    ``"signed"``, ``"unsigned"`` (integers that fit so), ``"str"``.
    """

    __slots__ = ("_converters", "_plain", "_template", "source")

    def __init__(self, source: str, kinds: Sequence[str] = ()) -> None:
        self.source = source
        parts: list[str] = []
        converters: list[Convert | None] = []
        at = 0
        for match in _SPEC.finditer(source):
            if match.start() and source[match.start() - 1] == "%" and _odd_percents(source, match.start()):
                continue
            parts.append(source[at:match.start()].replace("%", "%%"))
            at = match.end()
            template, convert = _conversion(match[1], match[2] or "", match[3] or "", match[4])
            parts.append(template)
            kind = kinds[len(converters)] if len(converters) < len(kinds) else ""
            converters.append(None if _needs_none(kind, match) else convert)
        parts.append(source[at:].replace("%", "%%"))
        self._template = "".join(parts)
        self._converters = converters
        self._plain = not any(converters)

    @property
    def arguments(self) -> int:
        """How many values it takes."""
        return len(self._converters)

    def apply(self, values: Sequence[Any]) -> str:
        """The text with ``values`` in their places."""
        if self._plain and type(values) is tuple:
            return self._template % values
        return self._template % tuple([v if c is None else c(v) for c, v in zip(self._converters, values)])


def _needs_none(kind: str, match: re.Match[str]) -> bool:
    """Whether Python writes a value of that kind as C does."""
    width, precision, length, letter = match.groups()
    if kind == "str":
        return letter == "s" and not width and not precision
    if length in _BITS:
        return False
    if letter in "di":
        return kind == "int" or (kind == "signed" and length in _WIDE)
    return letter in "uxXo" and kind == "unsigned"


def _odd_percents(source: str, at: int) -> bool:
    """Whether the ``%`` at ``at`` is the second of a pair."""
    start = at
    while start and source[start - 1] == "%":
        start -= 1
    return (at - start) % 2 == 1


def _conversion(width: str, precision: str, length: str, letter: str) -> tuple[str, Convert | None]:
    """Of one conversion: what stands for it in Python's template, and what its value goes through before."""
    if letter in "di":
        if not length:
            return f"%{width}{precision}d", _int
        if length in _WIDE:
            return f"%{width}{precision}d", lambda v: v if v < 1 << 63 else v - (1 << 64)
        bits = _BITS[length]
        return f"%{width}{precision}d", lambda v: _signed(int(v), bits)
    if letter in "uxXo":
        python = "d" if letter == "u" else letter
        if length in _WIDE:
            return f"%{width}{precision}{python}", lambda v: int(v) & 0xFFFFFFFFFFFFFFFF
        if length:
            mask = (1 << _BITS[length]) - 1
            return f"%{width}{precision}{python}", lambda v: int(v) & mask
        return f"%{width}{precision}{python}", _unsigned
    if letter == "s" and not width and not precision:
        return "%s", show
    limit = int(precision[1:]) if precision else None
    pad = _Pad(width, limit if letter == "s" else None)
    text = _TEXTS[letter]
    return "%s", lambda v: pad(text(v))


def _signed(value: int, bits: int) -> int:
    half = 1 << bits - 1
    return value if -half <= value < half else (value + half & (1 << bits) - 1) - half


def _int(value: Any) -> int:
    number = int(value)
    if number < 1 << 31:
        return number
    return number - (1 << 32) if number < 1 << 32 else number if number < 1 << 63 else number - (1 << 64)


def _unsigned(value: Any) -> int:
    number = int(value)
    if number >= 0:
        return number
    return number & (0xFFFFFFFF if number >= -0x80000000 else 0xFFFFFFFFFFFFFFFF)


def _character(value: Any) -> str:
    number = int(value) & 0xFF
    return bytes((number,)).decode("utf-8", "surrogateescape") if number else ""


def _pointer(value: Any) -> str:
    number = int(value) & 0xFFFFFFFFFFFFFFFF
    return f"{number:#x}" if number else "(nil)"


def _buffer(value: Any) -> Buffer:
    return value if isinstance(value, Buffer) else Buffer(value)


_TEXTS: Final[dict[str, Convert]] = {
    "s": show, "c": _character, "p": _pointer, "r": lambda v: str(_buffer(v)), "rx": lambda v: _buffer(v).escaped(),
    "rh": lambda v: _buffer(v).hex(" "),
}


class _Pad:
    """Cut and padded to a width, both in bytes."""

    __slots__ = ("_left", "_limit", "_width")

    def __init__(self, width: str, limit: int | None) -> None:
        self._left = "-" in width
        digits = width.lstrip("-+ #0")
        self._width = int(digits) if digits else 0
        self._limit = limit

    def __call__(self, text: str) -> str:
        if text.isascii():
            if self._limit is not None:
                text = text[:self._limit]
            return text.ljust(self._width) if self._left else text.rjust(self._width)
        data = text.encode("utf-8", "surrogateescape")[:self._limit]
        padded = data.ljust(self._width) if self._left else data.rjust(self._width)
        return padded.decode("utf-8", "surrogateescape")
