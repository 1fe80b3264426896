"""Signatures of kernel helpers → C function types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ebpf.compiler.c import types as C

if TYPE_CHECKING:
    from ebpf.compiler.c.checker_types import TypeChecker

_QUALIFIERS = frozenset(("const", "volatile"))


def function_type(signature: str, checker: TypeChecker) -> C.Function:
    """``"long bpf_x(void *map, u64 flags)"`` as a type."""
    head, _, tail = signature.partition("(")
    result, _ = _declarator(head, checker)
    parameters: list[C.CType] = []
    names: list[str] = []
    variadic = False
    inside = tail.rpartition(")")[0].strip()
    for piece in inside.split(",") if inside not in ("", "void") else ():
        if piece.strip() == "...":
            variadic = True
            continue
        t, name = _declarator(piece, checker)
        parameters.append(t)
        names.append(name)
    return C.Function(result, tuple(parameters), variadic, tuple(names))


def _declarator(text: str, checker: TypeChecker) -> tuple[C.CType, str]:
    stars = text.count("*")
    words = text.replace("*", " ").split()
    const = "const" in words
    words = [w for w in words if w not in _QUALIFIERS]
    name = words.pop()
    t = base_type(" ".join(words), checker)
    if const:
        t = C.Qualified(t, const=True)
    for _ in range(stars):
        t = C.Pointer(t)
    return t, name


def base_type(text: str, checker: TypeChecker) -> C.CType:
    """A type without declarator: keywords, ``struct tag`` or a typedef's name."""
    found = C.BUILTIN.get(text)
    if found is not None:
        return found
    kind, _, tag = text.partition(" ")
    if kind in ("struct", "union"):
        known = checker.file_scope.find_tag(tag)
        return known if isinstance(known, C.Record) else checker.kernel.record(kind, tag)
    typedef = checker.file_scope.find(text)
    if isinstance(typedef, C.Typedef):
        return typedef
    return checker.kernel.typedef(text) or C.VOID
