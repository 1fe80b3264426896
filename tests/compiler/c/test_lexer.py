"""Tokens, literals and places."""

from __future__ import annotations

import pytest

from ebpf.compiler.c.lexer import parse_integer, tokenize, unescape
from ebpf.compiler.c.source import Diagnostics, SourceMap, TooManyErrors


@pytest.mark.parametrize("text, kinds", [
    ("int x = 0x1F;", "id:int id:x =:= num:0x1F ;:;"),
    ("a<:1:>", "id:a [:<: num:1 ]::>"),
    ("'a' '\\'' \"s\\\"t\" L\"w\"", "chr:'a' chr:'\\'' str:\"s\\\"t\" str:L\"w\""),
    ("x.y->z...", "id:x .:. id:y ->:-> id:z ...:..."),
    (".5 5. 1e-3 a.b", "num:.5 num:5. num:1e-3 id:a .:. id:b"),
    ("a /* * / ** */ b // c", "id:a id:b"),
    ("@ `", "bad:@ bad:`"),
    ("/* never", "bad:/* never"),
    ('"never\nx', 'bad:"never id:x'),
    ("'' x", "bad:'' x"),
    ("größe $x", "id:größe id:$x"),
])  # fmt: skip
def test_tokens(text, kinds):
    assert " ".join(f"{t.kind}:{t.text}" for t in tokenize(text, 1)[:-1]) == kinds


def test_every_token_stands_where_it_says():
    text = 'int\tmain ( void )\r\n{ return "x" /* c */ + 1 ; } // end\n'
    tokens = tokenize(text, 100)
    assert all(text[t.loc - 100 : t.end - 100] == t.text for t in tokens)
    assert [t.text for t in tokens if t.bol] == ["int", "{", ""]
    assert tokens[-1].kind == "eof" and tokens[-1].loc == 100 + len(text)


@pytest.mark.parametrize("text, value", [
    ("0", (0, "", True)), ("10", (10, "", True)), ("017", (15, "", False)), ("0x1fUL", (31, "ul", False)), ("0b101u", (5, "u", False)),
    ("1LLU", (1, "ull", True)), ("1'000'000", (1000000, "", True)), ("18446744073709551615ull", (18446744073709551615, "ull", True)),
])  # fmt: skip
def test_integers(text, value):
    assert parse_integer(text) == value


@pytest.mark.parametrize("text, words", [("1lul", "suffix"), ("09", "octal"), ("0xg", "not a number"), ("12abc", "not a number"),
                                         ("1Ll", "suffix"), ("9" * 50, "more digits")])  # fmt: skip
def test_bad_integers(text, words):
    assert words in str(parse_integer(text))


@pytest.mark.parametrize("text, value", [
    (r'"a\n\t\\\"\'\0"', b"a\n\t\\\"'\0"), (r'"\x41\101\e"', b"AA\x1b"), (r'"\u00e9é"', "éé".encode()), (r"'\377'", b"\xff"),
    ('u8"ä"', "ä".encode()), ('""', b""), (r'"\0123"', b"\n3"), ('L"aé"', [97, 233]),
])  # fmt: skip
def test_strings(text, value):
    assert unescape(text) == (value, [])


@pytest.mark.parametrize("text, words", [(r'"\q"', "unknown escape"), (r'"\x"', "without hexadecimal"), (r'"\xfff"', "does not fit"),
                                         (r'"\777"', "does not fit"), (r'"\ud800"', "not a character")])  # fmt: skip
def test_bad_escapes(text, words):
    assert any(words in complaint for complaint in unescape(text)[1])


def test_source_map():
    sources = SourceMap()
    a = sources.add_file("a.c", "one\ntwo\r\n")
    b = sources.add_file("b.c", "x")
    assert (
        sources.position(a) == ("a.c", 1, 1)
        and sources.position(a + 5) == ("a.c", 2, 2)
        and sources.position(b) == ("b.c", 1, 1)
    )
    assert sources.position(a + 9) == ("a.c", 3, 1) and sources.position(0) == ("", 0, 0) and sources.span(0) is None
    span = sources.span(a + 4, b + 1)
    assert span is not None and (span.line, span.column, span.end_column, span.text) == (2, 1, 4, "two")
    sources.mark_line(a, 70, "z.y")
    assert sources.position(a + 4) == ("z.y", 70, 1)


def test_diagnostics_stop_at_the_twentieth_error():
    sources = SourceMap()
    base = sources.add_file("a.c", "x" * 100)
    found = Diagnostics(sources)
    for n in range(19):
        found.error("C0000", "m", base + n)
        found.error("C0000", "m", base + n)  # the same again is not said again
    with pytest.raises(TooManyErrors):
        found.error("C0000", "m", base + 50)
    assert len(found.items) == 20
