"""Rust's symbols as their authors wrote them: legacy names (``_ZN4core3fmt17h…E``) and those of RFC 2603 (``_R…``).

A name that is not of the form is given back as None. Hashes and crates' disambiguators are left out, as in ``{:#}``.
"""

from __future__ import annotations

import re
from typing import Final

_HASH = re.compile(r"h[0-9a-f]{16}")
_ESCAPES: Final = {
    "$SP$": "@", "$BP$": "*", "$RF$": "&", "$LT$": "<", "$GT$": ">", "$LP$": "(", "$RP$": ")", "$C$": ",",
}
_UNICODE = re.compile(r"\$u([0-9a-f]{1,6})\$")
_BASIC: Final = {
    "a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize", "j": "usize",
    "l": "i32", "m": "u32", "n": "i128", "o": "u128", "s": "i16", "t": "u16", "u": "()", "v": "...", "x": "i64",
    "y": "u64", "z": "!", "p": "_",
}
_MOST_DEPTH: Final = 200
_MOST_CHARACTERS: Final = 20_000


def rust_name(symbol: str) -> str | None:
    """The path that a symbol stands for; None if it is none of Rust's."""
    if symbol.startswith("_R"):
        return _v0(symbol)
    return _legacy(symbol) if symbol.startswith("_ZN") else None


def _legacy(symbol: str) -> str | None:
    parts, rest = [], symbol[3:]
    while rest[:1].isdigit():
        digits = len(rest) - len(rest.lstrip("0123456789"))
        end = digits + int(rest[:digits])
        if end > len(rest):
            return None
        parts.append(rest[digits:end])
        rest = rest[end:]
    if not (rest == "E" or rest.startswith("E.llvm.")) or len(parts) < 2 or not _HASH.fullmatch(parts.pop()):
        return None
    return "::".join(map(_unescaped, parts))


def _unescaped(part: str) -> str:
    if part.startswith("_$"):
        part = part[1:]
    for escape, text in _ESCAPES.items():
        part = part.replace(escape, text)
    return _UNICODE.sub(lambda m: chr(int(m[1], 16)) if int(m[1], 16) < 0x110000 else m[0], part).replace("..", "::")


class _Wrong(Exception):
    """The symbol does not follow the grammar."""


def _v0(symbol: str) -> str | None:
    text = symbol[2:].partition(".")[0]
    if not text or not text[0].isupper() or not text.isascii():
        return None
    try:
        return _Reader(text).path(in_value=True)
    except (_Wrong, IndexError, ValueError, OverflowError):
        return None


class _Reader:
    """One symbol, read from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth, self.lifetimes, self.said = text, 0, 0, 0, 0

    def _next(self) -> str:
        found = self.text[self.at]
        self.at += 1
        return found

    def _take(self, wanted: str) -> bool:
        if self.text.startswith(wanted, self.at):
            self.at += 1
            return True
        return False

    def _number(self) -> int:
        """Base 62, ended by ``_``; ``_`` alone is 0."""
        if self._take("_"):
            return 0
        value = 0
        while (c := self._next()) != "_":
            digit = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".index(c)
            value = value * 62 + digit
        return value + 1

    def _disambiguator(self) -> int:
        return self._number() + 1 if self._take("s") else 0

    def _identifier(self) -> str:
        encoded = self._take("u")
        start = self.at
        while self.text[self.at:self.at + 1].isdigit() and not (self.at > start and self.text[start] == "0"):
            self.at += 1
        length = int(self.text[start:self.at])
        self._take("_")
        name = self.text[self.at:self.at + length]
        if len(name) < length:
            raise _Wrong
        self.at += length
        if not encoded:
            return name
        basic, underscore, rest = name.rpartition("_")
        return (basic + "-" + rest if underscore else rest).encode().decode("punycode")

    def _back(self, read: str) -> str:
        """Something that was there before, at a position that follows."""
        here = self.at - 1
        there = self._number()
        if there >= here:
            raise _Wrong
        after, self.at = self.at, there
        found: str = getattr(self, read)()
        self.at = after
        return found

    def _enter(self, found: str = "") -> None:
        self.depth += 1
        self.said += len(found)
        if self.depth > _MOST_DEPTH or self.said > _MOST_CHARACTERS:
            raise _Wrong

    def path(self, in_value: bool = False) -> str:
        """A path: of a crate, something in it, an implementation, with arguments."""
        self._enter()
        found = self._path(in_value)
        self.depth -= 1
        self.said += len(found)
        return found

    def _path(self, in_value: bool) -> str:
        tag = self._next()
        if tag == "C":
            self._disambiguator()
            return self._identifier()
        if tag == "N":
            space = self._next()
            parent = self.path(in_value)
            number = self._disambiguator()
            name = self._identifier()
            if space.isupper():
                kind = {"C": "closure", "S": "shim"}.get(space, space)
                return f"{parent}::{{{kind}{':' + name if name else ''}#{number}}}"
            return f"{parent}::{name}" if name else parent
        if tag in "MX":
            self._disambiguator()
            self.path()
            made = self.type()
            return f"<{made} as {self.path()}>" if tag == "X" else f"<{made}>"
        if tag == "Y":
            made = self.type()
            return f"<{made} as {self.path()}>"
        if tag == "I":
            head = self.path(in_value)
            arguments = []
            while not self._take("E"):
                arguments.append(self._argument())
            return f"{head}{'::' if in_value else ''}<{', '.join(arguments)}>"
        if tag == "B":
            return self._back("_path_in_value" if in_value else "path")
        raise _Wrong

    def _path_in_value(self) -> str:
        return self.path(in_value=True)

    def _argument(self) -> str:
        if self._take("L"):
            return self._lifetime(self._number())
        if self._take("K"):
            return self.constant()
        return self.type()

    def _lifetime(self, index: int) -> str:
        if index == 0:
            return "'_"
        depth = self.lifetimes - index
        if depth < 0:
            raise _Wrong
        return f"'{chr(97 + depth)}" if depth < 26 else f"'_{depth}"

    def _binder(self) -> str:
        if not self._take("G"):
            return ""
        count = self._number() + 1
        if count > 100:
            raise _Wrong
        self.lifetimes += count
        return f"for<{', '.join(self._lifetime(i) for i in range(count, 0, -1))}> "

    def type(self) -> str:
        """A type."""
        self._enter()
        found = self._type()
        self.depth -= 1
        self.said += len(found)
        return found

    def _type(self) -> str:
        tag = self._next()
        if tag in _BASIC:
            return _BASIC[tag]
        if tag in "RQ":
            lifetime = ""
            if self._take("L") and (index := self._number()):
                lifetime = self._lifetime(index) + " "
            return f"&{lifetime}{'mut ' if tag == 'Q' else ''}{self.type()}"
        if tag in "PO":
            return f"*{'const' if tag == 'P' else 'mut'} {self.type()}"
        if tag == "A":
            element = self.type()
            return f"[{element}; {self.constant()}]"
        if tag == "S":
            return f"[{self.type()}]"
        if tag == "T":
            parts = []
            while not self._take("E"):
                parts.append(self.type())
            return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
        if tag == "F":
            return self._function()
        if tag == "D":
            return self._object()
        if tag == "B":
            return self._back("type")
        self.at -= 1
        return self.path()

    def _function(self) -> str:
        outer = self.lifetimes
        binder = self._binder()
        head = "unsafe " if self._take("U") else ""
        if self._take("K"):
            head += f'extern "{"C" if self._take("C") else self._identifier().replace("_", "-")}" '
        parts = []
        while not self._take("E"):
            parts.append(self.type())
        result = self.type()
        self.lifetimes = outer
        return f"{binder}{head}fn({', '.join(parts)})" + ("" if result == "()" else f" -> {result}")

    def _object(self) -> str:
        outer = self.lifetimes
        binder = self._binder()
        traits = []
        while not self._take("E"):
            trait = self.path()
            bindings = []
            while self._take("p"):
                name = self._identifier()
                bindings.append(f"{name} = {self.type()}")
            if bindings:
                inner = f"{trait[:-1]}, " if trait.endswith(">") and "<" in trait[1:] else f"{trait}<"
                trait = f"{inner}{', '.join(bindings)}>"
            traits.append(trait)
        self.lifetimes = outer
        lifetime = ""
        if self._take("L") and (index := self._number()):
            lifetime = f" + {self._lifetime(index)}"
        return f"dyn {binder}{' + '.join(traits)}{lifetime}"

    def constant(self) -> str:
        """A constant's value."""
        tag = self._next()
        if tag == "p":
            return "_"
        if tag == "B":
            return self._back("constant")
        sign = "-" if self._take("n") else ""
        end = self.text.index("_", self.at)
        digits, self.at = self.text[self.at:end], end + 1
        value = int(digits or "0", 16)
        if tag == "b":
            return "true" if value else "false"
        if tag == "c":
            return repr(chr(value))
        if tag not in "ahlsxnijmtyo":
            raise _Wrong
        return f"{sign}{value}"
