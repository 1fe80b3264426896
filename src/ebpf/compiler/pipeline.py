"""C text to an object, stage by stage: preprocess, parse, check, lower, generate, finish."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ebpf.compiler.llvm.child import CodeGenerationError, CodeGenerator
from ebpf.compiler.options import Options
from ebpf.errors import CompileError, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ebpf.compiler.c.kernel_types import KernelTypes
    from ebpf.compiler.c.source import SourceMap
    from ebpf.compiler.c.tree import Unit
    from ebpf.compiler.facts import Facts
    from ebpf.diagnostics import Diagnostic


class Compiled(NamedTuple):
    """A finished object and what the compiler had to say about the source: warnings, in order."""

    elf: bytes
    diagnostics: tuple[Diagnostic, ...]


def compile_c(text: str, *, filename: str = "<text>", facts: Facts, options: Options | None = None) -> bytes:
    """The ELF object for a program in C. Raises `CompileError` with one diagnostic for each mistake (warnings too)."""
    return compile_c_full(text, filename=filename, facts=facts, options=options).elf


def compile_c_full(text: str, *, filename: str = "<text>", facts: Facts, options: Options | None = None) -> Compiled:
    """Like `compile_c`, with the warnings."""
    options = options or Options()
    # LLVM loads in its own process while the front end runs in this one.
    with CodeGenerator(mcpu=options.mcpu, opt=options.opt_level) as generator:
        unit, sources, found = front_end(text, filename=filename, facts=facts, options=options)
        ir = lower_unit(unit, sources, found, options)
        try:
            raw = _generate(generator, ir, options)
        except CodeGenerationError as error:
            from ebpf.compiler.llvm.explain import explain

            if error.how == "refused":
                raise InternalError(
                    "LLVM refused the code that this compiler made: please report it with the source",
                    notes=[error.stderr.strip()[:2000]],
                ) from None
            functions = {f.name: sources.span(f.loc, f.end) for f in unit.functions if f.body is not None}
            raise _failed([*found, *explain(error, sources, filename, options.mcpu, functions)], filename) from None
    from ebpf.compiler.llvm.output import finish, iter_pointer_calls

    if calls := sorted(set(iter_pointer_calls(raw))):
        from ebpf.compiler.llvm.explain import pointer_call

        raise _failed([*found, *(pointer_call(sources, *place) for place in calls)], filename)
    elf = finish(raw, events=unit.events, types=unit.types)
    return Compiled(elf, tuple(found))


def _generate(
    generator: CodeGenerator, ir: str, options: Options, meanwhile: Callable[[], object] = lambda: None
) -> bytes:
    """``meanwhile`` is called while LLVM works."""

    def use_the_time() -> None:
        _import_what_finishes()
        meanwhile()

    try:
        return generator.run(ir, use_the_time)
    except CodeGenerationError as error:
        # From -O2 on LLVM recognises a 64 × 64 → 128 bit product that is spelled in parts, and cannot generate what
        # it then makes of it.
        if "'__multi3'" not in error.stderr or options.opt_level == 1:
            raise
    with CodeGenerator(mcpu=options.mcpu, opt=1) as gentler:
        return gentler.run(ir)


def _import_what_finishes() -> None:
    import ebpf.compiler.llvm.output
    import ebpf.object.reader  # noqa: F401


def compile_host_ir(text: str, *, filename: str, facts: Facts, options: Options) -> str:
    """LLVM IR for C of the package's own that runs on the host (``options.target`` is ``"host"``), before any
    optimisation, without debug information. Raises `CompileError`."""
    unit, sources, found = front_end(text, filename=filename, facts=facts, options=options)
    return lower_unit(unit, sources, found, options)


def front_end(text: str, *, filename: str, facts: Facts, options: Options) -> tuple[Unit, SourceMap, list[Diagnostic]]:
    """The typed tree. Raises `CompileError` if anything in the text is wrong."""
    from ebpf.compiler.c.checker import check
    from ebpf.compiler.c.parser import parse
    from ebpf.compiler.c.preprocessor import preprocess
    from ebpf.compiler.c.source import SourceMap

    sources = SourceMap()
    names = _KernelNames(facts)
    pre = preprocess(
        sources,
        filename,
        text,
        defines=options.defines,
        include_dirs=options.include_dirs,
        read_include=facts.read_include,
        kconfig=facts.kconfig,
        constant=names.constant,
        predefined=_predefined(facts, options),
    )
    if _has_errors(pre.diagnostics):
        raise _failed(pre.diagnostics, filename)
    syntax, complaints = parse(
        pre.tokens, sources, is_typedef=names.is_typedef, similar_types=names.similar, includes=pre.includes
    )
    found = [*pre.diagnostics, *complaints]
    if _has_errors(found):
        raise _failed(found, filename)
    unit, complaints = check(syntax, sources, facts, options, pre)
    found += complaints
    if _has_errors(found):
        raise _failed(found, filename)
    return unit, sources, found


def lower_unit(unit: Unit, sources: SourceMap, found: list[Diagnostic], options: Options) -> str:
    """The unit's IR. What BPF cannot do is added to ``found``; raises `CompileError` if there is any."""
    from ebpf.compiler.c.lower import lower
    from ebpf.compiler.c.source import Diagnostics, TooManyErrors

    diagnostics = Diagnostics(sources)
    ir = ""
    try:
        ir = lower(unit, diagnostics, options)
    except TooManyErrors:
        pass
    found += diagnostics.items
    if diagnostics.error_count:
        raise _failed(found, unit.filename)
    return ir


class _KernelNames:
    """What preprocessor and parser ask of the kernel's types, before the checker is there."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._types: KernelTypes | None = None

    def _kernel(self) -> KernelTypes:
        if self._types is None:
            from ebpf.compiler.c.kernel_types import KernelTypes

            self._types = KernelTypes(self._facts, lambda kind, tag: None)
        return self._types

    def is_typedef(self, name: str) -> bool:
        return self._kernel().typedef(name) is not None

    def similar(self, name: str) -> Sequence[str]:
        return self._kernel().similar(name)

    def constant(self, name: str) -> int | str | None:
        from ebpf.abi.constants import lookup_constant
        from ebpf.compiler.c.kernel_types import ABI_ARCH

        version = self._facts.kernel_version
        found = lookup_constant(
            name, arch=ABI_ARCH.get(self._facts.arch, self._facts.arch), kernel=(version >> 16, version >> 8 & 255)
        )
        if found is None:
            enumerator = self._kernel().enumerator(name)
            found = enumerator[1] if enumerator is not None else None
        return found


def _predefined(facts: Facts, options: Options) -> dict[str, str | int]:
    """Macros that the kernel's build would define; on a host, those of a compiler."""
    if options.target == "host":
        orders = ("RELAXED", "CONSUME", "ACQUIRE", "RELEASE", "ACQ_REL", "SEQ_CST")
        return {f"__ATOMIC_{name}": number for number, name in enumerate(orders)}
    arch = options.arch or facts.arch
    return {
        "__KERNEL__": 1,
        f"__TARGET_ARCH_{arch}": 1,
        "LINUX_VERSION_CODE": facts.kernel_version,
    }


def _has_errors(diagnostics: Sequence[Diagnostic]) -> bool:
    return any(d.severity == "error" for d in diagnostics)


def _failed(diagnostics: Sequence[Diagnostic], filename: str) -> CompileError:
    errors = sum(d.severity == "error" for d in diagnostics)
    ordered = sorted(
        diagnostics,
        key=lambda d: (d.span.line, d.span.column) if d.span is not None and d.span.file == filename else (1 << 30, 0),
    )
    return CompileError(f"{filename}: {errors} error{'s' if errors != 1 else ''}", diagnostics=ordered)
