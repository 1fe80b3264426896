"""What the compiler takes of a Python program: maps, global variables and programs as plain declarations.

`compile_programs_cached` asks the cache first; a hit imports nothing of the compiler, of LLVM or of `ast`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ebpf.abi.maps import MapType
    from ebpf.compiler.cache import Store
    from ebpf.compiler.facts import Facts
    from ebpf.compiler.pipeline import Compiled


class MapDecl:
    """A map: what ``opens = Hash(u32, u64)`` says. ``key`` and ``value`` are types of `types`, or None.

    ``name`` is "" until a compilation gives it that of the first Python variable that held it. ``inner`` is the map
    that a map of maps holds. ``options`` may have what a container of a certain kind tells the compiler.
    """

    __slots__ = ("__weakref__", "flags", "inner", "key", "map_extra", "max_entries", "name", "pinning", "type", "value")

    def __init__(
        self,
        type: MapType,
        key: Any,
        value: Any,
        *,
        max_entries: int = 0,
        flags: int = 0,
        name: str = "",
        pinning: str = "",
        map_extra: int = 0,
        inner: MapDecl | None = None,
    ) -> None:
        self.type, self.key, self.value = type, key, value
        self.max_entries, self.flags, self.name = max_entries, flags, name
        self.pinning, self.map_extra, self.inner = pinning, map_extra, inner


class GlobalDecl:
    """A global variable of programs: ``.value`` in them, live through a session outside.

    ``const``: programs only read it, and it is set before they are loaded.
    """

    __slots__ = ("__weakref__", "const", "initial", "name", "type")

    def __init__(self, type: Any, initial: Any = None, *, const: bool = False, name: str = "") -> None:
        self.type, self.initial, self.const, self.name = type, initial, const, name


class ProgramDecl:
    """A program: a Python function and the section name of its hook (``tracepoint/syscalls/sys_enter_openat``)."""

    __slots__ = ("__weakref__", "function", "name", "options", "section")

    def __init__(
        self, function: Callable[..., Any], section: str, *, name: str = "", options: dict[str, Any] | None = None
    ) -> None:
        self.function, self.section, self.name = function, section, name or function.__name__
        self.options = options or {}


class Uses:
    """What programs refer to: ``maps`` and ``globals`` by the names that the object gives them.

    A name that only looks like a reference may be among them; the object's own list is the smaller one.
    """

    __slots__ = ("globals", "maps")

    def __init__(self, maps: dict[str, MapDecl], globals: dict[str, GlobalDecl]) -> None:
        self.maps, self.globals = maps, globals


def collect(programs: Sequence[ProgramDecl]) -> Uses:
    """The maps and global variables that programs, and the functions they call, refer to."""
    from ebpf.compiler.py.uses import Walk

    walk = Walk()
    for p in programs:
        walk.program(p)
    return Uses(walk.maps, walk.globals)


def compile_programs(
    programs: Sequence[ProgramDecl], *, facts: Facts, license: str = "GPL", mcpu: str = "v3"
) -> Compiled:
    """The object for programs, and the compiler's warnings. Raises `CompileError` with a diagnostic for each mistake.

    All programs share their maps and global variables.
    """
    import gc

    # Trees live until the object is there: to look for circles among them again and again takes a tenth of the time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        from ebpf.compiler.py.compiler import compile_functions

        return compile_functions(programs, facts=facts, license=license, mcpu=mcpu)
    finally:
        if collecting:
            gc.enable()


def compile_programs_cached(
    programs: Sequence[ProgramDecl],
    *,
    facts: Facts,
    store: Store | None,
    license: str = "GPL",
    mcpu: str = "v3",
) -> bytes:
    """The object's bytes; ``store`` is None for no cache.

    What is kept is found again by the source of the programs and of the functions they call, the constants, types, maps
    and variables that they name, and the options.
    """
    if store is None:
        return compile_programs(programs, facts=facts, license=license, mcpu=mcpu).elf
    from ebpf.compiler import cache
    from ebpf.compiler.py.uses import Walk

    walk = Walk()
    for p in programs:
        walk.program(p)
    key = cache.object_key(
        "\n".join(walk.parts), programs[0].function.__code__.co_filename if programs else "", ("python", license, mcpu)
    )
    elf = cache.cached_object(store, key, facts)
    if elf is not None:
        return elf
    recording = cache.RecordingFacts(facts)
    elf = compile_programs(programs, facts=recording, license=license, mcpu=mcpu).elf
    cache.keep_object(store, key, recording, elf)
    return elf
