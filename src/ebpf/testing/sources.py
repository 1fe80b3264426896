"""Where tested programs come from: C, objects, Python functions. What was built is kept for the next test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import ebpf
from ebpf import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ebpf import Object, Session

_KEPT = 64
_built: dict[tuple[Any, ...], Object] = {}


class Source:
    """Programs that can be loaded, any number of times: an `Object`, or Python functions."""

    def __init__(self, programs: Any, name: str) -> None:
        self.programs = programs
        self.name = name

    def load(self, backend: str, options: Mapping[str, Any]) -> Session:
        """A session."""
        return ebpf.load(self.programs, backend=backend, **options)

    @property
    def obj(self) -> Object:
        """The programs as an object."""
        if isinstance(self.programs, ebpf.Object):
            return self.programs
        with self.load("machine", {"load_programs": False}) as session:
            return session.obj


def open_source(source: Any, options: Mapping[str, Any]) -> Source:
    """What ``source`` is: C text or a ``.c`` file, an object's file or bytes, an `Object`, a Python function.
    ``options``: of `ebpf.compile`. Raises `CompileError` and what else compiling and opening raise.
    """
    if options and not isinstance(source, (str, os.PathLike)):
        raise UsageError("only C is compiled with options")
    if isinstance(source, ebpf.Object):
        return Source(source, source.name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Source(_kept(("bytes", bytes(source)), lambda: ebpf.open(bytes(source))), "object")
    if isinstance(source, (str, os.PathLike)):
        return _from_path(source, options)
    functions = source if isinstance(source, (list, tuple)) else [source]
    if functions and all(hasattr(one, "attach_options") for one in functions):
        return Source(list(functions), functions[0].name)
    raise UsageError(f"{type(source).__name__} is no program: give C (text or a .c file), an object, or functions")


def _from_path(source: str | os.PathLike[str], options: Mapping[str, Any]) -> Source:
    text = os.fspath(source)
    is_text = isinstance(source, str) and ("\n" in text or not text.endswith((".c", ".o")))
    how = (ebpf.coverage.running, *sorted((name, _frozen(value)) for name, value in options.items()))
    if is_text:
        return Source(_kept(("text", text, how), lambda: ebpf.compile(text, **options)), "<text>")
    try:
        stat = os.stat(text)
        # Included files may change as well; within one run of the tests nobody edits them.
        key = os.path.abspath(text), stat.st_mtime_ns, stat.st_size, how
    except OSError:
        key = text, 0, 0, how
    if text.endswith(".o"):
        return Source(_kept(key, lambda: ebpf.open(text)), os.path.basename(text))
    return Source(_kept(key, lambda: ebpf.compile(source, **options)), os.path.basename(text))  # type: ignore[arg-type]


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


def _kept(key: tuple[Any, ...], build: Any) -> Object:
    found = _built.get(key)
    if found is None:
        while len(_built) >= _KEPT:
            del _built[next(iter(_built))]
        found = _built[key] = build()
    return found
