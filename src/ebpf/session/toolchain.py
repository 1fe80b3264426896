"""`ebpf.build`: C text to bytes to keep, or IR to read, with the warnings; `ebpf.link`: several objects as one.

What ``ebpf compile`` and ``ebpf link`` are made of.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, NamedTuple

from ebpf.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ebpf.diagnostics import Diagnostic


class Built(NamedTuple):
    """``data``: an ELF object, or LLVM IR as UTF-8 text; ``warnings`` in source order."""

    data: bytes
    warnings: tuple[Diagnostic, ...]


def build(text: str, *, filename: str = "<text>", emit: Literal["obj", "ir"] = "obj", dialect: str = "auto",
          mcpu: str = "v3", defines: Iterable[str] = (), include_dirs: Iterable[str] = (),
          cc: str | None = None, partial: bool = False) -> Built:
    """Compile C text for the running kernel, without any cache. Options are those of `ebpf.compile`.

    ``emit="ir"`` stops before code generation: LLVM IR, as our front end writes it, before any optimisation. With
    ``cc`` (clang) there are no warnings of ours and no IR. ``partial``: one of several objects for `link`, which may
    define what this one declares. Raises `CompileError` with one diagnostic for each mistake.
    """
    if cc is not None:
        if emit != "obj":
            raise UsageError("IR is our own compiler's: leave cc out")
        from ebpf.session.build import compile_bytes

        return Built(compile_bytes(text, filename=filename, mcpu=mcpu, defines=tuple(defines),
                                   include_dirs=tuple(include_dirs), cc=cc, cache=False), ())
    from ebpf.compiler.options import Options
    from ebpf.compiler.pipeline import compile_c_full, front_end, lower_unit
    from ebpf.kernel.facts import SystemFacts

    facts = SystemFacts()
    options = Options(dialect, mcpu, tuple(defines), tuple(include_dirs), partial=partial)  # type: ignore[arg-type]
    if emit == "obj":
        compiled = compile_c_full(text, filename=filename, facts=facts, options=options)
        return Built(compiled.elf, compiled.diagnostics)
    unit, sources, found = front_end(text, filename=filename, facts=facts, options=options)
    ir = lower_unit(unit, sources, found, options)
    return Built(ir.encode(), tuple(found))


def link(*objects: str | os.PathLike[str] | bytes) -> bytes:
    """Link several object files (paths, or their contents) into one, as ``bpftool gen object`` does.

    What one object declares and another defines becomes one: functions, maps, variables. A strong definition replaces a
    ``__weak`` one. Types that several objects share are there once. Raises `FormatError` if two define the same name,
    if a declaration is not what the definition is, if their licenses differ, or if a file is damaged. What none
    defines stays undefined.
    """
    from ebpf.object.static_linker import link_objects

    inputs = []
    for number, item in enumerate(objects, 1):
        if isinstance(item, bytes):
            inputs.append((f"object {number}", item))
        else:
            with open(item, "rb") as file:
                inputs.append((os.path.basename(os.fspath(item)), file.read()))
    return link_objects(inputs)
