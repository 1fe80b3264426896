"""The tracing language: bpftrace's scripts to a BPF object that carries its own plan (`plan.Plan`).

`compile_trace` compiles, `compile_trace_cached` asks the cache first and then imports none of the compiler.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ebpf.compiler.cache import Store
    from ebpf.compiler.facts import ScriptFacts

__all__ = ["compile_trace", "compile_trace_cached"]


def compile_trace(
    text: str,
    *,
    filename: str = "<text>",
    facts: ScriptFacts,
    params: tuple[str, ...] = (),
    config: Mapping[str, str] | None = None,
    include_dirs: tuple[str, ...] = (),
    includes: tuple[str, ...] = (),
    helper_errors: int = 0,
    mcpu: str = "v3",
) -> bytes:
    """The ELF object for a script, with its plan in section `plan.SECTION`.

    ``params`` are the positional parameters. ``config`` holds settings by their name (``max_strlen``) or variable
    (``BPFTRACE_MAX_STRLEN``); the script's own come first. ``includes`` are files to read before the script.
    ``helper_errors``: 1 reports helpers that fail, 2 also reads of memory that is not there. Raises `CompileError` with
    one diagnostic for each mistake.
    """
    import gc

    # Trees live until the object is there: to look for circles among them again and again took a tenth of a start.
    collecting = gc.isenabled()
    gc.disable()
    try:
        from ebpf.compiler.trace.compiler import compile_script

        return compile_script(
            text,
            filename=filename,
            facts=facts,
            params=params,
            config=config,
            include_dirs=include_dirs,
            includes=includes,
            helper_errors=helper_errors,
            mcpu=mcpu,
        ).elf
    finally:
        if collecting:
            gc.enable()


# Where none of these is, no type of the kernel's will be asked for.
_SIGNS_OF_TYPES = ("->", "struct", "probe", "tracepoint", "entry", "exit:", "func:", "iter:", "curtask")


def _compile_prepared(text: str, *, facts: ScriptFacts, **options: Any) -> bytes:
    """`compile_trace`, while somebody else looks through the kernel's types, if nobody ever did."""
    scan = facts.prepare() if any(sign in text for sign in _SIGNS_OF_TYPES) else None
    try:
        return compile_trace(text, facts=facts, **options)
    finally:
        if scan is not None:
            scan.finish()


def compile_trace_cached(
    text: str,
    *,
    filename: str = "<text>",
    facts: ScriptFacts,
    store: Store | None,
    params: tuple[str, ...] = (),
    config: Mapping[str, str] | None = None,
    include_dirs: tuple[str, ...] = (),
    includes: tuple[str, ...] = (),
    helper_errors: int = 0,
    mcpu: str = "v3",
) -> bytes:
    """Like `compile_trace`; ``store`` is None for no cache. A hit imports nothing of the compiler but `cache`."""
    from functools import partial

    fresh = partial(
        _compile_prepared,
        text,
        filename=filename,
        params=params,
        config=config,
        include_dirs=include_dirs,
        includes=includes,
        helper_errors=helper_errors,
        mcpu=mcpu,
    )
    if store is None:
        return fresh(facts=facts)
    from ebpf.compiler import cache

    options = ("trace", params, tuple(sorted((config or {}).items())), include_dirs, includes, helper_errors, mcpu)
    key = cache.object_key(text, filename, options)
    elf = cache.cached_object(store, key, facts)
    if elf is not None:
        return elf
    recording = cache.RecordingFacts(facts)
    elf = fresh(facts=recording)
    cache.keep_object(store, key, recording, elf)
    return elf
