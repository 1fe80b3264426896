"""The tracing language: bpftrace's scripts to a BPF object that carries its own plan (`plan.Plan`).

`compile_trace` compiles, `compile_trace_cached` asks the cache first and then imports none of the compiler.
"""

from __future__ import annotations

from ebpf.compiler.trace.options import NO_OPTIONS, ScriptOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ebpf.compiler.cache import Store
    from ebpf.compiler.facts import ScriptFacts

__all__ = ["ScriptOptions", "compile_trace", "compile_trace_cached"]

# Where none of these is, no type of the kernel's will be asked for.
_SIGNS_OF_TYPES = ("->", "struct", "probe", "tracepoint", "entry", "exit:", "func:", "iter:", "curtask")


def compile_trace(
    text: str,
    *,
    filename: str = "<text>",
    facts: ScriptFacts,
    options: ScriptOptions = NO_OPTIONS,
    meanwhile: Callable[[], object] = lambda: None,
) -> bytes:
    """The ELF object for a script, with its plan in section `plan.SECTION`. ``meanwhile`` is called while LLVM works.

    Raises `CompileError` with one diagnostic for each mistake.
    """
    import gc

    from ebpf.compiler.llvm.child import CodeGenerator

    # What takes longest begins first, each in a process of its own: the types are looked through, if nobody ever did,
    # and LLVM loads, while this process imports the front end.
    scan = facts.prepare() if any(sign in text for sign in _SIGNS_OF_TYPES) else None
    # Trees live until the object is there: to look for circles among them again and again took a tenth of a start.
    collecting = gc.isenabled()
    gc.disable()
    try:
        with CodeGenerator(mcpu=options.mcpu, opt=2) as generator:
            from ebpf.compiler.trace.compiler import compile_script

            return compile_script(text, filename=filename, facts=facts, options=options, generator=generator,
                                  meanwhile=meanwhile).elf
    finally:
        if collecting:
            gc.enable()
        if scan is not None:
            scan.leave()


def compile_trace_cached(
    text: str,
    *,
    filename: str = "<text>",
    facts: ScriptFacts,
    store: Store | None,
    options: ScriptOptions = NO_OPTIONS,
    meanwhile: Callable[[], object] = lambda: None,
) -> bytes:
    """Like `compile_trace`; ``store`` is None for no cache. A hit imports nothing of the compiler but `cache`."""
    if store is None:
        return compile_trace(text, filename=filename, facts=facts, options=options, meanwhile=meanwhile)
    from ebpf.compiler import cache

    key = cache.object_key(text, filename, ("trace", *options))
    elf = cache.cached_object(store, key, facts)
    if elf is not None:
        return elf
    recording = cache.RecordingFacts(facts)
    elf = compile_trace(text, filename=filename, facts=recording, options=options, meanwhile=meanwhile)
    cache.keep_object(store, key, recording, elf)
    return elf
