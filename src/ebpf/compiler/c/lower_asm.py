"""GNU inline assembly with an empty template: barriers, and values made opaque to the optimiser.

LLVM as llvmlite ships it has no assembler for BPF, so instructions in a template cannot be had: they are an error with
a span. The operands' constraints are all that counts then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_place import load, place, store
from ebpf.compiler.c.lower_types import in_memory, ir_type

if TYPE_CHECKING:
    from ebpf.compiler.c.lower_function import FunctionLowering


def lower_asm(f: FunctionLowering, s: tree.Asm) -> None:
    if s.template.strip():
        f.error(
            "C0503",
            "instructions in inline assembly are not supported",
            s.loc,
            s.end,
            notes=("barriers (an empty string) and operands are",),
            helps=("write it in C", "compile with clang: `ebpf compile --cc clang`"),
        )
        return
    constraints: list[str] = []
    results: list[tuple[tree.AsmOperand, str]] = []
    tied: list[tuple[int, str]] = []
    arguments: list[str] = []
    for i, o in enumerate(s.outputs):
        letters = o.constraint.lstrip("=+&")
        kind = ir_type(o.expr.type)
        early = "&" if "&" in o.constraint else ""
        target = place(f, o.expr)
        if in_memory(o.expr.type) or "m" in letters:
            constraints.append("=*m")
            arguments.append(f"ptr elementtype({kind}) {target.ptr}")
            continue
        constraints.append(f"={early}{letters}")
        results.append((o, kind))
        if o.constraint.startswith("+"):
            tied.append((i, f"{kind} {load(f, target, o.expr.type)}"))
    for o in s.inputs:
        letters, kind = o.constraint, ir_type(o.expr.type)
        if letters == "m":
            constraints.append("*m")
            target = place(f, o.expr)
            arguments.append(f"ptr elementtype({kind}) {target.ptr}")
            continue
        constraints.append(letters)
        arguments.append(f"{kind} {f.value(o.expr)}")
    for i, argument in tied:
        constraints.append(str(i))
        arguments.append(argument)
    for clobber in s.clobbers:
        if clobber != "cc":
            constraints.append(f"~{{{clobber}}}")

    kinds = [kind for _, kind in results]
    result = "void" if not kinds else kinds[0] if len(kinds) == 1 else f"{{ {', '.join(kinds)} }}"
    # Without outputs it is there for what it does: as good as volatile.
    effect = " sideeffect" if s.volatile or not s.outputs else ""
    call = f'call {result} asm{effect} "", "{",".join(constraints)}"({", ".join(arguments)})'
    if not kinds:
        f.w.do(call)
        return
    out = f.w.emit(call)
    for i, (o, _) in enumerate(results):
        value = out if len(results) == 1 else f.w.emit(f"extractvalue {result} {out}, {i}")
        store(f, place(f, o.expr), o.expr.type, value)
