"""What is read from /proc, /sys and tracefs, from recorded text."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpf.binaries.find import find_library
from ebpf.binaries.symbols import ElfSymbols
from ebpf.errors import ElfError, FormatError, TargetNotFound
from ebpf.kernel.cpus import parse_cpu_list
from ebpf.kernel.symbols import KernelSymbols
from ebpf.kernel.tracepipe import LostLines, TraceLine, TracePipe, parse_line


@pytest.mark.parametrize(("text", "cpus"), [("0\n", [0]), ("0-3,8\n", [0, 1, 2, 3, 8]), ("\n", []), ("1,3-4", [1, 3, 4])])
def test_cpu_lists(text: str, cpus: list[int]) -> None:
    assert parse_cpu_list(text) == cpus


def test_bad_cpu_list() -> None:
    with pytest.raises(FormatError, match="0-x"):
        parse_cpu_list("0-x")


@pytest.mark.parametrize(("line", "parsed"), [
    (b"          python3-1234    [001] d... 12.345678: bpf_trace_printk: Hello\n",  # 5.10
     TraceLine(b"python3", 1234, 1, b"d...", 12.345678, b"Hello")),
    (b"           <...>-77      [000] d..31 1.000001: bpf_trace_printk: a: b\n",  # 6.x
     TraceLine(b"<...>", 77, 0, b"d..31", 1.000001, b"a: b")),
    (b" kworker/u4:2-ev-9 [003] .N.1. 7.5: 0x00000001: x", TraceLine(b"kworker/u4:2-ev", 9, 3, b".N.1.", 7.5, b"x")),
    (b"  a b-1 (    1) [000] ..... 2.5: bpf_trace_printk: ", TraceLine(b"a b", 1, 0, b".....", 2.5, b"")),
    (b"CPU:1 [LOST 17 EVENTS]\n", LostLines(1, 17)),
    (b"# tracer: nop\n", None),
    (b"second line of a message\n", None),
])
def test_trace_lines(line: bytes, parsed: TraceLine | LostLines | None) -> None:
    assert parse_line(line) == parsed


def test_trace_pipe_counts_losses(tmp_path: Path) -> None:
    path = tmp_path / "trace_pipe"
    path.write_bytes(b" a-1 [000] d... 1.0: f: x\nCPU:0 [LOST 5 EVENTS]\n a-1 [000] d... 2.0: f: y\nno newline")
    pipe = TracePipe(str(path))
    lines = list(pipe)
    assert len(lines) == 3 and pipe.lost == 5
    assert pipe.read_line(timeout=0) is None


KALLSYMS = b"""ffffffff81000000 T _text
ffffffff81000100 t foo
ffffffff81000200 T __x64_sys_bpf
ffffffff81000300 t foo.isra.0
ffffffff81000400 t foo
ffffffff82000000 D foo_data
ffffffffc0000000 t mod_fn\t[mod]
"""


def test_kernel_symbols() -> None:
    symbols = KernelSymbols(KALLSYMS)
    assert [s.address for s in symbols.find_all("foo")] == [0xFFFFFFFF81000100, 0xFFFFFFFF81000400]
    assert "sys_bpf" not in symbols and "__x64_sys_bpf" in symbols
    found = symbols.resolve(0xFFFFFFFFC0000010)
    assert found is not None and found[0].module == "mod" and found[0].name == "mod_fn" and found[1] == 0x10
    assert symbols.resolve(5) is None
    hidden = KernelSymbols(b"0000000000000000 T a\n0000000000000000 T b\n")
    assert hidden.resolve(0x1000) is None and hidden.address("b") == 0


def test_libc_has_malloc_where_nm_says() -> None:
    import shutil
    import subprocess

    path = find_library("c")
    if path is None or shutil.which("nm") is None:
        pytest.skip("no glibc or no nm here")
    listing = subprocess.run(["nm", "-D", "--defined-only", path], capture_output=True, text=True, check=True).stdout
    wanted = {line.split()[2].partition("@")[0]: int(line.split()[0], 16) for line in listing.splitlines()
              if line.split()[1] in "Tt"}
    ours = ElfSymbols(path).functions
    assert len(wanted) > 1000
    wrong = [name for name, address in wanted.items() if name not in ours or ours[name].address != address]
    # names with several versions: either may be kept
    assert len(wrong) < len(wanted) // 20, wrong[:20]


def test_not_an_elf_file(tmp_path: Path) -> None:
    script = tmp_path / "x.sh"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ElfError, match="not an ELF file"):
        ElfSymbols(str(script))
    (tmp_path / "cut").write_bytes(b"\x7fELF\2\1\1" + bytes(20))
    with pytest.raises(ElfError):
        ElfSymbols(str(tmp_path / "cut"))
    with pytest.raises(TargetNotFound):
        ElfSymbols(str(tmp_path / "absent"))


def test_other_names_of_a_function() -> None:
    symbols = KernelSymbols(b"ff01 T __do_sys_getppid\nff01 T __x64_sys_getppid\nff02 t other\nff02 d data\n"
                            b"0000 T hidden\n0000 T known\nff03 T late [module]\nff03 T second\n")
    assert symbols.other_names({b"__do_sys_getppid", b"known", b"late"}, lambda name: name != b"other") == [
        b"__x64_sys_getppid", b"second"]
