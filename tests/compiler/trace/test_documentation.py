"""docs/trace.md: every script in it compiles, and leaves what the page says; each difference from 0.17 is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ebpf.compiler.trace.compiler import compile_script
from ebpf.compiler.trace.config import DEFAULTS
from ebpf.compiler.trace.functions import AGGREGATIONS, FUNCTIONS
from ebpf.compiler.trace.providers import PROVIDERS
from ebpf.errors import CompileError
from tests.compiler.trace.trace_support import FakeFacts, run

PAGE = (Path(__file__).parents[3] / "docs" / "trace.md").read_text()
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
