"""GNU inline assembly, handed through to LLVM's assembler with its operands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ebpf.compiler.c import tree
from ebpf.compiler.c.lower_place import load, place, store
from ebpf.compiler.c.lower_types import in_memory, ir_type

if TYPE_CHECKING:
    from ebpf.compiler.c.lower_function import FunctionLowering

_OPERAND = re.compile(r"%(%|=|\{|\}|\||([a-zA-Z]?)(\d+|\[\w+\]))|\$")


def lower_asm(f: FunctionLowering, s: tree.Asm) -> None:
    names = [o.name for o in (*s.outputs, *s.inputs)]
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

    def operand(m: re.Match[str]) -> str:
        if m[0] == "$":
            return "$$"
        if m[3] is None:
            return {"%%": "%", "%=": "${:uid}"}.get(m[0], m[1])
        if m[3].startswith("["):
            name = m[3][1:-1]
            if name not in names:
                f.error("C0403", f"the assembly names an operand `{name}` that it does not have", s.loc, s.end)
                return ""
            number = names.index(name)
        else:
            number = int(m[3])
            if number >= len(names):
                f.error("C0403", f"the assembly names operand %{number}, and there are {len(names)}", s.loc, s.end)
                return ""
        return f"${{{number}:{m[2]}}}" if m[2] else f"${number}"

    template = _OPERAND.sub(operand, s.template)
    kinds = [kind for _, kind in results]
    result = "void" if not kinds else kinds[0] if len(kinds) == 1 else f"{{ {', '.join(kinds)} }}"
    # Without outputs it is there for what it does: as good as volatile.
    effect = " sideeffect" if s.volatile or not s.outputs else ""
    text = "".join(c if 32 <= ord(c) < 127 and c not in '"\\' else "".join(f"\\{b:02X}" for b in c.encode()) for c in template)
    call = f'call {result} asm{effect} "{text}", "{",".join(constraints)}"({", ".join(arguments)})'
    if not kinds:
        f.w.do(call)
        return
    out = f.w.emit(call)
    for i, (o, _) in enumerate(results):
        value = out if len(results) == 1 else f.w.emit(f"extractvalue {result} {out}, {i}")
        store(f, place(f, o.expr), o.expr.type, value)
