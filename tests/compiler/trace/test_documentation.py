"""docs/trace.md: every script in it compiles, and leaves what the page says; each difference from 0.17 is so."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from ebpf import TargetNotFound, trace
from ebpf.compiler.trace.compiler import compile_script
from ebpf.compiler.trace.config import DEFAULTS
from ebpf.compiler.trace.functions import AGGREGATIONS, FUNCTIONS
from ebpf.compiler.trace.providers import PROVIDERS
from ebpf.errors import CompileError
from tests.compiler.trace.trace_support import FakeFacts, run

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "trace.md").read_text()
BLOCKS = re.findall(r"```bpftrace\n(.*?)```\n(?:\n<!-- leaves: (.*?) -->)?", PAGE, re.DOTALL)


@pytest.mark.parametrize("script, leaves", BLOCKS, ids=[f"block{i}" for i in range(len(BLOCKS))])
def test_block(script, leaves):
    if not leaves:
        compile_script(script, facts=FakeFacts())
        return
    found = run(script).maps
    assert "; ".join(f"{name} = {value!r}" for name, value in found.items()) == " ".join(leaves.split())


def test_the_page_names_everything():
    """Functions, aggregations and kinds of probes; settings that do something."""
    missing = [n for n in (*FUNCTIONS, *AGGREGATIONS) if f"`{n}" not in PAGE and f"{n}(" not in PAGE]
    assert missing == []
    assert [k for k, row in PROVIDERS.items() if row.shown not in PAGE and k != "asyncwatchpoint"] == []
    named = set(re.findall(r"`(\w+)`", PAGE.partition("Settings:")[2].partition("\n\n")[0]))
    assert named <= set(DEFAULTS) | {"BPFTRACE_MAX_STRLEN"}


def test_signed_division():
    assert run("BEGIN { $a = -7; @d = $a / 2; @m = $a % 2; $b = (uint64)7; @u = $b / 2; }").maps == {
        "@d": -3, "@m": -1, "@u": 3}  # fmt: skip


def test_counting_is_atomic():
    from ebpf.isa import disassemble
    from ebpf.object.reader import read_object

    elf = compile_script("BEGIN { @n++; @n += 5; }", facts=FakeFacts()).elf
    text = [line for _, _, line in disassemble(read_object(elf).programs["BEGIN"].code)]
    assert sum("atomic" in line or "lock" in line for line in text) == 2


def test_long_text():
    assert run(f'BEGIN {{ @s = "{"x" * 200}"; }} kprobe:vfs_read {{ @l = strlen(str(0x14000, 200)); }}').maps == {
        "@s": "x" * 200, "@l": 200}  # fmt: skip


def test_two_blocks_two_types():
    assert run('BEGIN { if (1) { $x = 5; @a = $x } else { $x = "text"; @b = $x } }').maps["@a"] == 5


def test_a_struct_is_no_text():
    with pytest.raises(CompileError, match="no text where it leads"):
        compile_script("kprobe:vfs_read { @ = str(arg0); }", facts=FakeFacts())


def test_several_mistakes_at_once():
    with pytest.raises(CompileError) as found:
        compile_script("BEGIN { @a = hist(); $b = nope; }\nkprob:f { printf(1); }", facts=FakeFacts())
    assert len(found.value.diagnostics) == 3


# ------------------------------------------------------------------------------------------- differences, row by row


def refused(script: str) -> str:
    with pytest.raises(CompileError) as found:
        compile_script(script, facts=FakeFacts())
    return str(found.value)


def test_aggregations_are_read_in_the_program():
    found = run("""BEGIN { @c = count(); @s = sum(7); @a = avg(4); @i = min(3); @m = max(9); @t = stats(5);
        printf("%d %d %d %d %d %d", @c, @s, @a, @i, @m, @t); }""")
    assert found.events == [("printf", "%d %d %d %d %d %d", 1, 7, 4, 3, 9, 5)]


def test_a_narrow_variable_changes():
    found = run("BEGIN { $n = (uint32)7; $n = $n > 0 ? $n - 1 : 0; @n = $n; $b = (uint8)3; $b = $b - 1; @b = $b; }").maps
    assert found == {"@n": 6, "@b": 2}


def test_conditions_need_no_parentheses():
    assert run("BEGIN { if pid == 1234 { @yes = 1 } else { @no = 1 } }").maps["@yes"] == 1


def test_an_array_of_characters_ends_at_its_nul():
    assert run("BEGIN { @l = strlen(curtask->comm); @c = curtask->comm; }").maps == {"@l": 6, "@c": "parent"}


def test_numbers_are_written_whole():
    from ebpf.session.tracing.formatting import Format

    assert Format("%d %u %x").apply((1 << 40,) * 3) == f"{1 << 40} {1 << 40} {1 << 40:x}"


def test_greatest_below_zero_and_large_buckets():
    found = run("BEGIN { @m = max(-5); @m = max(-3); @h = hist(1 << 33); @h = hist(1 << 40); }").maps
    assert found["@m"] == -3 and len(found["@h"]) == 2


def test_every_line_of_json_is_an_object():
    from ebpf.session.tracing.output import JsonOutput, MapView

    lines: list[str] = []
    out = JsonOutput(lines.append)
    out.before_maps()
    out.message("time", "2026\n")
    out.message("printf", b"\xc3\xa9 \xff".decode("utf-8", "surrogateescape"))
    out.map(MapView("@when", "timestamp", False, [(None, "12:00")]))
    out.map(MapView("@none", "int", True, []))
    assert [type(json.loads(line)) for line in lines] == [dict] * 3
    assert json.loads(lines[1])["data"].startswith("\u00e9 ") and json.loads(lines[2])["data"] == {"@when": "12:00"}


def test_equal_values_are_ordered_by_their_keys():
    from ebpf.compiler.trace.plan import Map, Type
    from ebpf.session.tracing.maps import TraceMap
    from ebpf.session.tracing.names import Names

    number = Type("int", 8, True)
    raw = b"".join(n.to_bytes(8, "little") for n in (9, 2, 5, 1))
    bulk = SimpleNamespace(keys=memoryview(raw), values=memoryview((7).to_bytes(8, "little") * 4), count=4)
    fake = SimpleNamespace(key_size=8, value_size=8, value_stride=8, read_all=lambda: bulk)
    view = TraceMap(Map("@", "AT_", number, number, False), fake, Names()).view()
    assert [key for key, _ in view.rows] == [1, 2, 5, 9]


def test_what_cat_cannot_read_is_a_warning(capsys):
    assert list(trace('BEGIN { cat("/no/such"); exit(); }', backend="machine")) == []
    said = capsys.readouterr()
    assert said.err == "ebpf: warning: cat: /no/such: No such file or directory\n" and not said.out


def test_what_is_gone_from_the_kernel_is_refused():
    assert "the kernel's symbol is `__x64_sys_open`" in refused("kprobe:sys_open { }")
    assert "did you mean" in refused("tracepoint:syscalls:sys_enter_opn { }")


def test_a_user_function_that_is_gone():
    said: list[str] = []
    list(trace("BEGIN { exit(); } uprobe:/bin/true:nope { }", backend="machine", warn=said.append))
    assert said == ["uprobe:/bin/true:nope: no function 'nope' in /bin/true"]
    with pytest.raises(TargetNotFound, match="no function 'nope'"):
        list(trace("uprobe:/bin/true:nope { }", backend="machine"))
    with pytest.raises(TargetNotFound, match="no function 'nope'"):
        trace("BEGIN { exit(); } uprobe:/bin/true:nope { }", backend="machine").check()


# How a row of the page begins → the test that shows it: here, or FILE::NAME.
ROWS = {
    "`-7 / 2` is -3": "test_signed_division",
    "`@n++` and `@n += 1`": "test_counting_is_atomic",
    "`str(p, 200)`": "test_long_text",
    "`count()`, `sum()`": "test_aggregations_are_read_in_the_program",
    "`$n = $n - 1`": "test_a_narrow_variable_changes",
    "variables first set in two blocks": "test_two_blocks_two_types",
    "`str(arg0)` of an argument that points to a struct": "test_a_struct_is_no_text",
    "`if pid == 1": "test_conditions_need_no_parentheses",
    "a field of `char[n]`": "test_an_array_of_characters_ends_at_its_nul",
    "types of the program": "tests/session/tracing/test_user_arguments.py::test_arguments_have_names_and_types",
    "mistakes are told all at once": "test_several_mistakes_at_once",
    "`%d`, `%u`, `%x` without a length": "test_numbers_are_written_whole",
    "`max()` of numbers below zero": "test_greatest_below_zero_and_large_buckets",
    "JSON: every line is an object": "test_every_line_of_json_is_an_object",
    "equal values are ordered": "test_equal_values_are_ordered_by_their_keys",
    "warnings of `cat`": "test_what_cat_cannot_read_is_a_warning",
    "a function or tracepoint that is gone": "test_what_is_gone_from_the_kernel_is_refused",
    "a user function that is gone": "test_a_user_function_that_is_gone",
    "stacks of ended processes": "tests/trace_guest/test_kinds.py::test_stacks_of_a_process_that_has_ended_have_names",
}


def test_each_difference_has_its_test():
    rows = [row.split(" | ")[0][2:] for title in ("from bpftrace 0.17", "in output")
            for row in PAGE.partition(f"Differences {title}\n")[2].partition("\n#")[0].splitlines()
            if row.startswith("| ") and not row.startswith("| here")]
    assert len(rows) >= 19
    assert [row for row in rows if not any(row.startswith(known) for known in ROWS)] == []
    assert [known for known in ROWS if not any(row.startswith(known) for row in rows)] == []
    for name in ROWS.values():
        file, _, test = name.rpartition("::")
        assert test in globals() if not file else f"def {test}(" in (ROOT / file).read_text()
