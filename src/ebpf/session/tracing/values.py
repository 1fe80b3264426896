"""What a traced program sends, as Python values that print as the language prints them.

Integers are `int`, strings `str` (bytes that are no UTF-8 as surrogate escapes); the rest are small classes whose
``str()`` is the text of ``print()``: `Buffer`, `Tuple`, `Array`, `Struct`, `Enumerator`, `Symbol`, `Stack`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

_PRINTABLE = range(0x20, 0x7F)
_ESCAPED = tuple(chr(b) if b in _PRINTABLE else f"\\x{b:02x}" for b in range(256))


class Buffer(bytes):
    """Bytes of ``buf()``: what is printable as it is, the rest as ``\\xNN``."""

    __slots__ = ()

    def __str__(self) -> str:
        return "".join([_ESCAPED[b] for b in self])

    def escaped(self) -> str:
        """Every byte as ``\\xNN`` (``%rx``)."""
        return "".join([f"\\x{b:02x}" for b in self])


class Tuple(tuple[Any, ...]):
    """``(1, a, 3)``."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"({', '.join(map(show, self))})"


class Array(tuple[Any, ...]):
    """``[1,2,3]``."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"[{','.join(map(show, self))}]"


class Struct(dict[str, Any]):
    """A struct's members by name; also as attributes."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __str__(self) -> str:
        return f"{{ {', '.join(f'.{name} = {show(value)}' for name, value in self.items())} }}"


class Enumerator(int):
    """A value of an enum that knows its name ("" where it has none)."""

    name: str

    def __new__(cls, value: int, name: str) -> Enumerator:
        made = super().__new__(cls, value)
        made.name = name
        return made

    def __str__(self) -> str:
        return self.name or int.__repr__(self)


class Symbol(str):
    """A symbol's name, or the address as text where none is known; `address` is the number."""

    address: int

    def __new__(cls, text: str, address: int) -> Symbol:
        made = super().__new__(cls, text)
        made.address = address
        return made


class Frame(NamedTuple):
    """One frame of a stack. `symbol` is "" where it is not known; `module` the file or the kernel's module."""

    address: int
    symbol: str = ""
    offset: int = 0
    module: str = ""

    def __str__(self) -> str:
        return f"{self.symbol}+{self.offset}" if self.symbol else f"{self.address:#x}"


class Stack(tuple[Frame, ...]):
    """The frames of ``kstack`` or ``ustack``, innermost first; empty where there was no stack.

    `mode`: "bpftrace", "perf", "raw" or "build_id" says how it prints; `user` whether it is of a process.
    """

    mode: str
    user: bool

    def __new__(cls, frames: Iterable[Frame], mode: str = "bpftrace", user: bool = False) -> Stack:
        made = super().__new__(cls, frames)
        made.mode = mode
        made.user = user
        return made

    def text(self, indent: int = 8) -> str:
        """Its lines, with one end of line before them and one at the end of each."""
        return "\n" + "".join([f"{self._line(frame, ' ' * indent)}\n" for frame in self])

    def _line(self, frame: Frame, pad: str) -> str:
        if self.mode == "perf":
            where = f" ({frame.module or '[unknown]'})" if self.user else f" [{frame.module}]" if frame.module else ""
            return f"\t{frame.address:x} {frame}{where}"
        if self.mode == "raw":
            return f"{pad}{frame.address:x}"
        if self.mode == "build_id":
            return f"{pad}{frame.module or '[unknown]'} {frame.offset:#x}"
        return f"{pad}{frame}"

    def __str__(self) -> str:
        return self.text()


def show(value: Any) -> str:
    """A value as ``print()`` writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def show_key(key: Any) -> str:
    """A map's key as it stands between the brackets: parts behind commas, stacks less indented."""
    if type(key) is Tuple:
        return ", ".join([_show_part(part) for part in key])
    return _show_part(key)


def _show_part(part: Any) -> str:
    return part.text(4) if isinstance(part, Stack) else show(part)


def json_key(key: Any) -> str:
    """The same for JSON, whose keys are strings."""
    return clean(",".join([_show_part(part) for part in key]) if type(key) is Tuple else _show_part(key))


def jsonable(value: Any) -> Any:
    """A value as `json` takes it: numbers, strings, lists, objects."""
    if isinstance(value, (Tuple, Array)):
        return [jsonable(item) for item in value]
    if isinstance(value, Struct):
        return {name: jsonable(item) for name, item in value.items()}
    if type(value) in (int, bool):
        return value
    return clean(show(value))


def clean(text: str) -> str:
    """Text without surrogates: bytes that are no UTF-8 become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
