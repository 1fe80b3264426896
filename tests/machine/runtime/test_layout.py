"""What Python and C must agree on: the layout of `struct ebpf_map`, and the functions."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

from ebpf.machine.runtime.bindings import Map, declarations
from tests.machine.builds import compiled, runtime_of


def test_the_struct_is_the_same_in_python_and_c(tmp_path: Path) -> None:
    names = [name for name, *_ in Map._fields_ if not name.startswith("spare")]
    lines = "".join(f'printf("{n} %zu %zu\\n", offsetof(struct ebpf_map, {n}), sizeof(((struct ebpf_map *)0)->{n}));' for n in names)
    source = tmp_path / "layout.c"
    source.write_text('#include <stdio.h>\n#include <stddef.h>\n#include "map.h"\n'
                      f'int main(void) {{ printf("all 0 %zu\\n", sizeof(struct ebpf_map)); {lines} }}')
    printed = subprocess.run([str(compiled("gcc", str(source), name="layout"))], capture_output=True, text=True, check=True).stdout
    theirs = {name: (int(offset), int(size)) for name, offset, size in map(str.split, printed.splitlines())}
    assert theirs.pop("all") == (0, ctypes.sizeof(Map))
    assert theirs == {n: (getattr(Map, n).offset, getattr(Map, n).size) for n in names}


def test_what_threads_write_lies_on_lines_of_its_own() -> None:
    assert [getattr(Map, n).offset % 64 for n in ("free", "producer", "consumer")] == [0, 0, 0]


def test_every_function_that_is_declared_is_there() -> None:
    runtime = runtime_of("ours")
    assert {f"ebpf_{name}" for name in declarations()} == {f"ebpf_{name}" for name in declarations() if runtime.address(f"ebpf_{name}")}
    assert len(declarations()) > 50


def test_the_lookups_for_other_code_are_definitions_without_ties() -> None:
    ir = runtime_of("ours").ir
    assert "@ebpf_hash_lookup(" in ir and "@ebpf_array_lookup(" in ir and "@ebpf_lpm_trie_lookup(" in ir
    assert "!dbg" not in ir and "target-cpu" not in ir and "\n@" not in ir.replace("\n@llvm.compiler.used", "")
