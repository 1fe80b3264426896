"""Flame graphs: the tree, the folded text and pictures that a parser reads."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import ebpf

STACKS = {("main", "parse", "read"): 12, ("main", "draw"): 30, ("main",): 3, ("idle_[k]",): 5}


def test_counts_are_merged_from_the_root() -> None:
    graph = ebpf.FlameGraph(STACKS, title="t")
    assert graph.total == 50
    assert [(f.name, f.depth, f.start, f.count, f.kind) for f in graph.frames()] == [
        ("all", 0, 0, 50, "user"), ("idle", 1, 0, 5, "kernel"), ("main", 1, 5, 45, "user"), ("draw", 2, 5, 30, "user"),
        ("parse", 2, 35, 12, "user"), ("read", 3, 35, 12, "user")]
    assert len(graph) == 5
    graph.add("main;draw")
    graph.add(("main", "draw"), 4)
    assert graph.folded() == "idle_[k] 5\nmain 3\nmain;draw 35\nmain;parse;read 12\n"


def test_folded_text_comes_back() -> None:
    graph = ebpf.FlameGraph(STACKS)
    assert ebpf.FlameGraph.from_folded(graph.folded()).folded() == graph.folded()
    with pytest.raises(ebpf.UsageError, match="line 2 is no folded stack"):
        ebpf.FlameGraph.from_folded("main;f 3\nmain;g x\n")
    with pytest.raises(ebpf.UsageError, match="-1 times"):
        graph.add(("f",), -1)


def test_the_picture_is_well_formed_and_as_wide_as_the_counts(tmp_path: Path) -> None:
    graph = ebpf.FlameGraph({("std::vector<int>&", "a\"b'"): 3, ("other",): 1}, title="<b>&", unit="µs")
    svg = ElementTree.fromstring(graph.to_svg())
    space = "{http://www.w3.org/2000/svg}"
    widths = {g.get("data-n"): float(g.get("data-w") or 0) for g in svg.iter(space + "g")}
    assert widths == {"all": 1200, "std::vector<int>&": 900, "a\"b'": 900, "other": 300}
    titles = [t.text for t in svg.iter(space + "title")]
    assert titles[0] == "<b>&" and "other: 1 µs, 25.00 %" in titles
    page = graph.to_html(tmp_path / "graph.html")
    assert (tmp_path / "graph.html").read_text() == page
    assert "<b>&</b>" not in page and "&lt;b&gt;&amp;" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_an_empty_one_is_a_picture_too() -> None:
    graph = ebpf.FlameGraph()
    assert not graph and graph.folded() == ""
    ElementTree.fromstring(graph.to_svg())


def test_frames_too_narrow_to_see_are_left_out() -> None:
    graph = ebpf.FlameGraph({("f",): 1_000_000, ("g",): 1})
    assert "data-n=\"g\"" not in graph.to_svg() and "g 1\n" in graph.folded()


def test_deep_stacks() -> None:
    graph = ebpf.FlameGraph({tuple(f"f{i}" for i in range(5000)): 2})
    assert len(graph) == 5000
    assert graph.folded().endswith("f4999 2\n")
