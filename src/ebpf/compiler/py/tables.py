"""struct_ops: programs that stand for functions in one of the kernel's structs, and the struct that names them.

A program's section is ``struct_ops/STRUCT.MEMBER``; its option ``table`` is the variable, of the kernel's type
STRUCT, that it belongs to. It lies in ``.struct_ops.link``, as one that is written in C does, and bears the table's
name in the struct's own ``name``, if there is one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree, types as C
from ebpf.compiler.c.conversions import cast
from ebpf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ebpf.compiler.c.checker_base import CheckerBase
    from ebpf.compiler.py.declarations import ProgramDecl

SECTION = ".struct_ops.link"


def members(c: CheckerBase, struct: str) -> dict[str, C.Function]:
    """The functions of the kernel's ``struct``; none if there is no such struct."""
    record = c.kernel.record("struct", struct)
    if not record.ensure_complete():
        return {}
    return {f.name: function for f in record.fields if f.name and (function := _function(f.type)) is not None}


def _function(t: C.CType) -> C.Function | None:
    pointer = C.strip(t)
    inner = C.strip(pointer.target) if isinstance(pointer, C.Pointer) else None
    return inner if isinstance(inner, C.Function) else None


def tables(c: CheckerBase, pairs: Iterable[tuple[ProgramDecl, tree.FunctionDecl]]) -> Iterator[tree.Variable]:
    """One variable for each table that programs belong to."""
    found: dict[tuple[str, str], dict[str, tree.FunctionDecl]] = {}
    for program, function in pairs:
        table = program.options.get("table")
        if table:
            struct, _, member = program.section.partition("/")[2].partition(".")
            given = found.setdefault((struct, table), {})
            if given.setdefault(member, function) is not function:
                raise UsageError(f"`{given[member].name}` and `{program.name}` are both {struct}.{member} of `{table}`",
                                 helps=("give one of them another table",))
    for (struct, name), functions in found.items():
        record = c.kernel.record("struct", struct)
        parts = []
        for field in record.fields:
            inner = C.strip(field.type)
            if field.name in functions:
                function = functions[field.name]
                designator = tree.FunctionRef(function.type, function.loc, function.end, function)
                address = tree.Convert(C.Pointer(function.type), function.loc, function.end, "function", designator)
                parts.append(tree.InitPart(field.bit_offset // 8, cast(address, field.type)))
            elif field.name == "name" and isinstance(inner, C.Array):
                text = name.encode()[:(inner.count or 1) - 1] + b"\0"
                value = tree.StringConst(C.Array(C.CHAR, len(text)), 0, 0, text)
                parts.append(tree.InitPart(field.bit_offset // 8, value))
        yield tree.Variable(name, record, "global", 0, 0, section=SECTION, init=tree.Initializer(record, parts))
