"""What a notebook shows: HTML that a parser reads, with the entries, and the program's lines beside its instructions."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

import ebpf

from .functions import programs as p
from .objects import TEXT


class Cells(HTMLParser):
    """The rows of tables; fails where an element is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            return
        self._open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data


@pytest.fixture
def session(backend: str):  # type: ignore[no-untyped-def]
    with ebpf.load(ebpf.compile(TEXT), load_programs=["count"]) as session:
        yield session


def test_maps(session: ebpf.Session) -> None:
    maps = session.maps
    maps["pairs"][{"a": 1, "comm": "<b>"}] = {"a": 2, "b": 3}
    assert Cells(maps["pairs"]._repr_html_()).rows == [["a", "comm", "b"] * 2, ["1", "<b>", "0", "2", "", "3"]]
    maps["counts"].update({k: k for k in range(30)})
    page = maps["counts"]._repr_html_()
    assert len(Cells(page).rows) == 21 and "… 10 more" in page and "30 of 1000" in page
    maps["percpu"][1] = 5
    assert Cells(maps["percpu"]._repr_html_()).rows[0][:2] == ["key", "CPU 0"]
    for name in ("queue", "ring", "lru"):
        Cells(maps[name]._repr_html_())
    kept = maps["counts"]
    session.close()
    assert "closed" in kept._repr_html_()


def test_a_program_beside_its_source(session: ebpf.Session) -> None:
    rows = Cells(session.programs["count"]._repr_html_()).rows
    assert rows[0] == ["", "source", "bytecode", "verifier"]
    line = next(row for row in rows if "bpf_map_lookup_elem(&counts" in row[1])
    assert "call bpf_map_lookup_elem#1" in line[2] and "// counts" in line[2] and "map counts" in line[3]


def test_a_function_beside_its_source() -> None:
    rows = Cells(p.make()._repr_html_()).rows
    source = [row[1] for row in rows[1:]]
    assert any("@ebpf.xdp" in text for text in source) and any("def count(ctx):" in text for text in source)


def test_a_function_that_does_not_compile_shows_why() -> None:
    @ebpf.xdp
    def wrong(ctx):  # type: ignore[no-untyped-def]
        return nowhere  # type: ignore[name-defined]  # noqa: F821

    page = wrong._repr_html_()
    Cells(page)
    assert "def wrong(ctx)" in page and "nowhere" in page and "error[" in page


def test_declarations_without_a_session() -> None:
    assert "in no open session" in ebpf.Hash(ebpf.u32, ebpf.u64)._repr_html_()
