"""The compiler: restricted C, or BCC's dialect, to a BPF object; LLVM does the code.

`compile_c` compiles, `compile_cached` asks the cache first and then imports none of the compiler.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ebpf.compiler.cache import Store
    from ebpf.compiler.facts import Facts
    from ebpf.compiler.options import Options as Options
    from ebpf.compiler.pipeline import Compiled as Compiled, compile_c as compile_c, compile_c_full as compile_c_full

__all__ = ["Compiled", "Options", "compile_c", "compile_c_full", "compile_cached"]

_HOMES = {"Compiled": "pipeline", "Options": "options", "compile_c": "pipeline", "compile_c_full": "pipeline"}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def compile_cached(
    text: str,
    *,
    filename: str = "<text>",
    facts: Facts,
    store: Store | None,
    dialect: str = "auto",
    mcpu: str = "v3",
    defines: tuple[str, ...] = (),
    include_dirs: tuple[str, ...] = (),
    opt_level: int = 2,
    arch: str | None = None,
) -> bytes:
    """Like `compile_c`, with `Options`' fields one by one: making them needs no import, so that a hit costs none.

    ``store`` is None for no cache: wherever ``facts`` are not the running system's own.
    """
    from ebpf.compiler import cache

    fields = (dialect, mcpu, defines, include_dirs, opt_level, arch)
    key = ""
    if store is not None:
        key = cache.object_key(text, filename, fields)
        elf = cache.cached_object(store, key, facts)
        if elf is not None:
            return elf
    from ebpf.compiler.options import Options
    from ebpf.compiler.pipeline import compile_c

    options = Options(dialect, mcpu, defines, include_dirs, opt_level, arch)  # type: ignore[arg-type]
    if store is None:
        return compile_c(text, filename=filename, facts=facts, options=options)
    recording = cache.RecordingFacts(facts)
    elf = compile_c(text, filename=filename, facts=recording, options=options)
    cache.keep_object(store, key, recording, elf)
    return elf
