"""Text → preprocessing tokens (C11 6.4), with line splices, comments and digraphs already dealt with. No trigraphs.

One regular expression does the work: in CPython that is ten times as fast as looking at characters.
"""

from __future__ import annotations

import re
from bisect import bisect_right

# How tightly binary operators bind (C11 6.5.5 to 6.5.14): one table for expressions and for `#if`.
PRECEDENCE = {
    "||": 1,
    "&&": 2,
    "|": 3,
    "^": 4,
    "&": 5,
    "==": 6,
    "!=": 6,
    "<": 7,
    ">": 7,
    "<=": 7,
    ">=": 7,
    "<<": 8,
    ">>": 8,
    "+": 9,
    "-": 9,
    "*": 10,
    "/": 10,
    "%": 10,
}


class Token:
    """One preprocessing token.

    ``kind`` is ``"id"`` (keywords are told apart by the parser), ``"num"``, ``"str"``, ``"chr"``, ``"eof"``,
    ``"pragma"``, ``"bad"``, or for a punctuator its canonical spelling (``"["`` also for ``<:``). ``text`` is what
    was written. ``space``: white space stands before it; ``bol``: it is the first of its line. ``hide`` is the hide
    set of macro expansion: the macros whose names this token must not expand again (None: empty).
    """

    __slots__ = ("bol", "end", "hide", "kind", "loc", "space", "text")

    def __init__(
        self,
        kind: str,
        text: str,
        loc: int,
        end: int,
        space: bool = False,
        bol: bool = False,
        hide: frozenset[str] | None = None,
    ) -> None:
        self.kind = kind
        self.text = text
        self.loc = loc
        self.end = end
        self.space = space
        self.bol = bol
        self.hide = hide

    def __repr__(self) -> str:
        return f"Token({self.kind!r}, {self.text!r}, {self.loc})"


_DIGRAPHS = {"<:": "[", ":>": "]", "<%": "{", "%>": "}", "%:": "#", "%:%:": "##"}

# Groups: 1 identifier, 2 punctuator, 3 line end, 4 number, 5 string, 6 character, 7 comment, 8 anything else.
_TOKEN = re.compile(
    r"""[ \t\r\f\v]*(?:
     (?!(?:u8|[uUL])["'])([A-Za-z_$\x80-\U0010ffff][\w$]*)
    |((?:/(?![/*])=?)|\.\.\.|\.(?![0-9])|<<=?|>>=?|->|\+[+=]?|-[-=]?|&[&=]?|\|[|=]?|<[=:%]?|>=?|%:%:|%[=>:]?|[=!*^]=?|:>?|\#\#?|[()\[\]{},;?~])
    |(\n)
    |(\.?[0-9](?:[eEpP][+-]|[\w.]|'(?=\w))*)
    |((?:u8|[uUL])?"(?:[^"\\\n]|\\.)*")
    |((?:u8|[uUL])?'(?:[^'\\\n]|\\.)+')
    |(//[^\n]*|/\*(?s:.*?)\*/)
    |(/\*(?s:.*)|["'][^\n]*|\S)
    )""",
    re.VERBOSE,
)
_SPLICE = re.compile(r"\\[ \t]*\r?\n")


def tokenize(text: str, base: int) -> list[Token]:
    """The tokens of ``text``, whose first character is at ``base``; the last one is of kind ``"eof"`` (``bol``
    is set).
    """
    splices = _SPLICE.search(text) is not None
    source = _SPLICE.sub("", text) if splices else text
    out: list[Token] = []
    append = out.append
    bol, space = True, False
    for match in _TOKEN.finditer(source):
        group = match.lastindex
        start, end = match.span(group)  # type: ignore[arg-type]  # one of the groups always takes part
        if group == 1:
            append(Token("id", source[start:end], base + start, base + end, space or start != match.start(), bol))
        elif group == 2:
            word = source[start:end]
            append(
                Token(_DIGRAPHS.get(word, word), word, base + start, base + end, space or start != match.start(), bol)
            )
        elif group == 3:
            bol, space = True, False
            continue
        elif group == 7:
            space = True
            continue
        else:
            kind = "num" if group == 4 else "str" if group == 5 else "chr" if group == 6 else "bad"
            append(Token(kind, source[start:end], base + start, base + end, space or start != match.start(), bol))
        bol = space = False
    at = base + len(source)
    append(Token("eof", "", at, at, False, True))
    if splices:
        _restore_places(text, base, out)
    return out


def _restore_places(text: str, base: int, tokens: list[Token]) -> None:
    """Move the tokens of spliced text to where they stand in the text as written."""
    offsets: list[int] = []  # where, in the spliced text, something was cut out …
    shifts = [0]  # … and by how much everything from there on is moved
    removed = 0
    for match in _SPLICE.finditer(text):
        offsets.append(base + match.start() - removed)
        removed += match.end() - match.start()
        shifts.append(removed)
    for token in tokens:
        token.loc += shifts[bisect_right(offsets, token.loc)]
        if token.end > token.loc or token.kind != "eof":
            token.end += shifts[bisect_right(offsets, token.end - 1)]
        else:
            token.end = token.loc


def unescape(text: str) -> tuple[bytes | list[int], list[str]]:
    """The value of a string or character token, prefix and quotes included, as written: (bytes, complaints).

    Characters outside ASCII are UTF-8, as in clang. Wide literals give the list of their code units instead.
    """
    quote = text.index('"') if text.endswith('"') else text.index("'")
    wide = text[:quote] in ("u", "U", "L")
    body = text[quote + 1 : -1]
    complaints: list[str] = []
    if "\\" not in body:
        return ([ord(c) for c in body] if wide else body.encode("utf-8", "surrogateescape")), complaints
    units: list[int] = []
    at = 0
    for match in re.finditer(_ESCAPE, body):
        units += _plain(body[at : match.start()], wide)
        at = match.end()
        word = match.group(1)
        first = word[0]
        if first in "01234567":
            units.append(_narrow(int(word, 8), wide, word, complaints))
        elif first == "x":
            if len(word) == 1:
                complaints.append("`\\x` without hexadecimal digits")
            else:
                units.append(_narrow(int(word[1:], 16), wide, word, complaints))
        elif first in "uU" and len(word) > 1:
            code = int(word[1:], 16)
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                complaints.append(f"`\\{word}` is not a character")
            else:
                units += _plain(chr(code), wide)
        elif first in _SIMPLE:
            units.append(_SIMPLE[first])
        else:
            complaints.append(f"unknown escape sequence `\\{first}`")
            units += _plain(first, wide)
    units += _plain(body[at:], wide)
    return (units if wide else bytes(units)), complaints


# Compiled at their first use, by `re` itself.
_ESCAPE = r"(?s)\\([0-7]{1,3}|x[0-9a-fA-F]*|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)"
_SIMPLE = {
    "n": 10,
    "t": 9,
    "r": 13,
    "0": 0,
    "a": 7,
    "b": 8,
    "f": 12,
    "v": 11,
    "e": 27,
    "E": 27,
    "\\": 92,
    "'": 39,
    '"': 34,
    "?": 63,
}


def _plain(text: str, wide: bool) -> list[int]:
    return [ord(c) for c in text] if wide else list(text.encode("utf-8", "surrogateescape"))


def _narrow(value: int, wide: bool, word: str, complaints: list[str]) -> int:
    if not wide and value > 255:
        complaints.append(f"`\\{word}` does not fit into a byte")
        return value & 255
    return value & 0xFFFFFFFF


_NUMBER = r"(0[xX][0-9a-fA-F']+|0[bB][01']+|[0-9][0-9']*)([uUlLzZ]*)"
_SUFFIXES = {
    "": "",
    "u": "u",
    "l": "l",
    "ul": "ul",
    "lu": "ul",
    "ll": "ll",
    "ull": "ull",
    "llu": "ull",
    "z": "l",
    "uz": "ul",
    "zu": "ul",
}


def parse_integer(text: str) -> tuple[int, str, bool] | str:
    """(value, suffix in canonical lower case, decimal?) of an integer literal, or in words why it is none."""
    if len(text) < 19 and text.isdecimal() and (text[0] != "0" or text == "0"):
        return int(text), "", True
    match = re.fullmatch(_NUMBER, text)
    if match is None:
        return f"`{text}` is not a number that C knows"
    digits, suffix = match.group(1).replace("'", ""), match.group(2)
    if "lL" in suffix or "Ll" in suffix or suffix.lower() not in _SUFFIXES:
        return f"`{suffix}` is not a suffix that an integer can have"
    canonical = _SUFFIXES[suffix.lower()]
    if digits[:2] in ("0x", "0X"):
        return int(digits[2:], 16), canonical, False
    if digits[:2] in ("0b", "0B"):
        return int(digits[2:], 2), canonical, False
    if digits[0] == "0" and len(digits) > 1:
        if "8" in digits or "9" in digits:
            return f"`{text}` begins with 0 and is octal, but has a digit beyond 7"
        return int(digits, 8), canonical, False
    if len(digits) > 40:
        return "this number has more digits than any integer type holds"
    return int(digits), canonical, True


def is_float(text: str) -> bool:
    """Whether a ``num`` token is a floating-point literal."""
    if text[:2] in ("0x", "0X"):
        return "p" in text or "P" in text or "." in text
    return "." in text or "e" in text or "E" in text
