"""The cache of programs in Python: what a hit imports, and what makes it miss."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from ebpf.abi.maps import MapType
from ebpf.compiler.cache import Store
from ebpf.compiler.py import MapDecl, ProgramDecl, collect, compile_programs_cached
from ebpf.compiler.py.library import pid
from ebpf.compiler.py.types import u32, u64
from ebpf.kernel.facts import SystemFacts

LIMIT = 5
Number = u64
counts = MapDecl(MapType.HASH, u32, u64, max_entries=10)

def helper(x):
    y: Number = x + LIMIT
    return y

def main(ctx):
    counts[pid()] += helper(1)

program = ProgramDecl(main, "raw_tp/sys_enter")
elf = compile_programs_cached([program], facts=SystemFacts(), store=Store(sys.argv[1]))
assert elf[:4] == b"\\x7fELF"
assert collect([program]).maps == {"counts": counts}
print("missed" if "ebpf.compiler.py.compiler" in sys.modules else "hit",
      *sorted({"ast", "llvmlite", "inspect", "dataclasses", "numpy"} & set(sys.modules)))
"""


def run(folder: Path, text: str) -> str:
    script = folder / "program.py"
    script.write_text(text)
    done = subprocess.run([sys.executable, str(script), str(folder / "cache")], capture_output=True, text=True, check=True)
    return done.stdout.split()[0] if done.stdout.startswith("missed") else done.stdout.strip()


def test_hit_and_miss(tmp_path: Path) -> None:
    assert run(tmp_path, PROGRAM) == "missed"
    assert run(tmp_path, PROGRAM) == "hit"
    for before, after in (("LIMIT = 5", "LIMIT = 6"), ("Number = u64", "Number = u32"), ("x + LIMIT", "x * LIMIT"),
                          ("max_entries=10", "max_entries=20"), ("raw_tp/sys_enter", "raw_tp/sys_exit")):
        changed = PROGRAM.replace(before, after)
        if after == "Number = u32":
            changed = changed.replace("helper(1)", "helper(u32(1))").replace("x + LIMIT", "u32(x + LIMIT)")
        assert run(tmp_path, changed) == "missed", after
    assert run(tmp_path, PROGRAM) == "hit"
