"""Maps that stand in the place of declared ones: whether they hold what the programs will find in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ebpf.errors import CompileError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ebpf.compiler.py.declarations import MapDecl
    from ebpf.diagnostics import Span
    from ebpf.session.functions.function import Function


def check_given(functions: Iterable[Function], declared: Mapping[str, MapDecl], given: Mapping[str, Any]) -> None:
    """Refuse a map of another kind, or of other types, than the programs are compiled for.

    ``given`` are declared maps or live ones, by the names of those whose places they take. `CompileError` points at
    where the first program uses the map; `UsageError` for a name that no program has.
    """
    from ebpf.diagnostics import Diagnostic

    for name, other in given.items():
        decl = declared.get(name)
        if decl is None:
            known = ", ".join(declared) or "none"
            raise UsageError(f"no program here has a map {name!r}", helps=(f"they have {known}",))
        said = _difference(decl, other)
        if said:
            message = f"`{name}` is {_words(decl)}, and the map that is to take its place {said}"
            raise CompileError(message, diagnostics=[Diagnostic("error", "P0304", message, _first_use(functions, decl),
                                                                helps=("declare both with the same types",))])


def _difference(decl: MapDecl, other: Any) -> str:
    """What is different about ``other``, in words; "" where nothing is."""
    from ebpf.abi.maps import MapType
    from ebpf.compiler.py.declarations import MapDecl
    from ebpf.compiler.py.types import describe, size_of

    if isinstance(other, MapDecl):
        same = other.type == decl.type and all(
            describe(a) == describe(b) for a, b in ((decl.key, other.key), (decl.value, other.value)))
        return "" if same else f"is {_words(other)}"
    if other.type != decl.type:
        return f"is of another kind ({MapType(other.type).name.lower()})"
    for what, t, size in (("keys", decl.key, other.key_size), ("values", decl.value, other.value_size)):
        wanted = size_of(t) if t is not None else None
        if wanted is not None and size and wanted != size:
            return f"has {what} of {size} bytes"
    return ""


def _words(decl: MapDecl) -> str:
    """``Hash(u32, u64)``, as it was declared."""
    from ebpf.compiler.py.types import describe

    types = [describe(t).partition("[")[0].removeprefix("struct ") if isinstance(t, type) else repr(t)
             for t in (decl.key, decl.value) if t is not None]
    return f"{type(decl).__name__}({', '.join(types)})"


def _first_use(functions: Iterable[Function], decl: MapDecl) -> Span | None:
    import dis

    from ebpf.compiler.py.source import file_text
    from ebpf.diagnostics import Span

    for program in functions:
        function = program.function
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=False))
        for instruction in dis.get_instructions(function):
            name, at = instruction.argval, instruction.positions
            if not isinstance(name, str) or at is None or at.lineno is None:
                continue
            cell = cells.get(name)
            if (cell.cell_contents if cell is not None else function.__globals__.get(name)) is decl:
                file = function.__code__.co_filename
                lines = (file_text(file) or "").split("\n")
                text = lines[at.lineno - 1] if at.lineno <= len(lines) else ""
                return Span(file, at.lineno, (at.col_offset or 0) + 1, (at.end_col_offset or 0) + 1, text)
    return None
