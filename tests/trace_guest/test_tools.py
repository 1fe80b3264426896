"""Debian's bpftrace tools, unchanged, beside Debian's bpftrace on the same work: a few by default, all with --all-guests.

The table of all of them on all kernels in docs/trace.md is made by ``python -m tests.trace_guest.tools --all``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpf.errors import NotSupported
from tests.trace_guest.compared import Tool, different, facts, joined, maps, said_lines
from tests.trace_guest.side_by_side import NOT_RUN, SCRIPTS, Said, Watched, observe, require_bpftrace
from tests.trace_guest.tools import TOOLS, Row, installed, judge, table

_SAMPLE = ("opensnoop", "execsnoop", "vfscount")
_FEW = 4  # at once, in a small guest
_REST = sorted(set(TOOLS) - set(_SAMPLE))
_PAGE = Path(__file__).resolve().parents[2] / "docs" / "trace.md"


def compare(names: tuple[str, ...], areas: tuple[str, ...] = ()) -> None:
    """Watch the work with both, and compare."""
    require_bpftrace()
    here = [name for name in names if name in installed()]
    if not here:
        raise NotSupported("comparing with bpftrace's tools", who="this system", instead="install Debian's bpftrace")
    watched = observe({name: (f"{SCRIPTS}/{name}.bt",) for name in here}, areas)
    rows = {name: judge(name, "6.1", watched[name]) for name in here}
    wrong = {name: (row, watched[name]) for name, row in rows.items() if row.result == "differs"}
    assert not wrong, "\n".join(f"{row}\n--- bpftrace\n{both.theirs.whole[-2000:]}{both.theirs.err}\n--- ours\n"
                                f"{both.ours.whole[-2000:]}{both.ours.err}" for row, both in wrong.values())
    assert not areas or all(row.result == "same" and row.compared > 2 for row in rows.values()), rows


@pytest.mark.guest(kernels=("6.1",), thorough=True, timeout_s=240)
def test_some_tools_say_what_they_say_under_bpftrace() -> None:
    compare(_SAMPLE, ("files", "commands"))


@pytest.mark.guest(kernels=("6.1",), thorough=True, timeout_s=600)
@pytest.mark.parametrize("first", range(0, len(_REST), _FEW))
def test_every_tool_says_what_it_says_under_bpftrace(first: int) -> None:
    compare(tuple(_REST[first:first + _FEW]))


# ---- the comparison itself --------------------------------------------------------------------------


def said(out: str, status: int = 0, err: str = "") -> Said:
    return Said("Attaching 2 probes...\n", out, err, status)


def test_every_tool_of_the_package_has_a_row() -> None:
    if not installed():
        pytest.skip("Debian's bpftrace is not installed")
    assert set(installed()) == set(TOOLS)


def test_the_page_has_every_tool() -> None:
    text = _PAGE.read_text()
    assert all(f"| {name} |" in text for name in TOOLS)


def test_lines_are_compared_but_for_times() -> None:
    tool = Tool("wl-", r"^\d\d:\d\d:\d\d|\d+$")
    one, other = said("10:00:01 wl-kills  7   100 3\nnoise\n"), said("10:00:02 wl-kills 7 100 4\n")
    assert different(tool, one, other) == "" and said_lines(tool, one.out, tool.lines).total() == 1
    assert "wl-kills" in different(tool, one, said("10:00:02 wl-kills 8 100 4\n"))
    assert "wl-kills" in different(tool, one, said("10:00:02 wl-kills 7 100 4\n" * 2))


def test_one_line_of_some_is_enough() -> None:
    tool = Tool(some="load")
    assert different(tool, said("load 1\nload 2\n"), said("load 2\nload 3\n")) == ""
    assert different(tool, said("load 1\n"), said("load 2\n")) != ""


def test_maps_are_read_as_they_are_printed() -> None:
    text = ("@[a, 1]: 2\n@[a, 1]: 3\n@u: \n[1, 2)    4 |@@|\n[2, 4)    1 |@ |\n\n"
            "@s[x]: count 3, average 5, total 15\n12:00:01 all: @: 7\n")
    assert maps(text) == {("@[a, 1]", ""): 5, ("@u", "[1, 2)"): 4, ("@u", "[2, 4)"): 1, ("@s[x]", "count"): 3,
                          ("@", ""): 7}
    assert facts(Tool(totals="@u"), said(text)) == {"@u in all": 5}
    assert facts(Tool(keys="@u"), said(text)) == {"@u [1, 2)": 1, "@u [2, 4)": 1}
    assert different(Tool(equal="@u"), said(text), said(text.replace("   4 |", "   5 |"))) != ""


def test_a_stack_belongs_to_its_line() -> None:
    assert joined("10:00 x \n\n    f+1\n    g+2\n\nnext\n") == ["10:00 x  f+1 g+2", "", "next"]
    assert maps("@u[\n    f+1\n    g+2\n]: 3\n") == {("@u[ f+1 g+2]", ""): 3}


def test_results() -> None:
    good, failed = said("wl-file\n"), said("", 1, "ERROR: no such field\n")
    assert judge("opensnoop", "6.1", Watched(good, good)).result == "differs"  # its header is missing
    assert judge("opensnoop", "7.2", Watched(failed, failed)).result == "refused"
    assert judge("opensnoop", "7.2", Watched(failed, good)) == Row(
        "opensnoop", "7.2", "alone", 1, "bpftrace: ERROR: no such field")
    assert judge("opensnoop", "7.2", Watched(failed, said("")), Watched(good, good)).result == "differs"
    nothing = said("", err="ebpf: warning: kprobe:f: it is gone\nwarning[T0302]: there is no g\n  --> x\n")
    assert judge("opensnoop", "7.2", Watched(Said("", "", "", NOT_RUN), nothing)) == Row(
        "opensnoop", "7.2", "silent", 0, "kprobe:f: it is gone; there is no g")
    assert "| opensnoop | same (3) | – |" in table([Row("opensnoop", "6.1", "same", 3, "")], ["6.1", "7.2"])
