"""C text of our own tables → types and expressions: context structs where there is no BTF, constants that are
expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import ast, types as C

if TYPE_CHECKING:
    from ebpf.compiler.c.kernel_types import KernelTypes


def _parse(text: str) -> ast.TranslationUnit:
    from ebpf.compiler.c.parser import parse
    from ebpf.compiler.c.preprocessor import preprocess
    from ebpf.compiler.c.source import SourceMap

    sources = SourceMap()
    pre = preprocess(sources, "<table>", text)
    from ebpf.abi.typedefs import TYPEDEFS

    unit, diagnostics = parse(pre.tokens, sources, is_typedef=TYPEDEFS.__contains__)
    assert not diagnostics, (text, diagnostics)
    return unit


def parse_record(record: C.Record, text: str, kernel: KernelTypes) -> None:
    """Fill in ``record`` from its declaration in our table."""
    from ebpf.compiler.c.checker import Checker
    from ebpf.compiler.c.source import SourceMap

    unit = _parse(text)
    checker = Checker(SourceMap(), kernel._facts, None, "<table>")
    checker.kernel = kernel
    for item in unit.items:
        if isinstance(item, ast.TypeDecl) and isinstance(item.type, ast.RecordType) and item.type.tag == record.tag:
            assert record.tag is not None
            checker.own_tags[record.kind, record.tag] = item.type
            made = checker.type_of(item.type)
            assert isinstance(made, C.Record)
            record.fields, record.size, record.align, record.complete = (
                made.fields,
                made.size,
                made.align,
                made.complete,
            )


def parse_expression(text: str, at: ast.Node) -> ast.Expr | None:
    """The expression ``text``, placed at ``at``."""
    unit = _parse(f"enum {{ value = {text} }};") if not text.startswith('"') else _parse(f"char value[] = {text};")
    item = unit.items[0]
    found: ast.Expr | None = None
    if isinstance(item, ast.TypeDecl) and isinstance(item.type, ast.EnumType) and item.type.enumerators:
        found = item.type.enumerators[0].value
    elif isinstance(item, ast.VarDecl) and not isinstance(item.init, ast.InitList):
        found = item.init
    if found is not None:
        _move(found, at)
    return found


def _move(node: object, at: ast.Node) -> None:
    if isinstance(node, ast.Node):
        node.loc, node.end = at.loc, at.end
        for name in type(node)._fields:
            _move(getattr(node, name), at)
    elif isinstance(node, list):
        for n in node:
            _move(n, at)
