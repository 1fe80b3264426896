"""Typed trees built by hand, for tests of the lowering alone."""

from __future__ import annotations

from ebpf.compiler.c import tree as T
from ebpf.compiler.c.source import Diagnostics, SourceMap
from ebpf.compiler.c.types import (
    CHAR,
    INT,
    Array,
    CType,
    Field,
    Function,
    Pointer,
    Record,
)

SOURCE = "line one of the program\nline two\nline three\n"


def record(tag: str | None, kind: str = "struct", **members: CType) -> Record:
    from ebpf.compiler.c.types import align_of, size_of

    out, at, fields = Record(kind, tag), 0, []
    for index, (name, t) in enumerate(members.items()):
        align = align_of(t)
        at = -(-at // align) * align if kind == "struct" else 0
        fields.append(Field(name, t, 8 * at, 0, index))
        size = size_of(t) or 0
        out.size = max(out.size, at + size)
        out.align = max(out.align, align)
        at += size
    out.size = -(-out.size // out.align) * out.align
    out.fields, out.complete = fields, True
    return out


def num(value: int, t: CType = INT) -> T.IntConst:
    return T.IntConst(t, 1, 2, value)


def ref(v: T.Variable) -> T.VarRef:
    return T.VarRef(v.type, 3, 4, v)


def val(lvalue: T.Expr) -> T.Convert:
    return T.Convert(lvalue.type, 3, 4, "load", lvalue)


def addr(lvalue: T.Expr) -> T.AddressOf:
    return T.AddressOf(Pointer(lvalue.type), 3, 4, lvalue)


def local(name: str, t: CType) -> T.Variable:
    return T.Variable(name, t, "local", 5, 6)


def block(*items: T.Stmt) -> T.Block:
    return T.Block(1, 2, list(items))


def ret(e: T.Expr) -> T.Return:
    return T.Return(26, 27, e)


def declare(v: T.Variable, value: T.Expr | None) -> T.Declare:
    init = T.Initializer(v.type, [T.InitPart(0, value)]) if value is not None else None
    return T.Declare(5, 6, v, init)


def map_variable(name: str, map_type: int, key: CType, value: CType, entries: int) -> T.Variable:
    t = record(
        None,
        type=Pointer(Array(INT, map_type)),
        key=Pointer(key),
        value=Pointer(value),
        max_entries=Pointer(Array(INT, entries)),
    )
    return T.Variable(name, t, "global", 1, 2, section=".maps")


def license_variable() -> T.Variable:
    t = Array(CHAR, 4)
    text = T.StringConst(t, 1, 2, b"GPL\0")
    return T.Variable("LICENSE", t, "global", 1, 2, section="license", init=T.Initializer(t, [T.InitPart(0, text)]))


def program(name: str, section: str, context: CType, body: T.Block) -> T.FunctionDecl:
    ctx = T.Variable("ctx", Pointer(context), "parameter", 7, 10)
    t = Function(INT, (ctx.type,), names=("ctx",))
    return T.FunctionDecl(name, t, 1, 3, [ctx], body, section, "program", context=True)


def unit(globals_: list[T.Variable], *functions: T.FunctionDecl) -> T.Unit:
    return T.Unit("prog.c", globals_, list(functions))


def diagnostics() -> Diagnostics:
    sources = SourceMap()
    sources.add_file("prog.c", SOURCE)
    return Diagnostics(sources)
