"""Script text → tokens, one at a time: what a character means depends on where the parser is.

Attach points (``uprobe:/bin/bash:readline``) and the end of a predicate are no tokens of their own: the parser reads
them from the text with the patterns at the end of this module.
"""

from __future__ import annotations

import re


class Token:
    """``kind``: ``id`` ``$`` (``$x``) ``@`` (``@x``, ``@``) ``param`` (``$1``, ``$#``) ``num`` ``str`` ``eof``
    ``bad``, or the sign itself. ``value``: the number, or the string's bytes. ``loc`` and ``end`` are offsets in the
    text.
    """

    __slots__ = ("end", "kind", "loc", "text", "value")

    def __init__(self, kind: str, text: str, loc: int, end: int, value: int | bytes = 0) -> None:
        self.kind, self.text, self.loc, self.end, self.value = kind, text, loc, end, value

    def __repr__(self) -> str:
        return f"Token({self.kind!r}, {self.text!r}, {self.loc})"


SKIP = re.compile(r"(?:[ \t\r\n\f\v]+|//[^\n]*|/\*(?s:.*?)\*/)*")
_TOKEN = re.compile(
    r"""([A-Za-z_]\w*)
    |([$@](?:[A-Za-z_]\w*|[0-9]+|\#)?)
    |(\.[0-9]+\b(?![eE.]))
    |([0-9](?:[eE][+-]?[0-9]|\.(?!\.)(?=[0-9])|\w)*)
    |("(?:[^"\\]|\\(?s:.))*")
    |(?!/\*)(<<=|>>=|\.\.|->|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=|<<|>>|[-+*/%&|^<>=!~?:;,.(){}\[\]])
    |(/\*|"|.)""",
    re.VERBOSE,
)
_DURATIONS = {"ns": 1, "us": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_NUMBER = re.compile(
    r"(?:(?P<hex>0[xX][0-9a-fA-F_]+)|(?P<bin>0[bB][01_]+)|(?P<man>[0-9][0-9_]*)[eE](?P<exp>[0-9]+)|(?P<dec>[0-9][0-9_]*))"
    r"(?P<suffix>ns|us|ms|[smhd]|[uUlL]+)?$"
)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v", b"e": b"\x1b"}


def next_token(text: str, at: int) -> Token:
    """The token at or after offset ``at``."""
    skipped = SKIP.match(text, at)
    assert skipped is not None
    at = skipped.end()
    m = _TOKEN.match(text, at)
    if m is None:
        return Token("eof", "", len(text), len(text))
    word, index, end = m[0], m.lastindex, m.end()
    if index == 1:
        return Token("id", word, at, end)
    if index == 6:
        return Token(word, word, at, end)
    if index == 2:
        if word[0] == "@":
            return (
                Token("@", word, at, end) if not word[1:2].isdigit() and word != "@#" else Token("bad", word, at, end)
            )
        if word == "$":
            return Token("bad", word, at, end)
        return Token("param" if word[1].isdigit() or word == "$#" else "$", word, at, end)
    if index == 3:  # `.0`: an element of a tuple
        return Token(".", ".", at, at + 1)
    if index == 4:
        value = number(word)
        return Token("bad" if value is None else "num", word, at, end, value or 0)
    if index == 5:
        return Token("str", word, at, end, unescape(word[1:-1]))
    return Token("bad", word, at, end)


def number(word: str) -> int | None:
    """The value of an integer literal: ``1_000``, ``0x1f``, ``017``, ``1e6``, ``5ms`` (nanoseconds); None for no
    such thing.
    """
    m = _NUMBER.match(word)
    if m is None:
        return None
    if m["hex"]:
        value = int(m["hex"].replace("_", ""), 16)
    elif m["bin"]:
        value = int(m["bin"].replace("_", ""), 2)
    elif m["man"]:
        if int(m["exp"]) > 20:
            return None
        value = int(m["man"].replace("_", "")) * 10 ** int(m["exp"])
    else:
        digits = m["dec"].replace("_", "")
        octal = len(digits) > 1 and digits[0] == "0"
        if octal and not set(digits) <= set("01234567"):
            return None
        value = int(digits, 8 if octal else 10)
    return value * _DURATIONS.get(m["suffix"] or "", 1)


def unescape(text: str) -> bytes:
    """The bytes of a string literal's inside."""

    def one(m: re.Match[bytes]) -> bytes:
        c = m[1]
        if c[:1] == b"x" and len(c) > 1:
            return bytes((int(c[1:], 16),))
        if c[:1].isdigit() and c[0] < 0x38:
            return bytes((int(c, 8) & 255,))
        return _ESCAPES.get(c, c)

    raw = text.encode("utf-8", "surrogateescape")
    return _ESCAPE.sub(one, raw) if b"\\" in raw else raw


ATTACH_HEAD = re.compile(r"[A-Za-z_$*?][\w$*?.]*|\*")
ATTACH_PART = re.compile(r'"[^"\n]*"|(?:\$\(?[\w#]+\)?|[^\s{},:/"$])+')
ATTACH_PATH = re.compile(r'"[^"\n]*"|(?:\$\(?[\w#]+\)?|\\.|[^\s{},:"$])+')
"""Of providers whose targets are files: slashes belong to the name."""
PREDICATE_END = re.compile(r"/(?=(?:[ \t\r\n\f\v]+|//[^\n]*|/\*(?s:.*?)\*/)*\{)")
