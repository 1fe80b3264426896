"""Tools' options, columns, histograms, groups: text in, text out."""

from __future__ import annotations

import inspect
import json
import struct
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pytest

import ebpf
from ebpf.cli import main
from ebpf.tools import TOOLS, _columns, _groups, _histogram, _options, _stacks, _values
from ebpf.tools._tool import Tool

HERE = Path(_columns.__file__).parent


def module_of(name: str) -> ModuleType:
    return import_module(f"ebpf.tools.{name}")


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_a_module_and_a_program_of_its_name(name: str) -> None:
    module = module_of(name)
    tool: Tool = module.TOOL
    assert tool.name == name and (HERE / f"{name}.c").is_file()
    assert hasattr(module, "reports" if tool.summarises else "events")
    assert tool.about and tool.examples and (tool.columns or tool.summarises)
    takes_command = "command" in inspect.signature(module.reports if tool.summarises else module.events).parameters
    assert takes_command == (not tool.kernel_only)


@pytest.mark.parametrize("name", TOOLS)
def test_help_has_examples_and_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["tools", name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert f"  ebpf tools {name}" in text.partition("examples:")[2]
    assert "--json" in text and "--duration" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("name", TOOLS)
def test_examples_are_command_lines_that_the_tool_takes(name: str) -> None:
    import shlex

    from ebpf.cli.tools import _parser

    tool: Tool = module_of(name).TOOL
    for arguments, _ in tool.examples:
        words = shlex.split(arguments)
        assert "--" not in words or not tool.kernel_only
        _parser(tool, name).parse_args(words[:words.index("--")] if "--" in words else words)


def test_programs_come_with_the_package() -> None:
    """The wheel takes everything below src/ebpf; the C lies there, and nothing leaves it out."""
    import tomllib

    project = tomllib.loads((HERE.parents[2] / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "src/ebpf" in wheel["packages"] and not {"exclude", "only-include"} & set(wheel)
    assert {path.stem for path in HERE.glob("*.c")} == set(TOOLS)


class Item(NamedTuple):
    pid: int
    comm: str
    ms: float | None
    data: bytes = b""


def test_columns_align_and_the_last_is_as_wide_as_it_likes() -> None:
    table = _columns.Table((_columns.Column("PID", "pid", 7), _columns.Column("MS", "ms", 6, _columns.decimals(2)),
                            _columns.text_column("COMM", "comm", 5)))
    assert table.header() == "    PID     MS COMM"
    assert table.line(Item(42, "bash", 1.5)) == "     42   1.50 bash"
    assert table.line(Item(1234567, "a\nlong\x1bname", None)) == "1234567      - a\\nlong\\x1bname"


def test_json_has_named_fields_and_text_for_bytes() -> None:
    assert json.loads(_columns.json_line(Item(1, "ü", None, b"\xff"))) == {
        "pid": 1, "comm": "ü", "ms": None, "data": "\\xff"}


@pytest.mark.parametrize(("slots", "rows"), [
    ((), []),
    ((3,), [(0, 1, 3)]),
    ((0, 2, 1, 0), [(0, 1, 0), (2, 3, 2), (4, 7, 1)]),
])
def test_slots_are_powers_of_two(slots: tuple[int, ...], rows: list[tuple[int, int, int]]) -> None:
    assert [tuple(bucket) for bucket in _histogram.from_slots("", "us", slots).buckets] == rows


def test_a_histogram_is_drawn_as_everybody_draws_it() -> None:
    lines = list(_histogram.draw(_histogram.from_slots("", "us", (1, 4))))
    assert lines[0].endswith("usecs : count    distribution")
    assert lines[1] == "         0 -> 1          : 1        |**********                              |"
    assert lines[2] == "         2 -> 3          : 4        |****************************************|"


@pytest.mark.parametrize(("value", "names", "text"), [
    (0, {"A": 1}, "0"), (1, {"A": 1, "B": 2}, "A"), (3, {"A": 1, "B": 2}, "A|B"), (9, {"A": 1}, "A|0x8"),
])
def test_flags_by_name(value: int, names: dict[str, int], text: str) -> None:
    assert _values.flags(value, names) == text


def test_addresses_and_numbers_by_name() -> None:
    assert _values.address(2, bytes([127, 0, 0, 1, 9])) == "127.0.0.1"
    assert _values.address(10, bytes(15) + b"\x01") == "::1"
    assert _values.error_name(-2) == "ENOENT" and _values.error_name(3) == ""
    assert [_values.signal_name(n) for n in (9, 40, 0)] == ["SIGKILL", "SIGRTMIN+6", "0"]


OPTIONS = (_options.option("-p", "--pid", kind=_options.process_id, help=""), _options.option("--json", kind=bool, help=""),
           _options.option("--top", kind=_options.number, default=10, help=""),
           _options.option("--sort", default="all", choices=("all", "reads"), help=""))


def test_options_have_values_from_text_and_from_python() -> None:
    found = _options.values(OPTIONS, {"pid": "1", "top": 3})
    assert (found.pid, found.json, found.top, found.sort) == (1, False, 3, "all")


@pytest.mark.parametrize(("given", "words"), [
    ({"pdi": 1}, "did you mean 'pid'"), ({"pid": "999999999"}, "no process 999999999"), ({"top": "x"}, "'x' is no number"),
    ({"sort": "name"}, "all, reads"),
])
def test_wrong_options_are_told(given: dict[str, object], words: str) -> None:
    with pytest.raises(ebpf.UsageError, match=words):
        _options.values(OPTIONS, given)


def test_every_option_of_a_tool_has_a_name_of_its_own() -> None:
    for name in TOOLS:
        options = module_of(name).TOOL.all_options()
        flags = [flag for one in options for flag in one.flags]
        assert len(flags) == len(set(flags)) and len({one.name for one in options}) == len(options), name


# ---- stacks ----


class _Raw:
    """A map of stacks of three addresses."""

    value_size = 24

    def __init__(self) -> None:
        self.there: dict[int, tuple[int, ...]] = {}

    def take_all(self) -> SimpleNamespace:
        taken, self.there = self.there, {}
        return SimpleNamespace(keys=memoryview(struct.pack(f"{len(taken)}Q", *taken)),
                               values=memoryview(b"".join(struct.pack("3Q", *stack) for stack in taken.values())))

    def lookup(self, key: bytes) -> bytes | None:
        stack = self.there.get(int.from_bytes(key, sys.byteorder))
        return None if stack is None else struct.pack("3Q", *stack)


def test_a_stack_that_is_counted_while_it_is_taken_away_keeps_its_name() -> None:
    raw = _Raw()
    stacks = _stacks.Stacks(SimpleNamespace(maps={"stacks": SimpleNamespace(raw=raw)}))  # type: ignore[arg-type]
    raw.there = {7: (1, 2, 0), 9: (0x4141414141414141, 3, 0xffffffff81000000)}
    assert stacks.frames(7) == [1, 2], "one that is looked for before it is taken"
    stacks.take()
    assert stacks.frames(9) == [3, 0xffffffff81000000], "without what can be no address"
    assert stacks.frames(0) == stacks.frames(1) == [] and not raw.there
    stacks.take()
    assert stacks.frames(7) == [1, 2], "the program had found it in the map, and counted it then"
    stacks.take()
    assert stacks.frames(7) == []


# ---- control groups ----


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    ids = ("3f4a9c0de1b2" + "0" * 52, "3f4a77770000" + "1" * 52)
    for path in (f"system.slice/docker-{ids[0]}.scope/inner", f"machine.slice/libpod-{ids[1]}.scope",
                 "lxc.payload.web", "user.slice"):
        (tmp_path / path).mkdir(parents=True)
    monkeypatch.setattr(_groups, "root", lambda: str(tmp_path))
    monkeypatch.setattr(_groups, "_ids_of", lambda name: [ids[1]] if name == "db" else [])
    return tmp_path


@pytest.mark.parametrize(("name", "path", "level"), [
    ("3f4a9c", "system.slice/docker-3f4a9c0de1b2" + "0" * 52 + ".scope", 2), ("web", "lxc.payload.web", 1),
    ("db", "machine.slice/libpod-3f4a77770000" + "1" * 52 + ".scope", 2),
])
def test_containers_by_name_or_id(groups: Path, name: str, path: str, level: int) -> None:
    found = _groups.find_container(name)
    assert found == (str(groups / path), (groups / path).stat().st_ino, level)


@pytest.mark.parametrize(("name", "words"), [("3f4a", "several containers"), ("other", "no container 'other'")])
def test_containers_that_are_not_clear(groups: Path, name: str, words: str) -> None:
    with pytest.raises(ebpf.UsageError, match=words):
        _groups.find_container(name)


def test_groups_by_path(groups: Path) -> None:
    assert _groups.find_group("/user.slice").level == 1
    assert _groups.find_group(str(groups)).level == 0
    with pytest.raises(ebpf.UsageError, match="similar: user.slice"):
        _groups.find_group("user.slise")


# ---- the command ----


def test_the_list_says_where_each_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows if row["from"] == "ebpf"] == sorted(TOOLS)
    assert all(row["about"] for row in rows if row["from"] == "ebpf")
    assert len({row["name"] for row in rows}) == len(rows)


def test_an_unknown_tool_has_near_misses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tools", "opensnop"]) == 2
    assert "did you mean opensnoop" in capsys.readouterr().err


def test_installed_tools_are_found_by_their_short_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    from ebpf.cli import tools

    for name, text in (("slower-bpfcc", "#!/usr/bin/python3\n# slower  Show what is slower.\nprint('ran', __import__('sys').argv[1:])\n"),
                       ("loads.bt", "#!/usr/bin/env bpftrace\n/*\n * loads  Prints load averages.\n */\n"),
                       ("wide-bpfcc", "#!/usr/bin/python3\n#\n# wide.py   Shows what is\n#           very wide.\n#           For Linux.\n"),
                       ("notatool", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(tools, "_INSTALLED", ((str(tmp_path), "-bpfcc", "bpfcc-tools", "run"),
                                              (str(tmp_path), ".bt", "bpftrace", "trace")))
    assert main(["tools"]) == 0
    lines = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
    assert [line for line in lines if line[1] != "ebpf"] == [
        ["loads", "bpftrace", "Prints load averages"], ["slower", "bpfcc-tools", "Show what is slower"],
        ["wide", "bpfcc-tools", "Shows what is very wide"]]
    assert main(["tools", "slower", "-x", "1"]) == 0
    assert capsys.readouterr().out == "ran ['-x', '1']\n"
