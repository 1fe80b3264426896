"""Python functions as eBPF programs: the declarations it takes, and `compile_programs`.

Only what a start with a warm cache needs is imported here.
"""

from __future__ import annotations

from ebpf.compiler.py.declarations import (
    GlobalDecl,
    MapDecl,
    ProgramDecl,
    Uses,
    collect,
    compile_programs,
    compile_programs_cached,
)

__all__ = ["GlobalDecl", "MapDecl", "ProgramDecl", "Uses", "collect", "compile_programs", "compile_programs_cached"]
